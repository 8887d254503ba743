//! Staging: every new file whole, under a temporary name in the directory that it goes to, and seen by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event};
use crate::sys::directory::Directory;
use crate::sys::temporary_name::{is_temporary, temporary_name};

use super::change::{Change, Content, Installation, Item, gone};
use super::loader;
use super::paths::{INSTALLERS_DIRECTORY, name_of};
use crate::install::OWN_DIRECTORY;

const NAMES_LIMIT: usize = 100_000;
const PROGRESS_EVERY: u64 = 16 << 20;
/// Room for directories, the list and the receipt, beside the files.
const MARGIN: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// The files that have been staged so far.
pub(super) struct Staging<'c, 'a> {
    change: &'c Change<'a>,
    staged: Vec<Staged<'a>>,
    /// Whether the container's file system shares blocks with the store's; found out with the first file.
    shares_blocks: Option<bool>,
    done: u64,
    reported: u64,
}

/// One staged file or link.
pub(super) struct Staged<'a> {
    /// Which item it is.
    pub(super) index: usize,
    pub(super) directory: Rc<Directory<'a>>,
    /// What it is called until the switch.
    pub(super) temporary: String,
}

impl<'c, 'a> Staging<'c, 'a> {
    pub(super) fn new(change: &'c Change<'a>) -> Self {
        Self { change, staged: Vec::new(), shares_blocks: None, done: 0, reported: 0 }
    }

    /// Makes the missing directories and stages every item.
    pub(super) fn stage(&mut self, wanted: &Installation<'_>, missing: &[String]) -> Result<()> {
        for directory in missing {
            self.change.rootfs.make_directory(directory, 0o755)?;
        }
        sweep(self.change, &wanted.items)?;
        for (index, item) in wanted.items.iter().enumerate() {
            self.change.guest.context.cancel.check()?;
            self.stage_one(wanted, index, item).map_err(|error| {
                let id = self.change.guest.id;
                error.within(format!("container {id}: driver {} could not be placed in it", wanted.version))
            })?;
        }
        self.tell(wanted, true);
        Ok(())
    }

    /// All that is staged, in the order of the items.
    pub(super) fn finished(self) -> Vec<Staged<'a>> {
        self.staged
    }

    /// Removes what was staged; the container is then as it was before.
    pub(super) fn undo(&self, missing: &[String]) {
        let removed = self.staged.iter().map(|staged| staged.directory.remove(&staged.temporary));
        for error in removed.filter_map(Result::err) {
            tracing::warn!("{error}: {}", error.causes().join(": "));
        }
        for directory in missing.iter().rev() {
            self.change.rootfs.remove_if_empty(directory);
        }
    }

    fn stage_one(&mut self, wanted: &Installation<'_>, index: usize, item: &Item) -> Result<()> {
        let (directory, _) =
            self.change.paths.parent(&item.destination)?.ok_or_else(|| gone(&self.change.guest, &item.destination))?;
        let temporary = temporary_name();
        self.staged.push(Staged { index, directory: Rc::clone(&directory), temporary: temporary.clone() });
        match &item.content {
            Content::Link { target, .. } => directory.create_link(&temporary, target),
            Content::Bytes { bytes, mode } => directory.replace(&temporary, bytes, *mode),
            Content::Stored { source, size, mtime, mode, .. } => {
                let file = directory.create_file(&temporary)?;
                self.copy(wanted, source, &file, *size)?;
                settle_time(&file, *mtime)?;
                directory.settle(&file, name_of(&item.destination), *mode)?;
                self.done += size;
                self.tell(wanted, false);
                Ok(())
            }
        }
    }

    fn copy(&mut self, wanted: &Installation<'_>, source: &Path, file: &std::fs::File, size: u64) -> Result<()> {
        let original = fs_err::File::open(source)?;
        if self.shares_blocks != Some(false) {
            let shared = rustix::fs::ioctl_ficlone(file, original.file()).is_ok();
            if self.shares_blocks.is_none() {
                self.shares_blocks = Some(shared);
                if !shared {
                    self.require_room(wanted)?;
                }
            }
            if shared {
                return same_size(source, original.metadata()?.len(), size);
            }
        }
        // Within the kernel (`copy_file_range`, or else `sendfile`) wherever it can.
        let copied = std::io::copy(&mut original.into_file(), &mut &*file)?;
        same_size(source, copied, size)
    }

    /// That all files fit, by file system.
    fn require_room(&self, wanted: &Installation<'_>) -> Result<()> {
        let mut needed: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
        for item in &wanted.items {
            let directory = item.destination.rsplit_once('/').map_or("/", |(directory, _)| directory);
            let Some(open) = self.change.paths.directory(directory)? else { continue };
            let (bytes, _) = needed.entry(open.device()?).or_insert((MARGIN, directory));
            *bytes = bytes.saturating_add(item.bytes().next_multiple_of(BLOCK));
        }
        for (bytes, directory) in needed.into_values() {
            let available = self.change.rootfs.space(directory)?.available;
            if available < bytes {
                return Err(Error::new(
                    Kind::Host,
                    format!("{bytes} bytes are needed below `{directory}`, but {available} are free"),
                )
                .hint("make the container's disk larger, or free some space in it; nothing has been changed"));
            }
        }
        Ok(())
    }

    fn tell(&mut self, wanted: &Installation<'_>, finished: bool) {
        if !finished && self.done < self.reported + PROGRESS_EVERY {
            return;
        }
        self.reported = self.done;
        let (container, total) = (Some(self.change.guest.id), Some(wanted.items.iter().map(Item::bytes).sum()));
        let subject = format!("driver {}", wanted.version);
        let activity = Activity::Copy;
        let done = self.done;
        self.change.guest.context.listener.hear(&Event::Progress {
            container,
            activity,
            subject,
            done,
            total,
            finished,
        });
    }
}

impl Item {
    /// How many bytes its file has.
    pub(super) fn bytes(&self) -> u64 {
        match &self.content {
            Content::Stored { size, .. } => *size,
            Content::Bytes { bytes, .. } => bytes.len() as u64,
            Content::Link { .. } => 0,
        }
    }
}

/// Removes what an interrupted run has staged. Only an intent that was left behind says that there may be something.
pub(super) fn sweep(change: &Change<'_>, items: &[Item]) -> Result<()> {
    let Some(intent) = &change.previous.intent else { return Ok(()) };
    let paths = intent.paths.iter().map(String::as_str).chain(items.iter().map(|item| item.destination.as_str()));
    let parents = paths.filter_map(|path| path.rsplit_once('/')).map(|it| it.0);
    let directories: BTreeSet<&str> = parents.chain([INSTALLERS_DIRECTORY, OWN_DIRECTORY, loader::DIRECTORY]).collect();
    for directory in directories {
        let Some(open) = change.paths.directory(directory)? else { continue };
        for name in open.names(NAMES_LIMIT)?.iter().filter(|name| is_temporary(name)) {
            open.remove(name)?;
        }
    }
    Ok(())
}

fn same_size(source: &Path, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let path = source.display();
    Err(Error::new(Kind::Verification, format!("`{path}` has {found} bytes, but had {expected} when it was extracted"))
        .hint("extract the driver again: remove it with `phoenix-nvidia store remove`, then install it"))
}

fn settle_time(file: impl AsFd, nanoseconds: i64) -> Result<()> {
    let written =
        Timespec { tv_sec: nanoseconds.div_euclid(1_000_000_000), tv_nsec: nanoseconds.rem_euclid(1_000_000_000) };
    let accessed = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: accessed, last_modification: written };
    rustix::fs::futimens(file, &times).map_err(|error| Error::from(std::io::Error::from(error)))
}
