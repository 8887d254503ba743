//! A cluster of hosts, as one of its nodes knows it without asking another: who has which container, and what its
//! configuration file says.

use crate::container_id::ContainerId;

/// The cluster around this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The name of this host in it.
    pub node: String,
    /// Whether this node is with the majority; without it, what is known of the others may be old.
    pub has_quorum: bool,
    /// Every container of every node.
    pub containers: Vec<ClusterContainer>,
}

impl Cluster {
    /// A container that another node has.
    pub fn elsewhere(&self, id: ContainerId) -> Option<&ClusterContainer> {
        self.containers.iter().find(|container| container.id == id && container.node != self.node)
    }
}

/// A container of some node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterContainer {
    /// Its CTID.
    pub id: ContainerId,
    /// The node that has it.
    pub node: String,
    /// Whether that node answers; `None` where this one does not know.
    pub is_online: Option<bool>,
    /// What its configuration file says; `None` where that cannot be read.
    pub file: Option<ContainerFile>,
}

/// What the configuration file of a container says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFile {
    /// Its host name; empty where it has none.
    pub name: String,
    /// The device nodes of GPUs that it gets: `/dev/nvidia0`.
    pub gpus: Vec<String>,
}
