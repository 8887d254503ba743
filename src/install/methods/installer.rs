//! The method `installer`: NVIDIA's own installer runs in the container from the package's image, mounted there
//! read-only while it runs; nothing is copied in, and nothing is unpacked there.

use crate::config::Method;
use crate::driver::placement::Profile;
use crate::error::Result;
use crate::store::{Contents, Store, Tree};
use crate::sys::rootfs::Rootfs;

use super::installer_run::InstallerRun;
use crate::install::preflight::{self, Needs};
use crate::install::scratch::{self, Scratch};
use crate::install::{Attempt, Guest, OWN_DIRECTORY};

/// Enters the package and runs the installer there: it looks for its files in its working directory alone.
const ENTER: &str = "cd \"$0\" && exec ./nvidia-installer \"$@\"";

/// Installs an extracted driver from the image of its package; a driver of another version is replaced.
///
/// # Errors
/// It is not possible. Mount, directory and everything temporary are then gone from the container.
pub fn install(guest: &Guest<'_>, store: &Store<'_>, tree: &Tree, profile: Profile) -> Result<Attempt> {
    let init = guest.require_running()?;
    let rootfs = guest.root()?;
    scratch::clear_leftovers(guest, &rootfs, Some(init))?;
    let installed = install_into(guest, &rootfs, init, store, tree, profile);
    if !matches!(installed, Ok(Attempt::Installed(_))) {
        rootfs.remove_if_empty(OWN_DIRECTORY);
    }
    installed
}

fn install_into(
    guest: &Guest<'_>,
    rootfs: &Rootfs,
    init: u32,
    store: &Store<'_>,
    tree: &Tree,
    profile: Profile,
) -> Result<Attempt> {
    preflight::require_cuda(guest, tree.manifest())?;
    let ready = preflight::check(guest, rootfs, Needs::of_package(tree.bytes()), profile)?;
    let scratch = Scratch::make(rootfs, init, ready.workplace)?;
    let package = store.image(tree, Contents::Package).and_then(|image| store.detached(&image));
    let directory = match package.and_then(|package| scratch.mount(package)) {
        Ok(directory) => directory,
        Err(error) => {
            let message = format!("container {}: the driver's package could not be mounted in it", guest.id);
            return Attempt::not_mounted(error.within(message));
        }
    };
    let (version, run_file_sha256) = (tree.version(), tree.run_file_sha256());
    let (method, manifest) = (Method::Installer, tree.manifest());
    let run = InstallerRun { guest, rootfs, init, version, run_file_sha256, manifest, method, profile };
    run.install(scratch, &ready, &["sh", "-c", ENTER, &directory]).map(Attempt::Installed)
}
