//! What is asked of every hypervisor, in small traits: the life of containers, their settings, their inside.

pub mod cluster;
mod liblxc;
pub mod lxc;
mod majors;
mod monitors;
pub mod proxmox;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::device::DeviceNode;
use crate::error::Result;
use crate::sys::command::Output;
use crate::sys::readable::Readable;
use crate::sys::rootfs::Rootfs;

use cluster::Cluster;

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// There is no such container.
    Absent,
    /// It exists and nothing runs in it.
    Stopped,
    /// It runs.
    Running {
        /// The process of its init, as the host numbers it.
        init: u32,
    },
    /// It was frozen; nothing in it moves until it is thawed.
    Frozen,
}

impl State {
    /// The process of its init, where it runs.
    pub fn init(self) -> Option<u32> {
        match self {
            Self::Running { init } => Some(init),
            Self::Absent | Self::Stopped | Self::Frozen => None,
        }
    }

    /// The word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Stopped => "stopped",
            Self::Running { .. } => "running",
            Self::Frozen => "frozen",
        }
    }
}

/// How a container should be: what its configuration says, and the device nodes that this host has for it.
#[derive(Debug, Clone)]
pub struct Desired<'a> {
    /// Its entry in the configuration.
    pub container: &'a Container,
    /// Exactly the NVIDIA device nodes that it must have; it must have no others but those that are kept. Beside them those
    /// to draw with, below `/dev/dri`, of which it may have others that the operator gave it.
    pub devices: Vec<DeviceNode>,
    /// NVIDIA device nodes that this host lacks for the moment: where its settings pass them, they go on doing so.
    pub kept: Vec<PathBuf>,
    /// Exactly the read-only mounts of drivers that it must have.
    pub mounts: Vec<DriverMount>,
}

/// A driver's image, mounted on the host, that a container sees read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverMount {
    /// The directory on the host.
    pub source: PathBuf,
    /// The directory in the container, absolute; it is made when it is missing.
    pub target: String,
}

impl DriverMount {
    /// The directory of a container below which drivers are mounted: ours alone.
    pub const DIRECTORY: &'static str = "/usr/lib/phoenix-nvidia";
}

/// A setting by which the host's own driver comes into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsDriver {
    /// Where it stands.
    pub file: PathBuf,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// An existing container as its settings describe it, whoever has written them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsItIs {
    /// Its host name; empty where its settings say none.
    pub name: String,
    /// Whether its root is nobody on the host.
    pub is_unprivileged: bool,
    /// Whether the hypervisor starts it when it starts itself.
    pub starts_at_boot: bool,
    /// Memory in MiB, swap in MiB and processors, where its settings say them.
    pub memory_mb: Option<u64>,
    /// See `memory_mb`.
    pub swap_mb: Option<u64>,
    /// See `memory_mb`.
    pub cores: Option<u32>,
    /// The NVIDIA device nodes of the host that its settings pass.
    pub nodes: Vec<PathBuf>,
    /// Its settings let it open NVIDIA's devices, whether they pass nodes or not: rules of older guides.
    pub may_open_nvidias: bool,
}

impl AsItIs {
    /// Whether its settings have to do with NVIDIA's devices.
    pub fn has_gpus(&self) -> bool {
        self.may_open_nvidias || !self.nodes.is_empty()
    }
}

/// What separates a container from how it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// What [`Settings::configure`] would change, each in one phrase.
    pub changes: Vec<String>,
    /// It runs with other settings than those that it should have: only a restart brings them in.
    pub restart: bool,
}

/// What a killed run has left of the making of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftByMaking {
    /// That it has begun, and what there is of it, in one phrase.
    pub what: String,
    /// What to remove by hand, where the container exists all the same, so that making it again removes nothing.
    pub by_hand: Option<PathBuf>,
}

/// A snapshot of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What was said of it when it was taken.
    pub description: String,
    /// It was taken to its end, and nobody has begun to remove it.
    pub is_whole: bool,
}

/// A command to run in a container as its root.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Environment beside `PATH` and `container`, which the hypervisor sets.
    pub environment: Vec<(String, String)>,
    /// After this time its whole process group is killed.
    pub deadline: Duration,
    /// More output than this many bytes ends it.
    pub output_limit: usize,
}

impl Exec {
    /// A command with one minute and 64 KiB of output.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            deadline: Duration::from_secs(60),
            output_limit: 64 << 10,
        }
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }
}

/// The life of containers: whether they exist and run. Every verb is idempotent where that has a meaning.
pub trait LifeCycle: Sync {
    /// All containers of this host that this hypervisor has, in order.
    ///
    /// # Errors
    /// Its files cannot be read.
    fn ids(&self) -> Result<Vec<ContainerId>>;

    /// How a container is.
    ///
    /// # Errors
    /// The hypervisor cannot be asked.
    fn state(&self, id: ContainerId) -> Result<State>;

    /// How many containers are, in the order of `ids`; one that cannot be asked hides no other.
    fn states(&self, ids: &[ContainerId]) -> Vec<Result<State>> {
        ids.iter().map(|id| self.state(*id)).collect()
    }

    /// The other node of a cluster that has this container; `None` where it is this host's own, or nobody's.
    ///
    /// # Errors
    /// The hypervisor cannot be asked.
    fn elsewhere(&self, _id: ContainerId) -> Result<Option<String>> {
        Ok(None)
    }

    /// The cluster that this host is a node of, looked at without asking another node; `None` where there are no nodes.
    ///
    /// # Errors
    /// What this node knows of it cannot be read.
    fn cluster(&self) -> Result<Option<Cluster>> {
        Ok(None)
    }

    /// That a killed run has begun to make the container, and what it has left; changes nothing.
    ///
    /// # Errors
    /// What is remembered of it cannot be read.
    fn left_by_making(&self, _id: ContainerId) -> Result<Option<LeftByMaking>> {
        Ok(None)
    }

    /// Makes the container from its template; it is there as a whole or not at all, and stopped.
    ///
    /// # Errors
    /// It is not possible; nothing is then left behind.
    fn create(&self, desired: &Desired<'_>) -> Result<()>;

    /// Makes the container as a copy of another; it is there as a whole or not at all, and stopped.
    ///
    /// # Errors
    /// It is not possible; nothing is then left behind.
    fn clone_from(&self, source: ContainerId, desired: &Desired<'_>) -> Result<()>;

    /// Starts a stopped container, or thaws a frozen one; returns when commands can run in it.
    ///
    /// # Errors
    /// It does not start.
    fn start(&self, id: ContainerId) -> Result<()>;

    /// Stops a running container; its processes get a chance to end in order.
    ///
    /// # Errors
    /// It does not stop.
    fn stop(&self, id: ContainerId) -> Result<()>;

    /// Removes a container with everything in it, running or not.
    ///
    /// # Errors
    /// It cannot be removed.
    fn destroy(&self, id: ContainerId) -> Result<()>;

    /// Whether a container is just being started, so that commands cannot be run in it yet though its root is there.
    fn is_being_started(&self, _id: ContainerId) -> bool {
        false
    }
}

/// What containers are given: their settings, device nodes and mounts.
pub trait Settings: Sync {
    /// An existing container as its settings describe it.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn as_it_is(&self, id: ContainerId) -> Result<AsItIs>;

    /// Finds out, without changing anything, whether a container could be created as desired.
    ///
    /// # Errors
    /// The reason why not: no template, no such bridge, no idmap.
    fn check(&self, desired: &Desired<'_>) -> Result<()>;

    /// Finds out whether the template that a container would be created from is there.
    ///
    /// # Errors
    /// None is named, or it is not there, or it is something else.
    fn check_template(&self, container: &Container) -> Result<()>;

    /// Those of these device nodes that a running container has and may not open, for its start has allowed others.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn refused_nodes(&self, _id: ContainerId, _devices: &[DeviceNode]) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// The settings of an existing container by which liblxc brings the host's own driver into it at every start, each with
    /// the file that it stands in.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn hosts_driver(&self, _id: ContainerId) -> Result<Vec<HostsDriver>> {
        Ok(Vec::new())
    }

    /// What of a container's configuration means nothing to this hypervisor and is left out, and what of the container
    /// an operator may not expect; a phrase each.
    ///
    /// # Errors
    /// What the hypervisor knows of it cannot be read.
    fn left_out(&self, container: &Container) -> Result<Vec<String>>;

    /// What separates an existing container from how it should be; changes nothing.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn drift(&self, desired: &Desired<'_>) -> Result<Drift>;

    /// The NVIDIA device nodes that the settings of an existing container pass, as they lie on the host, and those below
    /// `/dev/dri` that it was given by this program.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn passed_nodes(&self, id: ContainerId) -> Result<Vec<PathBuf>>;

    /// Gives an existing container the desired settings and exactly the desired devices; a running one gets them
    /// at its next start.
    ///
    /// # Errors
    /// They cannot be written; the previous ones are then untouched.
    fn configure(&self, desired: &Desired<'_>) -> Result<()>;
}

/// The inside of containers: commands and files.
pub trait Inside: Sync {
    /// Runs a command in a running container, whatever its exit code; `watch` sees standard output as it comes.
    ///
    /// # Errors
    /// The container does not run, or the command ran past one of its limits.
    fn exec(&self, id: ContainerId, exec: &Exec, watch: &mut dyn FnMut(&[u8])) -> Result<Output>;

    /// The in-root door of a container, running or stopped.
    ///
    /// # Errors
    /// There is no such container.
    fn rootfs(&self, id: ContainerId) -> Result<Rootfs>;

    /// A container's root, to be read, where it can be had without changing anything; `None` for a stopped container
    /// whose root lies in a volume that would have to be mounted first.
    ///
    /// # Errors
    /// There is no such container.
    fn rootfs_at_hand(&self, id: ContainerId) -> Result<Option<Box<dyn Readable>>> {
        Ok(Some(Box::new(self.rootfs(id)?)))
    }
}

/// The sizes of containers' roots.
pub trait RootSizes: Sync {
    /// The size in GiB that the container's root has to be grown to; `None` when it is large enough, or when this
    /// hypervisor cannot resize roots. For one that does not exist yet: what is to be done after its making.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn growth(&self, container: &Container) -> Result<Option<u64>>;

    /// Grows a container's root to this many GiB.
    ///
    /// # Errors
    /// Its storage refuses, or its file system has not grown with it.
    fn grow(&self, id: ContainerId, gib: u64) -> Result<()>;
}

/// Snapshots of containers, by their names.
pub trait Snapshots: Sync {
    /// The names of the container's snapshots; `None` where this container can have none.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn names(&self, container: &Container) -> Result<Option<Vec<String>>>;

    /// Takes a snapshot of this name, with a description in ASCII letters, digits, blanks, `-` and `.`.
    ///
    /// # Errors
    /// Its storage cannot, or there is one of that name.
    fn take(&self, id: ContainerId, name: &str, description: &str) -> Result<()>;

    /// Why no snapshot of an existing container can be taken, as far as that is known before; `None` where one can.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn why_not(&self, id: ContainerId) -> Result<Option<String>>;

    /// The container's snapshot of this name.
    ///
    /// # Errors
    /// Its settings cannot be read.
    fn find(&self, id: ContainerId, name: &str) -> Result<Option<Snapshot>>;

    /// Removes a snapshot, if it is there; the container stays as it is.
    ///
    /// # Errors
    /// Its storage refuses.
    fn remove(&self, id: ContainerId, name: &str) -> Result<()>;

    /// Brings a container, its disks and its settings, back to a snapshot, which stays. Afterwards it is stopped.
    ///
    /// # Errors
    /// There is no such snapshot, or its storage refuses.
    fn roll_back(&self, id: ContainerId, name: &str) -> Result<()>;
}

/// A hypervisor's containers.
pub trait Hypervisor: LifeCycle + Settings + Inside {
    /// Its name for people: `lxc`.
    fn name(&self) -> &'static str;

    /// The command of its own that starts a container.
    fn start_command(&self, id: ContainerId) -> String;

    /// Snapshots, or why it has none.
    fn snapshots(&self) -> std::result::Result<&dyn Snapshots, &'static str>;

    /// The sizes of roots, where it gives them any.
    fn root_sizes(&self) -> Option<&dyn RootSizes> {
        None
    }
}
