//! Plain LXC through liblxc's own tools (measured with lxc 5.0.2): one directory a container below the lxcpath.
//!
//! A container has two files: `config`, which says what it is and is written once, and `phoenix-nvidia.conf`, included
//! by one line of the first, which holds everything that the operators' configuration decides and is replaced as a
//! whole. So applying twice is applying once, and a GPU that is no longer assigned is gone.

mod config_file;
mod create;
mod existing;
mod host_features;
mod lifecycle;
mod ownership;
mod settings;
mod staging;
mod start_log;
mod template;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::liblxc::{self, Liblxc};
use crate::hypervisor::monitors::Monitors;
use crate::hypervisor::{
    AsItIs, Desired, Drift, Exec, HostsDriver, Hypervisor, Inside, LeftByMaking, LifeCycle, Settings, Snapshots, State,
};
use crate::sys::cancel::Cancel;
use crate::sys::command::{Command, Output};
use crate::sys::rootfs::Rootfs;

use host_features::HostFeatures;

/// The containers of one lxcpath.
#[derive(Debug)]
pub struct Lxc<'a> {
    lxcpath: PathBuf,
    /// Where the cluster's file system is mounted if this host is a node of Proxmox VE, and whether it is one.
    pve_root: PathBuf,
    is_node: OnceLock<bool>,
    features: OnceLock<HostFeatures>,
    starting: Option<Starting>,
    monitors: Monitors,
    cancel: &'a Cancel,
}

/// A container that liblxc is starting while it waits for this program, so that it must not be asked.
#[derive(Debug, Clone, Copy)]
struct Starting {
    id: ContainerId,
    /// The process that becomes its init, once its root is set up.
    init: Option<u32>,
}

impl<'a> Lxc<'a> {
    /// Where liblxc keeps containers unless an option says otherwise.
    pub const DEFAULT_PATH: &'static str = "/var/lib/lxc";

    /// The containers below `lxcpath`, but for those of Proxmox VE, whose cluster's file system is at `pve_root`.
    pub fn new(lxcpath: impl Into<PathBuf>, pve_root: impl Into<PathBuf>, cancel: &'a Cancel) -> Self {
        let (lxcpath, pve_root) = (lxcpath.into(), pve_root.into());
        let monitors = Monitors::new(&lxcpath);
        let (is_node, features) = (OnceLock::new(), OnceLock::new());
        Self { lxcpath, pve_root, is_node, features, starting: None, monitors, cancel }
    }

    /// What this host offers, read when it is first asked for.
    fn features(&self) -> Result<HostFeatures> {
        if let Some(features) = self.features.get() {
            return Ok(*features);
        }
        let features = HostFeatures::read(self.cancel)?;
        Ok(*self.features.get_or_init(|| features))
    }

    /// The same, called by liblxc itself just before it starts this container, of which nothing runs yet. liblxc must
    /// not be asked then, for it waits for the answer.
    #[must_use]
    pub fn about_to_start(self, id: ContainerId) -> Self {
        Self { starting: Some(Starting { id, init: None }), ..self }
    }

    /// The same, called when the root of this container is set up and the process that becomes its init waits.
    #[must_use]
    pub fn set_up(self, id: ContainerId, init: u32) -> Self {
        Self { starting: Some(Starting { id, init: Some(init) }), ..self }
    }

    /// Whether liblxc calls a hook of this program when a container's root is set up, as far as its own files say.
    pub fn has_hook_when_set_up(&self, id: ContainerId) -> bool {
        let is_hook = |line: &str| {
            let (key, value) = line.split_once('=').unwrap_or_default();
            key.trim() == "lxc.hook.start-host" && value.contains("phoenix-nvidia")
        };
        let files = [self.config(id), self.settings(id)];
        files.iter().filter_map(|file| fs_err::read_to_string(file).ok()).any(|text| text.lines().any(is_hook))
    }

    /// Whether liblxc's tools are on this host.
    pub fn is_installed() -> bool {
        ["/usr/bin/lxc-start", "/usr/local/bin/lxc-start", "/bin/lxc-start"].iter().any(|path| Path::new(path).exists())
    }

    fn liblxc(&self) -> Liblxc<'_> {
        Liblxc { lxcpath: &self.lxcpath, monitors: &self.monitors, cancel: self.cancel }
    }

    fn tool(&self, program: &str, id: ContainerId) -> Command {
        self.liblxc().tool(program, id)
    }

    fn directory(&self, id: ContainerId) -> PathBuf {
        self.lxcpath.join(id.to_string())
    }

    fn config(&self, id: ContainerId) -> PathBuf {
        self.directory(id).join("config")
    }

    fn settings(&self, id: ContainerId) -> PathBuf {
        self.directory(id).join(config_file::FILE)
    }

    fn require(&self, id: ContainerId) -> Result<()> {
        if self.config(id).exists() {
            return Ok(());
        }
        Err(Error::new(Kind::Command, format!("container {id} does not exist in `{}`", self.lxcpath.display()))
            .hint(format!("create it with `phoenix-nvidia create {id}`")))
    }
}

impl Hypervisor for Lxc<'_> {
    fn name(&self) -> &'static str {
        "lxc"
    }

    fn start_command(&self, id: ContainerId) -> String {
        match self.lxcpath == Path::new(Self::DEFAULT_PATH) {
            true => format!("lxc-start {id}"),
            false => format!("lxc-start -P {} {id}", self.lxcpath.display()),
        }
    }

    fn snapshots(&self) -> std::result::Result<&dyn Snapshots, &'static str> {
        Err("`lxc-snapshot` cannot snapshot a running container, and copies a directory as a whole")
    }
}

impl LifeCycle for Lxc<'_> {
    fn ids(&self) -> Result<Vec<ContainerId>> {
        self.own_containers()
    }

    fn state(&self, id: ContainerId) -> Result<State> {
        self.plain(id)?.current_state(id)
    }

    fn states(&self, ids: &[ContainerId]) -> Vec<Result<State>> {
        self.current_states(ids)
    }

    fn left_by_making(&self, id: ContainerId) -> Result<Option<LeftByMaking>> {
        self.left_of_making(id)
    }

    fn create(&self, desired: &Desired<'_>) -> Result<()> {
        self.plain(desired.container.id)?.create_from_template(desired)
    }

    fn clone_from(&self, source: ContainerId, desired: &Desired<'_>) -> Result<()> {
        self.plain(source)?.plain(desired.container.id)?.copy_of(source, desired)
    }

    fn start(&self, id: ContainerId) -> Result<()> {
        self.plain(id)?.bring_up(id)
    }

    fn stop(&self, id: ContainerId) -> Result<()> {
        self.plain(id)?.bring_down(id)
    }

    fn destroy(&self, id: ContainerId) -> Result<()> {
        self.plain(id)?.remove(id)
    }

    fn is_being_started(&self, id: ContainerId) -> bool {
        self.starting.is_some_and(|starting| starting.id == id)
    }
}

impl Settings for Lxc<'_> {
    fn as_it_is(&self, id: ContainerId) -> Result<AsItIs> {
        self.plain(id)?.described_by_settings(id)
    }

    fn check(&self, desired: &Desired<'_>) -> Result<()> {
        if let Some(source) = desired.container.clone_from {
            self.plain(source)?;
        }
        self.plain(desired.container.id)?.check_desired(desired)
    }

    fn check_template(&self, container: &Container) -> Result<()> {
        template::template(container).map(|_| ())
    }

    fn hosts_driver(&self, id: ContainerId) -> Result<Vec<HostsDriver>> {
        self.hosts_driver_in_settings(id)
    }

    fn left_out(&self, container: &Container) -> Result<Vec<String>> {
        let mut left_out = Vec::new();
        if !container.volumes.is_empty() {
            let names: Vec<&str> = container.volumes.iter().map(|volume| volume.name.as_str()).collect();
            left_out.push(format!(
                "plain LXC has no storage pools, so the volumes `{}` are not created",
                names.join("`, `")
            ));
        }
        if container.lifecycle_snapshots {
            left_out.push("plain LXC has no named snapshots, so no lifecycle snapshots are taken".to_owned());
        }
        left_out.extend(liblxc::no_access_of_its_own(container, "plain LXC"));
        Ok(left_out)
    }

    fn drift(&self, desired: &Desired<'_>) -> Result<Drift> {
        self.plain(desired.container.id)?.drift_of(desired)
    }

    fn passed_nodes(&self, id: ContainerId) -> Result<Vec<PathBuf>> {
        self.nodes_in_settings(id)
    }

    fn configure(&self, desired: &Desired<'_>) -> Result<()> {
        self.plain(desired.container.id)?.write_settings(desired)
    }
}

impl Inside for Lxc<'_> {
    fn exec(&self, id: ContainerId, exec: &Exec, watch: &mut dyn FnMut(&[u8])) -> Result<Output> {
        self.plain(id)?.attach(id, exec, watch)
    }

    fn rootfs(&self, id: ContainerId) -> Result<Rootfs> {
        self.plain(id)?.open_rootfs(id)
    }
}
