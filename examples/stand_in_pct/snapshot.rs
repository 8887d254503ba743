//! `pct snapshot`, `rollback` and `delsnapshot`: a section of the container's file, and a copy of its root.

use crate::Failure;
use crate::container::start;
use crate::file::{File, Section, first};
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
    // As the real one does: killed on the way, it leaves a lock and a snapshot that is not whole.
    let mut begun = file.clone();
    let mut section = file.main.clone();
    section.comments = arguments.option("description").map(|text| format!("#{text}")).into_iter().collect();
    begun.main.keys.insert("lock".to_owned(), "snapshot".to_owned());
    let mut unfinished = section.clone();
    unfinished.keys.insert("snapstate".to_owned(), "prepare".to_owned());
    begun.snapshots.insert(name.clone(), unfinished);
    node.save(id, &begun)?;
    copy_root(node, &root(&file), &format!("{}@{name}", root(&file)))?;
    section.keys.insert("snaptime".to_owned(), "1795390155".to_owned());
    file.main.keys.insert("parent".to_owned(), name.clone());
    file.snapshots.insert(name.clone(), section);
    node.save(id, &file)
}

pub(crate) fn remove(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let (id, name) = (arguments.id(), &arguments.words[1]);
    let mut file = node.load_unlocked(id)?;
    let mut begun = file.clone();
    let Some(section) = file.snapshots.remove(name) else {
        return Err(Failure::new(format!("snapshot '{name}' does not exist")));
    };
    begun.main.keys.insert("lock".to_owned(), "snapshot-delete".to_owned());
    begun.snapshots.entry(name.clone()).or_default().keys.insert("snapstate".to_owned(), "delete".to_owned());
    node.save(id, &begun)?;
    storage::free(node, &format!("{}@{name}", root(&file)))?;
    if file.main.keys.get("parent") == Some(name) {
        file.main.keys.remove("parent");
        file.main.keys.extend(section.keys.get("parent").map(|parent| ("parent".to_owned(), parent.clone())));
    }
    node.save(id, &file)
}

/// Stops a running container and leaves it so, unless it is told to start it.
pub(crate) fn go_back(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let (id, name) = (arguments.id(), &arguments.words[1]);
    let mut file = node.load_unlocked(id)?;
    let Some(section) = file.snapshots.get(name).cloned() else {
        return Err(Failure::new(format!("snapshot '{name}' does not exist")));
    };
    if let Some(state) = section.keys.get("snapstate") {
        return Err(Failure::new(format!("unable to rollback to incomplete snapshot (snapstate = {state})")));
    }
    if node.init(id)?.is_some() {
        node.tool("lxc-stop", id, &["-k"])?;
    }
    file.main.keys.insert("lock".to_owned(), "rollback".to_owned());
    node.save(id, &file)?;
    let volume = root(&file);
    fs_err::remove_dir_all(node.volume(&volume))?;
    copy_root(node, &format!("{volume}@{name}"), &volume)?;
    let comments = std::mem::take(&mut file.main.comments);
    file.main = Section { comments, ..section };
    file.main.keys.remove("snaptime");
    file.main.keys.insert("parent".to_owned(), name.clone());
    file.pending = Section::default();
    node.save(id, &file)?;
    if arguments.is_on("start") { start(node, arguments) } else { Ok(()) }
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
