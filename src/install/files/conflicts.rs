//! What is in the way of an installation and belongs to nobody whom we may replace: it is backed up, and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::driver::backup_log::{BackedUp, Original, plain_path};
use crate::error::{Error, Kind, Result};
use crate::install::SHARED_DIRECTORY;
use crate::sys::rootfs::Found;

use super::change::{Change, Installation, gone};
use super::paths::{INSTALLERS_DIRECTORY, LARGEST, name_of};
use super::previous::sum_of;

const NAMES_LIMIT: usize = 100_000;
/// The installer's first number of an original.
const FIRST_NUMBER: u32 = 100;
/// Where an older driver's libraries are looked for, beside the directories that this one goes to.
const SEARCHED: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
/// Below which directories NVIDIA's installer looks for them.
const SEARCHED_BELOW: [&str; 3] = ["/usr/lib", "/usr/lib32", "/usr/lib64"];
/// Deeper than any system's libraries lie; a container could make directories without end.
const DEEPEST: usize = 16;

/// The conflicts of an installation, each with the place of its original.
pub(super) type Conflicts = Vec<Conflict>;

/// Something in the way.
#[derive(Debug, Clone)]
pub(super) struct Conflict {
    /// Where it really lies.
    pub(super) path: String,
    /// What it is, and where it will be kept.
    pub(super) original: BackedUp,
    /// A new file takes its name; or else it would only be found in the new one's stead.
    pub(super) is_replaced: bool,
}

/// What is in the way: files with a destination's name, and libraries of the same name with other versions.
///
/// NVIDIA's installer also moves away what lies anywhere below `/usr/lib`; the loader finds nothing there.
///
/// # Errors
/// One of them is neither a file nor a link, or cannot be kept.
pub(super) fn find(change: &Change<'_>, wanted: &Installation<'_>) -> Result<Conflicts> {
    let mut conflicts = Vec::new();
    let mut number = next_number(change)?;
    let mut destinations = BTreeSet::new();
    for item in &wanted.items {
        destinations.insert(item.destination.as_str());
        if let Some(found) = change.paths.look(&item.destination)?
            && !change.previous.owns(&change.paths, &item.destination, &found)?
        {
            conflicts.push(conflict(change, &item.destination, &found, true, &mut number)?);
        }
    }
    for (directory, stems) in stems(wanted) {
        // Some of these are links in some distributions, to others of these.
        if SEARCHED.contains(&directory.as_str()) && change.paths.look(&directory)? != Some(Found::Directory) {
            continue;
        }
        let Some(open) = change.paths.directory(&directory)? else { continue };
        for name in open.names(NAMES_LIMIT)? {
            let path = format!("{directory}/{name}");
            if destinations.contains(path.as_str()) || !stem_of(&name).is_some_and(|stem| stems.contains(stem)) {
                continue;
            }
            // Names that cannot be written into the list are nothing that a loader is ever asked for.
            let Some(found) = open.look(&name)?.filter(|_| plain_path(&path).is_some()) else { continue };
            let is_library = matches!(found, Found::File { .. } | Found::Link(_));
            if is_library && !change.previous.owns(&change.paths, &path, &found)? {
                conflicts.push(conflict(change, &path, &found, false, &mut number)?);
            }
        }
    }
    Ok(conflicts)
}

/// The same, with what NVIDIA's installer also moves away: libraries of the same names anywhere below `/usr/lib` and
/// its likes (nvidia-installer 590, `find_conflicting_files`).
///
/// # Errors
/// As [`find`].
pub(super) fn find_everywhere(change: &Change<'_>, wanted: &Installation<'_>) -> Result<Conflicts> {
    let mut conflicts = find(change, wanted)?;
    let mut known: BTreeSet<String> = conflicts.iter().map(|conflict| conflict.path.clone()).collect();
    known.extend(wanted.items.iter().map(|item| item.destination.clone()));
    let stems: BTreeSet<&str> = wanted.items.iter().filter_map(|item| stem_of(name_of(&item.destination))).collect();
    let mut number = next_number(change)?;
    let mut left: Vec<(String, usize)> = SEARCHED_BELOW.iter().map(|directory| ((*directory).to_owned(), 0)).collect();
    while let Some((directory, depth)) = left.pop() {
        // Only what is a directory by its own name: what others lead to is found where it is.
        let Some(open) = change.paths.directory(&directory)?.filter(|_| depth <= DEEPEST) else { continue };
        for name in open.names(NAMES_LIMIT)? {
            let path = format!("{directory}/{name}");
            match open.look(&name)? {
                Some(Found::Directory) if path != SHARED_DIRECTORY => left.push((path, depth + 1)),
                Some(found @ (Found::File { .. } | Found::Link(_)))
                    if stem_of(&name).is_some_and(|stem| stems.contains(stem))
                        && plain_path(&path).is_some()
                        && known.insert(path.clone()) =>
                {
                    conflicts.push(conflict(change, &path, &found, false, &mut number)?);
                }
                _ => {}
            }
        }
    }
    Ok(conflicts)
}

/// Whether an original would be in the way of this installation, too.
pub(super) fn is_in_the_way(wanted: &Installation<'_>, path: &str) -> bool {
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let is_library = || {
        let stem = stem_of(name)?;
        Some(stems(wanted).get(directory)?.contains(stem))
    };
    wanted.items.iter().any(|item| item.destination == path) || is_library() == Some(true)
}

/// The names of the libraries before `.so`, by the directories in which one of the same name would be in their way.
fn stems<'w>(wanted: &'w Installation<'_>) -> BTreeMap<String, BTreeSet<&'w str>> {
    let mut stems: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for item in &wanted.items {
        let (directory, name) = item.destination.rsplit_once('/').unwrap_or_default();
        if let Some(stem) = stem_of(name) {
            stems.entry(directory.to_owned()).or_default().insert(stem);
        }
    }
    let others = wanted.libraries.iter().filter_map(|name| stem_of(name));
    let all: BTreeSet<&str> = stems.values().flatten().copied().chain(others).collect();
    for directory in SEARCHED {
        stems.entry(directory.to_owned()).or_default().extend(&all);
    }
    stems
}

fn stem_of(name: &str) -> Option<&str> {
    name.split_once(".so").map(|(stem, _)| stem)
}

fn next_number(change: &Change<'_>) -> Result<u32> {
    let names = match change.paths.directory(INSTALLERS_DIRECTORY)? {
        Some(directory) => directory.names(NAMES_LIMIT)?,
        None => Vec::new(),
    };
    let taken = names.iter().filter_map(|name| name.parse::<u32>().ok()).max();
    Ok(taken.map_or(FIRST_NUMBER, |taken| taken.saturating_add(1).max(FIRST_NUMBER)))
}

fn conflict(change: &Change<'_>, path: &str, found: &Found, is_replaced: bool, number: &mut u32) -> Result<Conflict> {
    let original = match found {
        Found::Link(target) => Original::Link { target: target.clone() },
        Found::File { size, .. } if *size <= LARGEST => {
            let crc = sum_of(&change.paths, path)?.ok_or_else(|| gone(&change.guest, path))?;
            let kept = *number;
            *number = kept.saturating_add(1);
            Original::File { number: kept, crc }
        }
        Found::File { size, .. } => return Err(refused(change, path, &format!("a file of {size} bytes"))),
        Found::Directory => return Err(refused(change, path, "a directory")),
        Found::CharacterDevice { .. } => return Err(refused(change, path, "a device node")),
        Found::Other => return Err(refused(change, path, "a FIFO, a socket or a block device")),
    };
    let (directory, name) = change.paths.parent(path)?.ok_or_else(|| gone(&change.guest, path))?;
    let owner = directory.ownership(name)?.ok_or_else(|| gone(&change.guest, path))?;
    let original = BackedUp::new(PathBuf::from(path), original, (owner.mode, owner.user, owner.group));
    Ok(Conflict { path: path.to_owned(), original, is_replaced })
}

fn refused(change: &Change<'_>, path: &str, what: &str) -> Error {
    let id = change.guest.id;
    let name = name_of(path);
    Error::new(
        Kind::Verification,
        format!("container {id}: `{path}` is {what}, which conflicts with the driver's `{name}`"),
    )
    .hint("inspect it from inside the container, and move it; nothing has been changed")
}
