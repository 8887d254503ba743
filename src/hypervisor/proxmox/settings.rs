//! From a container's configuration to the keys of its `ID.conf`, and to what separates them. Pure.
//!
//! A key that the configuration says nothing of is left as it is; so are properties of an interface that it does not
//! know (`tag`, `firewall`), and every device, mount and raw line that neither is NVIDIA's nor came from us.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::config::{Address, Container, Network};
use crate::driver::device::optional_numbers;
use crate::hypervisor::majors::Majors;
use crate::hypervisor::{Desired, DriverMount, liblxc};

use super::config_file::{ConfigFile, RawLine, is_on};
use super::devices;
use super::keys::{free_keys, index_of};
use super::optional_nodes;
use super::property;
use super::record::Record;
use super::version::Version;

const MOUNT_ENTRY: &str = "lxc.mount.entry";

/// What of this host decides how a container's settings are written.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The version of pve-container.
    pub(super) version: Version,
    /// The majors of character devices.
    pub(super) majors: Majors,
    /// The key of the raw lines that let a container open a device.
    pub(super) allow: &'static str,
}

/// What separates a container from how it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Keys to set.
    pub(super) set: Vec<(String, String)>,
    /// Keys to delete.
    pub(super) delete: Vec<String>,
    /// Raw lines to remove from the main section.
    pub(super) raw_gone: Vec<RawLine>,
    /// Raw lines to add to it.
    pub(super) raw_come: Vec<RawLine>,
}

/// The keys that come into a running container at once (pve-container 6.1.10, `PVE::LXC::Config`).
const HOT: [&str; 6] = ["hostname", "memory", "swap", "cores", "onboot", "startup"];

impl Changes {
    /// Between a container as its next start will find it, and how it should be.
    pub(super) fn between(
        config: &ConfigFile,
        desired: &Desired<'_>,
        record: &Record,
        surroundings: &Surroundings,
    ) -> Self {
        let current = config.after_restart();
        let mut changes = Self::default();
        for (key, value) in plain(desired.container) {
            if !says(current.get(key).map(String::as_str), key, &value) {
                changes.set.push((key.to_owned(), value));
            }
        }
        changes.set.extend(startup(desired.container, current.get("startup").map(String::as_str)));
        changes.set.extend(interface(desired.container, current.get("net0").map(String::as_str)));
        changes.mounts(&current, desired.container, record);
        if surroundings.version.has_device_entries() {
            let access = desired.container.gpu_access;
            let (set, delete) = devices::entries(&current, &desired.devices, &desired.kept, &record.devices, access);
            changes.set.extend(set);
            changes.delete.extend(delete);
        }
        changes.raw_lines(config, desired, record, surroundings);
        changes
    }

    /// Whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `pct set` has something to do.
    pub(super) fn needs_pct(&self) -> bool {
        !self.set.is_empty() || !self.delete.is_empty()
    }

    /// Whether a running container gets all of it only by a restart.
    pub(super) fn need_restart(&self, config: &ConfigFile, version: Version) -> bool {
        let at_once = |key: &str| {
            let is_new = config.value(key).is_none();
            HOT.contains(&key)
                || key.starts_with("net")
                || (key.starts_with("mp") && is_new)
                || (key.starts_with("dev") && is_new && version.adds_devices_to_running())
        };
        let waits = |line: &RawLine| is_driver_mount(line) || optional_nodes::waits_for_a_start(line);
        !self.delete.iter().all(|key| config.value(key).is_some_and(optional_nodes::is_modeset))
            || !self.raw_gone.iter().chain(&self.raw_come).all(waits)
            || !self.set.iter().all(|(key, _)| at_once(key))
    }

    /// The words for `pct set`, and for `pct create`.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            self.set.iter().flat_map(|(key, value)| [format!("--{key}"), value.clone()]).collect();
        if !self.delete.is_empty() {
            words.extend(["--delete".to_owned(), self.delete.join(",")]);
        }
        words
    }

    /// What goes and comes, a phrase each, as lines of the file.
    pub(super) fn phrases(&self, config: &ConfigFile) -> Vec<String> {
        let current = config.after_restart();
        let changed = self.set.iter().map(|(key, _)| key).chain(&self.delete);
        let gone = changed.filter_map(|key| current.get(key).map(|value| format!("- {key}: {value}")));
        let come = self.set.iter().map(|(key, value)| format!("+ {key}: {value}"));
        let raw_gone = self.raw_gone.iter().map(|line| format!("- {line}"));
        let raw_come = self.raw_come.iter().map(|line| format!("+ {line}"));
        gone.chain(raw_gone).chain(come).chain(raw_come).collect()
    }

    /// Directories of the host, and volumes of storage pools: found again by where the container sees them.
    fn mounts(&mut self, current: &BTreeMap<String, String>, container: &Container, record: &Record) {
        let place = |value: &str| property::parts(value, "volume").remove("mp").unwrap_or_default();
        let there: BTreeMap<&str, (String, &str)> = current
            .iter()
            .filter(|(key, _)| index_of(key, "mp").is_some())
            .map(|(key, value)| (key.as_str(), (place(value), value.as_str())))
            .collect();
        let find = |path: &str| there.iter().find(|(_, (place, _))| same_path(place, path));
        let mut free = free_keys("mp", current);
        for mount in &container.mounts {
            let (source, path) = (mount.host_path.display().to_string(), mount.container_path.display().to_string());
            let wanted = format!("{source},mp={path}");
            match find(&path) {
                Some((_, (_, value))) if property::parts(value, "volume").get("volume") == Some(&source) => {}
                Some((key, _)) => self.set.push(((*key).to_owned(), wanted)),
                None => self.set.extend(free.next().map(|key| (key, wanted))),
            }
        }
        for volume in &container.volumes {
            let path = volume.mount_point.display().to_string();
            if find(&path).is_none() {
                let wanted = format!("{}:{},mp={path}", volume.pool, volume.size_gb);
                self.set.extend(free.next().map(|key| (key, wanted)));
            }
        }
        let wanted = |place: &str| {
            let places = container.mounts.iter().map(|mount| &mount.container_path);
            places
                .chain(container.volumes.iter().map(|volume| &volume.mount_point))
                .any(|path| path.to_str().is_some_and(|path| same_path(path, place)))
        };
        // Never a volume, which would lose what is in it: only directories of the host are ours to take away.
        let ours = |place: &str, value: &str| value.starts_with('/') && record.mounts.contains(place) && !wanted(place);
        self.delete
            .extend(there.iter().filter(|(_, (place, value))| ours(place, value)).map(|(key, _)| (*key).to_owned()));
    }

    fn raw_lines(&mut self, config: &ConfigFile, desired: &Desired<'_>, record: &Record, surroundings: &Surroundings) {
        let wanted = raw(config, desired, record, surroundings);
        let there: Vec<RawLine> = config.raw().collect();
        let of_nvidia = devices::passing_nvidia(config, &desired.devices, &surroundings.majors);
        // Whose number a line allows is not known while the host lacks the node.
        let is_kept = |line: &RawLine| {
            desired.kept.iter().any(|path| optional_numbers(path).is_some() && optional_nodes::is_about(line, path))
                || liblxc::passed_device(&line.key, &line.value).is_some_and(|path| desired.kept.contains(&path))
        };
        let lacks_some = desired.kept.iter().any(|path| optional_numbers(path).is_none());
        let stays = |line: &RawLine| (lacks_some && of_nvidia.contains(line)) || is_kept(line);
        let is_ours =
            |line: &RawLine| of_nvidia.contains(line) || record.raw.contains(line) || optional_nodes::is_second(line);
        let gone: BTreeSet<&RawLine> =
            there.iter().filter(|line| !wanted.contains(line) && is_ours(line) && !stays(line)).collect();
        self.raw_gone = gone.into_iter().cloned().collect();
        self.raw_come = wanted.into_iter().filter(|line| !there.contains(line)).collect();
    }
}

/// The raw lines that a container should have from us.
pub(super) fn raw(
    config: &ConfigFile,
    desired: &Desired<'_>,
    record: &Record,
    surroundings: &Surroundings,
) -> Vec<RawLine> {
    const PROFILE: &str = "lxc.apparmor.profile";
    let container = desired.container;
    let mut lines: Vec<RawLine> =
        container.lxc_options.iter().map(|option| RawLine::new(&option.key, &option.value)).collect();
    // `unconfined` has always meant: no line for a profile.
    let profile = container.apparmor_profile.as_deref().filter(|profile| *profile != "unconfined");
    if let (Some(profile), false) = (profile, lines.iter().any(|line| line.key == PROFILE)) {
        lines.push(RawLine::new(PROFILE, profile));
    }
    if !surroundings.version.has_device_entries() {
        lines.extend(devices::raw_lines(&desired.devices, surroundings.allow));
    }
    lines.extend(optional_nodes::lines(config, desired, record, surroundings.allow));
    // A mount point `mpN` would keep the container from being cloned and from having snapshots.
    lines.extend(desired.mounts.iter().map(|mount| RawLine::new(MOUNT_ENTRY, &liblxc::driver_mount(mount))));
    lines
}

/// Whether a raw line is a driver's mount, which a running container is given without it.
pub(super) fn is_driver_mount(line: &RawLine) -> bool {
    let inside = line.value.split(' ').nth(1).unwrap_or_default();
    line.key == MOUNT_ENTRY && inside.starts_with(DriverMount::DIRECTORY.trim_start_matches('/'))
}

/// What we have given a container of this file when it is as desired, beside what stays of what we gave it before.
pub(super) fn given(
    config: &ConfigFile,
    desired: &Desired<'_>,
    record: &Record,
    surroundings: &Surroundings,
) -> Record {
    let container = desired.container;
    let nodes = desired.devices.iter().map(|node| &node.path).chain(&desired.kept);
    Record {
        raw: raw(config, desired, record, surroundings).into_iter().collect(),
        // A node to draw with that the operator has given it already stays the operator's.
        devices: nodes.filter(|path| !optional_nodes::is_operators(config, record, path)).map(path_text).collect(),
        mounts: container.mounts.iter().map(|mount| mount.container_path.display().to_string()).collect(),
        ..Record::default()
    }
}

fn path_text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// Whether a change that waits for the next start is one that the configuration decides.
pub(super) fn is_ours(key: &str, container: &Container) -> bool {
    plain(container).iter().any(|(ours, _)| *ours == key)
        || (key == "net0" && container.network.is_some())
        || (key == "startup" && (container.boot_order.is_some() || container.boot_delay.is_some()))
        || ["mp", "dev"].iter().any(|word| index_of(key, word).is_some())
}

/// The keys with one value.
fn plain(container: &Container) -> Vec<(&'static str, String)> {
    let mut keys = vec![("hostname", container.name.clone())];
    keys.extend(container.memory_mb.map(|mb| ("memory", mb.to_string())));
    keys.extend(container.swap_mb.map(|mb| ("swap", mb.to_string())));
    keys.extend(container.cores.map(|cores| ("cores", cores.to_string())));
    let servers = container.network.iter().flat_map(|network| &network.nameservers);
    let servers: Vec<String> = servers.map(ToString::to_string).collect();
    if !servers.is_empty() {
        keys.push(("nameserver", servers.join(" ")));
    }
    let features: Vec<&str> = container
        .pct_options
        .iter()
        .map(String::as_str)
        .filter(|option| !(container.apparmor_manages_nesting && *option == "nesting=1"))
        .collect();
    if !features.is_empty() {
        keys.push(("features", features.join(",")));
    }
    keys.extend(container.start_at_boot.map(|starts| ("onboot", u8::from(starts).to_string())));
    keys
}

/// `startup`, where it does not say what it should: `up` is the delay before the next container's start, and `down` how
/// long this one's end may take before it is killed (pct.conf(5)), which the configuration does not know. The
/// operators' scripts and previous versions have put the delay there, too; that goes, and any other stays.
fn startup(container: &Container, current: Option<&str>) -> Option<(String, String)> {
    let mut ours: Vec<(&str, String)> = Vec::new();
    ours.extend(container.boot_order.map(|order| ("order", order.to_string())));
    ours.extend(container.boot_delay.map(|delay| ("up", delay.to_string())));
    let current = current.unwrap_or_default();
    // The place may lack its key: `3,up=5`.
    let current = if current.starts_with(|it: char| it.is_ascii_digit()) {
        format!("order={current}")
    } else {
        current.to_owned()
    };
    let there = property::parts(&current, "");
    let delay = container.boot_delay.map(|delay| delay.to_string());
    let is_put_there = delay.is_some() && ["up", "down"].iter().all(|key| there.get(*key) == delay.as_ref());
    if !is_put_there && ours.iter().all(|(key, value)| there.get(*key) == Some(value)) {
        return None;
    }
    let gone: &[&str] = if is_put_there { &["down"] } else { &[] };
    Some(("startup".to_owned(), property::merged(&current, &ours, gone)))
}

/// Whether a key says what it should.
fn says(current: Option<&str>, key: &str, wanted: &str) -> bool {
    match (current, key) {
        (current, "onboot") => current.is_some_and(is_on) == is_on(wanted),
        (Some(current), "features") => property::same(current, wanted),
        (Some(current), "nameserver") => {
            let words = |text: &str| {
                text.split([' ', ',', ';']).filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>()
            };
            words(current) == words(wanted)
        }
        (current, _) => current == Some(wanted),
    }
}

/// `net0`, where it does not say what it should. A hardware address that the configuration does not name stays.
fn interface(container: &Container, current: Option<&str>) -> Option<(String, String)> {
    let network = container.network.as_ref()?;
    let ours = interface_parts(network, container);
    let current = current.unwrap_or_default();
    let there = property::parts(current, "");
    let gateway_is_there = there.contains_key("gw");
    let right = ours.iter().all(|(key, value)| there.get(*key).is_some_and(|it| it.eq_ignore_ascii_case(value)));
    if right && (network.gateway.is_some() || !gateway_is_there) {
        return None;
    }
    let gone: &[&str] = if network.gateway.is_none() { &["gw"] } else { &[] };
    Some(("net0".to_owned(), property::merged(current, &ours, gone)))
}

fn interface_parts(network: &Network, container: &Container) -> Vec<(&'static str, String)> {
    let mut parts = vec![("name", network.interface.clone()), ("bridge", network.bridge.clone())];
    parts.push(("ip", network.address.to_string()));
    // With DHCP the gateway comes from there, and `pct` refuses another.
    let gateway = network.gateway.filter(|_| matches!(network.address, Address::Static { .. }));
    parts.extend(gateway.map(|gateway| ("gw", gateway.to_string())));
    parts.extend(container.mac_address.map(|address| ("hwaddr", address.to_string())));
    parts
}

fn same_path(left: &str, right: &str) -> bool {
    std::path::Path::new(left) == std::path::Path::new(right)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
