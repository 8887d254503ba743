//! Which lock files are held just now, read from the kernel's table; nothing is locked to find out.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Result;

/// A lock file that a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// The file.
    pub path: PathBuf,
    /// The process, as this host numbers it.
    pub process: u32,
    /// How long ago it took the lock.
    pub age: Duration,
}

/// The locks that are held among the files of a directory; none where there is no such directory.
///
/// # Errors
/// `/proc/locks` or the directory cannot be read.
pub fn held_in(directory: &Path) -> Result<Vec<HeldLock>> {
    let files = match fs_err::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let table = fs_err::read_to_string("/proc/locks")?;
    let mut held = Vec::new();
    for file in files {
        let path = file?.path();
        let Ok(metadata) = fs_err::metadata(&path) else { continue };
        let (device, inode) = (metadata.dev(), metadata.ino());
        let Some(process) = holder(&table, rustix::fs::major(device), rustix::fs::minor(device), inode) else {
            continue;
        };
        // The holder writes its number into the file when it has the lock.
        let taken = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        held.push(HeldLock { path, process, age: SystemTime::now().duration_since(taken).unwrap_or_default() });
    }
    held.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(held)
}

/// Reads `/proc/locks` (`proc_locks(5)`): `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; a waiting one has `->`.
fn holder(table: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    table.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [_, "FLOCK", _, _, process, at, ..] if *at == place => process.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NoListener;
    use crate::sys::cancel::Cancel;
    use crate::sys::lock::FileLock;

    #[test]
    fn the_holder_is_found_by_device_and_inode_and_who_waits_is_not_it() {
        let table = "1: FLOCK  ADVISORY  WRITE 4711 fe:01:131093 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 4712 fe:01:131093 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 9 00:19:1215 0 EOF\n";
        assert_eq!(holder(table, 0xfe, 1, 131_093), Some(4711));
        assert_eq!(holder(table, 0, 0x19, 1215), None);
        assert_eq!(holder(table, 0xfe, 1, 7), None);
    }

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("901.lock");
        let cancel = Cancel::new().unwrap();
        let lock = FileLock::acquire(&path, "container 901", Duration::ZERO, &NoListener, &cancel).unwrap();
        let held = held_in(directory.path()).unwrap();
        assert_eq!(
            held.iter().map(|it| (it.path.clone(), it.process)).collect::<Vec<_>>(),
            [(path, std::process::id())]
        );
        drop(lock);
        assert_eq!(held_in(directory.path()).unwrap(), []);
        assert_eq!(held_in(&directory.path().join("none")).unwrap(), []);
    }
}
