//! The worker that a task runs in, as the real one has it: a session of its own, and a title written over its
//! environment, so that nobody finds a variable there. What the worker starts has every variable again.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

/// The variable by which a caller of `pct` knows again what that has left at work.
const MARKER: &str = "PHOENIX_NVIDIA_MAKING";
/// Its value in the worker, under a name that nobody looks for.
const HIDDEN: &str = "STAND_IN_HIDDEN";
const TITLE: &str = "task UPID:vm:";

/// Whether this process is a worker.
pub(crate) fn is_one(words: &[String]) -> bool {
    words.first().is_some_and(|title| title.starts_with(TITLE))
}

/// Runs the same call in a worker, and passes on to it what ends it. Its exit code.
pub(crate) fn run(kind: &str, id: &str, words: &[String]) -> Result<u8, Failure> {
    let asked_to_end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&asked_to_end))?;
    }
    let process = std::process::id();
    #[expect(clippy::disallowed_methods, reason = "this program stands alone, without the library")]
    let mut worker = Command::new(std::env::current_exe()?)
        .arg0(format!("{TITLE}{process:08X}:0004BF4C:6B09D79A:{kind}:{id}:root@pam:"))
        .args(words)
        .env_remove(MARKER)
        .envs(std::env::var_os(MARKER).map(|value| (HIDDEN, value)))
        .stdin(Stdio::inherit())
        .spawn()?;
    let group = rustix::process::Pid::from_child(&worker);
    let mut passed_on = false;
    loop {
        if let Some(status) = worker.try_wait()? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255));
        }
        if asked_to_end.load(Ordering::SeqCst) && !passed_on {
            // Not before it has its own group.
            passed_on = rustix::process::kill_process_group(group, rustix::process::Signal::TERM).is_ok();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
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
