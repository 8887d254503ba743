//! The method `native`: the host places the files of the extracted driver into the container, running or stopped.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Method;
use crate::driver::placement::{Content as Rendering, Kind as Placed, Placement, Profile, Target, placements};
use crate::error::{Error, Kind, Result};
use crate::store::Tree;

use crate::install::files::{self, Change, Content, Installation, Item};
use crate::install::loadable::{Libraries, Member, is_name_of_library};
use crate::install::receipt::Receipt;
use crate::install::{Guest, preflight, scratch, target};

/// Installs this part of an extracted driver; a driver that is already installed is replaced, whichever way it came.
///
/// # Errors
/// It is not possible. The container is then as it was, or the next run brings it to its end.
pub fn install(guest: &Guest<'_>, tree: &Tree, profile: Profile) -> Result<Receipt> {
    let rootfs = guest.root()?;
    preflight::require_glibc(guest, &rootfs)?;
    preflight::require_writable(guest, &rootfs)?;
    preflight::require_profile(guest, &rootfs, tree, profile)?;
    let init = guest.state()?.init();
    // First: an installer without its parent may still be at work.
    scratch::clear_leftovers(guest, &rootfs, init)?;
    files::clear_after_installer(guest, &rootfs)?;
    let change = Change::begin(guest, &rootfs)?;
    let target = target::of(&rootfs, &change)?;
    let placements = placements(tree.manifest(), &target, profile);
    let mut items = placements.into_iter().map(|placement| item(tree, placement)).collect::<Result<Vec<_>>>()?;
    let mut libraries = Libraries::default();
    items.extend(loaders_links(tree, &target, &items, &mut libraries));
    drop_links_to_nowhere(&change, &target, &mut items)?;
    let loadable = libraries.loadable(&members(&items), &target.loader_directories());
    change.put(Installation {
        version: tree.version(),
        method: Method::Native,
        profile,
        run_file_sha256: tree.run_file_sha256(),
        description: &tree.manifest().description,
        items,
        libraries: Vec::new(),
        loadable,
    })
}

fn item(tree: &Tree, placement: Placement) -> Result<Item> {
    let content = match placement.kind {
        Placed::Link { target, keeps_existing } => Content::Link { target, keeps_existing },
        Placed::File { source, mode, content } => {
            let path = tree.path().join(&source);
            let facts = tree.file(&source).ok_or_else(|| {
                let message = format!("`{}` is in the manifest and not in the record of the tree", path.display());
                Error::new(Kind::Bug, message)
            })?;
            match content {
                Rendering::AsIs => {
                    Content::Stored { source: path, size: facts.size, mtime: facts.mtime, crc: facts.crc, mode }
                }
                rendered => Content::Bytes { bytes: rendered.rendered(fs_err::read(path)?), mode },
            }
        }
    };
    Ok(Item { destination: placement.destination, content })
}

/// The links that `ldconfig` would make beside those of the manifest: from a library's SONAME to the library.
fn loaders_links(tree: &Tree, target: &Target, items: &[Item], libraries: &mut Libraries) -> Vec<Item> {
    let there: BTreeSet<&str> = items.iter().map(|item| item.destination.as_str()).collect();
    let mut links = BTreeMap::new();
    for item in items {
        let Content::Stored { source, .. } = &item.content else { continue };
        let Some((directory, name)) = item.destination.rsplit_once('/') else { continue };
        if !target.has_libraries_in(directory) || !is_name_of_library(name) {
            continue;
        }
        let soname = libraries.of(source).and_then(|library| library.soname.clone());
        let Some(soname) = soname.filter(|soname| soname != name) else { continue };
        let link = format!("{directory}/{soname}");
        if !there.contains(link.as_str()) {
            // Of two libraries with one SONAME the later in the alphabet wins, as `ldconfig` has it with versions.
            let highest = links.entry(link).or_insert_with(|| name.to_owned());
            if highest.as_str() < name {
                name.clone_into(highest);
            }
        }
    }
    tracing::debug!("driver {}: {} links by SONAME that its manifest does not have", tree.version(), links.len());
    let link = |(destination, target)| Item { destination, content: Content::Link { target, keeps_existing: false } };
    links.into_iter().map(link).collect()
}

fn members(items: &[Item]) -> BTreeMap<String, Member> {
    let member = |item: &Item| {
        let member = match &item.content {
            Content::Stored { source, .. } => Member::File(source.clone()),
            Content::Link { target, .. } => Member::Link(target.clone()),
            Content::Bytes { .. } => return None,
        };
        Some((item.destination.clone(), member))
    };
    items.iter().filter_map(member).collect()
}

/// Leaves out the links to libraries that would lead nowhere: `ldconfig` removes those, such as `libGL.so.1` where
/// another GLVND has none.
fn drop_links_to_nowhere(change: &Change<'_>, target: &Target, items: &mut Vec<Item>) -> Result<()> {
    loop {
        let there: BTreeSet<String> = items.iter().map(|item| item.destination.clone()).collect();
        let mut dangling = BTreeSet::new();
        for item in items.iter() {
            let Content::Link { target: says, .. } = &item.content else { continue };
            let Some((directory, _)) = item.destination.rsplit_once('/') else { continue };
            if !target.has_libraries_in(directory) && directory != "/usr/lib" {
                continue;
            }
            let leads = if says.starts_with('/') { says.clone() } else { format!("{directory}/{says}") };
            if !there.contains(&leads) && !change.has_of_others(&leads)? {
                dangling.insert(item.destination.clone());
            }
        }
        if dangling.is_empty() {
            return Ok(());
        }
        items.retain(|item| !dangling.contains(&item.destination));
    }
}
