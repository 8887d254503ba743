//! The driver inside one container: put there, found there, verified there, taken out again.

mod c_library;
mod cuda;
mod first_library;
pub mod installer;
mod installer_run;
mod loadable;
pub mod native;
pub mod placed;
pub mod preflight;
pub mod presence;
pub mod receipt;
mod remembered;
pub mod runfile;
mod scratch;
pub mod shared;
mod target;
pub mod uninstall;
pub mod verify;

pub use c_library::CLibrary;
pub use first_library::{ForeignLibrary, foreign_library};
pub use remembered::Remembered;
pub use scratch::{clear_away, leftovers};

use std::time::{Duration, Instant};

use crate::config::Layout;
use crate::container_id::ContainerId;
use crate::driver::nvidia_smi::GIVEN_UP;
use crate::error::{Error, Kind, Result};
use crate::event::Listener;
use crate::hypervisor::{Exec, Hypervisor, State};
use crate::sys::cancel::Cancel;
use crate::sys::command::Output;

use receipt::Receipt;

/// The container that is worked on, and what the work needs.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The container.
    pub id: ContainerId,
    /// Who runs it.
    pub hypervisor: &'a dyn Hypervisor,
    /// Where our files lie on the host.
    pub layout: &'a Layout,
    /// Who wants to know what happens.
    pub listener: &'a dyn Listener,
    /// Whether to stop.
    pub cancel: &'a Cancel,
}

impl Site<'_> {
    /// The process of the container's init.
    ///
    /// # Errors
    /// The container does not run.
    pub fn require_running(&self) -> Result<u32> {
        match self.hypervisor.state(self.id)? {
            State::Running { init } => Ok(init),
            State::Absent => Err(Error::new(Kind::Command, format!("container {} does not exist", self.id))
                .hint(format!("create it with `phoenix-nvidia create {}`", self.id))),
            state => Err(Error::new(
                Kind::Command,
                format!("container {} is {}, and must run for this", self.id, state.word()),
            )
            .hint(format!("start it with `phoenix-nvidia create {}`", self.id))),
        }
    }

    fn exec(&self, exec: &Exec) -> Result<Output> {
        self.hypervisor.exec(self.id, exec, &mut |_| {})
    }

    /// Asks a program about the driver. One that does not come to its end is an answer: a GPU may hang, and then it does.
    ///
    /// # Errors
    /// The container does not run, or the program printed too much.
    pub fn ask(&self, words: &[&str], deadline: Duration) -> Result<Output> {
        let exec = Exec { deadline, ..Exec::new(words.iter().copied()).env("LC_ALL", "C") };
        let asked = Instant::now();
        match self.exec(&exec) {
            Err(error) if error.kind() == Kind::Command && asked.elapsed() >= deadline => {
                self.require_running()?;
                Ok(Output { code: GIVEN_UP, stdout: Vec::new(), stderr: Vec::new() })
            }
            answered => answered,
        }
    }
}

/// What became of an installation that mounts something in the container.
#[derive(Debug)]
pub enum Attempt {
    /// The driver is there.
    Installed(Receipt),
    /// Nothing could be mounted, and nothing has been changed: another way may do.
    NotMounted(Error),
}

impl Attempt {
    /// An image could not be had or mounted; an interruption and somebody else's lock stand against every way.
    fn not_mounted(error: Error) -> Result<Self> {
        match error.kind() {
            Kind::Interrupted | Kind::Busy | Kind::Bug => Err(error),
            _ => Ok(Self::NotMounted(error)),
        }
    }
}

/// Where libraries may lie in a container, in the order in which NVIDIA's installer looks for a place; and where the
/// way `shared` shows them.
const LIBRARY_DIRECTORIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/phoenix-nvidia/current/lib",
];

/// Where a container sees images of drivers.
const SHARED_DIRECTORY: &str = crate::hypervisor::DriverMount::DIRECTORY;

/// The directories of a root's `PATH`.
const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Our own directory in a container.
const OWN_DIRECTORY: &str = "/var/lib/phoenix-nvidia";
