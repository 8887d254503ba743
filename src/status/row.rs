//! A container's row before and after it is judged.

use crate::container_id::ContainerId;
use crate::driver::DriverVersion;

use super::judgement::Judgement;
use super::{ContainerStatus, Verdict};

impl ContainerStatus {
    pub(super) fn empty(id: ContainerId, host: Option<DriverVersion>) -> Self {
        Self {
            id,
            name: String::new(),
            cluster_node: None,
            state: "unknown",
            gpus: Vec::new(),
            wanted: None,
            host,
            installed: None,
            reported: Vec::new(),
            method: None,
            profile: None,
            nodes: None,
            cached: None,
            verdict: Verdict::Error,
            in_sync: None,
            reason: None,
            hint: None,
            moved_gpus: Vec::new(),
        }
    }

    pub(super) fn judge(&mut self, judgement: Judgement) {
        self.verdict = judgement.verdict;
        self.in_sync = judgement.in_sync;
        self.reason = judgement.reason;
        self.hint = judgement.hint;
    }
}
