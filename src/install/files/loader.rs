//! The cache of a container's loader, brought in line with a switch without running `ldconfig` in the container.
//!
//! In line means: as `ldconfig` would write it for the directories that the switch has touched; what else it says stays.
//! Where that cannot be known (there is no cache, it has another format, originals have come back that only a look into
//! them can list), the container's own `ldconfig` has to do it. A container that has no `ldconfig` has no cache either,
//! as a rule: then the cache names what lies outside the loader's own directories, and goes with the last of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::driver::loader_cache::LoaderCache;
use crate::error::Result;
use crate::install::SHARED_DIRECTORY;
use crate::install::loadable::Loadable;
use crate::sys::rootfs::Found;

use super::change::Change;
use super::paths::name_of;

/// Where the cache lies, and is replaced.
pub(super) const DIRECTORY: &str = "/etc";
const CACHE: &str = "/etc/ld.so.cache";
const CONFIGURATION: &str = "/etc/ld.so.conf";
const CONFIGURATION_LIMIT: u64 = 1 << 20;

/// Brings the cache in line; false when only `ldconfig` can do that.
///
/// # Errors
/// The container's file system refused.
pub(super) fn bring_in_line(change: &Change<'_>, wanted: &[Loadable], touched: &BTreeSet<String>) -> Result<bool> {
    // An original that has come back is listed by what it says of itself.
    if change.runs_ldconfig() && !change.previous.backed_up.is_empty() {
        return Ok(false);
    }
    let Some(before) = read(change) else { return Ok(false) };
    let Some(wanted) = spelled(change, &before, wanted) else { return Ok(false) };
    let is_gone = |path: &Path| is_gone(change, touched, &path.to_string_lossy());
    let mut after = before.clone().without(is_gone);
    // Backwards, for each one that comes first pushes those before it back.
    for (loadable, directory) in wanted.iter().rev() {
        let path = format!("{directory}/{}", loadable.name);
        let is_there =
            after.libraries().any(|it| it.soname() == loadable.name.as_str() && it.path() == Path::new(&path));
        if is_there {
            continue;
        }
        after = if is_of_image(&path) {
            // The line for the loader that names its directory stands before all others.
            after.with_first(&loadable.name, path, loadable.flags)
        } else {
            after.with(&loadable.name, path, loadable.flags)
        };
    }
    if after == before {
        return Ok(true);
    }
    if !change.has_ldconfig && after.libraries().next().is_none() {
        return change.rootfs.remove(CACHE).map(|()| true);
    }
    match after.to_bytes() {
        // Its directory may be behind a link, which is not ours to follow.
        Ok(bytes) if change.rootfs.look(DIRECTORY)? == Some(Found::Directory) => {
            change.rootfs.write(CACHE, &bytes, 0o644).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// Whether the cache can be written so that the loader finds what lies in an image.
///
/// # Errors
/// The container's files cannot be examined.
pub(super) fn can_be_written(change: &Change<'_>) -> Result<bool> {
    let finds_images = !change.has_ldconfig || reads_directory_of_configurations(change);
    Ok(finds_images && read(change).is_some() && change.rootfs.look(DIRECTORY)? == Some(Found::Directory))
}

/// The directories in which files of these paths change what the loader finds.
pub(super) fn directories_of<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeSet<String> {
    let libraries = paths.filter(|path| name_of(path).contains(".so"));
    libraries.filter_map(|path| path.rsplit_once('/')).map(|(directory, _)| directory.to_owned()).collect()
}

/// A cache that is no file, is too large or has another format is none. Where nobody else writes one, none is an empty
/// one.
fn read(change: &Change<'_>) -> Option<LoaderCache> {
    let Some(bytes) = change.rootfs.read(CACHE, LoaderCache::LIMIT as u64).ok()? else {
        return (!change.has_ldconfig).then(LoaderCache::default);
    };
    LoaderCache::parse(&bytes).ok().filter(|cache| cache.libraries().next().is_some())
}

/// Each with its directory as the cache spells it (`/lib/x86_64-linux-gnu` for `/usr/lib/x86_64-linux-gnu`, where the one
/// leads to the other). None where the loader is not known to look into one of the directories.
fn spelled<'w>(
    change: &Change<'_>,
    cache: &LoaderCache,
    wanted: &'w [Loadable],
) -> Option<Vec<(&'w Loadable, String)>> {
    let mut spellings = BTreeMap::new();
    for library in cache.libraries() {
        if let Some((directory, _)) = library.path().to_str().and_then(|path| path.rsplit_once('/')) {
            let real = change.paths.real(&format!("{directory}/"));
            spellings.entry(real.trim_end_matches('/').to_owned()).or_insert(directory.to_owned());
        }
    }
    let looks_into_images = !change.has_ldconfig || reads_directory_of_configurations(change);
    let mut all = Vec::new();
    for loadable in wanted {
        let spelling = match spellings.get(&loadable.directory) {
            _ if is_of_image(&loadable.directory) => looks_into_images.then_some(&loadable.directory),
            spelling => spelling,
        };
        match spelling {
            Some(directory) => all.push((loadable, directory.clone())),
            None if change.runs_ldconfig() => return None,
            // Nobody can be asked; libraries in the loader's own directories are found without the cache.
            None => {}
        }
    }
    Some(all)
}

fn reads_directory_of_configurations(change: &Change<'_>) -> bool {
    let text = change.rootfs.read(CONFIGURATION, CONFIGURATION_LIMIT).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).lines().any(|line| line.starts_with("include") && line.contains("ld.so.conf.d/"))
}

pub(in crate::install) fn is_of_image(path: &str) -> bool {
    path.strip_prefix(SHARED_DIRECTORY).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether an entry of the cache is one that the switch has left without a library, or one of an image: those are all
/// listed anew.
fn is_gone(change: &Change<'_>, touched: &BTreeSet<String>, path: &str) -> bool {
    let real = change.paths.real(path);
    let is_touched = real.rsplit_once('/').is_some_and(|(directory, _)| touched.contains(directory));
    is_of_image(&real) || (is_touched && change.rootfs.open_file(&real).ok().flatten().is_none())
}
