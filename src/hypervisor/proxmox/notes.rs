//! What an operator may not expect of a container on this node, a phrase each.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::host_driver;
use crate::error::Result;
use crate::hypervisor::HostsDriver;
use crate::hypervisor::liblxc::{no_access_of_its_own, passes_nvidia};

use super::Proxmox;
use super::config_file::{ConfigFile, RawLine};
use super::keys::index_of;
use super::property;

impl Proxmox<'_> {
    pub(super) fn told_of(&self, container: &Container) -> Result<Vec<String>> {
        let mut notes: Vec<String> = without_snapshots(container).into_iter().collect();
        if !self.version()?.has_device_entries() {
            notes.extend(no_access_of_its_own(container, "pve-container before 5.0.7"));
        }
        match (self.config_if_there(container.id)?, container.clone_from) {
            (Some(config), _) => notes.extend(lines_of_snapshots(&config, container.id)),
            (None, Some(source)) if container.network.is_none() => {
                notes.extend(self.config_if_there(source)?.and_then(|config| inherited_address(&config, source)));
            }
            (None, _) => {}
        }
        Ok(notes)
    }
}

/// The settings that bring the host's own driver in: raw lines, and mount points of the same directories.
pub(super) fn hosts_driver(config: &ConfigFile, file: &Path) -> Vec<HostsDriver> {
    let raw: Vec<RawLine> = config.raw().collect();
    let found = host_driver::brought_in(&raw.iter().map(|line| (&*line.key, &*line.value)).collect::<Vec<_>>());
    let lines = found.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let points = config.after_restart().into_iter().filter(|(key, value)| {
        let parts = property::parts(value, "volume");
        let is_one = |name: &str| parts.get(name).is_some_and(|path| host_driver::is_of_driver(path));
        let is_of_host = parts.get("volume").is_some_and(|source| source.starts_with('/'));
        index_of(key, "mp").is_some() && is_of_host && ["volume", "mp"].into_iter().any(is_one)
    });
    lines.chain(points).map(|(key, value)| HostsDriver { file: file.to_owned(), key, value }).collect()
}

fn without_snapshots(container: &Container) -> Option<String> {
    let wants_snapshots = container.lifecycle_snapshots || container.template_snapshot_name.is_some();
    (wants_snapshots && !container.mounts.is_empty())
        .then(|| "Proxmox VE cannot snapshot containers with host directories, so none are taken".to_owned())
}

/// `pct clone` gives a copy another hardware address, and leaves it the static address of its source.
fn inherited_address(source: &ConfigFile, id: ContainerId) -> Option<String> {
    let interfaces = source.keys().filter(|(key, _)| index_of(key, "net").is_some());
    let addresses: Vec<String> = interfaces
        .flat_map(|(_, value)| {
            let mut parts = property::parts(value, "");
            ["ip", "ip6"].map(|key| parts.remove(key)).into_iter().flatten().collect::<Vec<_>>()
        })
        .filter(|address| address.contains('/'))
        .collect();
    (!addresses.is_empty()).then(|| {
        format!(
            "it has no `network_config`, so it keeps the address {} of container {id}, its source; where both run, neither can be reached",
            addresses.join(" and ")
        )
    })
}

/// A line that is appended to `ID.conf` lands in its last section, which is that of a snapshot where there is one: the
/// container does not have it, and gets it when somebody goes back to that snapshot.
fn lines_of_snapshots(config: &ConfigFile, id: ContainerId) -> Vec<String> {
    let main: BTreeSet<_> = config.raw().collect();
    let is_for_devices =
        |key: &str, value: &str| passes_nvidia(key, value, &|major| major == crate::driver::device::MAJOR);
    let notes = |name: String| {
        let lines: Vec<String> = config
            .raw_of(&name)
            .filter(|line| !main.contains(line) && is_for_devices(&line.key, &line.value))
            .map(|line| format!("`{line}`"))
            .collect();
        (!lines.is_empty()).then(|| {
            format!(
                "the container does not have {}: the line is in the section of its snapshot `{name}`, because it was \
                 appended to `{id}.conf`",
                lines.join(", ")
            )
        })
    };
    config.snapshots().into_iter().filter_map(notes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_driver_comes_in_by_raw_lines_and_by_mount_points() {
        let text = "mp0: /usr/lib/nvidia,mp=/usr/lib/nvidia\nmp1: tank:subvol-901-disk-1,mp=/usr/lib/nvidia\n\
                    mp2: /models,mp=/models\nlxc.hook.mount: /usr/share/lxc/hooks/nvidia\n\
                    lxc.environment: NVIDIA_VISIBLE_DEVICES=all\n\
                    lxc.mount.entry: /usr/bin/nvidia-smi usr/bin/nvidia-smi none bind\n";
        let found = hosts_driver(&ConfigFile::new(text), Path::new("/etc/pve/lxc/901.conf"));
        let keys: Vec<&str> = found.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["lxc.hook.mount", "lxc.mount.entry", "mp0"]);
    }

    #[test]
    fn a_copy_keeps_a_static_address_and_no_other() {
        let source = ContainerId::new(901).unwrap();
        let of = |text: &str| inherited_address(&ConfigFile::new(text), source);
        let notes =
            of("net0: name=eth0,bridge=vmbr0,ip=10.0.0.5/24\nnet1: name=eth1,ip=dhcp,ip6=fd00::5/64\n").unwrap();
        assert!(notes.contains("keeps the address 10.0.0.5/24 and fd00::5/64 of container 901"), "{notes}");
        assert_eq!(of("net0: name=eth0,bridge=vmbr0,ip=dhcp,ip6=auto\n"), None);
    }

    #[test]
    fn lines_for_a_gpu_that_stand_in_a_snapshot_alone_are_reported() {
        let id = ContainerId::new(901).unwrap();
        let main = "hostname: a\nlxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,create=file\n";
        let same = format!("{main}\n[before]\n{main}lxc.cap.drop: mknod\n");
        assert_eq!(lines_of_snapshots(&ConfigFile::new(same.clone()), id), Vec::<String>::new());
        let appended = same + "lxc.cgroup2.devices.allow: c 195:* rwm\n";
        let notes = lines_of_snapshots(&ConfigFile::new(appended), id);
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].starts_with("the container does not have `lxc.cgroup2.devices.allow: c 195:* rwm`: "),
            "{notes:?}"
        );
        assert!(notes[0].contains("snapshot `before`"), "{notes:?}");
    }
}
