//! Nodes that CUDA does not need and that a host may lack: those below `/dev/dri` are there only while `nvidia-drm` is
//! loaded, and `nvidia-modeset` where something has made it. `pct` starts no container whose `devN` the host lacks, and says
//! so before any hook is called (pve-container 6.1.10), so these nodes come in by raw lines that are `optional`.
//!
//! A mount shows the owner of the host's node, whom an unprivileged container does not know. Where that would close it,
//! the container sees a second node of the same number, with the owner and the mode that a `devN` would give it. The path
//! of that node says both, so that whoever makes it after a boot needs nothing else than the container's own file.

use std::path::{Path, PathBuf};

use crate::config::GpuAccess;
use crate::container_id::ContainerId;
use crate::driver::device::{DeviceNode, MODESET, is_dri, optional_numbers};
use crate::error::{Error, Result};
use crate::host::{Change, NvidiaHost, Prepared};
use crate::hypervisor::Desired;
use crate::sys::device_node::{self, CharacterDevice, Found};
use crate::sys::idmap::IdMap;

use super::Proxmox;
use super::config_file::{ConfigFile, RawLine};
use super::devices::{self, ALLOW};
use super::keys::index_of;
use super::mounted;
use super::property;
use super::record::Record;
use super::second_node::{Seen, of_host, second};

/// The mode that `pct` gives the node of a `devN` that names none.
const MODE_OF_ENTRY: u32 = 0o660;

/// Whether a raw line passes a second node, which nobody else writes.
pub(super) fn is_second(line: &RawLine) -> bool {
    source(line).is_some_and(|path| second(&path).is_some())
}

/// Whether a raw line is about this node: passes it, or allows its number, which follows from its name.
pub(super) fn is_about(line: &RawLine, node: &Path) -> bool {
    source(line).map(of_host).as_deref() == Some(node)
        || (ALLOW.contains(&line.key.as_str()) && rule(node).as_ref() == Some(&line.value))
}

/// Whether a raw line is about `nvidia-modeset`, which goes with every GPU: no container is restarted to get it.
pub(super) fn waits_for_a_start(line: &RawLine) -> bool {
    is_about(line, Path::new(MODESET))
}

/// Whether a value of `devN` passes `nvidia-modeset`.
pub(super) fn is_modeset(entry: &str) -> bool {
    property::parts(entry, "path").get("path").is_some_and(|path| path == MODESET)
}

/// The raw lines by which a container gets those of its nodes that are optional.
///
/// Those that an operator has given it stay the operator's. Of one that the host lacks for the moment, the entry that would
/// keep the container from starting becomes such lines, and lines that are there already stay.
pub(super) fn lines(config: &ConfigFile, desired: &Desired<'_>, record: &Record, allow: &str) -> Vec<RawLine> {
    let idmap = mounted::wanted_idmap(config, desired.container).unwrap_or_else(|_| IdMap::identity());
    let access = desired.container.gpu_access;
    let there = desired.devices.iter().map(|node| (node.clone(), access));
    let kept = desired.kept.iter().filter_map(|path| entry(config, path));
    let ours = there.chain(kept).filter(|(node, _)| !is_operators(config, record, &node.path));
    ours.filter_map(|(node, access)| of_node(&node, access, &idmap, allow)).flatten().collect()
}

/// Whether the operator has given a container this node to draw with.
pub(super) fn is_operators(config: &ConfigFile, record: &Record, path: &Path) -> bool {
    let is_ours = record.devices.iter().any(|ours| Path::new(ours) == path)
        || config.raw().any(|line| is_second(&line) && is_about(&line, path));
    is_dri(path) && !is_ours && devices::has(config, path)
}

fn of_node(node: &DeviceNode, access: GpuAccess, idmap: &IdMap, allow: &str) -> Option<[RawLine; 2]> {
    let seen = Seen::of(node, access, idmap);
    let is_as_host = |seen: &Seen| *seen == Seen { user: 0, group: node.group, mode: node.mode & 0o777 };
    let is_open = access.is_none() && node.mode & 0o006 == 0o006;
    let second = seen.filter(|seen| !is_as_host(seen) && !is_open).and_then(|seen| seen.path(&node.path));
    let source = second.unwrap_or_else(|| node.path.clone());
    let inside = node.path.strip_prefix("/").ok()?.display();
    let mount = format!("{} {inside} none bind,optional,create=file", source.display());
    Some([RawLine::new("lxc.mount.entry", &mount), RawLine::new(allow, &rule(&node.path)?)])
}

/// What allows a container to open a node.
fn rule(node: &Path) -> Option<String> {
    optional_numbers(node).map(|(major, minor)| format!("c {major}:{minor} rwm"))
}

fn source(line: &RawLine) -> Option<PathBuf> {
    (line.key == "lxc.mount.entry").then(|| line.value.split_whitespace().next().map(PathBuf::from))?
}

/// A `devN` of this node, with what it says of access.
fn entry(config: &ConfigFile, path: &Path) -> Option<(DeviceNode, GpuAccess)> {
    let entries = config.after_restart().into_iter().filter(|(key, _)| index_of(key, "dev").is_some());
    let mut parts = entries.map(|(_, value)| property::parts(&value, "path"));
    let parts = parts.find(|parts| parts.get("path").is_some_and(|there| Path::new(there) == path))?;
    let number = |key: &str| parts.get(key)?.parse::<u32>().ok();
    let mode = parts.get("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(MODE_OF_ENTRY);
    let access = GpuAccess { mode: None, uid: number("uid").filter(|user| *user != 0), gid: None };
    let ((major, minor), group) = (optional_numbers(path)?, number("gid").unwrap_or(0));
    Some((DeviceNode { path: path.to_owned(), major, minor, mode, group }, access))
}

impl Proxmox<'_> {
    /// What makes the second nodes of a container's file, where the host has the first ones.
    ///
    /// # Errors
    /// The file or the nodes cannot be read.
    pub fn second_nodes(&self, id: ContainerId) -> Result<Prepared> {
        let config = self.read(&format!("lxc/{id}.conf"))?.map(ConfigFile::new);
        config.map_or_else(|| Ok(Prepared::default()), |config| to_make([&config]))
    }

    /// The same for all containers of this node.
    ///
    /// # Errors
    /// A file or a node cannot be read.
    pub fn all_second_nodes(&self) -> Result<Prepared> {
        let mut configs = Vec::new();
        for id in self.own_containers()? {
            configs.extend(self.read(&format!("lxc/{id}.conf"))?.map(ConfigFile::new));
        }
        to_make(&configs)
    }

    /// Makes them before a container starts, which does so without those that cannot be made.
    pub fn make_second_nodes(&self, id: ContainerId) {
        let reported = |error: &Error| self.context.listener.warn(Some(id), error.message());
        match self.second_nodes(id).map(Prepared::carried_out) {
            Ok(Prepared { changes, refused }) => {
                changes.iter().for_each(|change| self.context.listener.note(Some(id), change.phrase()));
                refused.iter().for_each(reported);
            }
            Err(error) => reported(&error),
        }
    }
}

fn to_make<'c>(configs: impl IntoIterator<Item = &'c ConfigFile>) -> Result<Prepared> {
    let mut paths: Vec<PathBuf> = configs
        .into_iter()
        .flat_map(|config| config.raw().filter_map(|line| source(&line)).collect::<Vec<_>>())
        .collect();
    paths.retain(|path| second(path).is_some());
    paths.sort();
    paths.dedup();
    let mut prepared = Prepared::default();
    if paths.is_empty() {
        return Ok(prepared);
    }
    // A boot may have given the number to another GPU, which is not assigned.
    let host = NvidiaHost::read()?;
    let owners = host.dri_owners();
    let is_nvidias = |node: &PathBuf| {
        let address = owners.get(node);
        !is_dri(node)
            || host.gpus.iter().any(|gpu| address.is_some_and(|address| address.eq_ignore_ascii_case(&gpu.pci_address)))
    };
    for path in paths {
        let Some((node, seen)) = second(&path).filter(|(node, _)| is_nvidias(node)) else { continue };
        let Some(Found::Device(first)) = device_node::look(&node)? else { continue };
        // A node of another number is not the kernel's.
        if Some((first.major, first.minor)) != optional_numbers(&node) {
            continue;
        }
        let device = CharacterDevice { user: seen.user, group: seen.group, mode: seen.mode, ..first };
        prepared.changes.extend(match device_node::look(&path)? {
            Some(Found::Device(there)) if there == device => None,
            None => Some(Change::Make { path, device }),
            Some(Found::Device(there)) => {
                Some(Change::Replace { path, device, was: format!("{}:{}", there.major, there.minor) })
            }
            Some(Found::File(_)) => Some(Change::Replace { path, device, was: "a file".to_owned() }),
            Some(Found::Other(what)) => Some(Change::Replace { path, device, was: what.to_owned() }),
        });
    }
    Ok(prepared)
}

#[cfg(test)]
#[path = "optional_nodes_tests.rs"]
mod tests;
