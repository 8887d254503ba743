//! Making containers: from a template or as a copy; what must be right before; and what a killed run has left.

use std::path::Path;
use std::time::Duration;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::liblxc::prepare_mount_source;
use crate::hypervisor::{Desired, State};
use crate::sys::cancel::Cancel;
use crate::sys::{atomic, processes};

use super::Proxmox;
use super::config_file::ConfigFile;
use super::failure;
use super::lifecycle::half_made;
use super::mounted;
use super::pct::{self, Call, Pct};
use super::record::{Making, Record};
use super::settings::{self, Changes};
use super::snapshots::host_directories;
use super::storage::{self, Storage};

const CREATE_DEADLINE: Duration = Duration::from_secs(60 * 60);
const COPY_DEADLINE: Duration = Duration::from_secs(4 * 60 * 60);
/// The snapshot that a running source is copied from; it goes with the copy's end.
const TEMPORARY_SNAPSHOT: &str = "phoenix-nvidia-clone";
/// What `pct` takes where no pool is named.
const DEFAULT_POOL: &str = "local";

impl Proxmox<'_> {
    pub(super) fn check_desired(&self, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        self.pct().require_installed()?;
        self.version()?;
        self.members()?.require_quorum()?;
        if let Some(network) = &container.network {
            require_interface(container.id, &network.bridge)?;
        }
        if self.current_state(container.id)? != State::Absent {
            return Ok(());
        }
        match container.clone_from {
            // One that does not exist yet is made before its copy.
            Some(source) => {
                self.config_if_there(source)?.map_or(Ok(()), |config| check_source(&config, source, container))
            }
            None => self.check_template(container),
        }
    }

    fn check_template(&self, container: &Container) -> Result<()> {
        let id = container.id;
        let pools = storage::pools(&self.read("storage.cfg")?.unwrap_or_default());
        let wanted = [container.storage_pool.as_deref().unwrap_or(DEFAULT_POOL)];
        for name in wanted.into_iter().chain(container.volumes.iter().map(|volume| volume.pool.as_str())) {
            check_pool(id, name, &pools)?;
        }
        let takes_snapshots = (container.lifecycle_snapshots || container.template_snapshot_name.is_some())
            && container.mounts.is_empty();
        if let (true, Some(pool)) =
            (takes_snapshots, pools.iter().find(|pool| pool.name == wanted[0] && !pool.has_snapshots()))
        {
            let Storage { name, kind, .. } = pool;
            return Err(Error::new(
                Kind::Configuration,
                format!("container {id}: the storage pool `{name}` ({kind}) has no snapshots of containers"),
            )
            .hint("set `storage_pool` to one of ZFS, LVM-thin or Ceph, or do without `enable_lifecycle_snapshots` and `template_snapshot_name`"));
        }
        let template = template(container)?;
        let missing = match template.split_once(":vztmpl/") {
            None => !Path::new(template).is_file(),
            Some((pool, name)) => {
                let pool = pools.iter().find(|it| it.name == pool);
                pool.and_then(|pool| pool.template(name)).is_some_and(|path| !path.is_file())
            }
        };
        if !missing {
            return Ok(());
        }
        Err(Error::new(Kind::Configuration, format!("container {id}: the template `{template}` does not exist"))
            .hint(failure::download(template)))
    }

    pub(super) fn create_from_template(&self, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        let id = container.id;
        self.clear_half_made(id)?;
        self.require_absent(id)?;
        self.check_template(container)?;
        let surroundings = self.surroundings()?;
        let changes = Changes::between(&ConfigFile::default(), desired, &Record::default(), &surroundings);
        let is_unprivileged = wants_idmap(container);
        let mut words = vec![template(container)?.to_owned(), "--unprivileged".to_owned()];
        words.push(u8::from(is_unprivileged).to_string());
        match (&container.storage_pool, container.storage_size_gb) {
            (pool, Some(size)) => {
                let pool = pool.as_deref().unwrap_or(DEFAULT_POOL);
                words.extend(["--rootfs".to_owned(), format!("{pool}:{size}")]);
            }
            (Some(pool), None) => words.extend(["--storage".to_owned(), pool.clone()]),
            (None, None) => {}
        }
        words.extend(changes.words());
        let idmap = mounted::idmap(&ConfigFile::new(format!("unprivileged: {}\n", u8::from(is_unprivileged))), id)?;
        container.mounts.iter().try_for_each(|mount| prepare_mount_source(mount, &idmap))?;
        let given = settings::given(desired, surroundings.version);
        self.make(id, Record { making: Some(Making::Created), ..given }, || {
            let path = self.record_path(id);
            let call = Call::new("create", id, &words);
            self.pct().run(&Call { deadline: CREATE_DEADLINE, marker: Some(&path), ..call }).map(|_| ())
        })?;
        self.settle(desired)
    }

    pub(super) fn clone_of(&self, source: ContainerId, desired: &Desired<'_>) -> Result<()> {
        let id = desired.container.id;
        self.clear_half_made(id)?;
        self.require_absent(id)?;
        let config = self.unlocked(source)?;
        check_source(&config, source, desired.container)?;
        let (snapshot, is_temporary) = match &desired.container.clone_snapshot {
            Some(name) => (Some(name.as_str()), false),
            // Of a running container, `pct` copies snapshots alone.
            None if self.current_state(source)? != State::Stopped => (Some(TEMPORARY_SNAPSHOT), true),
            None => (None, false),
        };
        if is_temporary {
            self.remove_temporary_snapshot(source)?;
            self.call("snapshot", source, &[TEMPORARY_SNAPSHOT])?;
        }
        let words = clone_words(desired.container, snapshot);
        let record = self.record(source)?.inherited(Making::Cloned { source: source.number() });
        let made = self.make(id, record, || {
            let path = self.record_path(id);
            // The source comes first in the words of `pct clone`.
            let call = Call::new("clone", source, &words);
            let copied = self.pct().run(&Call { deadline: COPY_DEADLINE, marker: Some(&path), ..call });
            copied
                .map(|_| ())
                .map_err(|error| error.within(format!("container {id}: container {source} could not be cloned")))
        });
        let removed = if is_temporary { self.remove_temporary_snapshot(source) } else { Ok(()) };
        made?;
        removed?;
        self.settle(desired)
    }

    fn remove_temporary_snapshot(&self, source: ContainerId) -> Result<()> {
        if !self.config(source)?.snapshots().iter().any(|name| name == TEMPORARY_SNAPSHOT) {
            return Ok(());
        }
        // With a flag of its own: it must be done even when the operator has interrupted.
        let never = Cancel::new()?;
        let words = [TEMPORARY_SNAPSHOT.to_owned()];
        Pct { cancel: &never, ..self.pct() }.run(&Call::new("delsnapshot", source, &words)).map(|_| ())
    }

    /// Remembers what is being made, makes it, and clears away what a failure has left.
    fn make(&self, id: ContainerId, record: Record, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.members()?.require_quorum()?;
        record.save(&self.record_path(id))?;
        let Err(error) = work() else { return Ok(()) };
        if error.output_text().is_some_and(|said| said.contains("already exists on node")) {
            // Somebody else was quicker: what is there under this CTID is theirs.
            atomic::remove_if_there(&self.record_path(id))?;
            return Err(error);
        }
        // With a flag of its own: it must be done even when the operator has interrupted.
        let never = Cancel::new()?;
        let cleared = Proxmox::new(self.node.clone(), self.layout, self.listener, &never).clear_half_made(id);
        if let Err(left) = cleared {
            // The record lets the next run do it; what has failed first is what the operator must know.
            self.listener.warn(Some(id), format!("what was begun of it is still there: {}", left.message()));
        }
        Err(error)
    }

    /// Gives a new container what `pct` could not: there as a whole or not at all.
    fn settle(&self, desired: &Desired<'_>) -> Result<()> {
        let Err(error) = self.write_settings(desired) else { return Ok(()) };
        let never = Cancel::new()?;
        let id = desired.container.id;
        Pct { cancel: &never, ..self.pct() }.run(&Call::new("destroy", id, &[]))?;
        Record::default().save(&self.record_path(id))?;
        Err(error)
    }

    /// Clears away a container that a killed run of ours has begun to make: its `pct` may even be still at work.
    pub(super) fn clear_half_made(&self, id: ContainerId) -> Result<()> {
        let record = self.record(id)?;
        if record.making.is_none() {
            return Ok(());
        }
        // Again until none is found: one that was seen may have started another in between.
        while processes::kill_marked(std::process::id(), &pct::marker(&self.record_path(id)))? > 0 {}
        match self.config_if_there(id)? {
            Some(config) if config.lock() == Some("create") => {
                self.unmount_root(id)?;
                self.call("unlock", id, &[])?;
                self.call("destroy", id, &["--destroy-unreferenced-disks", "1"])?;
                self.free_source(&record)?;
            }
            // Whole: what it lacks is found as its drift.
            Some(_) => return Ok(()),
            None => {}
        }
        atomic::remove_if_there(&self.record_path(id))
    }

    /// The lock that a copy puts on its source, and the snapshot that it is made from, are left by the same death.
    fn free_source(&self, record: &Record) -> Result<()> {
        let Some(source) = record.source() else { return Ok(()) };
        let Some(config) = self.config_if_there(source)? else { return Ok(()) };
        if config.lock() == Some("disk") {
            self.call("unlock", source, &[])?;
        }
        self.remove_temporary_snapshot(source)
    }

    /// A killed `pct create` leaves the new root mounted, and a volume that is in use cannot be freed.
    fn unmount_root(&self, id: ContainerId) -> Result<()> {
        let root = self.node.lxcpath.join(id.to_string()).join("rootfs");
        match rustix::mount::unmount(&root, rustix::mount::UnmountFlags::NOFOLLOW) {
            // Not mounted, or not even there.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::new(Kind::Host, format!("`{}` could not be unmounted", root.display()))
                .caused_by(error)
                .hint("see who uses it with `fuser -vm`, and run the same command again")),
        }
    }

    fn require_absent(&self, id: ContainerId) -> Result<()> {
        match self.config_if_there(id)? {
            None => Ok(()),
            Some(config) if config.lock() == Some("create") => Err(half_made(id)),
            Some(_) => Err(Error::new(Kind::Command, format!("container {id} exists already"))
                .hint("run the same command again, which brings it to where it should be")),
        }
    }
}

fn template(container: &Container) -> Result<&str> {
    let id = container.id;
    let Some(template) = &container.template else {
        return Err(Error::new(
            Kind::Configuration,
            format!("container {id} has neither `template` nor `clone_from_ctid`"),
        )
        .hint("name what it is made from in `template`: a volume that `pveam list local` lists, or a path"));
    };
    let text = template.to_str().unwrap_or_default();
    if template.is_absolute() || text.split_once(":vztmpl/").is_some_and(|(pool, name)| is_name(pool) && is_name(name))
    {
        return Ok(text);
    }
    Err(Error::new(Kind::Configuration, format!("container {id}: `{}` names no template", template.display()))
        .hint("set `template` to a volume such as `local:vztmpl/NAME.tar.zst`, or to an absolute path"))
}

/// What cannot be taken for an option of `pct` or for a path out of the pool.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !text.contains('/')
        && !text.contains(char::is_control)
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

fn check_pool(id: ContainerId, name: &str, pools: &[Storage]) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::new(Kind::Configuration, format!("container {id}: {what}"))
            .hint("set `storage_pool`, and `pool` of each volume, to one that `pvesm status --content rootdir` lists"))
    };
    match pools.iter().find(|pool| pool.name == name) {
        None => wrong(&format!("there is no storage pool `{name}`")),
        Some(pool) if pool.is_disabled() => wrong(&format!("the storage pool `{name}` is disabled")),
        Some(pool) if !pool.takes_containers() => wrong(&format!("the storage pool `{name}` takes no containers")),
        Some(_) => Ok(()),
    }
}

/// Bridges of Open vSwitch are none for the kernel, so any interface of this name will do.
fn require_interface(id: ContainerId, bridge: &str) -> Result<()> {
    if !bridge.contains('/') && Path::new("/sys/class/net").join(bridge).exists() {
        return Ok(());
    }
    Err(Error::new(Kind::Configuration, format!("container {id}: there is no bridge `{bridge}` on this host"))
        .hint("set `network_config.bridge` to one that `ip -brief link show type bridge` lists"))
}

/// Whether a new container gets a user namespace: it says so, or says nothing and has a map of its own, which has
/// always meant the usual one. `pct` is always told: what it does by itself has changed from release to release.
fn wants_idmap(container: &Container) -> bool {
    container.unprivileged.unwrap_or(container.id_map)
}
