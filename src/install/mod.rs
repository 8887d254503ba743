//! The driver inside one container: put there, found there, verified there, taken out again.

mod c_library;
pub mod cdi;
mod cuda;
pub mod files;
mod first_library;
mod loadable;
pub mod methods;
pub mod packages;
pub mod preflight;
pub mod presence;
mod programs;
pub mod receipt;
mod receipt_and_intent;
mod scratch;
mod target;
pub mod uninstall;
pub mod verify;

pub use c_library::CLibrary;
pub use first_library::{ForeignLibrary, foreign_library};
pub use receipt_and_intent::ReceiptAndIntent;
pub use scratch::{clear_away, leftovers};

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Context;
use crate::container_id::ContainerId;
use crate::driver::device::DeviceNode;
use crate::driver::nvidia_smi::GIVEN_UP;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Exec, Hypervisor, State};
use crate::sys::command::Output;
use crate::sys::rootfs::Rootfs;

use receipt::Receipt;

/// A handle on one container: its id, who runs it, and what work on it needs.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    /// The container.
    pub id: ContainerId,
    /// Its settings are its operator's and stay as they are.
    pub keeps_settings: bool,
    /// Who runs it.
    pub hypervisor: &'a dyn Hypervisor,
    /// Where our files lie, who hears of events, and whether to stop.
    pub context: Context<'a>,
}

impl Guest<'_> {
    /// The process of the container's init.
    ///
    /// # Errors
    /// The container does not run.
    pub fn require_running(&self) -> Result<u32> {
        match self.state()? {
            State::Running { init } => Ok(init),
            State::Absent => Err(Error::new(Kind::Command, format!("container {} does not exist", self.id))
                .hint(format!("create it with `phoenix-nvidia create {}`", self.id))),
            state => Err(Error::new(
                Kind::Command,
                format!("container {} is {}, but must run for this", self.id, state.word()),
            )
            .hint(format!("start it with `{}`", self.start_command()))),
        }
    }

    fn start_command(&self) -> String {
        if self.keeps_settings {
            return self.hypervisor.start_command(self.id);
        }
        format!("phoenix-nvidia create {}", self.id)
    }

    /// How it is.
    ///
    /// # Errors
    /// The hypervisor cannot be asked.
    pub fn state(&self) -> Result<State> {
        self.hypervisor.state(self.id)
    }

    /// The in-root door to its files.
    ///
    /// # Errors
    /// There is no such container.
    pub fn root(&self) -> Result<Rootfs> {
        self.hypervisor.rootfs(self.id)
    }

    fn refused_nodes(&self, devices: &[DeviceNode]) -> Result<Vec<PathBuf>> {
        self.hypervisor.refused_nodes(self.id, devices)
    }

    fn is_being_started(&self) -> bool {
        self.hypervisor.is_being_started(self.id)
    }

    fn exec(&self, exec: &Exec) -> Result<Output> {
        self.exec_watched(exec, &mut |_| {})
    }

    fn exec_watched(&self, exec: &Exec, watch: &mut dyn FnMut(&[u8])) -> Result<Output> {
        self.hypervisor.exec(self.id, exec, watch)
    }

    /// Asks a program about the driver. One that does not end is an answer: a GPU may hang, and then it does.
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
    /// Nothing could be mounted, and nothing has been changed: another method may do.
    NotMounted(Error),
}

impl Attempt {
    /// An image could not be had or mounted; an interruption and somebody else's lock end every method.
    fn not_mounted(error: Error) -> Result<Self> {
        match error.kind() {
            Kind::Interrupted | Kind::Busy | Kind::Bug => Err(error),
            _ => Ok(Self::NotMounted(error)),
        }
    }
}

/// Where libraries may lie in a container, in the order in which NVIDIA's installer looks for a place; and where the
/// method `shared` shows them.
const LIBRARY_DIRECTORIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/phoenix-nvidia/current/lib",
];

/// Where a container sees images of drivers.
const SHARED_DIRECTORY: &str = crate::hypervisor::DriverMount::DIRECTORY;

/// The name of the link to the image that is used.
const CURRENT: &str = "current";

/// The directories of a root's `PATH`.
const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Our own directory in a container.
const OWN_DIRECTORY: &str = "/var/lib/phoenix-nvidia";
