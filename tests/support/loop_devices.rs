//! Loop devices whose files lie below a directory. The kernel lets go of them a moment after their last user has.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::path::Path;
use std::time::{Duration, Instant};

use phoenix_nvidia::sys::cancel::Cancel;

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Fails unless there are this many of them, at the latest when the kernel had time to let go.
#[track_caller]
pub fn assert_below(directory: &Path, expected: usize) {
    let cancel = Cancel::new().unwrap();
    let began = Instant::now();
    while below(directory) != expected && began.elapsed() < PATIENCE {
        cancel.wait(LOOK_AGAIN).unwrap();
    }
    assert_eq!(below(directory), expected, "loop devices below {}", directory.display());
}

fn below(directory: &Path) -> usize {
    let devices = fs_err::read_dir("/sys/block").unwrap().flatten().map(|it| it.path().join("loop/backing_file"));
    devices
        .filter(|file| fs_err::read_to_string(file).is_ok_and(|text| Path::new(text.trim()).starts_with(directory)))
        .count()
}
