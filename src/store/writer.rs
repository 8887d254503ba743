//! Writing a tree in a thread of its own, in the order of the archive.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use fs_err::os::unix::fs::OpenOptionsExt;

use super::tree::modified;
use crate::error::Result;

/// What is to be made; paths have been admitted and are relative to the tree.
pub(super) enum Order {
    Directory { path: String },
    File { path: String, mode: u32 },
    Bytes(Arc<Vec<u8>>),
    EndOfFile,
    Link { path: String, target: String },
    HardLink { path: String, target: String },
}

/// Makes everything that is ordered below `root`, and returns the modification time of every file in its order.
///
/// Nobody else writes to `root`: what the archive's paths lead through are directories that were made here.
///
/// # Errors
/// The file system refused.
pub(super) fn obey(root: &Path, orders: Receiver<Order>) -> Result<Vec<i64>> {
    let mut times = Vec::new();
    let mut open: Option<(fs_err::File, u32)> = None;
    for order in orders {
        match order {
            Order::Directory { path } => make_directories(root, Path::new(&path))?,
            Order::File { path, mode } => {
                make_parents(root, &path)?;
                let file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(root.join(path))?;
                open = Some((file, mode));
            }
            Order::Bytes(bytes) => {
                if let Some((file, _)) = &mut open {
                    file.write_all(&bytes)?;
                }
            }
            Order::EndOfFile => {
                if let Some((file, mode)) = open.take() {
                    // After the file is made, so that the umask has no say.
                    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
                    times.push(modified(&file.metadata()?));
                }
            }
            Order::Link { path, target } => {
                make_parents(root, &path)?;
                fs_err::os::unix::fs::symlink(target, root.join(path))?;
            }
            Order::HardLink { path, target } => {
                make_parents(root, &path)?;
                fs_err::hard_link(root.join(target), root.join(path))?;
            }
        }
    }
    Ok(times)
}

fn make_parents(root: &Path, path: &str) -> Result<()> {
    match Path::new(path).parent() {
        Some(parent) => make_directories(root, parent),
        None => Ok(()),
    }
}

fn make_directories(root: &Path, path: &Path) -> Result<()> {
    let mut directory = PathBuf::from(root);
    for component in path.components() {
        directory.push(component);
        match fs_err::create_dir(&directory) {
            Ok(()) => fs_err::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
