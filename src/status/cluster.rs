//! Containers of other nodes of a cluster: what this node's copy of the cluster's files says of them, and no more.

use std::collections::BTreeSet;

use crate::container_id::ContainerId;
use crate::error::Result;
use crate::fleet::Fleet;
use crate::hypervisor::State;
use crate::hypervisor::cluster::{Cluster, ClusterContainer};

use super::judgement::Judgement;
use super::look::status;
use super::look::status_in;
use super::{Asking, ClusterNode, ContainerStatus, Verdict};

/// How these containers are, and with them every other container of the cluster that this host is a node of, by
/// their CTIDs. Where there are no nodes, that is reported, and these are all.
///
/// # Errors
/// The cluster's files cannot be read, or the operator interrupted.
pub fn status_of_all_nodes(fleet: &Fleet<'_>, ids: &[ContainerId], asking: Asking) -> Result<Vec<ContainerStatus>> {
    let Some(cluster) = fleet.hypervisor.cluster()? else {
        let name = fleet.hypervisor.name();
        fleet.context.listener.note(None, format!("`{name}` has no nodes: these are the containers of this host"));
        return status(fleet, ids, asking);
    };
    if !cluster.has_quorum {
        let node = &cluster.node;
        fleet
            .context
            .listener
            .warn(None, format!("node `{node}` has no quorum in its cluster: its view of other nodes may be outdated"));
    }
    let mut rows = status_in(fleet, ids, asking, Some(&cluster))?;
    let here = ClusterNode { name: cluster.node.clone(), online: Some(true) };
    let absent = State::Absent.word();
    for row in rows.iter_mut().filter(|row| row.cluster_node.is_none() && row.state != absent) {
        row.cluster_node = Some(here.clone());
    }
    let configured: BTreeSet<&ContainerId> = ids.iter().collect();
    let others = cluster.containers.iter().filter(|container| !configured.contains(&container.id));
    rows.extend(others.map(|container| match container.node == cluster.node {
        true => row_of_nobodys(fleet, container),
        false => row_of_another_node(fleet, container, &cluster),
    }));
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

/// A container of this node that the configuration does not name.
fn row_of_nobodys(fleet: &Fleet<'_>, container: &ClusterContainer) -> ContainerStatus {
    let mut row = ContainerStatus::empty(container.id, fleet.host.loaded.clone());
    row.take_from_file(container);
    match fleet.hypervisor.state(container.id) {
        Ok(state) => {
            row.state = state.word();
            let reason = Some("it is not in the configuration".to_owned());
            row.judge(Judgement { reason, ..Judgement::of(Verdict::NoDriverWanted, None) });
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
