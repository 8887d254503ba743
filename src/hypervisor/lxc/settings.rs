//! `phoenix-nvidia.conf` of a container: what the operators' configuration decides, as liblxc's lines.

use std::path::{Path, PathBuf};

use crate::config::{Address, Container, Mount};
use crate::driver::device::{DeviceNode, is_optional, rank};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Desired, DriverMount, liblxc};

use super::config_file::Own;
use super::host_features::{Cgroups, HostFeatures};

/// The variable of init's environment that names the settings which the container was started with.
pub(super) const MARKER: &str = "PHOENIX_NVIDIA_SETTINGS";

/// How a node's mount says that a container starts without it, and that it does not.
const OPTIONAL: &str = "none bind,optional,create=file";
const REQUIRED: &str = "none bind,create=file";

const HEADER: &str = "# Written by phoenix-nvidia and replaced as a whole; change phoenix_lxc_configs.json instead.";

/// What parts the lines that stay when the configuration says nothing of them any more from those that go with it.
const DIVIDER: &str = "# What lxc_options, mount_points and gpu_assignment say:";
const PROFILE: &str = "lxc.apparmor.profile";
const NESTING: &str = "lxc.include = /usr/share/lxc/config/nesting.conf";
const NO_NETWORK: &str = "lxc.net.0.type = empty";

/// How a container is before its file is written.
#[derive(Debug, Clone)]
pub(super) struct Before {
    /// The previous file.
    pub(super) previous: String,
    /// What its `config` says by itself.
    pub(super) own: Own,
    /// It is just being made.
    pub(super) is_new: bool,
}

impl Before {
    /// How one is that is being made, with a `config` that says this.
    pub(super) fn of_new(own: Own) -> Self {
        Self { previous: String::new(), own, is_new: true }
    }

    /// The previous lines that stay where the configuration says nothing else.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.previous.lines().take_while(|line| *line != DIVIDER).filter(|line| !line.starts_with('#'))
    }

    /// The one with this key.
    fn line(&self, key: &str) -> Option<String> {
        let has_key = |line: &&str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "));
        self.lines().find(has_key).map(str::to_owned)
    }
}

/// The whole file for a container, which has a user namespace of its own or not. What the configuration says nothing
/// of, and what is kept, is taken from the previous file.
///
/// # Errors
/// A value that liblxc's line format cannot hold.
pub(super) fn render(
    desired: &Desired<'_>,
    host: HostFeatures,
    is_unprivileged: bool,
    before: &Before,
) -> Result<String> {
    let container = desired.container;
    let mut lines = vec![format!("lxc.uts.name = {}", container.name)];
    let is_nesting = match container.pct_options.as_slice() {
        [] => before.lines().any(|line| line == NESTING),
        options => options.iter().any(|option| option == "nesting=1"),
    };
    lines.extend(is_nesting.then(|| NESTING.to_owned()));
    lines.extend(apparmor(container, host, is_nesting, before));
    lines.extend(resources(container, host, before));
    lines.extend(network(container, before));
    lines.extend(boot(container, before));
    let options: Vec<String> =
        container.lxc_options.iter().map(|option| format!("{} = {}", option.key, option.value)).collect();
    // A file of a previous version does not name its options from what stays.
    lines.retain(|line| !options.contains(line));
    let staying = lines.len();
    lines.extend(options);
    lines.extend(container.mounts.iter().map(mount_entry));
    lines.extend(devices(desired, host, is_unprivileged, &before.previous));
    if let Some(line) = lines.iter().find(|line| line.contains(['\n', '\r', '\0'])) {
        let line = line.escape_debug();
        return Err(Error::new(Kind::Configuration, format!("container {}: `{line}` has a line break", container.id))
            .hint("a value in phoenix_lxc_configs.json must be one line"));
    }
    // A driver's mount is brought into a running container, too, and asks for no restart; nor does it when a node that
    // is there is no longer required.
    let fingerprint = fingerprint(&essential(&lines.join("\n")));
    lines.extend(desired.mounts.iter().map(driver_mount));
    lines.insert(staying, DIVIDER.to_owned());
    let body = lines.join("\n");
    Ok(format!("{HEADER}\nlxc.environment = {MARKER}={fingerprint}\n{body}\n"))
}

/// The fingerprint in a rendered file.
pub(super) fn marker_of(rendered: &str) -> Option<&str> {
    rendered.lines().find_map(|line| line.strip_prefix("lxc.environment = ")?.strip_prefix(MARKER)?.strip_prefix('='))
}

/// What differs between the file as it is and as it should be, each line as one phrase.
pub(super) fn differences(old: &str, new: &str) -> Vec<String> {
    let meaningful = |line: &&str| !line.starts_with('#') && !line.contains(MARKER);
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.lines().filter(meaningful).collect(), new.lines().filter(meaningful).collect());
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    let mut differences: Vec<String> = gone.chain(come).collect();
    if differences.is_empty() && old != new {
        differences.push("~ the order of the lines".to_owned());
    }
    differences
}

/// Whether a running container gets what differs only by a restart.
pub(super) fn need_restart(old: &str, new: &str) -> bool {
    !differences(&essential(old), &essential(new)).is_empty()
}

/// What comes in with a restart alone: not a driver's mount, nor that a node which is there is no longer required.
fn essential(text: &str) -> String {
    let target = format!(" {}", DriverMount::DIRECTORY.trim_start_matches('/'));
    text.lines().filter(|line| !line.contains(&target)).collect::<Vec<_>>().join("\n").replace(OPTIONAL, REQUIRED)
}

fn fingerprint(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn apparmor(container: &Container, host: HostFeatures, is_nesting: bool, before: &Before) -> Option<String> {
    let line = |profile: &str| Some(format!("{PROFILE} = {}", if host.apparmor { profile } else { "unconfined" }));
    if container.lxc_options.iter().any(|option| option.key == PROFILE) {
        return None;
    }
    match (container.apparmor_profile.as_deref(), before.own.profile.as_deref()) {
        (Some(profile), _) => line(profile),
        // What allows nesting has a profile of its own, and is read after that of the container.
        (None, Some(own)) => is_nesting.then(|| format!("{PROFILE} = {own}")),
        (None, None) if before.is_new || before.line(PROFILE).is_some() => line("generated"),
        (None, None) => None,
    }
}

fn resources(container: &Container, host: HostFeatures, before: &Before) -> Vec<String> {
    const MIB: u64 = 1 << 20;
    // A quota over 100 ms; pinning to the first N processors would put all containers on the same ones.
    const PERIOD: u64 = 100_000;
    let (memory_key, swap_key, cores_key) = match host.cgroups {
        Cgroups::First => (
            "lxc.cgroup.memory.limit_in_bytes",
            "lxc.cgroup.memory.memsw.limit_in_bytes",
            "lxc.cgroup.cpu.cfs_quota_us",
        ),
        Cgroups::Second => ("lxc.cgroup2.memory.max", "lxc.cgroup2.memory.swap.max", "lxc.cgroup2.cpu.max"),
    };
    let memory = container.memory_mb.map(|mb| mb.saturating_mul(MIB));
    let swap = match (host.cgroups, memory, container.swap_mb.map(|mb| mb.saturating_mul(MIB))) {
        (Cgroups::Second, _, Some(swap)) => Some(format!("{swap_key} = {swap}")),
        (Cgroups::Second, _, None) => before.line(swap_key),
        // v1 counts memory and swap together.
        (Cgroups::First, Some(memory), Some(swap)) => Some(format!("{swap_key} = {}", memory.saturating_add(swap))),
        (Cgroups::First, None, None) => before.line(swap_key),
        (Cgroups::First, ..) => None,
    };
    let cores = container.cores.map(|cores| match (u64::from(cores) * PERIOD, host.cgroups) {
        (quota, Cgroups::First) => format!("{cores_key} = {quota}"),
        (quota, Cgroups::Second) => format!("{cores_key} = {quota} {PERIOD}"),
    });
    let memory = memory.map(|memory| format!("{memory_key} = {memory}"));
    let lines = [
        memory.or_else(|| before.line(memory_key)),
        swap.filter(|_| host.swap_limit),
        cores.or_else(|| before.line(cores_key)),
    ];
    lines.into_iter().flatten().collect()
}

fn network(container: &Container, before: &Before) -> Vec<String> {
    let Some(network) = &container.network else {
        let is_own = before.own.has_network;
        let none = (before.is_new && !is_own).then_some(NO_NETWORK);
        let previous = before.lines().filter(|line| line.starts_with("lxc.net."));
        // That there is none is our word alone, for one that nobody else says anything of.
        return previous.filter(|line| !is_own || *line != NO_NETWORK).chain(none).map(str::to_owned).collect();
    };
    let mut lines = vec![
        "lxc.net.0.type = veth".to_owned(),
        format!("lxc.net.0.link = {}", network.bridge),
        format!("lxc.net.0.name = {}", network.interface),
        "lxc.net.0.flags = up".to_owned(),
    ];
    lines.extend(container.mac_address.map(|address| format!("lxc.net.0.hwaddr = {address}")));
    // With DHCP, or nothing said, the container asks for its address by itself.
    if let Address::Static { ip, prefix } = network.address {
        lines.push(format!("lxc.net.0.ipv4.address = {ip}/{prefix}"));
        lines.extend(network.gateway.map(|gateway| format!("lxc.net.0.ipv4.gateway = {gateway}")));
    }
    lines
}

fn boot(container: &Container, before: &Before) -> Vec<String> {
    const AUTO: &str = "lxc.start.auto";
    let auto = match container.start_at_boot {
        Some(true) => Some(format!("{AUTO} = 1")),
        Some(false) => before.own.starts_at_boot.then(|| format!("{AUTO} = 0")),
        None => before.line(AUTO),
    };
    let is_started = match &auto {
        Some(line) => line.ends_with(" = 1"),
        None => container.start_at_boot.is_none() && before.own.starts_at_boot,
    };
    let mut lines: Vec<String> = auto.into_iter().collect();
    if is_started {
        let of = |key: &str, said: Option<u32>| said.map(|said| format!("{key} = {said}")).or_else(|| before.line(key));
        lines.extend(of("lxc.start.order", container.boot_order));
        lines.extend(of("lxc.start.delay", container.boot_delay));
    }
    lines
}

fn mount_entry(mount: &Mount) -> String {
    let inside = mount.container_path.strip_prefix("/").unwrap_or(&mount.container_path);
    format!(
        "lxc.mount.entry = {} {} none bind,create=dir 0 0",
        liblxc::escaped(&mount.host_path),
        liblxc::escaped(inside)
    )
}

fn driver_mount(mount: &DriverMount) -> String {
    format!("lxc.mount.entry = {}", liblxc::driver_mount(mount))
}

/// The lines of the nodes that this host has, and those of the nodes that are kept, in an order that does not depend on
/// which are which.
fn devices(desired: &Desired<'_>, host: HostFeatures, is_unprivileged: bool, previous: &str) -> Vec<String> {
    let is_listed = has_device_list(desired.container, host, is_unprivileged);
    let of_node = |node: &DeviceNode| {
        let lines = std::iter::once(device(node)).chain(is_listed.then(|| allowed(node, host))).collect();
        (rank(&node.path), lines)
    };
    let of_kept = |path: &PathBuf| {
        let mut lines = lines_of(previous, path);
        if is_optional(path) {
            lines.iter_mut().for_each(|line| *line = line.replace(REQUIRED, OPTIONAL));
        }
        (rank(path), lines)
    };
    let mut nodes: Vec<(_, Vec<String>)> =
        desired.devices.iter().map(of_node).chain(desired.kept.iter().map(of_kept)).collect();
    nodes.sort();
    nodes.into_iter().flat_map(|(_, lines)| lines).collect()
}

/// The lines of a previous file that pass this node: its mount, and what allows it.
fn lines_of(previous: &str, path: &Path) -> Vec<String> {
    let mut lines = previous.lines();
    let is_mount = |line: &str| {
        line.strip_prefix("lxc.mount.entry = ")
            .and_then(|value| liblxc::passed_device("lxc.mount.entry", value))
            .is_some_and(|node| node == path)
    };
    let mount = lines.by_ref().find(|line| is_mount(line));
    let allowed = lines.next().filter(|line| line.contains(".devices.allow = ")).filter(|_| mount.is_some());
    mount.into_iter().chain(allowed).map(str::to_owned).collect()
}

fn device(node: &DeviceNode) -> String {
    let path = node.path.display().to_string();
    let options = if is_optional(&node.path) { OPTIONAL } else { REQUIRED };
    format!("lxc.mount.entry = {path} {} {options} 0 0", path.trim_start_matches('/'))
}

fn allowed(node: &DeviceNode, host: HostFeatures) -> String {
    let allow = match host.cgroups {
        Cgroups::First => "lxc.cgroup.devices.allow",
        Cgroups::Second => "lxc.cgroup2.devices.allow",
    };
    format!("{allow} = c {}:{} rwm", node.major, node.minor)
}

/// Whether a container has a list of devices, which ours must be on. `userns.conf` takes an unprivileged one's away; with
/// cgroups of version 2, the first line after that makes a new list, with that one device alone on it and not even
/// `/dev/null` (measured with lxc 5.0.2 and 7.0.0).
fn has_device_list(container: &Container, host: HostFeatures, is_unprivileged: bool) -> bool {
    let is_of_operator = container.lxc_options.iter().any(|option| option.key.starts_with("lxc.cgroup2.devices."));
    !is_unprivileged || host.cgroups == Cgroups::First || is_of_operator
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
