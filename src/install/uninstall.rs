//! The driver out of a container, whichever way it came: the host takes it out, running or stopped, and no program of
//! the container is asked. What is killed in the middle of that is brought to its end by the next run.

use crate::driver::{DriverVersion, installer};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::sys::readable::Readable;

use super::files::{Change, intent};
use super::presence::Presence;
use super::{Guest, OWN_DIRECTORY, presence, receipt, scratch};

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

/// Takes the driver out and puts back what it had replaced; nothing of it, nor of us, stays. What somebody has changed
/// since the installation stays, and the listener is warned.
///
/// # Errors
/// The driver did not come by NVIDIA's installer or by us, or the container's file system refused.
pub fn uninstall(guest: &Guest<'_>) -> Result<Outcome> {
    let init = match guest.state()? {
        State::Stopped => None,
        _ => Some(guest.require_running()?),
    };
    let rootfs = guest.root()?;
    scratch::clear_leftovers(guest, &rootfs, init)?;
    if let Some(previous) = Change::begin(guest, &rootfs)?.take_out()? {
        let version = previous.versions.first().filter(|_| previous.versions.len() == 1);
        return Ok(Outcome::Removed { version: version.cloned() });
    }
    refuse_others(guest, &rootfs)?;
    receipt::remove(guest, &rootfs)?;
    for path in [installer::LOG, installer::UNINSTALL_LOG] {
        rootfs.remove(path)?;
    }
    rootfs.remove_if_empty(OWN_DIRECTORY);
    Ok(Outcome::NothingThere)
}

/// What [`uninstall`] would take out; changes nothing.
///
/// # Errors
/// It would refuse, or the container's files cannot be examined.
pub fn removable(guest: &Guest<'_>, rootfs: &dyn Readable) -> Result<Presence> {
    let presence = presence::observe(guest, rootfs)?;
    let is_listed = intent::is_interrupted(guest)?
        || receipt::load(guest, rootfs)?.is_some()
        || presence::backup_log(rootfs)?.is_some();
    if !is_listed {
        refuse_others(guest, rootfs)?;
    }
    Ok(presence)
}

/// A driver that nobody has listed is the package manager's.
fn refuse_others(guest: &Guest<'_>, rootfs: &dyn Readable) -> Result<()> {
    let versions = presence::library_versions(rootfs)?;
    let Some(version) = versions.first() else { return Ok(()) };
    let message = format!("container {}: driver {version} was not installed by NVIDIA's installer", guest.id);
    Err(Error::new(Kind::Command, message)
        .hint("remove it by the means that installed it, for example the container's package manager"))
}
