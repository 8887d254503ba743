//! What a command costs: its time, and what it does to a disk and to the memory while it runs.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use phoenix_nvidia::sys::cancel::Cancel;

use crate::disk::Disk;

/// How often disk and memory are looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// What one run of a command cost; bytes where no unit is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// From the start of the command to its end; what the kernel writes later is not in it.
    pub(crate) seconds: f64,
    /// What reached the disk until it had rest.
    pub(crate) written: u64,
    /// The most that was in use on the file system beyond what was before.
    pub(crate) space: u64,
    /// The largest resident set of the command's process (`VmHWM`, as `ru_maxrss`), without its children; zero where
    /// that means nothing.
    pub(crate) memory: u64,
}

impl Cost {
    /// Runs a command, and says what it has printed if it fails.
    pub(crate) fn of(disk: &Disk, command: &[String]) -> Result<Self, String> {
        disk.sync();
        let (written, used) = (disk.written(), disk.used());
        let mut most_used = used;
        let mut memory = 0;
        let start = Instant::now();
        let mut child = start_quietly(&command[0], &command[1..]);
        let cancel = Cancel::new().unwrap();
        while child.try_wait().unwrap().is_none() {
            most_used = most_used.max(disk.used());
            memory = memory.max(peak_memory(child.id()).unwrap_or(0));
            cancel.wait(INTERVAL).unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        let output = child.wait_with_output().unwrap();
        most_used = most_used.max(disk.used());
        disk.sync();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(Self { seconds, written: disk.written() - written, space: most_used - used, memory })
    }

    /// Its cells of the table, behind the names.
    pub(crate) fn row(&self, runfile: Option<&Self>, copy: Option<&Self>) -> String {
        let of = |value: f64, reference: Option<f64>| match reference {
            Some(reference) if reference > 0.0 => format!("{:.3}", value / reference),
            _ => String::new(),
        };
        let bytes = |value: u64, reference: Option<u64>| {
            let share = of(as_megabytes(value), reference.map(as_megabytes));
            format!("{:.0} | {share}", as_megabytes(value))
        };
        format!(
            "| {:.3} | {} | {} | {} | {} | {} |\n",
            self.seconds,
            of(self.seconds, runfile.map(|cost| cost.seconds)),
            of(self.seconds, copy.map(|cost| cost.seconds)),
            bytes(self.written, runfile.map(|cost| cost.written)),
            bytes(self.space, runfile.map(|cost| cost.space)),
            if self.memory > 0 { format!("{:.0}", as_megabytes(self.memory)) } else { String::new() }
        )
    }
}

/// The one of the middle by its time.
pub(crate) fn median(costs: &[Cost]) -> Option<Cost> {
    let mut costs = costs.to_vec();
    costs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    costs.get(costs.len() / 2).copied()
}

/// Runs a command that may take as long as it wants, and returns what it prints.
pub(crate) fn unlimited(program: &str, arguments: &[&str]) -> String {
    let output = start_quietly(program, arguments).wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it prints is little enough for the pipe, so that nobody has to read while it runs.
#[expect(
    clippy::disallowed_methods,
    reason = "the library does not tell the process's id, which the memory is asked of"
)]
fn start_quietly<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The largest resident set of a process so far (`VmHWM` of proc(5)).
fn peak_memory(process: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
}

pub(crate) fn as_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
