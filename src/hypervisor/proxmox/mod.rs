//! Proxmox VE: containers are made, set and started by `pct` (pve-container 4.0 and later; measured with 6.1.10), and
//! reached directly, for they are liblxc's.
//!
//! A call of `pct` costs most of a second, so everything that can be read is read from its files: `lxc/ID.conf`,
//! `.vmlist`, `.members` and `storage.cfg` below `/etc/pve`. What `pct` has no option for, raw lines for liblxc, is
//! edited in the main section of `ID.conf` and nowhere else.

mod cloning;
mod cluster;
mod config_file;
mod configure;
mod device_rules;
mod devices;
mod existing;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keys;
mod lifecycle;
mod making;
mod mounted;
mod neighbours;
mod node;
mod notes;
mod optional_nodes;
mod pct;
mod property;
mod record;
mod second_node;
mod settings;
mod snapshots;
mod starting;
mod storage;
mod tasks;
mod version;
mod volume;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::config::{Container, Context};
use crate::container_id::ContainerId;
use crate::driver::device::DeviceNode;
use crate::error::Result;
use crate::hypervisor::cluster::Cluster;
use crate::hypervisor::monitors::Monitors;
use crate::hypervisor::{
    AsItIs, Desired, Drift, Exec, HostsDriver, Hypervisor, Inside, LeftByMaking, LifeCycle, RootSizes, Settings,
    Snapshot, Snapshots, State,
};
use crate::sys::command::Output;
use crate::sys::readable::Readable;
use crate::sys::rootfs::Rootfs;

use mounted::Mounts;
pub(in crate::hypervisor) use node::has_guest;
pub use node::is_node;
use version::Version;

/// Where a node's containers are found, and how long others are waited for.
#[derive(Debug, Clone)]
pub struct Node {
    /// The cluster's file system, `/etc/pve`.
    pub root: PathBuf,
    /// Where liblxc has a directory for every container, `/var/lib/lxc`.
    pub lxcpath: PathBuf,
    /// The directory of `pct` and `dpkg-query`; found by `PATH` where none is named.
    pub tools: Option<PathBuf>,
    /// How long a container that Proxmox VE has locked is waited for.
    pub patience: Duration,
}

/// The containers of one node of Proxmox VE.
pub struct Proxmox<'a> {
    node: Node,
    monitors: Monitors,
    context: Context<'a>,
    version: OnceLock<Version>,
    /// The roots of stopped containers that are mounted for this run.
    mounts: Mounts,
    /// A container that is being started, by a `pct` that waits for this program, and its init.
    starting: Option<(ContainerId, u32)>,
}

impl<'a> Proxmox<'a> {
    /// Where the cluster's file system is mounted.
    pub const DEFAULT_ROOT: &'static str = "/etc/pve";

    /// The containers of a node.
    pub fn new(node: Node, context: Context<'a>) -> Self {
        let (monitors, version, mounts) = (Monitors::new(&node.lxcpath), OnceLock::new(), Mounts::default());
        Self { monitors, node, context, version, mounts, starting: None }
    }
}

impl Hypervisor for Proxmox<'_> {
    fn name(&self) -> &'static str {
        "proxmox"
    }

    fn start_command(&self, id: ContainerId) -> String {
        format!("pct start {id}")
    }

    fn snapshots(&self) -> std::result::Result<&dyn Snapshots, &'static str> {
        Ok(self)
    }

    fn root_sizes(&self) -> Option<&dyn RootSizes> {
        Some(self)
    }
}

impl LifeCycle for Proxmox<'_> {
    fn ids(&self) -> Result<Vec<ContainerId>> {
        self.own_containers()
    }

    fn state(&self, id: ContainerId) -> Result<State> {
        self.current_state(id)
    }

    fn elsewhere(&self, id: ContainerId) -> Result<Option<String>> {
        self.node_of_another(id)
    }

    fn cluster(&self) -> Result<Option<Cluster>> {
        self.whole_cluster().map(Some)
    }

    fn left_by_making(&self, id: ContainerId) -> Result<Option<LeftByMaking>> {
        Ok(self.left_of_making(id)?.map(|what| LeftByMaking { what, by_hand: None }))
    }

    fn create(&self, desired: &Desired<'_>) -> Result<()> {
        self.create_from_template(desired)
    }

    fn clone_from(&self, source: ContainerId, desired: &Desired<'_>) -> Result<()> {
        self.clone_of(source, desired)
    }

    fn start(&self, id: ContainerId) -> Result<()> {
        self.bring_up(id)
    }

    fn stop(&self, id: ContainerId) -> Result<()> {
        self.bring_down(id)
    }

    fn destroy(&self, id: ContainerId) -> Result<()> {
        self.remove(id)
    }

    fn is_being_started(&self, id: ContainerId) -> bool {
        self.starting.is_some_and(|(starting, _)| starting == id)
    }
}

impl Settings for Proxmox<'_> {
    fn as_it_is(&self, id: ContainerId) -> Result<AsItIs> {
        self.described_by_settings(id)
    }

    fn check(&self, desired: &Desired<'_>) -> Result<()> {
        self.check_desired(desired)
    }

    fn check_template(&self, container: &Container) -> Result<()> {
        self.require_template(container)
    }

    fn refused_nodes(&self, id: ContainerId, devices: &[DeviceNode]) -> Result<Vec<PathBuf>> {
        self.refused_nodes_of(id, devices)
    }

    fn hosts_driver(&self, id: ContainerId) -> Result<Vec<HostsDriver>> {
        Ok(self
            .config_if_there(id)?
            .map(|config| notes::hosts_driver(&config, &self.config_path(id)))
            .unwrap_or_default())
    }

    fn left_out(&self, container: &Container) -> Result<Vec<String>> {
        self.told_of(container)
    }

    fn drift(&self, desired: &Desired<'_>) -> Result<Drift> {
        self.drift_of(desired)
    }

    fn passed_nodes(&self, id: ContainerId) -> Result<Vec<PathBuf>> {
        let Some(config) = self.config_if_there(id)? else { return Ok(Vec::new()) };
        Ok(devices::passed(&config, &self.record(id)?.devices))
    }

    fn configure(&self, desired: &Desired<'_>) -> Result<()> {
        self.write_settings(desired)
    }
}

impl Inside for Proxmox<'_> {
    fn exec(&self, id: ContainerId, exec: &Exec, watch: &mut dyn FnMut(&[u8])) -> Result<Output> {
        self.liblxc().attach(id, exec, watch, &self.start_command(id))
    }

    fn rootfs(&self, id: ContainerId) -> Result<Rootfs> {
        self.open_rootfs(id)
    }

    fn rootfs_at_hand(&self, id: ContainerId) -> Result<Option<Box<dyn Readable>>> {
        self.root_at_hand(id)
    }
}

impl RootSizes for Proxmox<'_> {
    fn growth(&self, container: &Container) -> Result<Option<u64>> {
        self.growth_of(container)
    }

    fn grow(&self, id: ContainerId, gib: u64) -> Result<()> {
        self.grow_root(id, gib)
    }
}

impl Snapshots for Proxmox<'_> {
    fn names(&self, container: &Container) -> Result<Option<Vec<String>>> {
        self.snapshots_of(container)
    }

    fn take(&self, id: ContainerId, name: &str, description: &str) -> Result<()> {
        self.take_snapshot(id, name, description)
    }

    fn why_not(&self, id: ContainerId) -> Result<Option<String>> {
        self.conflict_to_snapshots(id)
    }

    fn find(&self, id: ContainerId, name: &str) -> Result<Option<Snapshot>> {
        Ok(self.config(id)?.snapshot(name))
    }

    fn remove(&self, id: ContainerId, name: &str) -> Result<()> {
        self.delete_snapshot(id, name)
    }

    fn roll_back(&self, id: ContainerId, name: &str) -> Result<()> {
        self.return_to_snapshot(id, name)
    }
}
