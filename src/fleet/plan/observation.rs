//! What planning needs to know of one container.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::cache::Presence as Cached;
use crate::fleet::observe::passthrough::Passthrough;
use crate::fleet::plan::rollback_point::RollbackPoint;
use crate::hypervisor::{Drift, State};
use crate::install::presence::Presence;

/// Everything that planning needs to know of one container.
#[derive(Debug, Clone)]
pub struct Observation {
    /// How it is.
    pub state: State,
    /// The device nodes that it should have.
    pub passthrough: Passthrough,
    /// What separates its settings from what they should be; nothing while it does not exist.
    pub drift: Drift,
    /// The driver in it; nothing while it does not exist.
    pub presence: Presence,
    /// Its root could not be looked at without changing something, so a driver may be there all the same.
    pub unseen: bool,
    /// Directories in it that an interrupted run left.
    pub leftovers: Vec<String>,
    /// What is wrong with its CDI specification, where its driver is the wanted one.
    pub specification: Option<String>,
    /// The packages that are purged before its driver is installed.
    pub packages: Vec<String>,
    /// The size in GiB that its root has to be grown to.
    pub growth: Option<u64>,
    /// Its snapshots; nothing where it is to have none, or can have none.
    pub snapshots: Option<Vec<String>>,
    /// How it stands with a snapshot that a failure goes back to.
    pub rollback_point: RollbackPoint,
    /// Its run file in the cache, when it asks for a driver.
    pub cached: Option<Cached>,
    /// Its driver is extracted, and the method to install it needs no more.
    pub extracted: bool,
    /// The bytes that are placed in the container, where that is known before.
    pub needed_bytes: Option<u64>,
    /// Its GPUs that are others than when it was configured, one sentence each.
    pub moved_gpus: Vec<String>,
    /// Its GPUs that the wanted driver no longer drives, one sentence each.
    pub dropped_gpus: Vec<String>,
    /// What of its configuration the hypervisor leaves out.
    pub left_out: Vec<String>,
    /// Features whose script has run.
    pub features_done: BTreeSet<String>,
    /// The scripts that are there for the features that are not ours.
    pub feature_scripts: Vec<(String, Option<PathBuf>)>,
}
