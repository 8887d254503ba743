//! `/var/lib/nvidia`: what was installed and what was moved out of the way, in nvidia-installer's format.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Failure, moments};

/// The directory; mode 0700.
pub(crate) const DIRECTORY: &str = "/var/lib/nvidia";
const FIRST_BACKUP: u32 = 100;

static CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_MPEG_2);

/// The sum of a file that the log holds, CRC-32/MPEG-2, except that an empty file has 0.
pub(crate) fn sum_of(bytes: &[u8]) -> u32 {
    if bytes.is_empty() { 0 } else { CRC.checksum(bytes) }
}

/// One thing that an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    InstalledFile { path: PathBuf, sum: u32 },
    InstalledLink { path: PathBuf, target: String },
    BackedUpFile { number: u32, path: PathBuf, sum: u32, mode: u32, uid: u32, gid: u32 },
    BackedUpLink { path: PathBuf, target: String, mode: u32, uid: u32, gid: u32 },
}

impl Record {
    fn text(&self) -> String {
        match self {
            Self::InstalledFile { path, sum } => format!("1: {}\n{sum}\n", path.display()),
            Self::InstalledLink { path, target } => format!("0: {}\n{target}\n", path.display()),
            Self::BackedUpFile { number, path, sum, mode, uid, gid } => {
                format!("{number}: {}\n{sum} {mode:o} {uid} {gid}\n", path.display())
            }
            Self::BackedUpLink { path, target, mode, uid, gid } => {
                format!("2: {}\n{target}\n{mode:o} {uid} {gid}\n", path.display())
            }
        }
    }
}

/// The log while it is written: every record reaches it as soon as the thing is done.
pub(crate) struct Log {
    file: std::fs::File,
    next_backup: u32,
}

impl Log {
    /// Starts a log for the installation of a version.
    pub(crate) fn start(version: &str, description: &str) -> Result<Self, Failure> {
        // Whatever an earlier installation kept there goes: its driver has been uninstalled by now.
        if std::fs::exists(DIRECTORY)? {
            fs_err::remove_dir_all(DIRECTORY)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
        moments::pass();
        let path = Path::new(DIRECTORY).join("log");
        let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        let digits: String = version.chars().filter(char::is_ascii_digit).collect();
        write!(file, "1.0-{digits} ({version})\n{description}\n")?;
        Ok(Self { file, next_backup: FIRST_BACKUP })
    }

    pub(crate) fn add(&mut self, record: &Record) -> Result<(), Failure> {
        Ok(self.file.write_all(record.text().as_bytes())?)
    }

    /// The number under which the next original is kept.
    pub(crate) fn take_backup_number(&mut self) -> u32 {
        self.next_backup += 1;
        self.next_backup - 1
    }

    /// Lists directories that were made.
    pub(crate) fn add_directories(&mut self, made: &[PathBuf]) -> Result<(), Failure> {
        let text = made.iter().fold(String::new(), |mut text, path| {
            let _ = writeln!(text, "{}", path.display());
            text
        });
        let path = Path::new(DIRECTORY).join("dirs");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

/// The directories that were made, the longest names first, so that children come before their parents.
pub(crate) fn directories() -> Vec<String> {
    let text = fs_err::read_to_string(Path::new(DIRECTORY).join("dirs")).unwrap_or_default();
    let mut made: Vec<String> = text.lines().map(str::to_owned).collect();
    made.sort_by_key(|path| std::cmp::Reverse(path.len()));
    made
}

/// The version that the log names, if something is installed.
pub(crate) fn installed_version() -> Option<String> {
    let text = fs_err::read_to_string(Path::new(DIRECTORY).join("log")).ok()?;
    let first = text.lines().next()?;
    Some(first.split_once('(')?.1.split_once(')')?.0.to_owned())
}

/// Every record of the log, in its order; none where nothing is installed.
pub(crate) fn read() -> Result<Option<Vec<Record>>, Failure> {
    match fs_err::read_to_string(Path::new(DIRECTORY).join("log")) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| Failure(format!("The log in {DIRECTORY} is damaged."))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse(text: &str) -> Option<Vec<Record>> {
    let mut lines = text.lines().skip(2);
    let mut records = Vec::new();
    while let Some(line) = lines.next() {
        let (number, path) = line.split_once(": ")?;
        let path = PathBuf::from(path);
        records.push(match number.parse::<u32>().ok()? {
            0 => Record::InstalledLink { path, target: lines.next()?.to_owned() },
            1 => Record::InstalledFile { path, sum: lines.next()?.parse().ok()? },
            2 => {
                let target = lines.next()?.to_owned();
                let (mode, uid, gid) = owner(lines.next()?)?;
                Record::BackedUpLink { path, target, mode, uid, gid }
            }
            number => {
                let (sum, rest) = lines.next()?.split_once(' ')?;
                let (mode, uid, gid) = owner(rest)?;
                Record::BackedUpFile { number, path, sum: sum.parse().ok()?, mode, uid, gid }
            }
        });
    }
    Some(records)
}

fn owner(text: &str) -> Option<(u32, u32, u32)> {
    let mut words = text.split(' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    Some((mode, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "1.0-55016301 (550.163.01)\nNVIDIA Accelerated Graphics Driver for Linux-x86_64\n\
        1: /usr/bin/nvidia-smi\n2513996479\n\
        0: /usr/lib/x86_64-linux-gnu/libcuda.so.1\nlibcuda.so.550.163.01\n\
        2: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1\nlibnvidia-ml.so.535.261.03\n120777 0 0\n\
        100: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03\n2746356478 100644 0 0\n";

    #[test]
    fn a_log_of_nvidia_installer_is_read_and_written_alike() {
        let records = parse(LOG).unwrap();
        assert_eq!(records.len(), 4);
        let written: String = records.iter().map(Record::text).collect();
        assert!(LOG.ends_with(&written));
    }

    #[test]
    fn the_sum_is_crc_32_mpeg_2_and_that_of_nothing_is_0() {
        assert_eq!(sum_of(b"123456789"), 0x0376_e6e7);
        assert_eq!(sum_of(b""), 0);
    }
}
