//! A directory with everything below it, to be compared: what, whose, which rights, how large, which contents.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// One line for every path below a directory.
pub type Tree = BTreeMap<String, String>;

/// A tree as text, without the directory itself: one line a path, in their order.
pub fn tree(root: &Path) -> String {
    let lines = of(root).into_iter().skip(1).map(|(path, what)| format!("{} {what}", &path[1..]));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a tree; contents count, times and inodes do not. Nothing but regular files is opened.
pub fn of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    add(root, root, &mut tree, &|path| {
        let metadata = fs_err::symlink_metadata(path).unwrap();
        let contents = match metadata.file_type() {
            kind if kind.is_symlink() => fs_err::read_link(path).unwrap().display().to_string(),
            kind if kind.is_file() => format!("{} {}", metadata.len(), sum(path)),
            kind if kind.is_char_device() || kind.is_block_device() => format!("{:x}", metadata.rdev()),
            _ => String::new(),
        };
        format!("{:o} {}:{} {contents}", metadata.mode(), metadata.uid(), metadata.gid())
    });
    tree
}

/// Reads a tree for whether anybody has written to it: times and inodes count, too.
pub fn with_times_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    add(root, root, &mut tree, &|path| {
        let metadata = fs_err::symlink_metadata(path).unwrap();
        let changed = (metadata.ctime(), metadata.ctime_nsec(), metadata.ino());
        format!("{:o} {} {changed:?}", metadata.mode(), metadata.len())
    });
    tree
}

/// What differs, one path a line: `-` before, `+` after.
pub fn differences(before: &Tree, after: &Tree) -> String {
    let gone = before.iter().filter(|(path, what)| after.get(*path) != Some(what));
    let come = after.iter().filter(|(path, what)| before.get(*path) != Some(what));
    let lines = gone.map(|(path, what)| format!("- {path} {what}\n"));
    lines.chain(come.map(|(path, what)| format!("+ {path} {what}\n"))).collect()
}

fn add(root: &Path, path: &Path, tree: &mut Tree, describe: &dyn Fn(&Path) -> String) {
    let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes()).into_owned();
    tree.insert(format!("/{name}"), describe(path));
    if fs_err::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            add(root, &entry.unwrap().path(), tree, describe);
        }
    }
}

fn sum(path: &Path) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &fs_err::read(path).unwrap());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
