//! The cluster around a node, as its file system (pmxcfs) shows it: who has which CTID, and whether it may be changed.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};

/// `.vmlist`: every guest of the cluster.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GuestList {
    #[serde(default)]
    ids: BTreeMap<String, Guest>,
}

#[derive(Debug, Deserialize)]
struct Guest {
    node: String,
    #[serde(rename = "type")]
    kind: String,
}

/// `.members`: this node and its cluster. A node without a cluster has only its own name.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Members {
    #[serde(default)]
    pub(super) nodename: String,
    #[serde(default)]
    cluster: Option<Cluster>,
    #[serde(default)]
    nodelist: BTreeMap<String, Member>,
}

#[derive(Debug, Deserialize)]
struct Member {
    #[serde(default)]
    online: u8,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    #[serde(default)]
    quorate: u8,
}

impl GuestList {
    /// Its name below `/etc/pve`.
    pub(super) const FILE: &'static str = ".vmlist";

    pub(super) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| unreadable(Self::FILE, error))
    }

    /// Whether this CTID is a guest's, of whichever kind and node.
    pub(super) fn has(&self, id: ContainerId) -> bool {
        self.ids.contains_key(&id.to_string())
    }

    /// Every container of the cluster, with its node.
    pub(super) fn containers(&self) -> impl Iterator<Item = (ContainerId, &str)> {
        let containers = self.ids.iter().filter(|(_, guest)| guest.kind == "lxc");
        containers.filter_map(|(id, guest)| Some((ContainerId::known(id)?, guest.node.as_str())))
    }

    /// The other node that has this container.
    pub(super) fn elsewhere(&self, id: ContainerId, node: &str) -> Option<&str> {
        let guest = self.ids.get(&id.to_string())?;
        (guest.kind == "lxc" && guest.node != node).then_some(guest.node.as_str())
    }

    /// Fails for a CTID that is not this node's to work on: a virtual machine's, or another node's.
    ///
    /// # Errors
    /// It says whose it is.
    pub(super) fn require_ours(&self, id: ContainerId, node: &str) -> Result<()> {
        let Some(guest) = self.ids.get(&id.to_string()) else { return Ok(()) };
        if guest.kind != "lxc" {
            return Err(Error::new(Kind::Configuration, format!("{id} is a virtual machine, not a container"))
                .hint("give the container a CTID that `pvesh get /cluster/nextid` calls free"));
        }
        if guest.node != node {
            return Err(Error::new(
                Kind::Configuration,
                format!("container {id} is on node `{}` of this cluster, and this is `{node}`", guest.node),
            )
            .hint(format!("run the same command on `{}`", guest.node)));
        }
        Ok(())
    }
}

impl Members {
    pub(super) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| unreadable(".members", error))
    }

    /// Whether this node is with the majority; one without a cluster is.
    pub(super) fn has_quorum(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.quorate != 0)
    }

    /// Whether a node answers, as far as this one knows.
    pub(super) fn is_online(&self, node: &str) -> Option<bool> {
        match node == self.nodename {
            true => Some(true),
            false => self.nodelist.get(node).map(|member| member.online != 0),
        }
    }

    /// Fails where the cluster's file system takes no changes.
    ///
    /// # Errors
    /// The cluster has no quorum.
    pub(super) fn require_quorum(&self) -> Result<()> {
        if self.has_quorum() {
            return Ok(());
        }
        let node = &self.nodename;
        let message = format!("node `{node}` has no quorum in its cluster, so no container can be changed");
        Err(Error::new(Kind::Host, message)
            .hint("check `pvecm status`, and run the same command when the cluster is quorate"))
    }
}

fn unreadable(file: &str, error: serde_json::Error) -> Error {
    Error::new(Kind::Host, format!("`{file}` of the cluster's file system has an unexpected format"))
        .caused_by(error)
        .hint("check the cluster's file system with `systemctl status pve-cluster`")
}

#[cfg(test)]
mod tests {
    use super::*;

    // pct (pve-container 6.1.10), recorded 2026-11-22; 105 was added in the form of pve-cluster 9.1.6.
    const GUESTS: &str = r#"{
"version": 135,
"ids": {
"903": { "node": "vm", "type": "lxc", "version": 30 },
"105": { "node": "vm", "type": "qemu", "version": 3 },
"950": { "node": "pve2", "type": "lxc", "version": 124 }}

}"#;

    fn refusal(ctid: &str) -> Option<String> {
        let guests = GuestList::parse(GUESTS).unwrap();
        guests.require_ours(ctid.parse().unwrap(), "vm").err().map(|error| error.message().to_owned())
    }

    #[test]
    fn a_ctid_that_is_not_this_nodes_names_its_owner() {
        assert_eq!(refusal("903"), None);
        assert_eq!(refusal("904"), None);
        assert_eq!(refusal("105").unwrap(), "105 is a virtual machine, not a container");
        let guests = GuestList::parse(GUESTS).unwrap();
        let elsewhere = |ctid: &str| guests.elsewhere(ctid.parse().unwrap(), "vm");
        assert_eq!((elsewhere("950"), elsewhere("903"), elsewhere("105")), (Some("pve2"), None, None));
        assert_eq!(refusal("950").unwrap(), "container 950 is on node `pve2` of this cluster, and this is `vm`");
    }

    #[test]
    fn only_a_cluster_can_lack_a_quorum() {
        let quorum = |text: &str| Members::parse(text).unwrap().require_quorum().is_ok();
        assert!(quorum(r#"{ "nodename": "vm", "version": 0 }"#));
        assert!(quorum(r#"{ "nodename": "vm", "cluster": { "name": "c", "nodes": 2, "quorate": 1 } }"#));
        assert!(!quorum(r#"{ "nodename": "vm", "cluster": { "name": "c", "nodes": 2, "quorate": 0 } }"#));
        assert!(Members::parse("nonsense").is_err());
    }

    #[test]
    fn a_node_is_online_where_this_one_says_so_and_this_one_always_is() {
        // In the form of pve-cluster 9.1.6.
        let text = r#"{ "nodename": "vm", "version": 4,
            "cluster": { "name": "c", "version": 3, "nodes": 3, "quorate": 1 },
            "nodelist": { "vm": { "id": 1, "online": 1, "ip": "10.0.0.1" },
                          "pve2": { "id": 2, "online": 1, "ip": "10.0.0.2" }, "pve3": { "id": 3, "online": 0 } } }"#;
        let members = Members::parse(text).unwrap();
        let online = ["vm", "pve2", "pve3", "gone"].map(|node| members.is_online(node));
        assert_eq!(online, [Some(true), Some(true), Some(false), None]);
        let alone = Members::parse(r#"{ "nodename": "vm", "version": 0 }"#).unwrap();
        assert_eq!((alone.is_online("vm"), alone.has_quorum()), (Some(true), true));
    }
}
