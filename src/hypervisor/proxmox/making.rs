//! Making containers: from a template or as a copy; what must be right before; and what a killed run left.

use std::path::Path;
use std::time::Duration;

use crate::config::{Container, Context};
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
use super::snapshots::volumes;
use super::storage::Storage;

const CREATE_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// What `pct` takes where no pool is named.
const DEFAULT_POOL: &str = "local";

impl Proxmox<'_> {
    pub(super) fn check_desired(&self, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        require_number(container.id)?;
        self.pct().require_installed()?;
        self.version()?;
        self.members()?.require_quorum()?;
        if let Some(network) = &container.network {
            require_interface(container.id, &network.bridge)?;
        }
        let config = self.config_if_there(container.id)?;
        mounted::check_idmap(&config.unwrap_or_default(), container)?;
        if self.current_state(container.id)? != State::Absent {
            return Ok(());
        }
        match container.clone_from {
            // One that does not exist yet is made before its copy.
            Some(source) => {
                self.config_if_there(source)?.map_or(Ok(()), |config| self.check_source(&config, source, container))
            }
            None => self.check_origin(container),
        }
    }

    /// The template, and the pools that the container would lie in.
    fn check_origin(&self, container: &Container) -> Result<()> {
        let id = container.id;
        let pools = self.pools()?;
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
                format!("container {id}: the storage pool `{name}` ({kind}) cannot snapshot containers"),
            )
            .hint(
                "set `storage_pool` to one of ZFS, LVM-thin or Ceph, or remove `enable_lifecycle_snapshots` and \
                 `template_snapshot_name`",
            ));
        }
        require_template(container, &pools)
    }

    pub(super) fn require_template(&self, container: &Container) -> Result<()> {
        require_template(container, &self.pools()?)
    }

    pub(super) fn create_from_template(&self, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        let id = container.id;
        self.clear_half_made(id)?;
        self.require_absent(id)?;
        self.check_origin(container)?;
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
        let given = settings::given(&ConfigFile::default(), desired, &Record::default(), &surroundings);
        self.make(id, Record { making: Some(Making::Created), ..given }, || {
            let path = self.record_path(id);
            let call = Call::new("create", id, &words);
            let made = self.pct().run(&Call { deadline: CREATE_DEADLINE, marker: Some(&path), ..call }).map(|_| ());
            // Of a pool without any room, `pct` says that a command has failed.
            made.or_else(|error| match error.kind() {
                Kind::Interrupted => Err(error),
                _ => self.require_room_in(id, container.storage_pool.as_deref()).and(Err(error)),
            })
        })?;
        self.settle(desired)
    }

    /// Remembers what is being made, makes it, and clears away what a failure has left.
    pub(super) fn make(&self, id: ContainerId, record: Record, work: impl FnOnce() -> Result<()>) -> Result<()> {
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
        let cleared = Proxmox::new(self.node.clone(), Context { cancel: &never, ..self.context }).clear_half_made(id);
        if let Err(left) = cleared {
            // The record lets the next run do it; what has failed first is what the operator must know.
            self.context.listener.warn(Some(id), format!("an incomplete container is still there: {}", left.message()));
        }
        Err(error)
    }

    /// Gives a new container what `pct` could not: there as a whole or not at all.
    pub(super) fn settle(&self, desired: &Desired<'_>) -> Result<()> {
        let whole = self.require_room(desired.container.id).and_then(|()| self.write_settings(desired));
        let Err(error) = whole else { return Ok(()) };
        let never = Cancel::new()?;
        let id = desired.container.id;
        Pct { cancel: &never, ..self.pct() }.run(&Call::new("destroy", id, &[]))?;
        Record::default().save(&self.record_path(id))?;
        Err(error)
    }

    fn require_room_in(&self, id: ContainerId, pool: Option<&str>) -> Result<()> {
        let (name, pools) = (pool.unwrap_or(DEFAULT_POOL), self.pools()?);
        pools.iter().find(|pool| pool.name == name).map_or(Ok(()), |pool| pool.require_room(id))
    }

    /// That the pools of a new container's volumes have taken what was written into them.
    pub(super) fn require_room(&self, id: ContainerId) -> Result<()> {
        let pools = self.pools()?;
        let names = volumes(&self.config(id)?);
        let names = names.iter().filter_map(|volume| volume.split_once(':')).map(|(name, _)| name);
        names.filter_map(|name| pools.iter().find(|pool| pool.name == name)).try_for_each(|pool| pool.require_room(id))
    }

    /// Clears away a container that a killed run of ours has begun to make: its `pct` may even be still at work.
    pub(super) fn clear_half_made(&self, id: ContainerId) -> Result<()> {
        let record = self.record(id)?;
        if record.making.is_none() {
            return Ok(());
        }
        self.end_left_calls(id)?;
        match self.config_if_there(id)? {
            Some(config) if config.lock() == Some("create") => {
                self.unmount_root(id)?;
                self.call("unlock", id, &[])?;
                self.call("destroy", id, &["--destroy-unreferenced-disks", "1"])?;
            }
            // Whole: what it lacks is found as its drift.
            Some(_) => return self.remember_as_made(id),
            None => {}
        }
        self.free_source(&record)?;
        atomic::remove_if_there(&self.record_path(id))
    }

    /// Ends the `pct` that a killed run left at work on the making of a container.
    fn end_left_calls(&self, id: ContainerId) -> Result<()> {
        let record = self.record_path(id);
        // Workers first: one that loses what it has started begins to clear away. Again until none is found: one that
        // was seen may have started another in between.
        while processes::kill_reading(&record)? + processes::kill_marked(std::process::id(), &pct::marker(&record))? > 0
        {
        }
        Ok(())
    }

    /// A killed `pct create` leaves the new root mounted, and a volume that is in use cannot be freed.
    fn unmount_root(&self, id: ContainerId) -> Result<()> {
        let root = self.node.lxcpath.join(id.to_string()).join("rootfs");
        match rustix::mount::unmount(&root, rustix::mount::UnmountFlags::NOFOLLOW) {
            // Not mounted, or not even there.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::new(Kind::Host, format!("`{}` could not be unmounted", root.display()))
                .caused_by(error)
                .hint("check who uses it with `fuser -vm`, and run the same command again")),
        }
    }

    pub(super) fn require_absent(&self, id: ContainerId) -> Result<()> {
        match self.config_if_there(id)? {
            None => Ok(()),
            Some(config) if config.lock() == Some("create") => Err(half_made(id)),
            Some(_) => Err(Error::new(Kind::Command, format!("container {id} exists already"))
                .hint("run the same command again to configure it")),
        }
    }
}

fn require_template(container: &Container, pools: &[Storage]) -> Result<()> {
    let id = container.id;
    let template = template(container)?;
    let missing = match template.split_once(":vztmpl/") {
        None => !Path::new(template).is_file(),
        Some((name, volume)) => {
            let pool = pools.iter().find(|pool| pool.name == name && !pool.is_disabled());
            let pool = pool.ok_or_else(|| no_pool_of_template(id, name))?;
            pool.template(volume).is_some_and(|path| !path.is_file())
        }
    };
    if !missing {
        return Ok(());
    }
    Err(Error::new(Kind::Configuration, format!("container {id}: the template `{template}` does not exist"))
        .hint(failure::download(template)))
}

fn template(container: &Container) -> Result<&str> {
    let id = container.id;
    let Some(template) = &container.template else {
        return Err(Error::new(
            Kind::Configuration,
            format!("container {id} needs `template` or `clone_from_ctid`, but has neither"),
        )
        .hint("set `template` to a volume that `pveam list local` lists, or a path"));
    };
    let text = template.to_str().unwrap_or_default();
    if template.is_absolute() || text.split_once(":vztmpl/").is_some_and(|(pool, name)| is_name(pool) && is_name(name))
    {
        return Ok(text);
    }
    Err(Error::new(Kind::Configuration, format!("container {id}: `{}` names no template", template.display()))
        .hint("set `template` to a volume such as `local:vztmpl/NAME.tar.zst`, or to an absolute path"))
}

fn no_pool_of_template(id: ContainerId, pool: &str) -> Error {
    let message = format!("container {id}: there is no storage pool `{pool}`, which `template` names");
    Error::new(Kind::Configuration, message).hint("name one that `pvesm status --content vztmpl` lists")
}

/// What cannot be taken for an option of `pct` or for a path out of the pool.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !text.contains('/')
        && !text.contains(char::is_control)
}

fn require_number(id: ContainerId) -> Result<()> {
    if id.number().is_some() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Configuration,
        format!("`{id}` is not a CTID, and containers of Proxmox VE have no other names"),
    )
    .hint("name it by its number, from 100 to 999999999; `pct list` shows both"))
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
        .hint("set `network_config.bridge` to one listed by `ip -brief link show type bridge`"))
}

/// Whether a new container gets a user namespace: it says so, or says nothing and has a map of its own, which has
/// always meant the usual one. `pct` always gets it: what it does by itself has changed from release to release.
fn wants_idmap(container: &Container) -> bool {
    container.unprivileged.unwrap_or(container.id_map)
}
