//! How containers are: what is wanted, on the host, installed and reported, and what follows. Changes nothing.

mod cluster;
mod elsewhere;
mod judgement;
mod look;
mod not_configured;
mod row;
mod schema;

use std::path::PathBuf;

use schemars::JsonSchema;

use crate::config::Method;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::placement::Profile;

pub use cluster::status_of_all_nodes;
pub use look::status;
pub use not_configured::status_of_unconfigured;
pub use schema::schema;

/// Whether the drivers in running containers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// The verdict is made from files, device nodes and versions; nothing is run in a container.
    Nobody,
    /// `nvidia-smi` is run in every running container.
    Drivers,
}

/// How JSON writes what names a container.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum JsonId {
    /// A CTID.
    Number(u64),
    /// A name.
    Name(String),
}

/// How one container is.
#[derive(Debug, Clone, serde::Serialize, JsonSchema)]
pub struct ContainerStatus {
    /// The container's CTID, or its name where plain LXC has it by a name.
    #[schemars(with = "JsonId")]
    pub id: ContainerId,
    /// Its name; empty when its configuration cannot be read.
    pub name: String,
    /// The node of the cluster that has it; null for a container of this host, unless the whole cluster was asked for.
    pub cluster_node: Option<ClusterNode>,
    /// `absent`, `stopped`, `running` or `frozen`; `unknown` when the hypervisor could not be asked, and of containers
    /// of other nodes.
    pub state: &'static str,
    /// The GPUs that are assigned to it; of a container of another node, or that the configuration does not name, the
    /// device nodes that its file gives it.
    pub gpus: Vec<String>,
    /// The version that the configuration names; null when it asks for no driver.
    #[schemars(with = "Option<String>")]
    pub wanted: Option<DriverVersion>,
    /// The version of the host's loaded kernel module; null of containers of other nodes.
    #[schemars(with = "Option<String>")]
    pub host: Option<DriverVersion>,
    /// The version of the files in the container.
    #[schemars(with = "Option<String>")]
    pub installed: Option<DriverVersion>,
    /// What `nvidia-smi` in the container reports, one entry per GPU; empty when it was not asked.
    #[schemars(with = "Vec<String>")]
    pub reported: Vec<DriverVersion>,
    /// How the driver got there; null when somebody else installed it.
    #[schemars(with = "Option<String>")]
    pub method: Option<Method>,
    /// Which part of the driver is there.
    #[schemars(with = "Option<String>")]
    pub profile: Option<Profile>,
    /// Its device nodes; null when it does not run, has no GPUs, or the host has no NVIDIA kernel module.
    pub nodes: Option<Nodes>,
    /// Whether the run file is cached: `yes`, `unchecked`, `partly`, `no`; null when no driver is wanted.
    pub cached: Option<&'static str>,
    /// What follows, in a word or two.
    pub verdict: Verdict,
    /// Whether everything that was looked at agrees; null where no driver is wanted or the container is absent, where
    /// the host has no kernel module that could agree, and of containers of other nodes.
    pub in_sync: Option<bool>,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Its GPUs that are others than when it was configured, one sentence each.
    pub moved_gpus: Vec<String>,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, JsonSchema)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Whether it answers; null where this node does not know.
    pub online: Option<bool>,
}

/// The NVIDIA device nodes in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, JsonSchema)]
pub struct Nodes {
    /// How many it must have.
    pub wanted: usize,
    /// Those that are missing, have other numbers than the host's, or may not be opened.
    #[schemars(with = "Vec<String>")]
    pub missing: Vec<PathBuf>,
}

/// What follows for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, JsonSchema)]
pub enum Verdict {
    /// All four versions agree, and the driver answers for every GPU.
    #[serde(rename = "verified")]
    Verified,
    /// Files, settings, device nodes and the host's module are as they should be; the driver was not asked.
    #[serde(rename = "in sync (not verified live)")]
    InSync,
    /// The right files are there, and nobody can ask the driver.
    #[serde(rename = "installed, not verified live")]
    NotVerifiedLive,
    /// The right driver is there, and the host lacks what a GPU of the container needs.
    #[serde(rename = "GPU unavailable")]
    GpuUnavailable,
    /// Something disagrees; the reason says what.
    #[serde(rename = "out of sync")]
    OutOfSync,
    /// The right driver is there; the container's settings differ from the configuration, or are not in effect yet.
    #[serde(rename = "settings differ")]
    SettingsDiffer,
    /// A driver is wanted and none is installed.
    #[serde(rename = "not installed")]
    NotInstalled,
    /// It is configured and does not exist.
    #[serde(rename = "absent")]
    Absent,
    /// Its configuration asks for no driver.
    #[serde(rename = "no driver wanted")]
    NoDriverWanted,
    /// It has GPUs, and the configuration does not describe it.
    #[serde(rename = "not configured")]
    NotConfigured,
    /// It does not run, and its disk cannot be examined without mounting it.
    #[serde(rename = "unknown")]
    Unknown,
    /// Another node of the cluster has it; only that node can look into it.
    #[serde(rename = "not known from here")]
    NotKnownFromHere,
    /// It could not be looked at; the reason says why.
    #[serde(rename = "error")]
    Error,
}

impl Verdict {
    /// The word or two for tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::InSync => "in sync (not verified live)",
            Self::NotVerifiedLive => "installed, not verified live",
            Self::GpuUnavailable => "GPU unavailable",
            Self::OutOfSync => "out of sync",
            Self::SettingsDiffer => "settings differ",
            Self::NotInstalled => "not installed",
            Self::Absent => "absent",
            Self::NoDriverWanted => "no driver wanted",
            Self::NotConfigured => "not configured",
            Self::Unknown => "unknown",
            Self::NotKnownFromHere => "not known from here",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_json_have_the_same_words() {
        let all = [
            Verdict::Verified,
            Verdict::GpuUnavailable,
            Verdict::InSync,
            Verdict::NotVerifiedLive,
            Verdict::OutOfSync,
            Verdict::SettingsDiffer,
            Verdict::NotInstalled,
            Verdict::Absent,
            Verdict::NoDriverWanted,
            Verdict::NotConfigured,
            Verdict::Unknown,
            Verdict::NotKnownFromHere,
            Verdict::Error,
        ];
        for verdict in all {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.words());
        }
    }
}
