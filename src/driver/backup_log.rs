//! The installer's own list of what it installed, `/var/lib/nvidia/log` (format of nvidia-installer's `backup.c`).

use std::path::PathBuf;

/// One thing that an installation made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file that was not there before.
    File {
        /// Where it lies, absolute.
        path: PathBuf,
    },
    /// A symbolic link that was not there before.
    Link {
        /// Where it lies, absolute.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// Something that was there and was moved to `/var/lib/nvidia`; an uninstallation puts it back.
    BackedUp {
        /// Where it was, absolute.
        path: PathBuf,
    },
}

impl Entry {
    /// Where it lies, absolute.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::File { path } | Self::Link { path, .. } | Self::BackedUp { path } => path,
        }
    }
}

/// A whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLog {
    /// The version as the first line gives it, in parentheses.
    pub version: String,
    /// Everything listed, in the log's order.
    pub entries: Vec<Entry>,
}

/// Why a text is not such a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// The first line is not `1.0-… (version)`.
    #[error("its first line does not name a version")]
    NoVersion,
    /// A line is not what the format asks for.
    #[error("line {0} is not what the installer writes")]
    Line(usize),
}

impl BackupLog {
    /// Reads a log; the text comes from a container and may be anything.
    ///
    /// # Errors
    /// The text is not in the installer's format, or names a path that is not absolute and plain.
    pub fn parse(text: &str) -> Result<Self, LogFault> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let (_, first) = lines.next().ok_or(LogFault::NoVersion)?;
        let version = first.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(version, _)| version);
        let version = version.filter(|_| first.starts_with("1.0-")).ok_or(LogFault::NoVersion)?.to_owned();
        lines.next().ok_or(LogFault::Line(2))?;
        let mut entries = Vec::new();
        while let Some((number, line)) = lines.next() {
            let (kind, path) = line.split_once(": ").ok_or(LogFault::Line(number))?;
            let kind: u32 = kind.trim().parse().map_err(|_| LogFault::Line(number))?;
            let path = plain_path(path).ok_or(LogFault::Line(number))?;
            let mut detail = || lines.next().ok_or(LogFault::Line(number + 1));
            entries.push(match kind {
                0 => Entry::Link { path, target: PathBuf::from(detail()?.1) },
                1 => {
                    let (number, crc) = detail()?;
                    crc.trim().parse::<u32>().map_err(|_| LogFault::Line(number))?;
                    Entry::File { path }
                }
                2 => {
                    detail()?;
                    detail()?;
                    Entry::BackedUp { path }
                }
                100.. => {
                    detail()?;
                    Entry::BackedUp { path }
                }
                _ => return Err(LogFault::Line(number)),
            });
        }
        Ok(Self { version, entries })
    }
}

/// A path as an installer writes it: absolute, without `.` and `..`, and fit to be shown on a terminal.
pub fn plain_path(text: &str) -> Option<PathBuf> {
    let climbs = text.split('/').any(|part| part == ".." || part == ".");
    let plain = text.starts_with('/') && !climbs && !text.chars().any(char::is_control);
    plain.then(|| PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "1.0-55016301 (550.163.01)
NVIDIA Accelerated Graphics Driver for Linux-x86_64
1: /usr/bin/nvidia-smi
2513996479
0: /usr/lib/x86_64-linux-gnu/libcuda.so.1
libcuda.so.550.163.01
2: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1
libnvidia-ml.so.535.261.03
120777 0 0
100: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03
2746356478 100644 0 0
";

    #[test]
    fn all_four_kinds_of_entries_are_read() {
        let log = BackupLog::parse(LOG).unwrap();
        assert_eq!(log.version, "550.163.01");
        assert_eq!(
            log.entries,
            [
                Entry::File { path: "/usr/bin/nvidia-smi".into() },
                Entry::Link {
                    path: "/usr/lib/x86_64-linux-gnu/libcuda.so.1".into(),
                    target: "libcuda.so.550.163.01".into()
                },
                Entry::BackedUp { path: "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1".into() },
                Entry::BackedUp { path: "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03".into() },
            ]
        );
    }

    #[test]
    fn a_log_that_was_cut_or_forged_is_refused_with_its_line() {
        assert_eq!(BackupLog::parse(""), Err(LogFault::NoVersion));
        assert_eq!(BackupLog::parse("root:x:0:0\n\n"), Err(LogFault::NoVersion));
        let cut = &LOG[..LOG.find("2513996479").unwrap()];
        assert_eq!(BackupLog::parse(cut), Err(LogFault::Line(4)));
        let climbing = LOG.replace("/usr/bin/nvidia-smi", "/usr/../../etc/shadow");
        assert_eq!(BackupLog::parse(&climbing), Err(LogFault::Line(3)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(1\\.0-[0-9]{1,3} \\([0-9.]{0,6}\\)\n)?[ -~\n]{0,200}") {
            let _ = BackupLog::parse(&text);
        }
    }
}
