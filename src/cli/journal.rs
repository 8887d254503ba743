//! systemd's journal as the reader of standard error: whether it is, and how it gets a line's priority.

use std::sync::OnceLock;

/// How much a line matters, as syslog counts (`sd-daemon(3)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// Whether standard error goes to the journal: it is the stream that `JOURNAL_STREAM` names by device and inode.
///
/// A program that was started by a unit and writes elsewhere still has the variable, so its value is compared.
pub(crate) fn reads_standard_error() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let Ok(stream) = rustix::fs::fstat(rustix::stdio::stderr()) else { return false };
        std::env::var("JOURNAL_STREAM").is_ok_and(|named| is_named(&named, stream.st_dev, stream.st_ino))
    })
}

fn is_named(named: &str, device: u64, inode: u64) -> bool {
    let numbers = named.split_once(':').and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    numbers == Some((device, inode))
}

/// The text with the priority before each of its lines, for each becomes an entry of its own.
pub(crate) fn with_priority(priority: Priority, text: &str) -> String {
    let line = |line: &str| format!("<{}>{line}", priority as u8);
    // An empty line makes no entry.
    text.lines().filter(|line| !line.trim().is_empty()).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_named("8:1234", 8, 1234));
        assert!(!is_named("8:1234", 8, 1235));
        assert!(!is_named("", 8, 1234) && !is_named("8", 8, 1234) && !is_named("x:y", 8, 1234));
    }

    #[test]
    fn every_line_has_the_priority() {
        assert_eq!(with_priority(Priority::Error, "error: a\n\nhint: b"), "<3>error: a\n<3>hint: b");
        assert_eq!(with_priority(Priority::Info, "a"), "<6>a");
    }
}
