//! Putting one file or link into the system, and moving what is there out of the way.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::backup_log::{DIRECTORY, Log, Record, sum_of};
use crate::{Failure, moments};

/// Makes the parents of a path, and lists those that were not there.
pub(crate) fn make_parents(path: &Path, log: &mut Log) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let missing: Vec<PathBuf> =
        parent.ancestors().take_while(|ancestor| !ancestor.exists()).map(Path::to_owned).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    if missing.is_empty() {
        return Ok(());
    }
    moments::pass();
    log.add_directories(&missing)
}

/// Writes a new file, never into an old one: a program that runs keeps the old.
pub(crate) fn place_file(bytes: &[u8], mode: u32, to: &Path) -> Result<Record, Failure> {
    remove(to)?;
    moments::pass();
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(to)?;
    moments::pass();
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    for bytes in [half, rest] {
        file.write_all(bytes).map_err(|error| Failure(format!("Unable to write '{}': {error}", to.display())))?;
        moments::pass();
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(Record::InstalledFile { path: to.to_owned(), sum: sum_of(bytes) })
}

/// Makes a symbolic link.
pub(crate) fn place_link(target: &str, to: &Path) -> Result<Record, Failure> {
    remove(to)?;
    symlink(target, to)?;
    moments::pass();
    Ok(Record::InstalledLink { path: to.to_owned(), target: target.to_owned() })
}

/// Moves a file or link into the backup directory and records it.
pub(crate) fn back_up(path: &Path, log: &mut Log) -> Result<(), Failure> {
    let metadata = fs_err::symlink_metadata(path)?;
    let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
    let path_owned = path.to_owned();
    let record = if metadata.is_symlink() {
        let target = fs_err::read_link(path)?.display().to_string();
        fs_err::remove_file(path)?;
        moments::pass();
        Record::BackedUpLink { path: path_owned, target, mode, uid, gid }
    } else {
        let number = log.take_backup_number();
        let sum = sum_of(&fs_err::read(path)?);
        rename_or_copy(path, &backup(number), mode)?;
        moments::pass();
        Record::BackedUpFile { number, path: path_owned, sum, mode, uid, gid }
    };
    log.add(&record)?;
    moments::pass();
    Ok(())
}

/// Puts an original back where it was.
pub(crate) fn restore(record: &Record) -> Result<(), Failure> {
    match record {
        Record::BackedUpFile { number, path, mode, uid, gid, .. } => {
            rename_or_copy(&backup(*number), path, *mode)?;
            Ok(std::os::unix::fs::chown(path, Some(*uid), Some(*gid))?)
        }
        Record::BackedUpLink { path, target, uid, gid, .. } => {
            symlink(target, path)?;
            Ok(std::os::unix::fs::lchown(path, Some(*uid), Some(*gid))?)
        }
        Record::InstalledFile { .. } | Record::InstalledLink { .. } => Ok(()),
    }
}

/// Removes a file or link if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure(format!("Unable to remove '{}': {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn backup(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(number.to_string())
}

fn rename_or_copy(from: &Path, to: &Path, mode: u32) -> Result<(), Failure> {
    match fs_err::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            fs_err::copy(from, to)?;
            fs_err::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
            Ok(fs_err::remove_file(from)?)
        }
        other => other
            .map_err(|error| Failure(format!("Unable to move '{}' to '{}': {error}", from.display(), to.display()))),
    }
}
