//! The driver's files in a container, placed from outside: staged beside where they go, switched all at once.
//!
//! ```text
//! look        what is there and whose it is (previous.rs), what conflicts with it (conflicts.rs), how much room there is
//! intent      the host notes what is about to change (intent.rs)
//! stage       every new file under a temporary name in its own directory (stage.rs); takes long, changes nothing
//! switch      originals backed up, one rename after the other, then what only the previous driver had goes (switch.rs)
//! loader      its cache is written (loader.rs)
//! record      NVIDIA's own list, the receipt (lists.rs); the intent goes
//! ```
//!
//! Whatever interrupts it, the next run does the same again: what an intent names is ours.

pub(super) mod change;
mod conflicts;
mod installer_intent;
pub(super) mod intent;
mod intent_of;
mod lists;
mod loader;
mod paths;
mod previous;
mod stage;
mod switch;

use std::collections::BTreeSet;

pub use change::{Change, Content, Installation, Item};
pub use installer_intent::{Foreseen, note_done};
pub use intent::is_interrupted;
pub(super) use loader::is_of_image;
pub use previous::Previous;

use crate::error::{Error, Kind, Result};
use crate::sys::rootfs::{Found, Rootfs};

use self::intent::Intent;
use self::stage::Staging;
use super::loadable::Loadable;
use super::receipt::{self, Receipt};
use super::{Guest, OWN_DIRECTORY};

impl<'a> Change<'a> {
    /// That the loader of a container that does not run can find an image.
    ///
    /// # Errors
    /// Only the container's own `ldconfig` can do that.
    pub fn require_cache_from_outside(&self) -> Result<()> {
        if loader::can_be_written(self)? {
            return Ok(());
        }
        let id = self.guest.id;
        let message = format!(
            "container {id}: its loader's cache cannot be written from the host, and the container does not run"
        );
        Err(Error::new(Kind::Command, message)
            .hint("start it, so that its own `ldconfig` can write it, then run the same command again"))
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
        let conflicts = conflicts::find(&self, &wanted)?;
        let missing = self.missing_directories(&wanted.items)?;
        let intent = intent_of::of_installation(&self.previous, &wanted, &missing, &conflicts);
        intent.save(&self.guest)?;
        let mut staging = Staging::new(&self);
        if let Err(error) = staging.stage(&wanted, &missing) {
            staging.undo(&missing);
            match &self.previous.intent {
                Some(earlier) => earlier.save(&self.guest)?,
                None => Intent::remove(&self.guest)?,
            }
            return Err(error);
        }
        let staged = staging.finished();
        switch::back_up(&self, &conflicts)?;
        switch::bring_in(&self, &wanted, staged)?;
        let kept = switch::clear_away(&self, &wanted, &conflicts)?;
        let back_up = conflicts.iter().map(|conflict| conflict.path.as_str());
        let paths = wanted.items.iter().map(|item| item.destination.as_str()).chain(back_up);
        self.tell_the_loader(&wanted.loadable, loader::directories_of(paths.chain(self.previous.paths())))?;
        let directories = self.directories_left(missing)?;
        let receipt = lists::write(&self, &wanted, directories, kept)?;
        Intent::remove(&self.guest)?;
        Ok(receipt)
    }

    /// Takes the driver out that is there now, and puts the originals back; `None` when there is none.
    ///
    /// # Errors
    /// The file system refused; the next run goes on.
    pub fn take_out(self) -> Result<Option<Previous>> {
        if self.previous.is_nothing() {
            return Ok(None);
        }
        intent_of::of_removal(&self.previous).save(&self.guest)?;
        switch::clear_all(&self)?;
        self.tell_the_loader(&[], loader::directories_of(self.previous.paths()))?;
        self.directories_left(Vec::new())?;
        lists::remove(&self)?;
        receipt::remove(&self.guest, self.rootfs)?;
        self.rootfs.remove_if_empty(OWN_DIRECTORY);
        Intent::remove(&self.guest)?;
        Ok(Some(self.previous))
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

    /// Removes the directories of the previous driver that are empty now; returns those that are still ours.
    fn directories_left(&self, made: Vec<String>) -> Result<Vec<String>> {
        let mut ours: Vec<String> = self.previous.directories.iter().cloned().chain(made).collect();
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
                    false => "remove `/etc/ld.so.cache` there; the next installation writes a new one",
                };
                let warning = format!("the loader's cache cannot be written from the host; {remedy}");
                self.guest.context.listener.warn(Some(self.guest.id), warning);
            }
            return Ok(());
        }
        let output = self.guest.exec(&crate::hypervisor::Exec::new(["ldconfig"]).env("LC_ALL", "C"))?;
        if output.success() {
            return Ok(());
        }
        let id = self.guest.id;
        Err(Error::new(Kind::Command, format!("container {id}: `ldconfig` failed with exit code {}", output.code))
            .output(output.last_lines())
            .hint("repair the container's glibc, then run the same command again"))
    }
}

/// Takes out what an interrupted run of NVIDIA's installer has left: it has begun to move originals away, under numbers
/// of its own, and what it was just writing stands in no list.
///
/// # Errors
/// As [`Change::begin`] and [`Change::take_out`].
pub fn clear_after_installer(guest: &Guest<'_>, rootfs: &Rootfs) -> Result<()> {
    if Intent::load(guest)?.is_none_or(|intent| intent.before.is_none()) {
        return Ok(());
    }
    let what = "removed what an interrupted run of NVIDIA's installer left";
    guest.context.listener.note(Some(guest.id), what.to_owned());
    Change::begin(guest, rootfs)?.take_out().map(drop)
}
