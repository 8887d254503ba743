//! Processes that have lost their parent, in a container or on the host: found by their environment or by the file on
//! their standard input, and ended.

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
    kill_where(init, |process| is_marked(process, marker))
}

/// The same for the processes of this host whose standard input is a file: a program can write its title over its
/// environment and leave its session, and it still has what it was started with there. A file that has been removed or
/// replaced since counts, too.
///
/// # Errors
/// As [`kill_marked`]; or the file's directory is not there.
pub fn kill_reading(file: &Path) -> Result<usize> {
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else { return Ok(0) };
    let file = fs_err::canonicalize(directory)?.join(name);
    let mut removed = file.clone().into_os_string();
    removed.push(" (deleted)");
    kill_where(std::process::id(), |process| {
        fs_err::read_link(process.join("fd/0")).is_ok_and(|input| input == file || input.as_os_str() == removed)
    })
}

fn kill_where(init: u32, is_one: impl Fn(&Path) -> bool) -> Result<usize> {
    let namespace = fs_err::read_link(format!("/proc/{init}/ns/pid"))?;
    let mut killed = 0;
    for entry in fs_err::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some(pid) = Pid::from_raw(number) else { continue };
        // Opened before it is looked at: the number may belong to somebody else by the time of the signal.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if number as u32 != init && is_in(&entry.path(), &namespace) && is_one(&entry.path()) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
            wait_until_gone(&process, number)?;
            killed += 1;
        }
    }
    Ok(killed)
}

/// Whether a process has ended, or is on its way there and cannot come back.
///
/// # Errors
/// `/proc` cannot be read.
pub fn is_ending(process: u32) -> Result<bool> {
    let read = |name: &str| fs_err::read_to_string(format!("/proc/{process}/{name}"));
    match read("stat").and_then(|stat| Ok((stat, read("status")?))) {
        Ok((stat, status)) => Ok(is_exiting(&stat) || is_killed(&status)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Reads `/proc/<pid>/stat`: the kernel's `PF_EXITING` among the flags, the ninth field (`proc_pid_stat(5)`).
fn is_exiting(stat: &str) -> bool {
    const PF_EXITING: u32 = 4;
    // The second field is the program's name, which may hold blanks and parentheses.
    let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let flags = after_name.split(' ').nth(6).and_then(|flags| flags.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

/// Reads `/proc/<pid>/status`: SIGKILL among the pending signals of the process or its first thread.
fn is_killed(status: &str) -> bool {
    const SIGKILL: u64 = 1 << 8;
    let pending = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    pending.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & SIGKILL != 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exiting_process_is_known_by_its_flags_whatever_its_name() {
        assert!(is_exiting("7 (a) b) R 1 7 7 0 -1 4194308 12 0 0 0"));
        assert!(!is_exiting("7 (4 4 4 4 4 4 4) S 1 7 7 0 -1 4194304 12 0 0 0"));
        assert!(!is_exiting(""));
    }

    #[test]
    fn a_killed_process_is_known_by_its_pending_signals() {
        assert!(is_killed("Name:\tsleep\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"));
        assert!(!is_killed("Name:\tsleep\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000200\n"));
    }

    #[test]
    fn this_process_goes_on_and_one_that_is_gone_has_ended() {
        assert!(!is_ending(std::process::id()).unwrap());
        // The kernel never gives out so high a number.
        assert!(is_ending(u32::MAX).unwrap());
    }
}
