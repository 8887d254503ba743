//! The driver's files in a container, placed from outside: staged beside where they go, switched all at once.
//!
//! ```text
//! look        what is there, whose it is (former.rs), what is in the way (obstacles.rs), how much room there is
//! intent      the host notes what is about to change (intent.rs)
//! stage       every new file under a temporary name in its own directory (stage.rs); takes long, changes nothing
//! switch      originals aside, then one rename after the other, then what only the former driver had goes (switch.rs)
//! loader      its cache is told (loader.rs)
//! record      NVIDIA's own list, the receipt (record.rs); the intent goes
//! ```
//!
//! Whatever interrupts it, the next run goes the same way again: what an intent names is ours.

mod foreseen;
mod former;
mod intent;
mod loader;
mod obstacles;
mod paths;
mod record;
mod stage;
mod switch;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use foreseen::{Foreseen, note_done};
pub use former::Former;
pub(super) use loader::is_of_image;

use crate::config::Way;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256, installer};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::store::ImageName;
use crate::sys::rootfs::{Found, Rootfs};

use self::intent::Intent;
use self::obstacles::Obstacle;
use self::paths::Paths;
use self::stage::Staging;
use super::loadable::Loadable;
use super::receipt::{self, Receipt};
use super::{OWN_DIRECTORY, Site, preflight};

/// Where NVIDIA's installer keeps its list and the originals of what it replaced.
const INSTALLERS_DIRECTORY: &str = "/var/lib/nvidia";

/// Larger files, in bytes, are no driver's; a container could make one that takes hours to read.
const LARGEST: u64 = 2 << 30;

/// A driver as it is to be in a container.
#[derive(Debug, Clone)]
pub struct Installation<'a> {
    /// Its version.
    pub version: &'a DriverVersion,
    /// How it gets there.
    pub way: Way,
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
    pub(super) loadable: Vec<Loadable>,
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
        /// Something that is there already stays.
        keeps_existing: bool,
    },
}

/// A container whose driver is about to be changed; its lock is the caller's.
pub struct Change<'a> {
    site: Site<'a>,
    rootfs: &'a Rootfs,
    paths: Paths<'a>,
    former: Former,
    running: bool,
    /// Images of applications bring none; nobody but the host can write their loader's cache.
    has_ldconfig: bool,
}

impl<'a> Change<'a> {
    /// Looks what driver is there now, whichever way it came. Changes nothing.
    ///
    /// # Errors
    /// The container neither runs nor is stopped, or its files cannot be looked at.
    pub fn begin(site: &Site<'a>, rootfs: &'a Rootfs) -> Result<Self> {
        let running = site.hypervisor.state(site.id)? != State::Stopped;
        if running {
            site.require_running()?;
        }
        let paths = Paths::of(rootfs)?;
        let former = Former::load(site, rootfs, &paths)?;
        let has_ldconfig = preflight::has_program(rootfs, "ldconfig")?;
        Ok(Self { site: *site, rootfs, paths, former, running, has_ldconfig })
    }

    /// Whether something lies at `path` (a link may lead on) that the driver which is there now did not bring.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn has_of_others(&self, path: &str) -> Result<bool> {
        let path = self.paths.real(path);
        let Some(found) = self.paths.look(&path)? else { return Ok(false) };
        Ok(!self.former.owns(&self.paths, &path, &found)?)
    }

    /// Whether the container's own `ldconfig` can be run: not before its init has begun, though its root is there already.
    fn runs_ldconfig(&self) -> bool {
        self.has_ldconfig && self.running && !self.site.hypervisor.is_being_started(self.site.id)
    }

    /// Whether nothing is known of any driver in the container.
    pub fn is_nothing(&self) -> bool {
        self.former.is_nothing()
    }

    /// Whether the driver that is there now has made a directory: it goes with the driver when nothing else is in it.
    pub fn has_made(&self, directory: &str) -> bool {
        self.former.directories.contains(&self.paths.real(directory))
    }

    /// That the loader of a container that does not run can be told of an image.
    ///
    /// # Errors
    /// Only the container's own `ldconfig` can do that.
    pub fn require_cache_from_outside(&self) -> Result<()> {
        if loader::can_be_written(self)? {
            return Ok(());
        }
        let id = self.site.id;
        let message = format!("container {id}: its loader's cache cannot be written from outside, and it does not run");
        Err(Error::new(Kind::Command, message)
            .hint("start it, so that its own `ldconfig` can do that, then run the same command again"))
    }

    /// The image that the container sees now.
    pub fn image(&self) -> Option<ImageName> {
        self.former.image.clone()
    }

    /// Puts the driver there in place of whatever driver is there now.
    ///
    /// Until every file is staged the container is as it was, and is so again when that fails or is interrupted.
    ///
    /// # Errors
    /// There is no room, something that cannot be moved is in the way, or the file system refused.
    pub fn put(self, wanted: Installation<'_>) -> Result<Receipt> {
        let mut wanted = wanted;
        wanted.items = self.settled(std::mem::take(&mut wanted.items))?;
        let obstacles = obstacles::find(&self, &wanted)?;
        let missing = self.missing_directories(&wanted.items)?;
        let intent = Intent::new(&self.former, &wanted, &missing, &obstacles);
        intent.save(&self.site)?;
        let mut staging = Staging::new(&self);
        if let Err(error) = staging.stage(&wanted, &missing) {
            staging.undo(&missing);
            match &self.former.intent {
                Some(earlier) => earlier.save(&self.site)?,
                None => Intent::remove(&self.site)?,
            }
            return Err(error);
        }
        let staged = staging.finished();
        switch::set_aside(&self, &obstacles)?;
        switch::bring_in(&self, &wanted, staged)?;
        let kept = switch::clear_away(&self, &wanted, &obstacles)?;
        let set_aside = obstacles.iter().map(|obstacle| obstacle.path.as_str());
        let paths = wanted.items.iter().map(|item| item.destination.as_str()).chain(set_aside);
        self.tell_the_loader(&wanted.loadable, loader::directories_of(paths.chain(self.former.paths())))?;
        let directories = self.directories_left(missing)?;
        let receipt = record::write(&self, &wanted, directories, kept)?;
        Intent::remove(&self.site)?;
        Ok(receipt)
    }

    /// Takes the driver out that is there now, and puts the originals back; `None` when there is none.
    ///
    /// # Errors
    /// The file system refused; the next run goes on.
    pub fn take_out(self) -> Result<Option<Former>> {
        if self.former.is_nothing() {
            return Ok(None);
        }
        Intent::of_removal(&self.former).save(&self.site)?;
        switch::clear_all(&self)?;
        self.tell_the_loader(&[], loader::directories_of(self.former.paths()))?;
        self.directories_left(Vec::new())?;
        record::remove(&self)?;
        receipt::remove(&self.site, self.rootfs)?;
        self.rootfs.remove_if_empty(OWN_DIRECTORY);
        Intent::remove(&self.site)?;
        Ok(Some(self.former))
    }

    /// The items with the directories that they really go to, each destination once, without those that keep what is
    /// there.
    fn settled(&self, items: Vec<Item>) -> Result<Vec<Item>> {
        let mut destinations = BTreeSet::new();
        let mut settled = Vec::new();
        for mut item in items.into_iter().rev() {
            item.destination = self.paths.real(&item.destination);
            let keeps = matches!(item.content, Content::Link { keeps_existing: true, .. });
            if keeps && self.has_of_others(&item.destination)? {
                continue;
            }
            if destinations.insert(item.destination.clone()) {
                settled.push(item);
            }
        }
        settled.reverse();
        Ok(settled)
    }

    /// The directories that must be made first, parents before children.
    fn missing_directories(&self, items: &[Item]) -> Result<Vec<String>> {
        let mut missing = BTreeSet::new();
        let directories: BTreeSet<&str> =
            items.iter().filter_map(|item| item.destination.rsplit_once('/')).map(|it| it.0).collect();
        for directory in directories {
            let mut path = directory;
            while !path.is_empty() && !missing.contains(path) && self.paths.directory(path)?.is_none() {
                missing.insert(path.to_owned());
                path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            }
        }
        // A parent sorts before its children.
        Ok(missing.into_iter().collect())
    }

    /// Removes the directories of the former driver that are empty now; returns those that are still ours.
    fn directories_left(&self, made: Vec<String>) -> Result<Vec<String>> {
        let mut ours: Vec<String> = self.former.directories.iter().cloned().chain(made).collect();
        ours.sort();
        ours.dedup();
        let mut left = Vec::new();
        for directory in ours.iter().rev() {
            if !self.rootfs.remove_if_empty(directory) && self.rootfs.look(directory)? == Some(Found::Directory) {
                left.push(directory.clone());
            }
        }
        left.reverse();
        Ok(left)
    }

    /// Lets the container's loader know: by writing its cache, or else by its `ldconfig` where that can be run.
    ///
    /// Elsewhere the container can do without: libraries that are its own lie in directories that glibc looks into
    /// without its cache, every link by a SONAME is made, and what a cache names that is gone is passed over (glibc
    /// 2.36, `_dl_map_object`). Those of an image are not found so.
    fn tell_the_loader(&self, loadable: &[Loadable], touched: BTreeSet<String>) -> Result<()> {
        if loader::bring_in_line(self, loadable, &touched)? {
            return Ok(());
        }
        if !self.runs_ldconfig() {
            if loadable.iter().any(|it| is_of_image(&it.directory)) {
                let remedy = match self.has_ldconfig {
                    true => "run `ldconfig` in the container",
                    false => "remove `/etc/ld.so.cache` there, and a new one is written by the next installation",
                };
                let warning = format!("the loader's cache cannot be written from outside; {remedy}");
                self.site.listener.warn(Some(self.site.id), warning);
            }
            return Ok(());
        }
        let output = self.site.exec(&crate::hypervisor::Exec::new(["ldconfig"]).env("LC_ALL", "C"))?;
        if output.success() {
            return Ok(());
        }
        let id = self.site.id;
        Err(Error::new(Kind::Command, format!("container {id}: `ldconfig` failed with exit code {}", output.code))
            .output(output.last_lines())
            .hint("mend the container's glibc, then run the same command again"))
    }
}

/// Whether an interrupted change waits to be made again.
///
/// # Errors
/// The host's file system refused.
pub fn is_interrupted(site: &Site<'_>) -> Result<bool> {
    Ok(Intent::load(site)?.is_some())
}

/// Takes out what an interrupted run of NVIDIA's installer has left: it has begun to move originals away, under numbers
/// of its own, and what it was just writing stands in no list.
///
/// # Errors
/// As [`Change::begin`] and [`Change::take_out`].
pub fn clear_after_installer(site: &Site<'_>, rootfs: &Rootfs) -> Result<()> {
    if Intent::load(site)?.is_none_or(|intent| intent.before.is_none()) {
        return Ok(());
    }
    let what = "what an interrupted run of NVIDIA's installer had left was taken out";
    site.listener.note(Some(site.id), what.to_owned());
    Change::begin(site, rootfs)?.take_out().map(drop)
}

/// What an installation by NVIDIA's installer writes beside its list.
const INSTALLERS_LOGS: [&str; 2] = [installer::LOG, installer::UNINSTALL_LOG];

/// The name that a file's path ends in.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What there was a moment ago is gone.
fn gone(site: &Site<'_>, path: &str) -> Error {
    Error::new(Kind::Verification, format!("container {}: `{path}` is gone again", site.id))
        .hint("somebody in the container changes it at the same time; run the same command again")
}

/// What was in the way and where its original is now.
type Obstacles = Vec<Obstacle>;
