//! The installer's own list of what it installed, `/var/lib/nvidia/log` (format of nvidia-installer's `backup.c`).

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DriverVersion;

/// One thing that an installation made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file that was not there before.
    File {
        /// Where it lies, absolute.
        path: PathBuf,
        /// CRC-32/MPEG-2 of its contents, 0 for an empty file.
        crc: u32,
    },
    /// A symbolic link that was not there before.
    Link {
        /// Where it lies, absolute.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// Something that was there and was moved to `/var/lib/nvidia`; an uninstallation puts it back.
    BackedUp(BackedUp),
}

/// Something that was in the way of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Where it was, absolute.
    pub path: PathBuf,
    /// What it was.
    #[serde(flatten)]
    pub original: Original,
    /// Its kind and permissions as `stat` gives them.
    pub mode: u32,
    /// Whose it was, in the container's numbers.
    pub user: u32,
    /// Its group, in the container's numbers.
    pub group: u32,
}

/// What was in the way, and how it comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Original {
    /// A file.
    File {
        /// Its name in `/var/lib/nvidia`, from 100 on.
        number: u32,
        /// CRC-32/MPEG-2 of its contents, 0 for an empty file.
        crc: u32,
    },
    /// A symbolic link, which is not kept but made again.
    Link {
        /// What it says.
        target: PathBuf,
    },
}

impl Original {
    /// Its name in `/var/lib/nvidia`, where it is kept there.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::File { number, .. } => Some(*number),
            Self::Link { .. } => None,
        }
    }
}

impl Entry {
    /// Where it lies, absolute.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } | Self::BackedUp(BackedUp { path, .. }) => path,
        }
    }
}

/// A whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLog {
    /// The version as the first line gives it, in parentheses.
    pub version: String,
    /// What the package says that it is, the second line.
    pub description: String,
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
    /// A log of nothing yet.
    pub fn new(version: &DriverVersion, description: impl Into<String>) -> Self {
        Self { version: version.as_str().to_owned(), description: description.into(), entries: Vec::new() }
    }

    /// Reads a log; the text comes from a container and may be anything.
    ///
    /// # Errors
    /// The text is not in the installer's format, or names a path that is not absolute and plain.
    pub fn parse(text: &str) -> Result<Self, LogFault> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let (_, first) = lines.next().ok_or(LogFault::NoVersion)?;
        let version = first.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(version, _)| version);
        let version = version.filter(|_| first.starts_with("1.0-")).ok_or(LogFault::NoVersion)?.to_owned();
        let (_, description) = lines.next().ok_or(LogFault::Line(2))?;
        let mut entries = Vec::new();
        while let Some((number, line)) = lines.next() {
            let (kind, path) = line.split_once(": ").ok_or(LogFault::Line(number))?;
            let kind: u32 = kind.trim().parse().map_err(|_| LogFault::Line(number))?;
            let path = plain_path(path).ok_or(LogFault::Line(number))?;
            let (number, detail) = lines.next().ok_or(LogFault::Line(number + 1))?;
            let fault = LogFault::Line(number);
            entries.push(match kind {
                0 => Entry::Link { path, target: PathBuf::from(detail) },
                1 => Entry::File { path, crc: detail.trim().parse().map_err(|_| fault)? },
                2 => {
                    let (number, line) = lines.next().ok_or(LogFault::Line(number + 1))?;
                    let owner = owner(line).ok_or(LogFault::Line(number))?;
                    Entry::BackedUp(BackedUp::new(path, Original::Link { target: PathBuf::from(detail) }, owner))
                }
                100.. => {
                    let (crc, line) = detail.split_once(' ').ok_or(fault.clone())?;
                    let crc = crc.parse().map_err(|_| fault.clone())?;
                    let owner = owner(line).ok_or(fault)?;
                    Entry::BackedUp(BackedUp::new(path, Original::File { number: kind, crc }, owner))
                }
                _ => return Err(LogFault::Line(number - 1)),
            });
        }
        Ok(Self { version, description: description.to_owned(), entries })
    }

    /// The log as `nvidia-installer --sanity` and `nvidia-uninstall` read it.
    pub fn to_text(&self) -> String {
        let digits: String = self.version.chars().filter(char::is_ascii_digit).collect();
        let mut text = format!("1.0-{digits} ({})\n{}\n", self.version, self.description);
        for entry in &self.entries {
            // Writing into a `String` does not fail.
            let _ = match entry {
                Entry::File { path, crc } => writeln!(text, "1: {}\n{crc}", path.display()),
                Entry::Link { path, target } => writeln!(text, "0: {}\n{}", path.display(), target.display()),
                Entry::BackedUp(it) => writeln!(text, "{it}"),
            };
        }
        text
    }
}

impl BackedUp {
    /// Something with its mode, user and group.
    pub fn new(path: PathBuf, original: Original, (mode, user, group): (u32, u32, u32)) -> Self {
        Self { path, original, mode, user, group }
    }
}

impl std::fmt::Display for BackedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, mode, user, group, .. } = self;
        match &self.original {
            Original::File { number, crc } => write!(f, "{number}: {}\n{crc} {mode:o} {user} {group}", path.display()),
            Original::Link { target } => {
                write!(f, "2: {}\n{}\n{mode:o} {user} {group}", path.display(), target.display())
            }
        }
    }
}

/// `100644 0 0`: an octal mode, a user, a group.
fn owner(line: &str) -> Option<(u32, u32, u32)> {
    let mut words = line.split_whitespace();
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    Some((mode, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The sum that the list has of a file, from its contents piece by piece.
pub struct Sum {
    digest: crc::Digest<'static, u32, crc::Table<16>>,
    is_empty: bool,
}

// Sixteen parallel tables: the default table of one is seven times slower.
static MPEG_2: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_MPEG_2);

impl Sum {
    /// The sum of nothing yet.
    pub fn new() -> Self {
        Self { digest: MPEG_2.digest(), is_empty: true }
    }

    /// The sum of all of these bytes.
    pub fn of(bytes: &[u8]) -> u32 {
        let mut sum = Self::new();
        sum.update(bytes);
        sum.finish()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.is_empty &= bytes.is_empty();
        self.digest.update(bytes);
    }

    /// The sum; the installer has 0 for an empty file.
    pub fn finish(self) -> u32 {
        if self.is_empty { 0 } else { self.digest.finalize() }
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self::new()
    }
}

/// The directories that an installation made, one a line, the deepest first: the file `dirs` beside the log.
pub fn directories_text<'a>(directories: impl IntoIterator<Item = &'a Path>) -> String {
    let mut directories: Vec<&Path> = directories.into_iter().collect();
    directories.sort_by_key(|path| (std::cmp::Reverse(path.components().count()), *path));
    directories.iter().fold(String::new(), |text, path| text + &path.display().to_string() + "\n")
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
                Entry::File { path: "/usr/bin/nvidia-smi".into(), crc: 2_513_996_479 },
                Entry::Link {
                    path: "/usr/lib/x86_64-linux-gnu/libcuda.so.1".into(),
                    target: "libcuda.so.550.163.01".into()
                },
                Entry::BackedUp(BackedUp::new(
                    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1".into(),
                    Original::Link { target: "libnvidia-ml.so.535.261.03".into() },
                    (0o120_777, 0, 0)
                )),
                Entry::BackedUp(BackedUp::new(
                    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03".into(),
                    Original::File { number: 100, crc: 2_746_356_478 },
                    (0o100_644, 0, 0)
                )),
            ]
        );
        assert_eq!(log.to_text(), LOG);
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

    #[test]
    fn the_sum_is_crc_32_mpeg_2_and_that_of_nothing_is_0() {
        assert_eq!(Sum::of(b"123456789"), 0x0376_e6e7);
        assert_eq!(Sum::of(b""), 0);
    }

    #[test]
    fn the_deepest_directory_comes_first() {
        let made = ["/etc/OpenCL", "/etc/OpenCL/vendors", "/usr/share/nvidia"].map(Path::new);
        assert_eq!(directories_text(made), "/etc/OpenCL/vendors\n/usr/share/nvidia\n/etc/OpenCL\n");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(1\\.0-[0-9]{1,3} \\([0-9.]{0,6}\\)\n)?[ -~\n]{0,200}") {
            let _ = BackupLog::parse(&text);
        }
    }
}
