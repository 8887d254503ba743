//! A container's `config`: written once at its making, read for its idmap and root, cleaned of NVIDIA lines.

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::driver::device::{is_dri, is_nvidia_node};
use crate::error::Result;
use crate::hypervisor::Desired;
use crate::hypervisor::liblxc::{self, passes_nvidia};
use crate::hypervisor::majors::Majors;
use crate::sys::idmap::{IdMap, Range};

/// The name of our own file, beside the container's `config`.
pub(super) const FILE: &str = "phoenix-nvidia.conf";

/// Reads a file of settings. liblxc takes any bytes, in a comment for example; what is no text is only looked at.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&fs_err::read(path)?).into_owned())
}

/// One line as liblxc reads it: `key = value`, or something else that is kept as it is.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    (!key.starts_with('#')).then_some((key, value.trim()))
}

/// The settings of a file, in their order.
pub(super) fn entries(config: &str) -> impl Iterator<Item = (&str, &str)> {
    config.lines().filter_map(entry)
}

/// The `config` of a new container.
pub(super) fn new_config(
    directory: &Path,
    name: &str,
    idmap: &IdMap,
    init: Option<&str>,
    architecture: &str,
) -> String {
    let mut lines = vec!["lxc.include = /usr/share/lxc/config/common.conf".to_owned()];
    if !idmap.is_identity() {
        lines.push("lxc.include = /usr/share/lxc/config/userns.conf".to_owned());
        let ranges = |kind: char, ranges: &[Range]| -> Vec<String> {
            ranges
                .iter()
                .map(|range| format!("lxc.idmap = {kind} {} {} {}", range.inside, range.outside, range.count))
                .collect()
        };
        lines.extend(ranges('u', idmap.users()));
        lines.extend(ranges('g', idmap.groups()));
    }
    lines.push(format!("lxc.arch = {architecture}"));
    lines.push(format!("lxc.rootfs.path = dir:{}/rootfs", directory.display()));
    lines.push(format!("lxc.uts.name = {name}"));
    if let Some(init) = init {
        lines.push(format!("lxc.init.cmd = {init}"));
        // A program that is no init ignores the signal that asks it to shut down, and would be waited for in vain.
        lines.push("lxc.signal.halt = SIGKILL".to_owned());
    }
    lines.push(include_line(directory));
    lines.join("\n") + "\n"
}

fn include_line(directory: &Path) -> String {
    format!("lxc.include = {}/{}", directory.display(), FILE)
}

/// What becomes of the lines in a `config` that pass NVIDIA's devices.
#[derive(Debug, Clone, Copy)]
pub(super) enum NvidiaLines<'m> {
    /// They go: what a container is given stands in our own file.
    Remove {
        /// The majors of this host.
        majors: &'m Majors,
        /// The container is to have GPUs.
        has_gpus: bool,
    },
    /// They stay, for this host lacks some of the nodes for the moment.
    Keep,
}

impl<'m> NvidiaLines<'m> {
    /// What is to become of them in a container that should be like this.
    pub(super) fn of(desired: &Desired<'_>, majors: &'m Majors) -> Self {
        if desired.kept.iter().any(|path| !is_dri(path)) {
            return Self::Keep;
        }
        let is_nvidias = |name: &Path| name.to_str().is_some_and(is_nvidia_node);
        let has_gpus = desired.devices.iter().any(|node| node.path.strip_prefix("/dev").is_ok_and(is_nvidias));
        Self::Remove { majors, has_gpus }
    }

    /// Whether a line of this `config` goes.
    fn removed_from(self, config: &str) -> impl Fn(&str, &str) -> bool {
        let passes_nodes = passed_nodes(config).next().is_some();
        move |key, value| match self {
            Self::Remove { majors, has_gpus } => {
                passes_nvidia(key, value, &|major| majors.is_nvidias(major, has_gpus || passes_nodes))
            }
            Self::Keep => false,
        }
    }
}

/// What a container's `config`, with all that it includes, says by itself of what we say where nobody else does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// Its interfaces.
    pub(super) has_network: bool,
    /// Its AppArmor profile.
    pub(super) profile: Option<String>,
    /// That it starts when the host does.
    pub(super) starts_at_boot: bool,
}

impl Own {
    /// What these lines say.
    pub(super) fn of(config: &str) -> Self {
        let last = |wanted: &str| {
            config.lines().filter_map(entry).filter(|(key, _)| *key == wanted).map(|it| it.1).next_back()
        };
        Self {
            has_network: config.lines().filter_map(entry).any(|(key, _)| key.starts_with("lxc.net.")),
            profile: last("lxc.apparmor.profile").map(str::to_owned),
            starts_at_boot: last("lxc.start.auto") == Some("1"),
        }
    }
}

/// The files and directories that a `config` includes, but for our own.
pub(super) fn includes(config: &str) -> impl Iterator<Item = &Path> {
    let included = config.lines().filter_map(entry).filter(|(key, _)| *key == "lxc.include").map(|it| Path::new(it.1));
    included.filter(|path| !path.ends_with(FILE))
}

/// The nodes of NVIDIA's that these lines pass.
pub(super) fn passed_nodes(config: &str) -> impl Iterator<Item = PathBuf> {
    config.lines().filter_map(entry).filter_map(|(key, value)| liblxc::passed_node(key, value))
}

/// The nodes to draw with that these lines pass.
pub(super) fn passed_dri(config: &str) -> impl Iterator<Item = PathBuf> {
    let devices = config.lines().filter_map(entry).filter_map(|(key, value)| liblxc::passed_device(key, value));
    devices.filter(|path| is_dri(path))
}

/// The same `config` with our one line for this directory, and without NVIDIA's devices.
///
/// A copy of a container brings its source's line and devices along; older tools and hands have written theirs.
pub(super) fn settled(config: &str, directory: &Path, nvidia: NvidiaLines<'_>) -> String {
    let ours = include_line(directory);
    let is_nvidias = nvidia.removed_from(config);
    let foreign_include = |key: &str, value: &str| {
        key == "lxc.include" && value.ends_with(&format!("/{}", FILE)) && !ours.ends_with(&format!("= {value}"))
    };
    let mut lines: Vec<&str> = config
        .lines()
        .filter(|line| !entry(line).is_some_and(|(key, value)| foreign_include(key, value) || is_nvidias(key, value)))
        .collect();
    if !lines.iter().any(|line| line.trim() == ours) {
        lines.push(&ours);
    }
    lines.join("\n") + "\n"
}

/// The idmap that the texts of a container's files ask for, one after the other.
///
/// # Errors
/// A `lxc.idmap` line that liblxc would not take either, or lines that leave out users, groups or root.
pub(super) fn idmap(config: &str, id: ContainerId) -> Result<IdMap> {
    idmap_with(config, std::iter::empty(), id)
}

/// The same with more `lxc.idmap` lines, by their values.
pub(super) fn idmap_with<'v>(config: &'v str, more: impl Iterator<Item = &'v str>, id: ContainerId) -> Result<IdMap> {
    let lines = config.lines().filter_map(entry).filter(|(key, _)| *key == "lxc.idmap").map(|(_, value)| value);
    liblxc::idmap_of(lines.chain(more), id)
}

/// The directory that a `config` names as the container's root.
pub(super) fn rootfs(config: &str) -> Option<PathBuf> {
    let value = config.lines().filter_map(entry).rfind(|(key, _)| *key == "lxc.rootfs.path")?.1;
    let path = value.strip_prefix("dir:").unwrap_or(value);
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// The same `config` with another root and name; for a copy that is going to move.
pub(super) fn moved(config: &str, rootfs: &Path, name: &str) -> String {
    let moved = |line: &str| match entry(line) {
        Some(("lxc.rootfs.path", _)) => format!("lxc.rootfs.path = dir:{}", rootfs.display()),
        Some(("lxc.uts.name", _)) => format!("lxc.uts.name = {name}"),
        _ => line.to_owned(),
    };
    config.lines().map(moved).collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIED: &str = "\
lxc.include = /usr/share/lxc/config/common.conf
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
# lxc.mount.entry = /dev/nvidia9 is a comment
lxc.mount.entry = /dev/nvidia1 dev/nvidia1 none bind,optional,create=file
lxc.mount.entry = /dev/dri dev/dri none bind,optional,create=dir
lxc.cgroup2.devices.allow = c 195:* rwm
lxc.cgroup2.devices.allow = c 508:* rwm
lxc.cgroup2.devices.allow = c 10:200 rwm
lxc.include = /var/lib/lxc/900/phoenix-nvidia.conf
lxc.rootfs.path = dir:/var/lib/lxc/910/rootfs
lxc.uts.name = 910
";

    fn majors() -> Majors {
        Majors::parse("Character devices:\n195 nvidia\n510 nvidia-uvm\n\n")
    }

    fn removing(majors: &Majors) -> NvidiaLines<'_> {
        NvidiaLines::Remove { majors, has_gpus: false }
    }

    #[test]
    fn what_a_config_says_by_itself_is_seen() {
        assert_eq!(Own::of(COPIED), Own::default());
        let by_hand = "lxc.net.0.type = veth\nlxc.apparmor.profile = a\nlxc.apparmor.profile=b\nlxc.start.auto = 1\n";
        assert_eq!(Own::of(by_hand), Own { has_network: true, profile: Some("b".to_owned()), starts_at_boot: true });
        let included: Vec<&Path> = includes(COPIED).collect();
        assert_eq!(included, [Path::new("/usr/share/lxc/config/common.conf")]);
    }

    #[test]
    fn a_copy_loses_its_sources_devices_and_nothing_else() {
        let settled = settled(COPIED, Path::new("/var/lib/lxc/910"), removing(&majors()));
        assert_eq!(
            settled,
            "\
lxc.include = /usr/share/lxc/config/common.conf
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
# lxc.mount.entry = /dev/nvidia9 is a comment
lxc.mount.entry = /dev/dri dev/dri none bind,optional,create=dir
lxc.cgroup2.devices.allow = c 10:200 rwm
lxc.rootfs.path = dir:/var/lib/lxc/910/rootfs
lxc.uts.name = 910
lxc.include = /var/lib/lxc/910/phoenix-nvidia.conf
"
        );
    }

    #[test]
    fn settling_twice_is_settling_once() {
        let directory = Path::new("/var/lib/lxc/910");
        let once = settled(COPIED, directory, removing(&majors()));
        assert_eq!(settled(&once, directory, removing(&majors())), once);
    }

    #[test]
    fn idmap_and_root_are_read() {
        let id = "910".parse().unwrap();
        assert_eq!(idmap(COPIED, id).unwrap().user(33), Some(100_033));
        assert!(idmap("lxc.uts.name = a\n", id).unwrap().is_identity());
        assert!(idmap("lxc.idmap = u 0 x 1\n", id).is_err());
        assert_eq!(rootfs(COPIED), Some(PathBuf::from("/var/lib/lxc/910/rootfs")));
        assert_eq!(rootfs("lxc.rootfs.path = zfs:pool/ct\n"), None);
    }

    #[test]
    fn a_new_config_is_read_back_as_it_was_meant() {
        let map = IdMap::new(
            vec![Range { inside: 0, outside: 100_000, count: 65_536 }],
            vec![Range { inside: 0, outside: 100_000, count: 65_536 }],
        );
        let text = new_config(Path::new("/var/lib/lxc/901"), "gpu1", &map, Some("/bin/sleep infinity"), "linux64");
        assert_eq!(idmap(&text, "901".parse().unwrap()).unwrap(), map);
        assert_eq!(settled(&text, Path::new("/var/lib/lxc/901"), removing(&majors())), text);
    }
}
