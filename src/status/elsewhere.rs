//! Rows of containers that only the cluster's files name: what this node's copy of them says, and no more.

use crate::fleet::Fleet;
use crate::hypervisor::cluster::{Cluster, ClusterContainer};

use super::judgement::Judgement;
use super::not_configured::not_configured;
use super::{ClusterNode, ContainerStatus, Verdict};

/// A container of this node that the configuration does not name.
pub(super) fn row_of_nobodys(fleet: &Fleet<'_>, container: &ClusterContainer) -> ContainerStatus {
    let mut row = ContainerStatus::empty(container.id, fleet.host.loaded.clone());
    row.take_from_file(container);
    match fleet.hypervisor.state(container.id) {
        Ok(state) => {
            row.state = state.word();
            let reason = Some("it is not in the configuration".to_owned());
            row.judge(match row.gpus.is_empty() {
                true => Judgement { reason, ..Judgement::of(Verdict::NoDriverWanted, None) },
                false => not_configured(fleet, container.id),
            });
        }
        Err(error) => row.judge(Judgement { in_sync: None, ..Judgement::failed(&error) }),
    }
    row
}

/// A container of another node. The host's module is this node's, and so is none of its business.
pub(super) fn row_of_another_node(
    fleet: &Fleet<'_>,
    container: &ClusterContainer,
    cluster: &Cluster,
) -> ContainerStatus {
    let mut row = ContainerStatus::empty(container.id, None);
    if let Ok(configured) = fleet.configuration.container(container.id) {
        row.name.clone_from(&configured.name);
        row.wanted = configured.driver.as_ref().map(|driver| driver.version.clone());
    }
    row.take_from_file(container);
    let node = &container.node;
    let mut reason = match container.is_online {
        Some(true) => format!("it is on node `{node}`"),
        Some(false) => format!("it is on node `{node}`, which is offline"),
        None => format!("it is on node `{node}`, and it is unknown whether that node is online"),
    };
    if container.file.is_none() {
        reason.push_str("; configuration file unreadable");
    }
    if !cluster.has_quorum {
        reason.push_str("; this node has no quorum, so this may be outdated");
    }
    let hint = format!("run `phoenix-nvidia status {}` on `{node}`", container.id);
    row.judge(Judgement { reason: Some(reason), hint: Some(hint), ..Judgement::of(Verdict::NotKnownFromHere, None) });
    row
}

impl ContainerStatus {
    fn take_from_file(&mut self, container: &ClusterContainer) {
        self.cluster_node = Some(ClusterNode { name: container.node.clone(), online: container.is_online });
        if let Some(file) = &container.file {
            self.name.clone_from(&file.name);
            self.gpus.clone_from(&file.gpus);
        }
    }
}
