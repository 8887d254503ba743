//! The method `shared`: the container sees the host's image of the driver in a directory of ours, and finds it there by
//! a line for the loader and by links.
//!
//! ```text
//! /usr/lib/phoenix-nvidia/580.76.05-compute/     the image, mounted read-only
//! /usr/lib/phoenix-nvidia/current                -> 580.76.05-compute: an upgrade is one rename of this link
//! /etc/ld.so.conf.d/00-phoenix-nvidia.conf       current/lib, and current/glvnd where the system has none of its own
//! /usr/bin/nvidia-smi                            -> /usr/lib/phoenix-nvidia/current/usr/bin/nvidia-smi, and the like
//! ```
//!
//! Processes that run keep the libraries of the old image; it goes when the last of them has ended.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use crate::config::{Layout, Method};
use crate::driver::placement::Target;
use crate::driver::placement::image::{image_libraries, image_links, image_placements, loader_directories};
use crate::driver::placement::{Kind as Placed, Placement, Profile};
use crate::error::Result;
use crate::hypervisor::{DriverMount, State};
use crate::store::{Contents, Image, ImageName, NeededImage, Store, Tree};
use crate::sys::mount;
use crate::sys::readable::Readable;
use crate::sys::rootfs::{Found, Rootfs};

use crate::install::files::{self, Change, Content, Installation, Item};
use crate::install::loadable::{Libraries, Loadable, Member};
use crate::install::receipt::{self, Receipt};
use crate::install::{Attempt, CURRENT, Guest, SHARED_DIRECTORY, preflight, scratch, target};

/// Before the distribution's own, so that no other driver's libraries are found first.
const LOADER_CONFIGURATION: &str = "/etc/ld.so.conf.d/00-phoenix-nvidia.conf";
const NAMES_LIMIT: usize = 10_000;

/// The mounts that a container with this receipt must have.
pub fn mounts(layout: &Layout, receipt: &Receipt) -> Vec<DriverMount> {
    let mount = |name: ImageName| DriverMount {
        source: name.mounted_driver(layout),
        target: format!("{SHARED_DIRECTORY}/{name}"),
    };
    receipt.image().map(mount).into_iter().collect()
}

/// Mounts on this host everything that containers' configurations mount from it, according to the host's receipts: what
/// a unit at the host's start has to do before containers start.
///
/// # Errors
/// A receipt cannot be read, or an image cannot be mounted; all others are.
pub fn ensure_mounted(store: &Store<'_>, layout: &Layout) -> Result<()> {
    let needed: BTreeSet<NeededImage> = receipt::all(layout)?.iter().filter_map(Receipt::needed_image).collect();
    store.ensure_mounted(&Vec::from_iter(needed))
}

/// Lets the container see this part of an extracted driver; a driver that is already installed is replaced, whichever
/// method it came.
///
/// The container's configuration is the caller's: see [`mounts`].
///
/// # Errors
/// It is not possible. The container is then as it was, or the next run brings it to its end.
pub fn install(guest: &Guest<'_>, store: &Store<'_>, tree: &Tree, profile: Profile) -> Result<Attempt> {
    let init = match guest.state()? {
        State::Stopped => None,
        _ => Some(guest.require_running()?),
    };
    let rootfs = guest.root()?;
    preflight::require_glibc(guest, &rootfs)?;
    preflight::require_writable(guest, &rootfs)?;
    preflight::require_profile(guest, &rootfs, tree, profile)?;
    scratch::clear_leftovers(guest, &rootfs, init)?;
    files::clear_after_installer(guest, &rootfs)?;
    let image = match store.image(tree, Contents::Placed(profile)) {
        Ok(image) => image,
        Err(error) => return Attempt::not_mounted(error),
    };
    let change = Change::begin(guest, &rootfs)?;
    if init.is_none() {
        change.require_cache_from_outside()?;
    }
    let target = target::of(&rootfs, &change)?;
    if let Err(error) = attach(store, &rootfs, init, &image) {
        leave(guest, &rootfs, init, change.image().as_ref())?;
        let message = format!("container {}: the driver's image could not be mounted in it", guest.id);
        return Attempt::not_mounted(error.within(message));
    }
    let previous = change.image();
    let put = change.put(Installation {
        version: tree.version(),
        method: Method::Shared,
        profile,
        run_file_sha256: tree.run_file_sha256(),
        description: &tree.manifest().description,
        items: items(tree, profile, &target, image.name()),
        libraries: image_libraries(tree.manifest(), profile, &target),
        loadable: loadable(tree, profile, &target),
    });
    match put {
        Ok(receipt) => Ok(Attempt::Installed(receipt)),
        Err(error) => {
            // Both stay after a change that began: the next run brings it to its end.
            if !files::intent::is_interrupted(guest)? {
                leave(guest, &rootfs, init, previous.as_ref())?;
            }
            Err(error)
        }
    }
}

/// Makes and mounts on this host what [`install`] will show a container.
///
/// # Errors
/// The image cannot be made or mounted.
pub fn prepare(store: &Store<'_>, tree: &Tree, profile: Profile) -> Result<()> {
    let image = store.image(tree, Contents::Placed(profile))?;
    store.mount(&image).map(drop)
}

/// Mounts an image on this host and in a running container, unless it is already mounted; a stopped one sees it when
/// it starts.
///
/// # Errors
/// The kernel refused, here or there.
fn attach(store: &Store<'_>, rootfs: &Rootfs, init: Option<u32>, image: &Image) -> Result<()> {
    let on_host = store.mount(image)?;
    let name = image.name().to_string();
    let place = format!("{SHARED_DIRECTORY}/{name}");
    rootfs.make_directory(&place, 0o755)?;
    let Some(init) = init else { return Ok(()) };
    if rootfs.space(&place)?.device == fs_err::metadata(&on_host)?.dev() {
        return Ok(());
    }
    mount::detach_all(init, &rootfs.directory_handle(SHARED_DIRECTORY)?, &name)?;
    store.detached(image)?.attach(init, &rootfs.directory_handle(&place)?)
}

/// Whether a container has a directory of images, even one that an interrupted run left.
///
/// # Errors
/// The container's files cannot be examined.
pub fn is_there(rootfs: &dyn Readable) -> Result<bool> {
    Ok(rootfs.look(SHARED_DIRECTORY)? == Some(Found::Directory))
}

/// The directories of images in a container, without that of the image which it is to see: what a run has left that was
/// killed when all but the last was done.
///
/// # Errors
/// The container's files cannot be examined.
pub fn left(rootfs: &dyn Readable, kept: Option<&ImageName>) -> Result<Vec<String>> {
    if !is_there(rootfs)? {
        return Ok(Vec::new());
    }
    let mut left = Vec::new();
    for name in rootfs.names(SHARED_DIRECTORY, NAMES_LIMIT)? {
        let is_kept = |image: ImageName| kept == Some(&image);
        let place = format!("{SHARED_DIRECTORY}/{name}");
        if name.parse().is_ok_and(|image| !is_kept(image)) && rootfs.look(&place)? == Some(Found::Directory) {
            left.push(place);
        }
    }
    Ok(left)
}

/// Unmounts all images in a running container. Their directories stay, and with them the sign that its configuration
/// and this host are not in line with that yet: see [`settle`].
///
/// # Errors
/// The kernel refused, or the container has stopped.
pub(in crate::install) fn unmount_all(rootfs: &Rootfs, init: u32) -> Result<()> {
    if !is_there(rootfs)? {
        return Ok(());
    }
    for name in rootfs.names(SHARED_DIRECTORY, NAMES_LIMIT)? {
        if name.parse::<ImageName>().is_ok() {
            mount::detach_all(init, &rootfs.directory_handle(SHARED_DIRECTORY)?, &name)?;
        }
    }
    Ok(())
}

/// Unmounts all images in a container but this one, and removes their directories. Processes keep what they use.
///
/// # Errors
/// The kernel refused, or the container has stopped.
pub fn settle(guest: &Guest<'_>, rootfs: &Rootfs, kept: Option<&ImageName>) -> Result<()> {
    let init = guest.state()?.init();
    leave(guest, rootfs, init, kept)
}

fn leave(guest: &Guest<'_>, rootfs: &Rootfs, init: Option<u32>, kept: Option<&ImageName>) -> Result<()> {
    if !is_there(rootfs)? {
        return Ok(());
    }
    for place in left(rootfs, kept)? {
        if let Some(init) = init {
            let name = place.rsplit('/').next().unwrap_or_default();
            mount::detach_all(init, &rootfs.directory_handle(SHARED_DIRECTORY)?, name)?;
        }
        if !rootfs.remove_if_empty(&place) {
            guest.context.listener.warn(Some(guest.id), format!("`{place}` is kept: it is not empty"));
        }
    }
    rootfs.remove_if_empty(SHARED_DIRECTORY);
    Ok(())
}

fn items(tree: &Tree, profile: Profile, target: &Target, image: &ImageName) -> Vec<Item> {
    let current = format!("{SHARED_DIRECTORY}/{CURRENT}");
    let directories = loader_directories(target, profile, &current).join("\n");
    let configuration = format!("# Written by phoenix-nvidia; removed with the driver.\n{directories}\n");
    let mut items = vec![
        Item { destination: current.clone(), content: link(image.to_string()) },
        Item {
            destination: LOADER_CONFIGURATION.to_owned(),
            content: Content::Bytes { bytes: configuration.into_bytes(), mode: 0o644 },
        },
    ];
    let item = |placement: Placement| match placement.kind {
        Placed::Link { target, .. } => Some(Item { destination: placement.destination, content: link(target) }),
        Placed::File { .. } => None,
    };
    items.extend(image_links(tree.manifest(), profile, target, &current).into_iter().filter_map(item));
    items
}

/// What the loader finds in the image, by the path through [`CURRENT`].
fn loadable(tree: &Tree, profile: Profile, target: &Target) -> Vec<Loadable> {
    let current = format!("{SHARED_DIRECTORY}/{CURRENT}");
    let member = |placement: Placement| {
        let member = match placement.kind {
            Placed::File { source, .. } => Member::File(tree.path().join(source)),
            Placed::Link { target, .. } => Member::Link(target),
        };
        (format!("{current}/{}", placement.destination), member)
    };
    let members = image_placements(tree.manifest(), profile).into_iter().map(member).collect();
    let directories = loader_directories(target, profile, &current);
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    Libraries::default().loadable(&members, &directories)
}

fn link(target: String) -> Content {
    Content::Link { target, keeps_existing: false }
}
