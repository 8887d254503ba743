//! Second nodes: a device node of the host once more, with the owner and mode that one container is to see.

use std::path::{Component, Path, PathBuf};

use crate::config::GpuAccess;
use crate::driver::device::{DeviceNode, optional_numbers};
use crate::sys::idmap::IdMap;

/// Where the second nodes lie: `/dev/phoenix-nvidia/100000-100044-0660/dri/card1`.
const SECONDS: &str = "/dev/phoenix-nvidia";

/// A node as a container is to see it, in numbers of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

impl Seen {
    /// With the group and the mode of the host's node, unless the configuration says something else.
    pub(super) fn of(node: &DeviceNode, access: GpuAccess, idmap: &IdMap) -> Option<Self> {
        Some(Self {
            user: idmap.user(access.uid.unwrap_or(0))?,
            group: idmap.group(access.gid.unwrap_or(node.group))?,
            mode: access.mode.unwrap_or(node.mode) & 0o777,
        })
    }

    /// The second node of this one.
    pub(super) fn path(self, node: &Path) -> Option<PathBuf> {
        let Self { user, group, mode } = self;
        Some(Path::new(SECONDS).join(format!("{user}-{group}-{mode:04o}")).join(node.strip_prefix("/dev").ok()?))
    }
}

/// What a second node is made of, by its path: the host's node, and how it is seen.
pub(super) fn second(path: &Path) -> Option<(PathBuf, Seen)> {
    let mut parts = path.strip_prefix(SECONDS).ok()?.components();
    let Component::Normal(access) = parts.next()? else { return None };
    let numbers: Vec<&str> = access.to_str()?.split('-').collect();
    let [user, group, mode] = numbers.as_slice() else { return None };
    let seen = Seen { user: user.parse().ok()?, group: group.parse().ok()?, mode: u32::from_str_radix(mode, 8).ok()? };
    let node = Path::new("/dev").join(parts.as_path());
    // Nothing else than what this program writes: no other way to write the same, and no mode that is more than access.
    (optional_numbers(&node).is_some() && seen.mode <= 0o777 && seen.path(&node)? == path).then_some((node, seen))
}

/// The node of the host that is meant by a path, which may be that of its second node.
pub(super) fn of_host(path: PathBuf) -> PathBuf {
    second(&path).map_or(path, |(node, _)| node)
}
