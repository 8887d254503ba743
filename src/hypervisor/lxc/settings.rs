//! `phoenix-nvidia.conf` of a container: what the operators' configuration decides, as liblxc's lines.

use std::path::{Path, PathBuf};

use crate::config::{Address, Container, MacAddress, Mount, Network};
use crate::driver::device::{DeviceNode, is_optional, rank};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Desired, DriverMount, liblxc};

use super::host_features::{Cgroups, HostFeatures};

/// The name of the file, beside the container's `config`.
pub(super) const FILE: &str = "phoenix-nvidia.conf";

/// The variable of init's environment that names the settings which the container was started with.
pub(super) const MARKER: &str = "PHOENIX_NVIDIA_SETTINGS";

/// How a node's mount says that a container starts without it, and that it does not.
const OPTIONAL: &str = "none bind,optional,create=file";
const REQUIRED: &str = "none bind,create=file";

const HEADER: &str = "# Written by phoenix-nvidia and replaced as a whole; change phoenix_lxc_configs.json instead.";

/// The whole file for a container, which has a user namespace of its own or not. What it keeps is taken from the former
/// file.
///
/// # Errors
/// A value that liblxc's line format cannot hold.
pub(super) fn render(desired: &Desired<'_>, host: HostFeatures, is_unprivileged: bool, former: &str) -> Result<String> {
    let container = desired.container;
    let mut lines = vec![format!("lxc.uts.name = {}", container.name)];
    if container.pct_options.iter().any(|option| option == "nesting=1") {
        lines.push("lxc.include = /usr/share/lxc/config/nesting.conf".to_owned());
    }
    lines.extend(apparmor(container, host));
    lines.extend(resources(container, host));
    lines.extend(network(container.network.as_ref(), container.mac_address.as_ref()));
    lines.extend(boot(container));
    lines.extend(container.lxc_options.iter().map(|option| format!("{} = {}", option.key, option.value)));
    lines.extend(container.mounts.iter().map(mount_entry));
    lines.extend(devices(desired, host, is_unprivileged, former));
    if let Some(line) = lines.iter().find(|line| line.contains(['\n', '\r', '\0'])) {
        let line = line.escape_debug();
        return Err(Error::new(Kind::Configuration, format!("container {}: `{line}` has a line break", container.id))
            .hint("a value in phoenix_lxc_configs.json must be one line"));
    }
    // A driver's mount is brought into a running container, too, and asks for no restart; nor does it when a node that
    // is there is no longer required.
    let fingerprint = fingerprint(&lines.join("\n").replace(OPTIONAL, REQUIRED));
    lines.extend(desired.mounts.iter().map(driver_mount));
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

fn fingerprint(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn apparmor(container: &Container, host: HostFeatures) -> Option<String> {
    const KEY: &str = "lxc.apparmor.profile";
    if container.lxc_options.iter().any(|option| option.key == KEY) {
        return None;
    }
    match container.apparmor_profile.as_deref() {
        _ if !host.apparmor => Some(format!("{KEY} = unconfined")),
        Some(profile) => Some(format!("{KEY} = {profile}")),
        None => Some(format!("{KEY} = generated")),
    }
}

fn resources(container: &Container, host: HostFeatures) -> Vec<String> {
    const MIB: u64 = 1 << 20;
    // A quota over 100 ms; pinning to the first N processors would put all containers on the same ones.
    const PERIOD: u64 = 100_000;
    let mut lines = Vec::new();
    let memory = container.memory_mb.map(|mb| mb.saturating_mul(MIB));
    if let Some(memory) = memory {
        let key = match host.cgroups {
            Cgroups::First => "lxc.cgroup.memory.limit_in_bytes",
            Cgroups::Second => "lxc.cgroup2.memory.max",
        };
        lines.push(format!("{key} = {memory}"));
    }
    if let (Some(swap), true) = (container.swap_mb.map(|mb| mb.saturating_mul(MIB)), host.swap_limit) {
        match (host.cgroups, memory) {
            (Cgroups::Second, _) => lines.push(format!("lxc.cgroup2.memory.swap.max = {swap}")),
            // v1 counts memory and swap together.
            (Cgroups::First, Some(memory)) => {
                lines.push(format!("lxc.cgroup.memory.memsw.limit_in_bytes = {}", memory.saturating_add(swap)))
            }
            (Cgroups::First, None) => {}
        }
    }
    if let Some(cores) = container.cores {
        let quota = u64::from(cores) * PERIOD;
        lines.push(match host.cgroups {
            Cgroups::First => format!("lxc.cgroup.cpu.cfs_quota_us = {quota}"),
            Cgroups::Second => format!("lxc.cgroup2.cpu.max = {quota} {PERIOD}"),
        });
    }
    lines
}

fn network(network: Option<&Network>, mac_address: Option<&MacAddress>) -> Vec<String> {
    let Some(network) = network else { return vec!["lxc.net.0.type = empty".to_owned()] };
    let mut lines = vec![
        "lxc.net.0.type = veth".to_owned(),
        format!("lxc.net.0.link = {}", network.bridge),
        format!("lxc.net.0.name = {}", network.interface),
        "lxc.net.0.flags = up".to_owned(),
    ];
    lines.extend(mac_address.map(|address| format!("lxc.net.0.hwaddr = {address}")));
    // With DHCP, or nothing said, the container asks for its address by itself.
    if let Address::Static { ip, prefix } = network.address {
        lines.push(format!("lxc.net.0.ipv4.address = {ip}/{prefix}"));
        lines.extend(network.gateway.map(|gateway| format!("lxc.net.0.ipv4.gateway = {gateway}")));
    }
    lines
}

fn boot(container: &Container) -> Vec<String> {
    if !container.start_at_boot {
        return Vec::new();
    }
    let mut lines = vec!["lxc.start.auto = 1".to_owned()];
    lines.extend(container.boot_order.map(|order| format!("lxc.start.order = {order}")));
    lines.extend(container.boot_delay.map(|delay| format!("lxc.start.delay = {delay}")));
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
fn devices(desired: &Desired<'_>, host: HostFeatures, is_unprivileged: bool, former: &str) -> Vec<String> {
    let is_listed = has_device_list(desired.container, host, is_unprivileged);
    let of_node = |node: &DeviceNode| {
        let lines = std::iter::once(device(node)).chain(is_listed.then(|| allowed(node, host))).collect();
        (rank(&node.path), lines)
    };
    let of_kept = |path: &PathBuf| {
        let mut lines = lines_of(former, path);
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

/// The lines of a former file that pass this node: its mount, and what allows it.
fn lines_of(former: &str, path: &Path) -> Vec<String> {
    let mut lines = former.lines();
    let is_mount = |line: &str| {
        line.strip_prefix("lxc.mount.entry = ")
            .and_then(|value| liblxc::passed_node("lxc.mount.entry", value))
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
