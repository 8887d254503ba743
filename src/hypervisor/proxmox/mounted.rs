//! The door to a container's root, running or stopped. A stopped one's lies in a volume that `pct` must mount first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::hypervisor::liblxc;
use crate::sys::cancel::Cancel;
use crate::sys::idmap::{IdMap, Range};
use crate::sys::rootfs::Rootfs;

use super::Proxmox;
use super::config_file::ConfigFile;
use super::pct::{Call, Pct};
use super::record::Record;

// What Proxmox VE maps an unprivileged container's numbers to, unless raw lines say otherwise.
const IDS: Range = Range { inside: 0, outside: 100_000, count: 65_536 };

impl Proxmox<'_> {
    pub(super) fn open_rootfs(&self, id: ContainerId) -> Result<Rootfs> {
        if let State::Running { init } = self.current_state(id)? {
            return match self.starting.is_some() {
                true => liblxc::root_of_process(id, init),
                false => self.liblxc().running_rootfs(id, init),
            };
        }
        if let Some(mounted) = self.mounts.of(id) {
            return self.door(id, &self.config(id)?, mounted);
        }
        let config = self.unlocked(id)?;
        idmap(&config, id)?;
        let mut record = self.record(id)?;
        record.mounted = true;
        record.save(&self.record_path(id))?;
        let mounted = self.call("mount", id, &[]);
        if mounted.is_err() {
            record.mounted = false;
            record.save(&self.record_path(id))?;
        }
        mounted?;
        let mounted = Mounted { id, tools: self.node.tools.clone(), record: self.record_path(id) };
        self.door(id, &config, self.mounts.remember(mounted))
    }

    fn door(&self, id: ContainerId, config: &ConfigFile, mounted: Arc<Mounted>) -> Result<Rootfs> {
        let root = self.node.lxcpath.join(id.to_string()).join("rootfs");
        Ok(Rootfs::open(&root, idmap(config, id)?, format!("container {id}"))?.keeping(mounted))
    }

    /// Unmounts what a killed run of ours has left mounted.
    ///
    /// # Errors
    /// It is this run that is still in it; or `pct` refused.
    pub(super) fn unmount_left(&self, id: ContainerId) -> Result<()> {
        if self.mounts.of(id).is_some() {
            return Err(Error::new(Kind::Bug, format!("container {id}: its root is still mounted by this run"))
                .hint("run the same command again, and report this error"));
        }
        self.call("unmount", id, &[])?;
        let mut record = self.record(id)?;
        record.mounted = false;
        record.save(&self.record_path(id))
    }
}

/// The numbers of a container of this file.
///
/// # Errors
/// It has an `lxc.idmap` line that liblxc would not take, or lines that leave out users, groups or root.
pub(super) fn idmap(config: &ConfigFile, id: ContainerId) -> Result<IdMap> {
    of_lines(config, std::iter::empty(), id)
}

/// That a container of this file, as its configuration wants it, can have numbers at all.
///
/// # Errors
/// As [`idmap`].
pub(super) fn check_idmap(config: &ConfigFile, container: &Container) -> Result<()> {
    wanted_idmap(config, container).map(drop)
}

/// The numbers of a container of this file, as its configuration wants it.
///
/// # Errors
/// As [`idmap`].
pub(super) fn wanted_idmap(config: &ConfigFile, container: &Container) -> Result<IdMap> {
    of_lines(config, liblxc::configured_idmap(container), container.id)
}

fn of_lines<'v>(config: &ConfigFile, more: impl Iterator<Item = &'v str>, id: ContainerId) -> Result<IdMap> {
    let mut lines: BTreeSet<String> =
        config.raw().filter(|line| line.key == "lxc.idmap").map(|line| line.value).collect();
    lines.extend(more.map(str::to_owned));
    if lines.is_empty() && config.is_unprivileged() {
        return Ok(IdMap::new(vec![IDS], vec![IDS]));
    }
    liblxc::idmap_of(lines.iter().map(String::as_str), id)
}

/// The roots that are mounted for this run. `pct unmount` fails while one handle on a root is open, so there is one
/// mount of a container however many doors lead to it, and it goes with the last.
#[derive(Debug, Default)]
pub(super) struct Mounts(Mutex<BTreeMap<ContainerId, Weak<Mounted>>>);

impl Mounts {
    fn of(&self, id: ContainerId) -> Option<Arc<Mounted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }

    fn remember(&self, mounted: Mounted) -> Arc<Mounted> {
        let mounted = Arc::new(mounted);
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.insert(mounted.id, Arc::downgrade(&mounted));
        mounted
    }
}

/// A root that `pct` has mounted, and unmounts when the last door to it is closed.
#[derive(Debug)]
struct Mounted {
    id: ContainerId,
    tools: Option<std::path::PathBuf>,
    record: std::path::PathBuf,
}

impl Mounted {
    fn unmount(&self) -> Result<()> {
        // With a flag of its own: it must be done even when the operator has interrupted.
        let never = Cancel::new()?;
        Pct { tools: self.tools.clone(), cancel: &never, patience: None }.run(&Call::new("unmount", self.id, &[]))?;
        let mut record = Record::load(&self.record)?;
        record.mounted = false;
        record.save(&self.record)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            // The record still says that it is ours to unmount, and the next run does.
            tracing::warn!("container {}: its root stays mounted: {error}", self.id);
        }
    }
}

/// The privilege that a container is to have, in words.
pub(super) fn privilege_word(is_unprivileged: bool) -> &'static str {
    if is_unprivileged { "unprivileged" } else { "privileged" }
}

/// A copy that is to have another privilege than its source.
pub(super) fn other_privilege(id: ContainerId, source: ContainerId, is_unprivileged: bool) -> Error {
    let (wanted, there) = (privilege_word(!is_unprivileged), privilege_word(is_unprivileged));
    Error::new(
        Kind::Configuration,
        format!("container {id} is configured {wanted}, but its clone source, container {source}, is {there}"),
    )
    .hint(
        "a clone keeps the file owners of its source; set `unprivileged` to the source's, or create it from a template",
    )
}
