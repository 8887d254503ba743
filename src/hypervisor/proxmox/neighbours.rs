//! The containers of the whole cluster, read from its file system alone: no node is asked, and no process started.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::hypervisor::cluster::{Cluster, ClusterContainer, ContainerFile};

use super::Proxmox;
use super::config_file::ConfigFile;
use super::keys::index_of;
use super::property;

impl Proxmox<'_> {
    pub(super) fn whole_cluster(&self) -> Result<Cluster> {
        let (members, guests) = (self.members()?, self.guests()?);
        let container = |(id, node): (_, &str)| {
            // One that is being moved at this moment is in the list and not in its place.
            let config = match node == members.nodename {
                true => self.config_if_there(id).ok().flatten(),
                false if is_name(node) => {
                    let text = self.read(&format!("nodes/{node}/lxc/{id}.conf")).ok().flatten();
                    text.map(ConfigFile::new)
                }
                false => None,
            };
            ClusterContainer {
                id,
                node: node.to_owned(),
                is_online: members.is_online(node),
                file: config.as_ref().map(says),
            }
        };
        Ok(Cluster {
            containers: guests.containers().map(container).collect(),
            has_quorum: members.has_quorum(),
            node: members.nodename,
        })
    }
}

/// What cannot lead out of the directory of nodes.
fn is_name(node: &str) -> bool {
    !node.is_empty() && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) && node != ".."
}

/// What the main section says; changes that wait for a start are missing yet.
fn says(config: &ConfigFile) -> ContainerFile {
    let entries = config.keys().filter(|(key, _)| index_of(key, "dev").is_some());
    let paths = entries.filter_map(|(_, value)| property::parts(value, "path").remove("path"));
    let mounts = config.raw().filter(|line| line.key == "lxc.mount.entry");
    let sources = mounts.filter_map(|line| line.value.split_whitespace().next().map(str::to_owned));
    let gpus: BTreeSet<(u32, String)> =
        paths.chain(sources).filter_map(|path| Some((minor_of(&path)?, path))).collect();
    ContainerFile {
        name: config.value("hostname").unwrap_or_default().to_owned(),
        gpus: gpus.into_iter().map(|(_, path)| path).collect(),
    }
}

/// The minor of a GPU's device node by its name: `/dev/nvidia0`.
fn minor_of(path: &str) -> Option<u32> {
    path.strip_prefix("/dev/nvidia")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpus_of_a_file_are_those_of_entries_and_of_raw_lines() {
        let text = "hostname: far\ndev0: /dev/nvidia10,mode=0666\ndev1: path=/dev/nvidia2\ndev2: /dev/nvidiactl\n\
                    lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file\n\
                    lxc.mount.entry: /dev/nvidia2 dev/nvidia2 none bind\n\
                    lxc.cgroup2.devices.allow: c 195:* rwm\n\n[pve:pending]\ndev3: /dev/nvidia4\n\n\
                    [before]\ndev0: /dev/nvidia7\n";
        let file = says(&ConfigFile::new(text));
        assert_eq!(file.name, "far");
        assert_eq!(file.gpus, ["/dev/nvidia0", "/dev/nvidia2", "/dev/nvidia10"]);
        assert_eq!(says(&ConfigFile::new("")), ContainerFile::default());
    }

    #[test]
    fn a_node_whose_name_is_a_path_is_none() {
        assert!(is_name("pve-2") && is_name("pve2.example.org"));
        assert!(!is_name("") && !is_name("..") && !is_name("../../etc") && !is_name("a/b"));
    }
}
