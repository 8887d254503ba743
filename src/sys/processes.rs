//! Processes that have lost their parent, in a container or on the host: found by their environment, and ended.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Kind, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// Kills every process in the PID namespace of `init`, without itself, whose environment holds `marker`, and waits
/// until they are gone.
///
/// A container can put the marker into any of its processes' environments; it only ever harms its own.
///
/// # Errors
/// `/proc` cannot be read, or a process does not end.
pub fn kill_marked(init: u32, marker: &str) -> Result<usize> {
    let namespace = fs_err::read_link(format!("/proc/{init}/ns/pid"))?;
    let mut killed = 0;
    for entry in fs_err::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some(pid) = Pid::from_raw(number) else { continue };
        // Opened before it is looked at: the number may belong to somebody else by the time of the signal.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if number as u32 != init && is_in(&entry.path(), &namespace) && is_marked(&entry.path(), marker) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
            wait_until_gone(&process, number)?;
            killed += 1;
        }
    }
    Ok(killed)
}

/// Whether a process has ended, or does so within this time.
///
/// # Errors
/// It cannot be watched.
pub fn ends_within(process: u32, patience: Duration) -> Result<bool> {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return Ok(true) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Ok(ended(&process, patience)),
        Err(rustix::io::Errno::SRCH) => Ok(true),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

fn ended(process: &std::os::fd::OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    !matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)), Ok(0))
}

fn is_in(process: &Path, namespace: &Path) -> bool {
    fs_err::read_link(process.join("ns/pid")).is_ok_and(|found| found == namespace)
}

fn is_marked(process: &Path, marker: &str) -> bool {
    let Ok(environment) = fs_err::read(process.join("environ")) else { return false };
    environment.windows(marker.len()).any(|window| window == std::ffi::OsStr::new(marker).as_bytes())
}

fn wait_until_gone(process: &std::os::fd::OwnedFd, number: i32) -> Result<()> {
    if ended(process, PATIENCE) {
        return Ok(());
    }
    Err(Error::new(Kind::Host, format!("process {number} did not end within {} s of SIGKILL", PATIENCE.as_secs()))
        .hint("it waits for the kernel; look at its state in `/proc`, and run the same command again"))
}
