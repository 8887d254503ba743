//! What lies below a directory, as text: for tests that something has changed nothing.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// One line for everything below `directory`: path, type, mode, owner, and contents (by their sum) or link target.
///
/// Lines are in the order of the paths. Nothing but regular files is opened.
pub fn tree(directory: &Path) -> String {
    let mut lines = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs_err::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            lines.push(line(&path, path.strip_prefix(directory).unwrap()));
            if fs_err::symlink_metadata(&path).unwrap().is_dir() {
                waiting.push(path);
            }
        }
    }
    lines.sort();
    lines.join("\n")
}

fn line(path: &Path, name: &Path) -> String {
    let metadata = fs_err::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let contents = if kind.is_symlink() {
        format!("-> {}", fs_err::read_link(path).unwrap().display())
    } else if kind.is_file() {
        let digest = ring::digest::digest(&ring::digest::SHA256, &fs_err::read(path).unwrap());
        digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("{:x}", metadata.rdev())
    } else {
        String::new()
    };
    format!("{} {:o} {}:{} {contents}", name.display(), metadata.mode(), metadata.uid(), metadata.gid())
}
