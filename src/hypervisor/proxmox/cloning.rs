//! Copies of containers: what a source must be, how it is copied, and what it has from a copy that came to no end.

use std::time::{Duration, Instant};

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::hypervisor::{Desired, State};
use crate::sys::cancel::Cancel;

use super::Proxmox;
use super::config_file::ConfigFile;
use super::failure;
use super::lifecycle::LOOK_AGAIN;
use super::mounted;
use super::pct::{Call, Pct};
use super::record::{Making, Record};
use super::snapshots::{host_directories, without_snapshots};
use super::tasks;

const COPY_DEADLINE: Duration = Duration::from_secs(4 * 60 * 60);
/// The snapshot that a running source is copied from; it goes with the copy's end.
const TEMPORARY_SNAPSHOT: &str = "phoenix-nvidia-clone";

impl Proxmox<'_> {
    pub(super) fn clone_of(&self, source: ContainerId, desired: &Desired<'_>) -> Result<()> {
        let id = desired.container.id;
        self.clear_half_made(id)?;
        self.require_absent(id)?;
        let config = self.unlocked(source)?;
        self.check_source(&config, source, desired.container)?;
        let (snapshot, is_temporary) = match &desired.container.clone_snapshot {
            Some(name) => (Some(name.as_str()), false),
            // Of a running container, `pct` copies snapshots alone.
            None if self.current_state(source)? != State::Stopped => (Some(TEMPORARY_SNAPSHOT), true),
            None => (None, false),
        };
        let words = clone_words(desired.container, snapshot);
        let record = self.record(source)?.inherited(Making::Cloned { source });
        // From here on the next run knows what a death has left, on the source too.
        self.make(id, record, || {
            if is_temporary {
                self.remove_temporary_snapshot(source)?;
                self.call("snapshot", source, &[TEMPORARY_SNAPSHOT])?;
            }
            let path = self.record_path(id);
            // The source comes first in the words of `pct clone`.
            let call = Call::new("clone", source, &words);
            let copied = self.pct().run(&Call { deadline: COPY_DEADLINE, marker: Some(&path), ..call });
            copied
                .map(|_| ())
                .map_err(|error| error.within(format!("container {id}: container {source} could not be cloned")))
        })?;
        if is_temporary {
            self.remove_temporary_snapshot(source)?;
        }
        self.settle(desired)
    }

    /// What a source must be before anything is copied of it.
    pub(super) fn check_source(&self, config: &ConfigFile, source: ContainerId, container: &Container) -> Result<()> {
        check_source(config, source, container)?;
        if container.clone_snapshot.is_some() || self.current_state(source)? == State::Stopped {
            return Ok(());
        }
        match without_snapshots(config, &self.pools()?) {
            None => Ok(()),
            Some(pool) => Err(no_copy_of_running(container.id, source, &pool.name, &pool.kind)),
        }
    }

    fn remove_temporary_snapshot(&self, source: ContainerId) -> Result<()> {
        let Some(snapshot) = self.config(source)?.snapshot(TEMPORARY_SNAPSHOT) else { return Ok(()) };
        // With a flag of its own: it must be done even when the operator has interrupted.
        let never = Cancel::new()?;
        let mut words = vec![TEMPORARY_SNAPSHOT.to_owned()];
        if !snapshot.is_whole {
            // What of it is not there cannot be removed, and must not keep the rest.
            words.extend(["--force", "1"].map(str::to_owned));
        }
        Pct { cancel: &never, ..self.pct() }.run(&Call::new("delsnapshot", source, &words)).map(|_| ())
    }

    /// Takes away what a copy that came to no end has left on its source: a lock, and the snapshot that it was made of.
    /// A task that is still at work there, ours or another's, is waited for.
    pub(super) fn free_source(&self, record: &Record) -> Result<()> {
        let Some(source) = record.source() else { return Ok(()) };
        let Some(mut config) = self.config_if_there(source)? else { return Ok(()) };
        if tasks::is_at_work_on(&self.members()?.nodename, source) {
            self.wait_for_tasks(source)?;
            config = self.config(source)?;
        }
        if is_locked_by_copy(&config) {
            self.call("unlock", source, &[])?;
        }
        self.remove_temporary_snapshot(source)
    }

    pub(super) fn left_of_making(&self, id: ContainerId) -> Result<Option<String>> {
        let record = self.record(id)?;
        if record.making.is_none() {
            return Ok(None);
        }
        let mut left = Vec::new();
        if self.config_if_there(id)?.is_some_and(|config| config.lock() == Some("create")) {
            left.push("its file with what volumes it has".to_owned());
        }
        if let Some(source) = record.source()
            && let Some(config) = self.config_if_there(source)?
        {
            let lock = config.lock().filter(|_| is_locked_by_copy(&config));
            left.extend(lock.map(|lock| format!("the lock `{lock}` on container {source}, its source")));
            let snapshot = config.snapshot(TEMPORARY_SNAPSHOT);
            left.extend(snapshot.map(|_| format!("the snapshot `{TEMPORARY_SNAPSHOT}` of container {source}")));
        }
        let begun = "a killed run began to create it".to_owned();
        Ok(Some(if left.is_empty() { begun } else { format!("{begun}, and left {}", left.join(", ")) }))
    }

    fn wait_for_tasks(&self, id: ContainerId) -> Result<()> {
        let deadline = Instant::now() + self.node.patience;
        let node = self.members()?.nodename;
        let mut reported = false;
        while tasks::is_at_work_on(&node, id) {
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Busy, format!("container {id}: a task of Proxmox VE works on it"))
                    .hint("run the same command again when it has finished; the web interface shows it"));
            }
            if !reported {
                let reason = format!("a task of Proxmox VE works on container {id}");
                self.context.listener.hear(&Event::Waiting { reason });
                reported = true;
            }
            self.context.cancel.wait(LOOK_AGAIN)?;
        }
        Ok(())
    }
}

/// Whether a source has a lock that the making of a copy puts on it.
fn is_locked_by_copy(source: &ConfigFile) -> bool {
    match source.lock() {
        Some("disk") => true,
        Some("snapshot" | "snapshot-delete") => source.snapshot(TEMPORARY_SNAPSHOT).is_some(),
        _ => false,
    }
}

fn clone_words(container: &Container, snapshot: Option<&str>) -> Vec<String> {
    let mut words: Vec<String> = vec![container.id.to_string()];
    words.extend(["--hostname", &container.name, "--full", "1"].map(str::to_owned));
    words.extend(container.storage_pool.iter().flat_map(|pool| ["--storage".to_owned(), pool.clone()]));
    words.extend(snapshot.iter().flat_map(|name| ["--snapname".to_owned(), (*name).to_owned()]));
    words
}

fn check_source(config: &ConfigFile, source: ContainerId, container: &Container) -> Result<()> {
    let id = container.id;
    if container.unprivileged.is_some_and(|wanted| wanted != config.is_unprivileged()) {
        return Err(mounted::other_privilege(id, source, config.is_unprivileged()));
    }
    if let Some(mount) = host_directories(config).first() {
        return Err(Error::new(Kind::Configuration, format!("container {id}: {}", failure::no_clone_of_mount(mount)))
            .hint(failure::CLONE_HINT));
    }
    match &container.clone_snapshot {
        Some(name) if !config.snapshots().contains(name) => Err(Error::new(
            Kind::Configuration,
            format!("container {id} is to be cloned from the snapshot `{name}` of container {source}, which has no such snapshot"),
        )
        .hint(format!("`phoenix-nvidia create {source}` takes it; or remove `template_snapshot_name` there"))),
        _ => Ok(()),
    }
}

/// Of a running container Proxmox VE copies snapshots alone, and these volumes have none.
fn no_copy_of_running(id: ContainerId, source: ContainerId, pool: &str, kind: &str) -> Error {
    Error::new(
        Kind::Configuration,
        format!(
            "container {id}: its clone source, container {source}, runs, and its storage pool `{pool}` ({kind}) cannot \
             clone a running container"
        ),
    )
    .hint(format!(
        "stop it with `pct shutdown {source}`, clone it with `phoenix-nvidia create {id}`, and start it again with `pct start {source}`; or keep its disks in a pool with snapshots (ZFS, LVM-thin, Ceph, Btrfs)"
    ))
}
