//! A change of a container's driver: what is wanted, and the container with the driver that it has now.

use std::path::PathBuf;

use crate::config::Method;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::install::Guest;
use crate::install::loadable::Loadable;
use crate::install::programs;
use crate::store::ImageName;
use crate::sys::rootfs::Rootfs;

use super::paths::Paths;
use super::previous::Previous;

/// A driver as it is to be in a container.
#[derive(Debug, Clone)]
pub struct Installation<'a> {
    /// Its version.
    pub version: &'a DriverVersion,
    /// How it gets there.
    pub method: Method,
    /// Which part of it.
    pub profile: Profile,
    /// The run file that it came from.
    pub run_file_sha256: Sha256,
    /// What the package says that it is; the second line of NVIDIA's list.
    pub description: &'a str,
    /// Everything that is to be there. Of several with one destination the last counts.
    pub items: Vec<Item>,
    /// The names of libraries that come by another road than as items; other versions of them are in their way, too.
    pub libraries: Vec<String>,
    /// What the loader is to find, wherever it comes from.
    pub(in crate::install) loadable: Vec<Loadable>,
}

/// One file or link to be made, owned by the container's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where, as an absolute path in the container.
    pub destination: String,
    /// What.
    pub content: Content,
}

/// What a file or link is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file of the store, shared where the file system can, or else copied.
    Stored {
        /// Where it lies on the host.
        source: PathBuf,
        /// Its size in bytes, which the copy must have.
        size: u64,
        /// When it was written, in nanoseconds since 1970; the copy says the same.
        mtime: i64,
        /// Its sum in NVIDIA's list.
        crc: u32,
        /// Exactly these permission bits.
        mode: u32,
    },
    /// A small file.
    Bytes {
        /// Its contents.
        bytes: Vec<u8>,
        /// Exactly these permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
        /// Something that is already installed stays.
        keeps_existing: bool,
    },
}

/// A container whose driver is about to be changed; its lock is the caller's.
pub struct Change<'a> {
    pub(super) guest: Guest<'a>,
    pub(super) rootfs: &'a Rootfs,
    pub(super) paths: Paths<'a>,
    pub(super) previous: Previous,
    pub(super) running: bool,
    /// Images of applications bring none; nobody but the host can write their loader's cache.
    pub(super) has_ldconfig: bool,
}

impl<'a> Change<'a> {
    /// Looks what driver is there now, whichever way it came. Changes nothing.
    ///
    /// # Errors
    /// The container neither runs nor is stopped, or its files cannot be examined.
    pub fn begin(guest: &Guest<'a>, rootfs: &'a Rootfs) -> Result<Self> {
        let running = guest.state()? != State::Stopped;
        if running {
            guest.require_running()?;
        }
        let paths = Paths::of(rootfs)?;
        let previous = Previous::load(guest, rootfs, &paths)?;
        let has_ldconfig = programs::has_program(rootfs, "ldconfig")?;
        Ok(Self { guest: *guest, rootfs, paths, previous, running, has_ldconfig })
    }

    /// Whether something lies at `path` (a link may lead on) that the driver which is there now did not bring.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn has_of_others(&self, path: &str) -> Result<bool> {
        let path = self.paths.real(path);
        let Some(found) = self.paths.look(&path)? else { return Ok(false) };
        Ok(!self.previous.owns(&self.paths, &path, &found)?)
    }

    /// Whether the container's own `ldconfig` can be run: not before its init has begun, though its root is already
    /// there.
    pub(super) fn runs_ldconfig(&self) -> bool {
        self.has_ldconfig && self.running && !self.guest.is_being_started()
    }

    /// Whether nothing is known of any driver in the container.
    pub fn is_nothing(&self) -> bool {
        self.previous.is_nothing()
    }

    /// Whether the driver that is there now has made a directory: it goes with the driver when nothing else is in it.
    pub fn has_made(&self, directory: &str) -> bool {
        self.previous.directories.contains(&self.paths.real(directory))
    }

    /// The image that the container sees now.
    pub fn image(&self) -> Option<ImageName> {
        self.previous.image.clone()
    }
}

/// What there was a moment ago is gone.
pub(super) fn gone(guest: &Guest<'_>, path: &str) -> Error {
    Error::new(Kind::Verification, format!("container {}: `{path}` has disappeared", guest.id))
        .hint("a process in the container changes it at the same time; run the same command again")
}
