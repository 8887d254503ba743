//! The other programs of the system: finding them, and running the few that an installation runs.

use std::path::{Path, PathBuf};

use crate::Failure;
use crate::journal::Journal;

const MODULE_UTILITIES: [&str; 4] = ["modprobe", "rmmod", "lsmod", "depmod"];
const SYSTEM_UTILITIES: [&str; 4] = ["ldconfig", "grep", "dmesg", "tail"];
const ALSO_SEARCHED: &str = "/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin";

/// A program in `PATH` or in one of the usual directories.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut directories = path.split(':').chain(ALSO_SEARCHED.split(':')).filter(|directory| !directory.is_empty());
    directories.find_map(|directory| {
        let candidate = Path::new(directory).join(program);
        rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK).is_ok().then_some(candidate)
    })
}

/// That every program is there which an installation needs, also one without kernel modules.
pub(crate) fn require_utilities() -> Result<(), Failure> {
    let missing = |programs: [&'static str; 4]| programs.into_iter().find(|program| find(program).is_none());
    if let Some(program) = missing(MODULE_UTILITIES) {
        return Err(Failure(format!(
            "Unable to find the module utility `{program}`; please make sure that you have the package \
             'module-init-tools' or 'kmod' installed."
        )));
    }
    match missing(SYSTEM_UTILITIES) {
        None => Ok(()),
        Some(program) => Err(Failure(format!(
            "Unable to find the system utility `{program}`; please install the package that has it."
        ))),
    }
}

/// Runs a program; what it prints and a failure go to the log and end nothing.
#[expect(clippy::disallowed_methods, reason = "this program stands alone, without the library")]
pub(crate) fn run(program: &str, arguments: &[&str], journal: &mut Journal) -> bool {
    let path = find(program).unwrap_or_else(|| PathBuf::from(program));
    journal.log(&format!("executing: '{program} {}'...", arguments.join(" ")));
    match std::process::Command::new(path).args(arguments).output() {
        Ok(output) => {
            journal.log(&String::from_utf8_lossy(&output.stdout));
            journal.log(&String::from_utf8_lossy(&output.stderr));
            output.status.success()
        }
        Err(error) => {
            journal.log(&format!("{program}: {error}"));
            false
        }
    }
}
