//! What NVIDIA's own installer is about to change, noted before it runs: should it be interrupted, the host knows what of
//! it is the driver's and what was there before.
//!
//! The installer lists a file when it is whole, and an original when it has been moved away: what was in flight at the
//! moment of a kill is in no list of its own (nvidia-installer 590, `install_file` and `do_backup`).

use std::collections::BTreeSet;

use crate::config::Method;
use crate::driver::backup_log::Original;
use crate::driver::manifest::Manifest;
use crate::driver::placement::{Kind as Placed, Placement, Profile, Target, placements};
use crate::driver::{DriverVersion, Sha256};
use crate::error::Result;
use crate::install::{Guest, target};
use crate::sys::rootfs::Found;

use super::change::{Change, Content, Installation, Item};
use super::conflicts;
use super::intent::Intent;
use super::intent_of;
use super::paths::INSTALLERS_DIRECTORY;
use super::paths::Paths;
use super::previous::{Previous, sum_of};

const NAMES_LIMIT: usize = 100_000;

/// Where the installer guesses modules of an X server that is not there (nvidia-installer 590, `files.c`).
const GUESSED_X_MODULES: &str = "/usr/lib64/xorg/modules";

/// What `ldconfig` leaves when it is killed (glibc 2.36, `save_cache` and `save_aux_cache`).
const LOADERS_TEMPORARIES: [&str; 2] = ["/etc/ld.so.cache~", "/var/cache/ldconfig/aux-cache~"];

/// What the host knows of an installation by NVIDIA's installer before it begins.
pub struct Foreseen<'a> {
    /// The driver's version.
    pub version: &'a DriverVersion,
    /// How it gets there.
    pub method: Method,
    /// Whether with 32-bit libraries.
    pub profile: Profile,
    /// What the package says of its files.
    pub manifest: &'a Manifest,
}

impl Change<'_> {
    /// That nothing stands where the installer could not put a file: it would find out with the old driver gone.
    ///
    /// # Errors
    /// Something does, which is neither a file nor a link.
    pub fn require_room_for(&self, foreseen: &Foreseen<'_>) -> Result<()> {
        conflicts::find(self, &self.installation(foreseen)?).map(drop)
    }

    /// Notes on the host what the installer may make and what it may move away, until [`note_done`].
    ///
    /// # Errors
    /// The container cannot be examined, or the note cannot be written.
    pub fn note(&self, foreseen: &Foreseen<'_>) -> Result<()> {
        let wanted = self.installation(foreseen)?;
        let missing = self.missing_directories(&wanted.items)?;
        let before = conflicts::find_everywhere(self, &wanted)?;
        intent_of::of_installer(&self.previous, &wanted, missing, before).save(&self.guest)
    }

    /// Where the installer would put what; whatever it might leave out is among it, and the contents do not matter.
    fn installation<'w>(&self, foreseen: &Foreseen<'w>) -> Result<Installation<'w>> {
        let target = target::of(self.rootfs, self)?;
        let x_modules = target.x_module_directory.or_else(|| Some(GUESSED_X_MODULES.to_owned()));
        let target = Target { glvnd: true, x_module_directory: x_modules, ..target };
        let items = placements(foreseen.manifest, &target, foreseen.profile).into_iter().map(item).collect();
        Ok(Installation {
            version: foreseen.version,
            method: foreseen.method,
            profile: foreseen.profile,
            run_file_sha256: Sha256::from_bytes([0; 32]),
            description: &foreseen.manifest.description,
            items: self.settled(items)?,
            libraries: Vec::new(),
            loadable: Vec::new(),
        })
    }
}

/// Forgets the note: the receipt speaks for what is there now.
///
/// # Errors
/// The host's file system refused.
pub fn note_done(guest: &Guest<'_>) -> Result<()> {
    Intent::remove(guest)
}

fn item(placement: Placement) -> Item {
    let content = match placement.kind {
        Placed::File { mode, .. } => Content::Bytes { bytes: Vec::new(), mode },
        Placed::Link { target, .. } => Content::Link { target, keeps_existing: false },
    };
    Item { destination: placement.destination, content }
}

impl Previous {
    /// Finds what an interrupted installer had moved away and not listed yet; what is still at its path is nobody's but
    /// its owner's.
    pub(super) fn find_originals(&mut self, paths: &Paths<'_>) -> Result<()> {
        let before = self.intent.as_ref().and_then(|intent| intent.before.clone());
        for mut original in before.unwrap_or_default() {
            let path = paths.real(&original.path.to_string_lossy());
            if self.backed_up.iter().any(|listed| paths.real(&listed.path.to_string_lossy()) == path) {
                continue;
            }
            if let Original::File { number, crc } = &mut original.original {
                let is_there = matches!(paths.look(&path)?, Some(Found::File { .. }));
                if is_there && sum_of(paths, &path)? == Some(*crc) {
                    self.traces.remove(&path);
                    continue;
                }
                let Some(kept) = self.unlisted(paths, *crc)? else { continue };
                *number = kept;
            }
            self.backed_up.push(original);
        }
        Ok(())
    }

    /// The number of a file among the installer's originals that no list names and that has this sum.
    fn unlisted(&self, paths: &Paths<'_>, crc: u32) -> Result<Option<u32>> {
        for number in unlisted_numbers(self, paths)? {
            if sum_of(paths, &format!("{INSTALLERS_DIRECTORY}/{number}"))? == Some(crc) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// Removes what only an interrupted installer leaves: halves of copies, and what its `ldconfig` was writing.
pub(super) fn sweep(change: &Change<'_>) -> Result<()> {
    if change.previous.intent.as_ref().is_none_or(|intent| intent.before.is_none()) {
        return Ok(());
    }
    // Without a list no installer was at work on originals: what lies there then could not be put back, and stays.
    let numbers =
        if change.previous.is_listed { unlisted_numbers(&change.previous, &change.paths)? } else { Vec::new() };
    for number in numbers {
        change.rootfs.remove(&format!("{INSTALLERS_DIRECTORY}/{number}"))?;
    }
    LOADERS_TEMPORARIES.iter().try_for_each(|path| change.rootfs.remove(path))
}

fn unlisted_numbers(previous: &Previous, paths: &Paths<'_>) -> Result<Vec<u32>> {
    let Some(directory) = paths.directory(INSTALLERS_DIRECTORY)? else { return Ok(Vec::new()) };
    let listed: BTreeSet<u32> = previous.backed_up.iter().filter_map(|original| original.original.number()).collect();
    let numbers = directory.names(NAMES_LIMIT)?.into_iter().filter_map(|name| name.parse().ok());
    Ok(numbers.filter(|number| !listed.contains(number)).collect())
}
