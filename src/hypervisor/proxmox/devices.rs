//! Which devices a container of Proxmox VE has: `devN` entries, or raw lines where `pct` is too old for them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::driver::device::{DeviceNode, MAJOR, is_nvidia_node, is_optional};
use crate::hypervisor::liblxc::{passed_node, passes_nvidia};

use super::config_file::{ConfigFile, RawLine};
use super::property;
use super::settings::{free_keys, index_of};

/// The `devN` keys to set and to delete, so that exactly these devices of NVIDIA's and of ours are there.
///
/// A device that stays keeps its number, and one that is to `stay` its whole entry. An operator's own devices are neither changed nor counted.
pub(super) fn entries(
    current: &BTreeMap<String, String>,
    wanted: &[DeviceNode],
    stay: &[PathBuf],
    given: &BTreeSet<String>,
) -> (Vec<(String, String)>, Vec<String>) {
    let there: BTreeMap<&str, String> = current
        .iter()
        .filter(|(key, _)| index_of(key, "dev").is_some())
        .map(|(key, value)| (key.as_str(), property::parts(value, "path").remove("path").unwrap_or_default()))
        .collect();
    let mut free = free_keys("dev", current);
    let (mut set, mut kept) = (Vec::new(), BTreeSet::new());
    for node in wanted {
        let (path, value) = (node.path.display().to_string(), entry(node));
        match there.iter().find(|(_, there)| **there == path) {
            Some((key, _)) => {
                kept.insert(*key);
                if !current.get(*key).is_some_and(|current| same_entry(current, &value)) {
                    set.push(((*key).to_owned(), value));
                }
            }
            None => set.extend(free.next().map(|key| (key, value))),
        }
    }
    let is_ours = |path: &str| path.strip_prefix("/dev/").is_some_and(is_nvidia_node) || given.contains(path);
    let stays = |key: &str, path: &str| kept.contains(key) || stay.iter().any(|stay| stay == Path::new(path));
    let gone = there.iter().filter(|(key, path)| !stays(key, path) && is_ours(path));
    let mut gone: Vec<String> = gone.map(|(key, _)| (*key).to_owned()).collect();
    gone.sort_by_key(|key| index_of(key, "dev"));
    (set, gone)
}

/// The NVIDIA device nodes that a container's settings pass, as its next start will find them.
pub(super) fn passed(config: &ConfigFile) -> Vec<PathBuf> {
    let entries = config.after_restart().into_iter().filter(|(key, _)| index_of(key, "dev").is_some());
    let of_entry = |(_, value): (String, String)| {
        let path = property::parts(&value, "path").remove("path")?;
        path.strip_prefix("/dev/").is_some_and(is_nvidia_node).then(|| PathBuf::from(&path))
    };
    let raw = config.raw().filter_map(|line| passed_node(&line.key, &line.value)).collect::<Vec<_>>();
    entries.filter_map(of_entry).chain(raw).collect()
}

/// `/dev/nvidia0,mode=0666`. Without a mode, only the container's root could use the GPU; the nodes of `nvidia-caps`
/// keep the host's own, for they are what keeps a user from what he may not do.
fn entry(node: &DeviceNode) -> String {
    let path = node.path.display();
    let mode = if path.to_string().starts_with("/dev/nvidia-caps/") { node.mode & 0o777 } else { 0o666 };
    format!("{path},mode=0{mode:03o}")
}

fn same_entry(left: &str, right: &str) -> bool {
    property::parts(left, "path") == property::parts(right, "path")
}

/// The raw lines that pass these devices, for pve-container before 5.0.7.
///
/// What CUDA needs is not `optional`: a container without its GPU should not start as if nothing were wrong.
pub(super) fn raw_lines(nodes: &[DeviceNode]) -> Vec<RawLine> {
    let lines = |node: &DeviceNode| {
        let path = node.path.display().to_string();
        let options = if is_optional(&node.path) { "bind,optional,create=file" } else { "bind,create=file" };
        let mount = format!("{path} {} none {options}", path.trim_start_matches('/'));
        [
            RawLine::new("lxc.mount.entry", &mount),
            RawLine::new("lxc.cgroup2.devices.allow", &format!("c {}:{} rwm", node.major, node.minor)),
        ]
    };
    nodes.iter().flat_map(lines).collect()
}

/// The majors of character devices on this host, from `/proc/devices`.
#[derive(Debug, Clone, Default)]
pub(super) struct Majors {
    taken: BTreeMap<u32, String>,
}

/// The majors that the kernel gives out by itself (`Documentation/admin-guide/devices.txt`).
const DYNAMIC: [std::ops::RangeInclusive<u32>; 2] = [234..=254, 384..=511];

impl Majors {
    /// Reads the text of `/proc/devices`.
    pub(super) fn parse(text: &str) -> Self {
        let characters = text.split("\n\n").next().unwrap_or_default();
        let line = |line: &str| {
            let (major, name) = line.trim().split_once(' ')?;
            Some((major.parse().ok()?, name.trim().to_owned()))
        };
        Self { taken: characters.lines().filter_map(line).collect() }
    }

    /// Those of a container's raw lines that pass NVIDIA devices.
    ///
    /// Beside a mount of an NVIDIA node, an allowed major that this host gives to nobody is a stale one: that of
    /// `nvidia-uvm` is another after every boot, and scripts have written it as a constant.
    pub(super) fn passing_nvidia(&self, lines: &[RawLine], wanted: &[DeviceNode]) -> Vec<RawLine> {
        let mounts =
            lines.iter().any(|line| line.key == "lxc.mount.entry" && passes_nvidia(&line.key, &line.value, &|_| false));
        let is_nvidias = |major: u32| {
            major == MAJOR
                || wanted.iter().any(|node| node.major == major)
                || match self.taken.get(&major) {
                    Some(name) => name.starts_with("nvidia"),
                    None => mounts && DYNAMIC.iter().any(|range| range.contains(&major)),
                }
        };
        lines.iter().filter(|line| passes_nvidia(&line.key, &line.value, &is_nvidias)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, mode: u32) -> DeviceNode {
        DeviceNode { path: PathBuf::from(format!("/dev/{name}")), major: 195, minor: 0, mode }
    }

    fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn devices_keep_their_numbers_and_new_ones_take_the_lowest_that_is_free() {
        let current = keys(&[
            ("dev0", "/dev/nvidia0,mode=0666"),
            ("dev1", "/dev/dri/card0,gid=44"),
            ("dev3", "path=/dev/nvidiactl,mode=0600"),
            ("dev10", "/dev/nvidia1,mode=0666"),
        ]);
        let wanted = [node("nvidia1", 0o666), node("nvidiactl", 0o666), node("nvidia-caps/nvidia-cap2", 0o444)];
        let (set, delete) = entries(&current, &wanted, &[], &BTreeSet::new());
        let expected = [("dev3", "/dev/nvidiactl,mode=0666"), ("dev2", "/dev/nvidia-caps/nvidia-cap2,mode=0444")];
        assert_eq!(set, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(delete, ["dev0"]);
    }

    #[test]
    fn an_operators_own_device_goes_only_when_we_gave_it() {
        let current = keys(&[("dev0", "/dev/kvm"), ("dev1", "/dev/fuse,mode=0666")]);
        let given = BTreeSet::from(["/dev/fuse".to_owned()]);
        assert_eq!(entries(&current, &[], &[], &given), (Vec::new(), vec!["dev1".to_owned()]));
    }

    #[test]
    fn what_the_host_lacks_for_the_moment_stays_as_it_is() {
        let current = keys(&[("dev0", "/dev/nvidia0,gid=44"), ("dev1", "/dev/nvidia1,mode=0666")]);
        let gone = |stay: &[PathBuf]| entries(&current, &[], stay, &BTreeSet::new());
        assert_eq!(gone(&["/dev/nvidia0".into()]), (Vec::new(), vec!["dev1".to_owned()]));
        assert_eq!(gone(&[]), (Vec::new(), vec!["dev0".to_owned(), "dev1".to_owned()]));
    }

    #[test]
    fn a_stale_major_goes_with_the_mounts_and_a_foreign_one_stays() {
        let majors =
            Majors::parse("Character devices:\n  1 mem\n195 nvidia\n243 hidraw\n\nBlock devices:\n511 nothing\n");
        let lines = |with_mount: bool| {
            let mut lines = vec![
                RawLine::new("lxc.cgroup2.devices.allow", "c 195:* rwm"),
                RawLine::new("lxc.cgroup2.devices.allow", "c 243:* rwm"),
                RawLine::new("lxc.cgroup2.devices.allow", "c 508:* rwm"),
                RawLine::new("lxc.cgroup2.devices.allow", "c 10:200 rwm"),
            ];
            if with_mount {
                lines.push(RawLine::new(
                    "lxc.mount.entry",
                    "/dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file",
                ));
            }
            lines
        };
        let gone = |with_mount| -> Vec<String> {
            let lines = lines(with_mount);
            let found = majors.passing_nvidia(&lines, &[]);
            found.iter().map(|line| line.value.split(' ').nth(1).unwrap().to_owned()).collect()
        };
        assert_eq!(gone(true), ["195:*", "508:*", "dev/nvidia-uvm"]);
        assert_eq!(gone(false), ["195:*"]);
    }
}
