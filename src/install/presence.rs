//! What driver lies in a container, found out from its files alone; works on stopped containers too.

use std::collections::BTreeSet;

use crate::config::{Method, WantedDriver};
use crate::driver::backup_log::BackupLog;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, installer};
use crate::error::Result;
use crate::hypervisor::State;
use crate::sys::readable::Readable;

use super::files::intent;
use super::receipt::{self, Choice, Receipt};
use super::{Guest, LIBRARY_DIRECTORIES};

// The log of a full driver has about 400 lines.
const BACKUP_LOG_LIMIT: u64 = 4 << 20;
const LOG_END: u64 = 64 << 10;
/// Where distributions have libraries of 32 bits beside those of 64.
const COMPAT32_DIRECTORIES: [&str; 2] = ["/usr/lib/i386-linux-gnu", "/usr/lib32"];
const NAMES_LIMIT: usize = 100_000;

/// The driver in a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "presence")]
pub enum Presence {
    /// No trace of one.
    Absent,
    /// All of it is there.
    Complete {
        /// Its version.
        version: DriverVersion,
        /// How we put it there, or would have, had the host and the container allowed it; absent when somebody else ran
        /// NVIDIA's installer.
        method: Option<Method>,
        /// Which part of it, or which one was chosen.
        profile: Profile,
    },
    /// Some of it is there, or more than one.
    Incomplete {
        /// The versions of the libraries that were found.
        versions: BTreeSet<DriverVersion>,
        /// What is wrong with it, in one phrase.
        why: String,
    },
}

impl Presence {
    /// The one version that is installed, complete or not.
    pub fn version(&self) -> Option<&DriverVersion> {
        match self {
            Self::Absent => None,
            Self::Complete { version, .. } => Some(version),
            Self::Incomplete { versions, .. } => versions.first().filter(|_| versions.len() == 1),
        }
    }

    /// Whether it is what is wanted. A way and a profile that the operator has not chosen may be any.
    pub fn satisfies(&self, wanted: &WantedDriver) -> bool {
        let Self::Complete { version, method, profile } = self else { return false };
        // Somebody's own run of the installer is what the method `runfile` does.
        let method = method.unwrap_or(Method::Runfile);
        *version == wanted.version
            && wanted.chosen_method.is_none_or(|chosen| chosen == method)
            && wanted.chosen_profile.is_none_or(|chosen| *profile == chosen || *profile == wanted.profile())
    }
}

/// Looks what driver lies in the container.
///
/// # Errors
/// Its files cannot be examined.
pub fn observe(guest: &Guest<'_>, rootfs: &dyn Readable) -> Result<Presence> {
    let versions = library_versions(rootfs)?;
    let incomplete =
        |versions: BTreeSet<DriverVersion>, why: &str| Presence::Incomplete { versions, why: why.to_owned() };
    if intent::is_interrupted(guest)? {
        return Ok(incomplete(versions, "a change of it was interrupted"));
    }
    if let Some(receipt) = receipt::load(guest, rootfs)? {
        return judge_by_receipt(guest, rootfs, &receipt, versions);
    }
    let log = backup_log(rootfs)?;
    match (versions.len(), log) {
        (0, None) => Ok(Presence::Absent),
        (0, Some(_)) => Ok(incomplete(versions, "the installer's log is there, but the libraries are missing")),
        (1, Some(log)) => {
            // An installation that was killed has listed all that it had done; only its success line says it was all.
            let version = versions.first().filter(|version| log.version == version.as_str());
            let said = rootfs.read_end(installer::LOG, LOG_END).ok().flatten().unwrap_or_default();
            match version {
                Some(version) if installer::log_says_complete(&said, version) => {
                    Ok(Presence::Complete { version: version.clone(), method: None, profile: Profile::Full })
                }
                _ => Ok(incomplete(versions, "an installation of it was interrupted")),
            }
        }
        (1, None) => Ok(incomplete(versions, "its libraries were not installed by NVIDIA's installer")),
        (_, _) => Ok(incomplete(versions, "libraries of more than one version are there")),
    }
}

/// The smallest profile that has everything which is in the container now, as its receipt says it, or else its libraries. A
/// container without a driver computes.
///
/// # Errors
/// Its files cannot be examined.
pub fn covering_profile(guest: &Guest<'_>, presence: &Presence, rootfs: &dyn Readable) -> Result<Profile> {
    if *presence == Presence::Absent {
        return Ok(Profile::Compute);
    }
    if let Some(receipt) = receipt::load(guest, rootfs)? {
        return Ok(receipt.chosen().profile);
    }
    let has = |directories: &[&str], stems: &[&str]| -> Result<bool> {
        let begins = |name: &String| stems.iter().any(|stem| name.starts_with(stem));
        for directory in directories {
            if rootfs.names(directory, NAMES_LIMIT)?.iter().any(begins) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let draws = has(&LIBRARY_DIRECTORIES, &["libGLX_nvidia.so.", "libEGL_nvidia.so.", "libnvidia-glcore.so."])?;
    Ok(match (draws, has(&COMPAT32_DIRECTORIES, &["libcuda.so.", "libnvidia-ml.so.", "libnvidia-glcore.so."])?) {
        (true, true) => Profile::FullCompat32,
        (true, false) => Profile::Full,
        (false, true) => Profile::ComputeCompat32,
        (false, false) => Profile::Compute,
    })
}

/// The list that NVIDIA's installer keeps; `None` when there is none or it is not to be read.
///
/// # Errors
/// The container's files cannot be examined.
pub fn backup_log(rootfs: &dyn Readable) -> Result<Option<BackupLog>> {
    let text = rootfs.read(installer::BACKUP_LOG, BACKUP_LOG_LIMIT)?;
    Ok(text.and_then(|text| BackupLog::parse(&String::from_utf8_lossy(&text)).ok()))
}

/// The versions of the libraries that every driver has: `libcuda.so.<version>` and `libnvidia-ml.so.<version>`.
///
/// # Errors
/// The container's files cannot be examined.
pub fn library_versions(rootfs: &dyn Readable) -> Result<BTreeSet<DriverVersion>> {
    let mut versions = BTreeSet::new();
    for directory in LIBRARY_DIRECTORIES {
        for name in rootfs.names(directory, NAMES_LIMIT)? {
            let version = ["libcuda.so.", "libnvidia-ml.so."].iter().find_map(|stem| name.strip_prefix(stem));
            versions.extend(version.and_then(|version| version.parse::<DriverVersion>().ok()));
        }
    }
    Ok(versions)
}

fn judge_by_receipt(
    guest: &Guest<'_>,
    rootfs: &dyn Readable,
    receipt: &Receipt,
    mut versions: BTreeSet<DriverVersion>,
) -> Result<Presence> {
    let missing = receipt.missing_in(rootfs)?;
    if let Some(first) = missing.first() {
        if versions.is_empty() && missing.len() == (receipt.files.len() + receipt.links.len()).min(10) {
            return Ok(Presence::Absent);
        }
        let why = format!("`{}` has changed since its installation", first.display());
        return Ok(Presence::Incomplete { versions, why });
    }
    if versions.is_empty() && will_be_mounted(guest, receipt)? {
        versions.insert(receipt.version.clone());
    }
    // A container can bring a receipt that lists nothing; a driver without its libraries is none.
    if versions.is_empty() {
        return Ok(Presence::Incomplete {
            versions,
            why: "there is a receipt, but the libraries are missing".to_owned(),
        });
    }
    if versions.iter().any(|version| *version != receipt.version) {
        return Ok(Presence::Incomplete { versions, why: "libraries of more than one version are there".to_owned() });
    }
    let Choice { method, profile } = receipt.chosen();
    Ok(Presence::Complete { version: receipt.version.clone(), method: Some(method), profile })
}

/// Whether the libraries are in an image that the container will see as soon as it runs. A copy of a container has its
/// source's receipt, and not its mounts.
fn will_be_mounted(guest: &Guest<'_>, receipt: &Receipt) -> Result<bool> {
    let stopped = || Ok::<_, crate::error::Error>(guest.state()? == State::Stopped);
    Ok(receipt.image().is_some()
        && receipt::of_host(guest.context.layout, guest.id)?.as_ref() == Some(receipt)
        && stopped()?)
}
