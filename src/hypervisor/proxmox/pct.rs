//! Running `pct`: one process a call, in its own group, in a fixed locale, with nothing on its input; and the version
//! of the package that it comes from.
//!
//! Its exit codes are whatever `errno` held (pve-container 6.1.10), so nothing but 0 and not 0 is distinguished.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Listener};
use crate::sys::cancel::Cancel;
use crate::sys::command::{Command, Output};

use super::version::Version;
use super::{failure, node};

// A call that changes a setting takes a second, and waits up to ten for Proxmox's own lock; a start waits for hooks.
const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// The variable that marks a `pct` which makes a container, and what that starts, for the run after a killed one. Its
/// worker writes a title over its environment, and leaves its process group; it is known by its standard input.
pub(super) const MARKER: &str = "PHOENIX_NVIDIA_MAKING";

const ELSEWHERE: &str = "run this on a node of Proxmox VE, or use `--backend lxc` for containers of plain LXC";

/// The tools of Proxmox VE.
#[derive(Clone)]
pub(super) struct Pct<'a> {
    /// The directory that they are in; found by `PATH` where none is named.
    pub(super) tools: Option<PathBuf>,
    /// Whether to stop.
    pub(super) cancel: &'a Cancel,
    /// How long a container is waited for that another `pct` works on, and who hears of it.
    pub(super) patience: Option<(Duration, &'a dyn Listener)>,
}

/// One call: `pct <verb> <id> <words>`.
#[derive(Debug, Clone)]
pub(super) struct Call<'w> {
    pub(super) verb: &'w str,
    pub(super) id: ContainerId,
    pub(super) words: &'w [String],
    pub(super) deadline: Duration,
    /// The value of [`MARKER`] in its environment, and the file on its standard input.
    pub(super) marker: Option<&'w Path>,
}

impl<'w> Call<'w> {
    pub(super) fn new(verb: &'w str, id: ContainerId, words: &'w [String]) -> Self {
        Self { verb, id, words, deadline: DEADLINE, marker: None }
    }
}

impl Pct<'_> {
    fn command(&self, program: &str) -> Command {
        let path = self.place_of(program).unwrap_or_else(|| PathBuf::from(program));
        // Its arguments are decoded by the locale: under `C`, every byte beyond ASCII is lost.
        Command::new(path).env("LC_ALL", "C.UTF-8")
    }

    /// Runs one call.
    ///
    /// # Errors
    /// It failed; the error says what that means where `pct`'s words are known.
    pub(super) fn run(&self, call: &Call<'_>) -> Result<Output> {
        let mut command = self.command("pct").arg(call.verb).arg(call.id.to_string()).args(call.words);
        if let Some(marker) = call.marker {
            command = command.env(MARKER, marker).input_file(fs_err::File::open(marker)?.into_parts().0);
        }
        let command = command.deadline(call.deadline);
        let started = Instant::now();
        let mut reported = false;
        loop {
            let output = command.run(self.cancel)?;
            if output.success() {
                return Ok(output);
            }
            // It waits by itself for ten seconds, and has done nothing when it gives up.
            match self.patience.filter(|_| failure::is_locked_out(&output)) {
                Some((patience, listener)) if started.elapsed() < patience => {
                    if !reported {
                        let reason = format!("another `pct` works on container {}", call.id);
                        listener.hear(&Event::Waiting { reason });
                    }
                    reported = true;
                }
                _ => return Err(failure::of(call.id, &command.display(), &output)),
            }
        }
    }

    /// That `pct` is on this host, without calling it.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn require_installed(&self) -> Result<()> {
        match self.place_of("pct") {
            Some(_) => Ok(()),
            None => {
                Err(Error::new(Kind::Host, "`pct` is not on this host, or in no directory of `PATH`").hint(ELSEWHERE))
            }
        }
    }

    fn place_of(&self, program: &str) -> Option<PathBuf> {
        match &self.tools {
            Some(tools) => Some(tools.join(program)).filter(|path| path.is_file()),
            None => node::place_of(program),
        }
    }

    /// The version of pve-container.
    ///
    /// # Errors
    /// There is no such package, or it is too old.
    pub(super) fn version(&self) -> Result<Version> {
        let query = self.command("dpkg-query").args(["-W", "-f", "${Version}", "pve-container"]);
        let output = query.run(self.cancel)?;
        let version = Version::parse(&output.stdout_text()).filter(|_| output.success()).ok_or_else(|| {
            Error::new(Kind::Host, "the package `pve-container` is not installed on this host")
                .hint(ELSEWHERE)
                .output(output.last_lines())
        })?;
        if version < Version::OLDEST {
            let oldest = Version::OLDEST;
            return Err(Error::new(Kind::Host, format!("pve-container {version} is too old"))
                .hint(format!("upgrade Proxmox VE: pve-container {oldest} or later is needed")));
        }
        Ok(version)
    }
}

/// The value of [`MARKER`] as it stands in a process's environment.
pub(super) fn marker(path: &Path) -> String {
    // Variables end with a zero byte; without it, the record of 901 would be found in that of 9012.
    let mut marker = format!("{MARKER}=");
    marker.push_str(&AsRef::<OsStr>::as_ref(path).to_string_lossy());
    marker.push('\0');
    marker
}
