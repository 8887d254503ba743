//! The switch: originals backed up, the new files in by one rename each, what only the previous driver had out.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use crate::driver::backup_log::{BackedUp, Original};
use crate::error::Result;
use crate::sys::directory::{Directory, split};
use crate::sys::rootfs::{Found, Rootfs};
use crate::sys::temporary_name::temporary_name;

use super::change::{Change, Content, Installation, gone};
use super::conflicts::Conflicts;
use super::conflicts::is_in_the_way;
use super::paths::{INSTALLERS_DIRECTORY, INSTALLERS_LOGS, name_of};
use super::stage::Staged;

const NAMES_LIMIT: usize = 100_000;

/// Puts everything that is in the way where it is safe. A file that is replaced keeps its name until it is.
pub(super) fn back_up(change: &Change<'_>, conflicts: &Conflicts) -> Result<()> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let kept = installers_directory(change)?;
    for conflict in conflicts {
        let Some((directory, name)) = change.paths.parent(&conflict.path)? else { continue };
        match &conflict.original.original {
            Original::Link { .. } if conflict.is_replaced => {}
            Original::Link { .. } => directory.remove(name)?,
            Original::File { number, .. } => {
                let number = number.to_string();
                let there = if conflict.is_replaced {
                    directory.link_to(name, &kept, &number)?
                } else {
                    directory.move_to(name, &kept, &number)?
                };
                if !there {
                    copy_over(&directory, name, &kept, &number, &conflict.original)?;
                    if !conflict.is_replaced {
                        directory.remove(name)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Gives every staged file its name: libraries with the version in their names first, which nobody looks for yet, then
/// the other files, then the links by which they are found.
pub(super) fn bring_in(change: &Change<'_>, wanted: &Installation<'_>, mut staged: Vec<Staged<'_>>) -> Result<()> {
    let rank = |staged: &Staged<'_>| match wanted.items.get(staged.index) {
        Some(item) if matches!(item.content, Content::Link { .. }) => 2,
        Some(item) if name_of(&item.destination).contains(wanted.version.as_str()) => 0,
        _ => 1,
    };
    staged.sort_by_key(rank);
    for Staged { index, directory, temporary } in &staged {
        let Some(item) = wanted.items.get(*index) else { continue };
        directory.rename(temporary, name_of(&item.destination))?;
    }
    tracing::debug!("container {}: {} files and links switched", change.guest.id, staged.len());
    Ok(())
}

/// Removes what only the previous driver had; returns the originals that are still kept.
pub(super) fn clear_away(
    change: &Change<'_>,
    wanted: &Installation<'_>,
    conflicts: &Conflicts,
) -> Result<Vec<BackedUp>> {
    let stay: BTreeSet<&str> = wanted.items.iter().map(|item| item.destination.as_str()).collect();
    remove_previous(change, &stay)?;
    let mut kept = Vec::new();
    for original in &change.previous.backed_up {
        if is_in_the_way(wanted, &change.paths.real(&original.path.to_string_lossy())) {
            kept.push(original.clone());
        } else {
            put_back(change, original)?;
        }
    }
    kept.extend(conflicts.iter().map(|conflict| conflict.original.clone()));
    Ok(kept)
}

/// Removes the previous driver, and puts all originals back.
pub(super) fn clear_all(change: &Change<'_>) -> Result<()> {
    super::stage::sweep(change, &[])?;
    super::installer_intent::sweep(change)?;
    remove_previous(change, &BTreeSet::new())?;
    change.previous.backed_up.iter().try_for_each(|original| put_back(change, original))
}

fn remove_previous(change: &Change<'_>, stay: &BTreeSet<&str>) -> Result<()> {
    let mut removed = BTreeSet::new();
    for path in change.previous.traces.keys().filter(|path| !stay.contains(path.as_str())) {
        removed.insert(path.as_str());
        let Some((directory, name)) = change.paths.parent(path)? else { continue };
        let Some(found) = directory.look(name)? else { continue };
        if change.previous.owns(&change.paths, path, &found)? {
            directory.remove(name)?;
        } else {
            let warning = format!("`{path}` was changed after the installation, so it is kept");
            change.guest.context.listener.warn(Some(change.guest.id), warning);
        }
    }
    remove_loaders_links(change, &removed, stay)?;
    INSTALLERS_LOGS.iter().try_for_each(|log| change.rootfs.remove(log))
}

/// Removes the links that `ldconfig` has made to libraries that are gone; nobody has listed them.
fn remove_loaders_links(change: &Change<'_>, removed: &BTreeSet<&str>, stay: &BTreeSet<&str>) -> Result<()> {
    let libraries = removed.iter().filter(|path| name_of(path).contains(".so"));
    let directories: BTreeSet<&str> = libraries.filter_map(|path| path.rsplit_once('/')).map(|it| it.0).collect();
    for directory in directories {
        let Some(open) = change.paths.directory(directory)? else { continue };
        for name in open.names(NAMES_LIMIT)?.iter().filter(|name| name.contains(".so")) {
            if stay.contains(format!("{directory}/{name}").as_str()) {
                continue;
            }
            let Some(Found::Link(target)) = open.look(name)? else { continue };
            let target = target.to_string_lossy();
            if removed.contains(format!("{directory}/{target}").as_str()) && open.look(&target)?.is_none() {
                open.remove(name)?;
            }
        }
    }
    Ok(())
}

/// Puts an original back where it was; what somebody else has put there meanwhile stays.
fn put_back(change: &Change<'_>, original: &BackedUp) -> Result<()> {
    let path = change.paths.real(&original.path.to_string_lossy());
    let (parent, name) = split(&path)?;
    change.rootfs.make_directory(parent, 0o755)?;
    let directory = change.paths.directory(parent)?.ok_or_else(|| gone(&change.guest, parent))?;
    if directory.look(name)?.is_some() {
        let kept = match &original.original {
            Original::File { number, .. } => format!("the original is kept in `{INSTALLERS_DIRECTORY}/{number}`"),
            Original::Link { target } => format!("it was a link to `{}`", target.display()),
        };
        let warning = format!("`{path}` is not restored, because something else is there now: {kept}");
        change.guest.context.listener.warn(Some(change.guest.id), warning);
        return Ok(());
    }
    match &original.original {
        Original::Link { target } => {
            directory.create_link(name, &target.to_string_lossy())?;
            directory.give(name, original.user, original.group)
        }
        Original::File { number, .. } => {
            let Some(kept) = change.paths.directory(INSTALLERS_DIRECTORY)? else { return Ok(()) };
            let number = number.to_string();
            if !kept.move_to(&number, &directory, name)? {
                copy_over(&kept, &number, &directory, name, original)?;
                kept.remove(&number)?;
            }
            Ok(())
        }
    }
}

/// Copies a file to another file system, with owner and permissions, whole or not at all.
fn copy_over(from: &Directory<'_>, name: &str, to: &Directory<'_>, new: &str, original: &BackedUp) -> Result<()> {
    let Some(mut source) = from.open_file(name)? else { return Ok(()) };
    let temporary = temporary_name();
    let mut copy = to.create_file(&temporary)?;
    let copied = std::io::copy(&mut source, &mut copy).map_err(crate::error::Error::from);
    let copied = copied.and_then(|_| {
        to.give(&temporary, original.user, original.group)?;
        to.settle(&copy, new, original.mode & 0o7777)?;
        to.rename(&temporary, new)
    });
    if copied.is_err() {
        let _ = to.remove(&temporary);
    }
    copied
}

/// The directory of NVIDIA's list and of originals, made where it is missing; only root may look into it.
pub(super) fn installers_directory<'a>(change: &Change<'a>) -> Result<Rc<Directory<'a>>> {
    make_private(change.rootfs)?;
    change.paths.directory(INSTALLERS_DIRECTORY)?.ok_or_else(|| gone(&change.guest, INSTALLERS_DIRECTORY))
}

fn make_private(rootfs: &Rootfs) -> Result<()> {
    if let Some(parent) = Path::new(INSTALLERS_DIRECTORY).parent() {
        rootfs.make_directory(&parent.to_string_lossy(), 0o755)?;
    }
    rootfs.make_directory(INSTALLERS_DIRECTORY, 0o700)
}
