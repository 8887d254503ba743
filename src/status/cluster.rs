//! The status of every container of a cluster: those of this host, and those of its other nodes.

use std::collections::BTreeSet;

use crate::container_id::ContainerId;
use crate::error::Result;
use crate::fleet::Fleet;
use crate::hypervisor::State;

use super::elsewhere::{row_of_another_node, row_of_nobodys};
use super::look::{status, status_in};
use super::{Asking, ClusterNode, ContainerStatus};

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
