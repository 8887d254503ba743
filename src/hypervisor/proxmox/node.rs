//! What makes a host a node of Proxmox VE, for those that do not drive it: where `pct` is, whether the cluster's file
//! system is there, and whose CTIDs that knows.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::error::Result;

use super::cluster::GuestList;

// pmxcfs holds no larger file.
const LARGEST_FILE: u64 = 1 << 20;

/// Whether this host is a node: it has `pct` (`/usr/sbin/pct` of pve-container 6.1.10), or pmxcfs is mounted at `root`.
pub fn is_node(root: &Path) -> bool {
    place_of("pct").is_some() || fs_err::read_to_string("/proc/self/mountinfo").is_ok_and(|it| has_pmxcfs(&it, root))
}

/// Whether somebody in the cluster, a virtual machine included, has this CTID; `None` where nobody keeps a list.
///
/// # Errors
/// The list cannot be read.
pub(in crate::hypervisor) fn has_guest(root: &Path, id: ContainerId) -> Result<Option<bool>> {
    Ok(match read(&root.join(GuestList::FILE))? {
        Some(text) => Some(GuestList::parse(&text)?.has(id)),
        None => None,
    })
}

/// A file of the cluster's file system; none where it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let mut text = String::new();
    match fs_err::File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a program of the host is: in `PATH`, or where cron and others leave out to look for root's tools.
pub(super) fn place_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let roots = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(roots).map(|directory| directory.join(program));
    places.find(|path| path.is_file())
}

/// Reads `/proc/self/mountinfo` (proc(5)): pmxcfs has the type `fuse` and no other name than its device.
fn has_pmxcfs(mounts: &str, root: &Path) -> bool {
    mounts.lines().filter_map(|line| line.split_once(" - ")).any(|(place, what)| {
        place.split(' ').nth(4).is_some_and(|point| Path::new(point) == root) && what.starts_with("fuse /dev/fuse ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_file_system_is_known_by_its_mount() {
        let mounts = "\
24 1 0:22 / /proc rw,nosuid shared:12 - proc proc rw
77 28 0:48 / /etc/pve rw,nosuid,nodev,relatime shared:299 - fuse /dev/fuse rw,user_id=0,group_id=0,default_permissions,allow_other
78 28 0:49 / /srv/remote rw,relatime - fuse.sshfs host:/ rw,user_id=0
";
        assert!(has_pmxcfs(mounts, Path::new("/etc/pve")));
        assert!(!has_pmxcfs(mounts, Path::new("/srv/remote")));
        assert!(!has_pmxcfs(mounts, Path::new("/proc")));
    }

    #[test]
    fn a_program_is_found_where_roots_tools_are() {
        assert_eq!(place_of("no-such-program-anywhere"), None);
        assert!(place_of("tar").is_some());
    }
}
