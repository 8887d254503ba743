//! The worker that a task runs in, as the real one has it: a session of its own, and a title written over its
//! environment, so that nobody finds a variable there. What the worker starts has every variable again.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::Failure;

/// The variable by which a caller of `pct` knows again what that has left at work.
const MARKER: &str = "PHOENIX_NVIDIA_MAKING";
/// Its value in the worker, under a name that nobody looks for.
const HIDDEN: &str = "STAND_IN_HIDDEN";
const TITLE: &str = "task UPID:";

/// Whether this process is a worker.
pub(crate) fn is_one(words: &[String]) -> bool {
    words.first().is_some_and(|title| title.starts_with(TITLE))
}

/// Runs the same call in a worker, and passes on to it what ends it. Its exit code.
pub(crate) fn run(node: &str, kind: &str, id: &str, words: &[String]) -> Result<u8, Failure> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    let process = std::process::id();
    #[expect(clippy::disallowed_methods, reason = "this program stands alone, without the library")]
    let mut worker = Command::new(std::env::current_exe()?)
        .arg0(format!("{TITLE}{node}:{process:08X}:0004BF4C:6B09D79A:{kind}:{id}:root@pam:"))
        .args(words)
        .env_remove(MARKER)
        .envs(std::env::var_os(MARKER).map(|value| (HIDDEN, value)))
        .stdin(Stdio::inherit())
        .spawn()?;
    let worker_process = rustix::process::Pid::from_child(&worker);
    std::thread::spawn(move || {
        for _ in &mut signals {
            let _ = rustix::process::kill_process(worker_process, rustix::process::Signal::TERM);
            // Before it has a group of its own, it has started nothing either.
            let _ = rustix::process::kill_process_group(worker_process, rustix::process::Signal::TERM);
        }
    });
    Ok(worker.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Leaves the caller's session.
pub(crate) fn begin() -> Result<(), Failure> {
    rustix::process::setsid()?;
    Ok(())
}

/// The variable for what a worker starts.
pub(crate) fn variable_of_children() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os(HIDDEN).map(|value| (MARKER, value))
}
