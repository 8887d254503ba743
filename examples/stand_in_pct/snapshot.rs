//! `pct snapshot` and `pct delsnapshot`: a section of the container's file, and a copy of its root.

use crate::Failure;
use crate::file::{File, first};
use crate::node::{Node, run};
use crate::options::Arguments;
use crate::storage;

pub(crate) fn take(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let (id, name) = (arguments.id(), &arguments.words[1]);
    let mut file = node.load_unlocked(id)?;
    if file.snapshots.contains_key(name) {
        return Err(Failure::new(format!("snapshot name '{name}' already used")));
    }
    if !storage::has_snapshots(node, &file)? {
        return Err(Failure::new("snapshot feature is not available"));
    }
    copy_root(node, &root(&file), &format!("{}@{name}", root(&file)))?;
    let mut section = file.main.clone();
    section.keys.insert("snaptime".to_owned(), "1795390155".to_owned());
    file.main.keys.insert("parent".to_owned(), name.clone());
    file.snapshots.insert(name.clone(), section);
    node.save(id, &file)
}

pub(crate) fn remove(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let (id, name) = (arguments.id(), &arguments.words[1]);
    let mut file = node.load_unlocked(id)?;
    let Some(section) = file.snapshots.remove(name) else {
        return Err(Failure::new(format!("snapshot '{name}' does not exist")));
    };
    storage::free(node, &format!("{}@{name}", root(&file)))?;
    if file.main.keys.get("parent") == Some(name) {
        file.main.keys.remove("parent");
        file.main.keys.extend(section.keys.get("parent").map(|parent| ("parent".to_owned(), parent.clone())));
    }
    node.save(id, &file)
}

/// The volume of a container's root.
pub(crate) fn root(file: &File) -> String {
    first(file.main.keys.get("rootfs").map(String::as_str).unwrap_or_default()).to_owned()
}

/// Copies a volume with everything in it.
pub(crate) fn copy_root(node: &Node, from: &str, to: &str) -> Result<(), Failure> {
    let (from, to) = (node.volume(from), node.volume(to));
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let from = format!("{}/.", from.display());
    fs_err::create_dir_all(&to)?;
    run("cp", &["-a", "--reflink=auto", &from, &to.to_string_lossy()], None).map(|_| ())
}
