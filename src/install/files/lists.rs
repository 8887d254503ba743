//! What is written down of an installation: NVIDIA's own list, so that its `nvidia-uninstall` and `--sanity` know what
//! is there, and our receipt.

use std::path::{Path, PathBuf};

use crate::driver::backup_log::{BackedUp, BackupLog, Entry, Sum, directories_text};
use crate::error::Result;
use crate::install::receipt::{self, InstalledFile, InstalledLink, Receipt};

use super::change::{Change, Content, Installation};
use super::paths::INSTALLERS_DIRECTORY;
use super::switch::installers_directory;

/// Writes the list and the receipt.
///
/// The list and the files are not synced: after a power loss a file that had not reached the disk is shorter than the
/// receipt says, which is how such a loss is found.
pub(super) fn write(
    change: &Change<'_>,
    wanted: &Installation<'_>,
    directories: Vec<String>,
    backed_up: Vec<BackedUp>,
) -> Result<Receipt> {
    let mut list = BackupLog::new(wanted.version, wanted.description);
    list.entries = wanted.items.iter().map(|item| entry(&item.destination, &item.content)).collect();
    list.entries.extend(backed_up.iter().cloned().map(Entry::BackedUp));
    let place = installers_directory(change)?;
    place.replace("dirs", directories_text(directories.iter().map(Path::new)).as_bytes(), 0o600)?;
    place.replace("log", list.to_text().as_bytes(), 0o600)?;
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for item in &wanted.items {
        let path = PathBuf::from(&item.destination);
        match &item.content {
            Content::Link { target, .. } => links.push(InstalledLink { path, target: PathBuf::from(target) }),
            _ => files.push(InstalledFile { path, size: item.bytes() }),
        }
    }
    let Installation { version, method, profile, run_file_sha256, .. } = wanted;
    let mut receipt = Receipt::new((*version).clone(), *method, *profile, *run_file_sha256, files, links);
    receipt.directories = directories.into_iter().map(PathBuf::from).collect();
    receipt.backed_up = backed_up;
    receipt::save(&change.guest, change.rootfs, &receipt)?;
    Ok(receipt)
}

/// Removes the list; originals that could not be put back stay.
pub(super) fn remove(change: &Change<'_>) -> Result<()> {
    if let Some(place) = change.paths.directory(INSTALLERS_DIRECTORY)? {
        place.remove("log")?;
        place.remove("dirs")?;
    }
    change.rootfs.remove_if_empty(INSTALLERS_DIRECTORY);
    Ok(())
}

fn entry(path: &str, content: &Content) -> Entry {
    let path = PathBuf::from(path);
    match content {
        Content::Stored { crc, .. } => Entry::File { path, crc: *crc },
        Content::Bytes { bytes, .. } => Entry::File { path, crc: Sum::of(bytes) },
        Content::Link { target, .. } => Entry::Link { path, target: PathBuf::from(target) },
    }
}
