//! The driver out of a container, the way it came: what the host placed is taken out by the host; else NVIDIA's own
//! uninstallation runs, and then we look that nothing is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::backup_log::Entry;
use crate::driver::{DriverVersion, installer};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Exec, State};
use crate::sys::rootfs::Rootfs;

use super::placed::{self, Change};
use super::{OWN_DIRECTORY, Site, preflight, presence, receipt, scratch};

const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// What an uninstallation did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// There was nothing of a driver.
    NothingThere,
    /// The driver is gone.
    Removed {
        /// Its version, where one could be told.
        version: Option<DriverVersion>,
    },
}

/// Takes the driver out; nothing of it, nor of us, stays.
///
/// # Errors
/// The uninstallation fails, or leaves something behind.
pub fn uninstall(site: &Site<'_>) -> Result<Outcome> {
    let init = match site.hypervisor.state(site.id)? {
        State::Stopped => None,
        _ => Some(site.require_running()?),
    };
    let rootfs = site.hypervisor.rootfs(site.id)?;
    scratch::clear_leftovers(site, &rootfs, init)?;
    if placed::is_placed(site, &rootfs)? {
        return take_out(site, &rootfs);
    }
    preflight::require_regular_files(&rootfs, &installer::OPENED_BY_UNINSTALLER)?;
    let found = presence::observe(site, &rootfs)?;
    let log = presence::backup_log(&rootfs)?;
    if log.is_none() {
        let versions = presence::library_versions(&rootfs)?;
        if let Some(version) = versions.first() {
            return Err(Error::new(
                Kind::Command,
                format!("container {}: driver {version} was not installed by NVIDIA's installer", site.id),
            )
            .hint("remove it the way it came, for example with the container's package manager"));
        }
    }
    let ours = own_entries(site, &rootfs, log.as_ref().map(|log| log.entries.as_slice()).unwrap_or_default())?;
    if log.is_some() {
        site.require_running()?;
        run(site, &rootfs, found.version())?;
    }
    let left = left_behind(&rootfs, &ours)?;
    if let Some(first) = left.first() {
        return Err(Error::new(
            Kind::Verification,
            format!("container {}: the uninstallation left {} files behind, such as `{}`", site.id, left.len(), first.display()),
        )
        .hint(format!("they were changed after the installation; look at them, remove them, and run `phoenix-nvidia uninstall {}` again", site.id)));
    }
    receipt::remove(site, &rootfs)?;
    for path in [installer::LOG, installer::UNINSTALL_LOG] {
        rootfs.remove(path)?;
    }
    rootfs.remove_if_empty(OWN_DIRECTORY);
    Ok(match log {
        None => Outcome::NothingThere,
        Some(_) => Outcome::Removed { version: found.version().cloned() },
    })
}

fn take_out(site: &Site<'_>, rootfs: &Rootfs) -> Result<Outcome> {
    Ok(match Change::begin(site, rootfs)?.take_out()? {
        None => Outcome::NothingThere,
        Some(former) => {
            let version = former.versions.first().filter(|_| former.versions.len() == 1);
            Outcome::Removed { version: version.cloned() }
        }
    })
}

/// Every path that the installation made: those that must be gone afterwards.
fn own_entries(site: &Site<'_>, rootfs: &Rootfs, entries: &[Entry]) -> Result<BTreeSet<PathBuf>> {
    let restored: BTreeSet<&PathBuf> =
        entries.iter().filter(|entry| matches!(entry, Entry::BackedUp { .. })).map(Entry::path).collect();
    let mut ours: BTreeSet<PathBuf> =
        entries.iter().map(Entry::path).filter(|path| !restored.contains(path)).cloned().collect();
    if let Some(receipt) = receipt::load(site, rootfs)? {
        let files = receipt.files.into_iter().map(|file| file.path);
        let links = receipt.links.into_iter().map(|link| link.path);
        ours.extend(files.chain(links).filter(|path| !restored.contains(path)));
    }
    Ok(ours)
}

fn left_behind(rootfs: &Rootfs, ours: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for path in ours {
        if rootfs.look(&path.to_string_lossy())?.is_some() {
            left.push(path.clone());
        }
    }
    Ok(left)
}

fn run(site: &Site<'_>, rootfs: &Rootfs, version: Option<&DriverVersion>) -> Result<()> {
    let program = ["/usr/bin/nvidia-uninstall", "/usr/bin/nvidia-installer"];
    let mut there = None;
    for path in program {
        if there.is_none() && rootfs.is_executable(path)? {
            there = Some(path);
        }
    }
    let Some(path) = there else {
        return Err(Error::new(Kind::Command, format!("container {}: its `nvidia-uninstall` is gone", site.id))
            .hint(format!("install the driver again with `phoenix-nvidia install {}`, then uninstall it", site.id)));
    };
    let mut options = vec!["--uninstall", "--silent"];
    if let Some(version) = version {
        options = installer::uninstall_options(version);
    }
    let mut exec = Exec::new([path].into_iter().chain(options)).env("LC_ALL", "C").env("HOME", "/root");
    exec.deadline = DEADLINE;
    let output = site.exec(&exec)?;
    if output.success() {
        return Ok(());
    }
    Err(Error::new(Kind::Command, format!("container {}: `{path}` failed with exit code {}", site.id, output.code))
        .output(output.last_lines())
        .hint(format!("its log in the container is `{}`", installer::UNINSTALL_LOG)))
}
