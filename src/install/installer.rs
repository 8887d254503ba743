//! The way `installer`: NVIDIA's own installer runs in the container from the package's image, mounted there read-only
//! while it runs; nothing is copied in, and nothing is unpacked there.

use crate::config::Way;
use crate::error::{Error, Result};
use crate::store::{Image, Store, Tree};
use crate::sys::mount::DetachedMount;
use crate::sys::rootfs::Rootfs;

use super::installer_run::InstallerRun;
use super::preflight::{self, Needs};
use super::receipt::Receipt;
use super::scratch::{self, Scratch};
use super::{OWN_DIRECTORY, Site};

/// Enters the package and runs the installer there: it looks for its files in its working directory alone.
const ENTER: &str = "cd \"$0\" && exec ./nvidia-installer \"$@\"";

/// Installs an extracted driver from the image of its package; a driver of another version is replaced.
///
/// # Errors
/// Something stands against it. Mount, directory and everything temporary are then gone from the container.
pub fn install(site: &Site<'_>, store: &Store<'_>, tree: &Tree, package: &Image) -> Result<Receipt> {
    let init = site.require_running()?;
    let rootfs = site.hypervisor.rootfs(site.id)?;
    scratch::clear_leftovers(site, &rootfs, init)?;
    let mount = store.detached(package)?;
    let installed = install_into(site, &rootfs, init, tree, mount);
    if installed.is_err() {
        rootfs.remove_if_empty(OWN_DIRECTORY);
    }
    installed
}

fn install_into(site: &Site<'_>, rootfs: &Rootfs, init: u32, tree: &Tree, package: DetachedMount) -> Result<Receipt> {
    let ready = preflight::check(site, rootfs, Needs::of_package(tree.bytes()))?;
    let scratch = Scratch::make(rootfs, init, ready.workplace)?;
    let directory = scratch.mount(package).map_err(|error| not_mounted(site, error))?;
    let (version, run_file_sha256) = (tree.version(), tree.run_file_sha256());
    let run = InstallerRun { site, rootfs, init, version, run_file_sha256, way: Way::Installer };
    run.install(scratch, &ready, &["sh", "-c", ENTER, &directory])
}

fn not_mounted(site: &Site<'_>, error: Error) -> Error {
    error
        .within(format!("container {}: the driver's package could not be mounted in it", site.id))
        .hint("use the way `runfile`, or set `nvidia_allow_fallback` to true to have it used by itself")
}
