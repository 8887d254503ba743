//! The way `installer`: NVIDIA's own installer runs in the container from the package's image, mounted there read-only
//! while it runs; nothing is copied in, and nothing is unpacked there.

use crate::config::Way;
use crate::driver::placement::Profile;
use crate::error::Result;
use crate::store::{Contents, Store, Tree};
use crate::sys::rootfs::Rootfs;

use super::installer_run::InstallerRun;
use super::preflight::{self, Needs};
use super::scratch::{self, Scratch};
use super::{Attempt, OWN_DIRECTORY, Site};

/// Enters the package and runs the installer there: it looks for its files in its working directory alone.
const ENTER: &str = "cd \"$0\" && exec ./nvidia-installer \"$@\"";

/// Installs an extracted driver from the image of its package; a driver of another version is replaced.
///
/// # Errors
/// Something stands against it. Mount, directory and everything temporary are then gone from the container.
pub fn install(site: &Site<'_>, store: &Store<'_>, tree: &Tree, profile: Profile) -> Result<Attempt> {
    let init = site.require_running()?;
    let rootfs = site.hypervisor.rootfs(site.id)?;
    scratch::clear_leftovers(site, &rootfs, Some(init))?;
    let installed = install_into(site, &rootfs, init, store, tree, profile);
    if !matches!(installed, Ok(Attempt::Installed(_))) {
        rootfs.remove_if_empty(OWN_DIRECTORY);
    }
    installed
}

fn install_into(
    site: &Site<'_>,
    rootfs: &Rootfs,
    init: u32,
    store: &Store<'_>,
    tree: &Tree,
    profile: Profile,
) -> Result<Attempt> {
    preflight::require_cuda(site, tree.manifest())?;
    let ready = preflight::check(site, rootfs, Needs::of_package(tree.bytes()), profile)?;
    let scratch = Scratch::make(rootfs, init, ready.workplace)?;
    let package = store.image(tree, Contents::Package).and_then(|image| store.detached(&image));
    let directory = match package.and_then(|package| scratch.mount(package)) {
        Ok(directory) => directory,
        Err(error) => {
            let message = format!("container {}: the driver's package could not be mounted in it", site.id);
            return Attempt::not_mounted(error.within(message));
        }
    };
    let (version, run_file_sha256) = (tree.version(), tree.run_file_sha256());
    let (way, manifest) = (Way::Installer, tree.manifest());
    let run = InstallerRun { site, rootfs, init, version, run_file_sha256, manifest, way, profile };
    run.install(scratch, &ready, &["sh", "-c", ENTER, &directory]).map(Attempt::Installed)
}
