//! Which devices a container of Proxmox VE has: `devN` entries, or raw lines where `pct` is too old for them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::GpuAccess;
use crate::driver::device::{DeviceNode, is_dri, is_nvidia_node, is_optional, optional_numbers};
use crate::hypervisor::liblxc::{passed_device, passes_nvidia};
use crate::hypervisor::majors::Majors;

use super::config_file::{ConfigFile, RawLine};
use super::keys::{free_keys, index_of};
use super::property;
use super::second_node;

/// The key by which a container may open a device, where cgroups of version 2 are mounted alone, and where they are not.
pub(super) const ALLOW: [&str; 2] = ["lxc.cgroup2.devices.allow", "lxc.cgroup.devices.allow"];

/// The one that counts on this host: `pct` chooses by the same mount (`PVE::CGroup::cgroup_mode` of pve-common 9.2.1).
pub(super) fn allow_here() -> &'static str {
    ALLOW[usize::from(!Path::new("/sys/fs/cgroup/cgroup.controllers").exists())]
}

/// The `devN` keys to set and to delete, so that exactly these devices of NVIDIA's and of ours are there.
///
/// Nodes that CUDA does not need never come so, and those of previous versions go: see [`super::optional_nodes`].
///
/// A device that stays keeps its number, and one that is to `stay` its whole entry; of one that is there, only what the
/// configuration says is changed. An operator's own devices are neither changed nor counted.
pub(super) fn entries(
    current: &BTreeMap<String, String>,
    wanted: &[DeviceNode],
    stay: &[PathBuf],
    given: &BTreeSet<String>,
    access: GpuAccess,
) -> (Vec<(String, String)>, Vec<String>) {
    let there: BTreeMap<&str, String> = current
        .iter()
        .filter(|(key, _)| index_of(key, "dev").is_some())
        .map(|(key, value)| (key.as_str(), property::parts(value, "path").remove("path").unwrap_or_default()))
        .collect();
    let mut free = free_keys("dev", current);
    let (mut set, mut kept) = (Vec::new(), BTreeSet::new());
    for node in wanted.iter().filter(|node| optional_numbers(&node.path).is_none()) {
        let path = node.path.display().to_string();
        match there.iter().find(|(_, there)| **there == path) {
            Some((key, _)) => {
                kept.insert(*key);
                let changed = current.get(*key).and_then(|current| changed_entry(current, node, access));
                set.extend(changed.map(|value| ((*key).to_owned(), value)));
            }
            None => set.extend(free.next().map(|key| (key, new_entry(node, access)))),
        }
    }
    let is_ours = |path: &str| path.strip_prefix("/dev/").is_some_and(is_nvidia_node) || given.contains(path);
    // An optional one that the host lacks would keep the container from starting: raw lines stand for it.
    let waits = |path: &str| {
        let path = Path::new(path);
        stay.iter().any(|stay| stay == path) && optional_numbers(path).is_none()
    };
    let stays = |key: &str, path: &str| kept.contains(key) || waits(path);
    let gone = there.iter().filter(|(key, path)| !stays(key, path) && is_ours(path));
    let mut gone: Vec<String> = gone.map(|(key, _)| (*key).to_owned()).collect();
    gone.sort_by_key(|key| index_of(key, "dev"));
    (set, gone)
}

/// The NVIDIA device nodes that a container's settings pass, as its next start will find them, and those to draw with that
/// we have given it.
pub(super) fn passed(config: &ConfigFile, given: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut nodes = passed_of_nvidia(config);
    nodes.extend(given.iter().map(PathBuf::from).filter(|path| is_dri(path) && has(config, path)));
    nodes
}

/// Whether a container's settings pass this device.
pub(super) fn has(config: &ConfigFile, path: &Path) -> bool {
    let entries = config.after_restart().into_iter().filter(|(key, _)| index_of(key, "dev").is_some());
    let mut paths = entries.filter_map(|(_, value)| property::parts(&value, "path").remove("path"));
    paths.any(|there| Path::new(&there) == path)
        || config
            .raw()
            .any(|line| passed_device(&line.key, &line.value).is_some_and(|there| second_node::of_host(there) == path))
}

fn passed_of_nvidia(config: &ConfigFile) -> Vec<PathBuf> {
    let entries = config.after_restart().into_iter().filter(|(key, _)| index_of(key, "dev").is_some());
    let of_entry = |(_, value): (String, String)| {
        let path = property::parts(&value, "path").remove("path")?;
        is_nvidias(Path::new(&path)).then(|| PathBuf::from(path))
    };
    let of_line = |line: RawLine| passed_device(&line.key, &line.value).map(second_node::of_host);
    let raw = config.raw().filter_map(of_line).filter(|path| is_nvidias(path)).collect::<Vec<_>>();
    entries.filter_map(of_entry).chain(raw).collect()
}

fn is_nvidias(path: &Path) -> bool {
    path.strip_prefix("/dev").is_ok_and(|name| name.to_str().is_some_and(is_nvidia_node))
}

/// `/dev/nvidia0,mode=0666`. Without a mode, only the container's root could use the GPU.
fn new_entry(node: &DeviceNode, access: GpuAccess) -> String {
    let mode = if is_capability(node) { node.mode & 0o777 } else { 0o666 };
    let default = [("mode", format!("0{mode:03o}"))];
    let parts: BTreeMap<_, _> = default.into_iter().chain(said(node, access)).collect();
    let parts = parts.into_iter().map(|(key, value)| format!(",{key}={value}"));
    format!("{}{}", node.path.display(), parts.collect::<String>())
}

/// An entry that is there with what the configuration says of it, where it says anything else; all else stays.
fn changed_entry(current: &str, node: &DeviceNode, access: GpuAccess) -> Option<String> {
    let there = property::parts(current, "path");
    let octal = |text: &str| u32::from_str_radix(text, 8).ok();
    let is_so = |key: &str, value: &str| match (key, there.get(key)) {
        ("mode", Some(there)) => octal(there) == octal(value),
        (_, there) => there.is_some_and(|there| there == value),
    };
    let said = said(node, access);
    if said.iter().all(|(key, value)| is_so(key, value)) {
        return None;
    }
    let kept = there.iter().map(|(key, value)| (key.as_str(), value.clone())).filter(|(key, _)| *key != "path");
    let parts: BTreeMap<_, _> = kept.chain(said).collect();
    let parts = parts.into_iter().map(|(key, value)| format!(",{key}={value}"));
    Some(format!("{}{}", node.path.display(), parts.collect::<String>()))
}

/// What the configuration says of a node. The nodes of `nvidia-caps` keep their mode, for it is what keeps a user from what
/// he may not do.
fn said(node: &DeviceNode, access: GpuAccess) -> Vec<(&'static str, String)> {
    let mode = access.mode.filter(|_| !is_capability(node)).map(|mode| ("mode", format!("0{mode:03o}")));
    let (uid, gid) = (access.uid.map(|uid| ("uid", uid.to_string())), access.gid.map(|gid| ("gid", gid.to_string())));
    [mode, uid, gid].into_iter().flatten().collect()
}

fn is_capability(node: &DeviceNode) -> bool {
    node.path.starts_with("/dev/nvidia-caps")
}

/// The raw lines that pass these devices, for pve-container before 5.0.7.
///
/// What CUDA needs is not `optional`: a container without its GPU should not start as if nothing were wrong.
pub(super) fn raw_lines(nodes: &[DeviceNode], allow: &str) -> Vec<RawLine> {
    let nodes = nodes.iter().filter(|node| optional_numbers(&node.path).is_none());
    let lines = |node: &DeviceNode| {
        let path = node.path.display().to_string();
        let options = if is_optional(&node.path) { "bind,optional,create=file" } else { "bind,create=file" };
        let mount = format!("{path} {} none {options}", path.trim_start_matches('/'));
        [RawLine::new("lxc.mount.entry", &mount), RawLine::new(allow, &format!("c {}:{} rwm", node.major, node.minor))]
    };
    nodes.flat_map(lines).collect()
}

/// Those of a container's raw lines that pass NVIDIA devices.
pub(super) fn passing_nvidia(config: &ConfigFile, wanted: &[DeviceNode], majors: &Majors) -> Vec<RawLine> {
    let has_gpus = wanted.iter().any(|node| is_nvidias(&node.path)) || !passed_of_nvidia(config).is_empty();
    let is_nvidias = |major| majors.is_nvidias(major, has_gpus);
    config.raw().filter(|line| passes_nvidia(&line.key, &line.value, &is_nvidias)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, mode: u32) -> DeviceNode {
        DeviceNode { path: PathBuf::from(format!("/dev/{name}")), major: 195, minor: 0, mode, group: 0 }
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
        let (set, delete) = entries(&current, &wanted, &[], &BTreeSet::new(), GpuAccess::default());
        let expected = [("dev2", "/dev/nvidia-caps/nvidia-cap2,mode=0444")];
        assert_eq!(set, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(delete, ["dev0"]);
    }

    #[test]
    fn who_may_use_a_device_is_changed_only_where_the_configuration_says_it() {
        let current = keys(&[("dev0", "/dev/nvidia0,deny-write=1,gid=996,mode=660")]);
        let wanted = [node("nvidia0", 0o666), node("nvidiactl", 0o666), node("nvidia-caps/nvidia-cap2", 0o444)];
        let set = |mode, uid, gid| {
            let access = GpuAccess { mode, uid, gid };
            entries(&current, &wanted, &[], &BTreeSet::new(), access)
                .0
                .into_iter()
                .map(|(key, it)| format!("{key}: {it}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            set(None, None, None),
            ["dev1: /dev/nvidiactl,mode=0666", "dev2: /dev/nvidia-caps/nvidia-cap2,mode=0444"]
        );
        assert_eq!(
            set(Some(0o660), None, Some(44)),
            [
                "dev0: /dev/nvidia0,deny-write=1,gid=44,mode=0660",
                "dev1: /dev/nvidiactl,gid=44,mode=0660",
                "dev2: /dev/nvidia-caps/nvidia-cap2,gid=44,mode=0444",
            ]
        );
        assert_eq!(set(Some(0o660), None, Some(996)).len(), 2, "it is so already");
    }

    #[test]
    fn a_node_to_draw_with_is_no_entry_and_an_operators_stays() {
        let card = node("dri/card1", 0o660);
        let current = keys(&[("dev0", "/dev/dri/card0,gid=44,mode=0660"), ("dev1", "/dev/dri/renderD128,mode=0666")]);
        let given = BTreeSet::from(["/dev/dri/renderD128".to_owned()]);
        // Whether the host has it or lacks it for the moment, ours would keep the container from starting.
        for stay in [&[][..], &["/dev/dri/renderD128".into()]] {
            let changed = entries(&current, std::slice::from_ref(&card), stay, &given, GpuAccess::default());
            assert_eq!(changed, (Vec::new(), vec!["dev1".to_owned()]));
        }
        let config = ConfigFile::new("dev0: /dev/dri/card0\ndev1: /dev/dri/renderD128\ndev2: /dev/nvidia0\n");
        assert_eq!(passed(&config, &given), [Path::new("/dev/nvidia0"), Path::new("/dev/dri/renderD128")]);
    }

    #[test]
    fn an_operators_own_device_goes_only_when_we_gave_it() {
        let current = keys(&[("dev0", "/dev/kvm"), ("dev1", "/dev/fuse,mode=0666")]);
        let given = BTreeSet::from(["/dev/fuse".to_owned()]);
        assert_eq!(entries(&current, &[], &[], &given, GpuAccess::default()), (Vec::new(), vec!["dev1".to_owned()]));
    }

    #[test]
    fn what_the_host_lacks_for_the_moment_stays_as_it_is() {
        let current = keys(&[("dev0", "/dev/nvidia0,gid=44"), ("dev1", "/dev/nvidia1,mode=0666")]);
        let gone = |stay: &[PathBuf]| entries(&current, &[], stay, &BTreeSet::new(), GpuAccess::default());
        assert_eq!(gone(&["/dev/nvidia0".into()]), (Vec::new(), vec!["dev1".to_owned()]));
        assert_eq!(gone(&[]), (Vec::new(), vec!["dev0".to_owned(), "dev1".to_owned()]));
    }

    #[test]
    fn a_stale_major_goes_with_the_gpus_and_a_foreign_one_stays() {
        let majors = Majors::parse("Character devices:\n195 nvidia\n243 hidraw\n510 nvidia-uvm\n\n");
        let lines = ["c 195:* rwm", "c 243:* rwm", "c 508:* rwm", "c 237:* rwm", "c 10:200 rwm"]
            .map(|value| format!("lxc.cgroup2.devices.allow: {value}\n"))
            .concat();
        let gone = |more: &str, wanted: &[DeviceNode]| -> Vec<String> {
            let found = passing_nvidia(&ConfigFile::new(lines.clone() + more), wanted, &majors);
            found.iter().map(|line| line.value.split(' ').nth(1).unwrap().to_owned()).collect()
        };
        let mount = "lxc.mount.entry: /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file\n";
        assert_eq!(gone(mount, &[]), ["195:*", "508:*", "237:*", "dev/nvidia-uvm"]);
        assert_eq!(gone("dev0: /dev/nvidia0,mode=0666\n", &[]), ["195:*", "508:*", "237:*"]);
        assert_eq!(gone("", &[node("nvidia0", 0o666)]), ["195:*", "508:*", "237:*"]);
        assert_eq!(gone("dev0: /dev/kvm\n", &[]), ["195:*"]);
    }
}
