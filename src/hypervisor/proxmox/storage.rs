//! `storage.cfg`: the storage pools of a Proxmox VE host, as far as a container's making depends on them.

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};

use super::property;

/// One storage pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Its type: `dir`, `zfspool`, `lvmthin`.
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    properties: Vec<(String, String)>,
}

impl Storage {
    pub(super) fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether the operator has switched it off.
    pub(super) fn is_disabled(&self) -> bool {
        self.property("disable").is_some_and(|value| value != "0")
    }

    /// Whether roots of containers may lie in it, as far as it says.
    pub(super) fn takes_containers(&self) -> bool {
        self.property("content").is_none_or(|content| content.split(',').any(|it| it.trim() == "rootdir"))
    }

    /// Whether containers in it can have snapshots: those in raw files and on plain LVM cannot.
    pub(super) fn has_snapshots(&self) -> bool {
        !["dir", "nfs", "cifs", "glusterfs", "cephfs", "lvm", "iscsi", "iscsidirect"].contains(&self.kind.as_str())
    }

    /// Where a template of it lies: `local:vztmpl/NAME` in `template/cache`. Unknown for pools that are no directory.
    pub(super) fn template(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory()?.join("template/cache").join(name))
    }

    /// The directory that a pool of files is.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match (self.property("path"), self.kind.as_str()) {
            (Some(path), _) => Some(PathBuf::from(path)),
            (None, "nfs" | "cifs" | "cephfs" | "glusterfs") => Some(Path::new("/mnt/pve").join(&self.name)),
            (None, _) => None,
        }
    }

    /// The directory of a pool of files in which volumes lie.
    pub(super) fn images(&self) -> Option<PathBuf> {
        let moved = self.property("content-dirs").and_then(|places| property::parts(places, "").remove("images"));
        Some(self.directory()?.join(moved.as_deref().unwrap_or("images")))
    }

    /// That a pool of files has room left. A container's volume is a sparse file there with a file system in it: when
    /// there is no room for it to grow, what was written into the container is lost, and `pct create` and `pct clone`
    /// exit with 0 (pve-container 6.1.10).
    ///
    /// # Errors
    /// It is full.
    pub(super) fn require_room(&self, id: ContainerId) -> Result<()> {
        let Some(directory) = self.directory() else { return Ok(()) };
        let system = rustix::fs::statvfs(&directory).map_err(|error| {
            Error::new(Kind::Host, format!("the storage pool `{}` cannot be examined", self.name)).caused_by(error)
        })?;
        if !is_full(system.f_bfree, system.f_blocks, system.f_frsize) {
            return Ok(());
        }
        let Self { name, kind, .. } = self;
        Err(Error::new(
            Kind::Host,
            format!("container {id}: its storage pool `{name}` ({kind}) is full, so writes into it were lost"),
        )
        .hint(format!("make room in `{}`, or set `storage_pool` to another pool", directory.display())))
    }
}

/// Whether a file system with so many free and so many blocks takes nothing more, even from root. ext4 keeps a fiftieth
/// of them, at most 4096, for itself (`s_resv_clusters`, kernel 6.18), and counts these as free.
fn is_full(free: u64, blocks: u64, block_size: u64) -> bool {
    const NONE: u64 = 1 << 20;
    let kept = (blocks / 50).min(4096);
    free.saturating_sub(kept).saturating_mul(block_size) < NONE
}

/// The pools of a `storage.cfg`. `local` is always among them, as Proxmox VE itself has it.
pub(super) fn pools(text: &str) -> Vec<Storage> {
    let mut pools: Vec<Storage> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let indented = line.starts_with([' ', '\t']);
        match (indented, pools.last_mut()) {
            (true, Some(pool)) => {
                let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
                pool.properties.push((key.to_owned(), value.trim().to_owned()));
            }
            _ => pools.extend(line.split_once(':').map(|(kind, name)| Storage {
                kind: kind.trim().to_owned(),
                name: name.trim().to_owned(),
                properties: Vec::new(),
            })),
        }
    }
    if !pools.iter().any(|pool| pool.name == "local") {
        let properties = vec![("path".to_owned(), "/var/lib/vz".to_owned())];
        pools.push(Storage { kind: "dir".to_owned(), name: "local".to_owned(), properties });
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
dir: local
	path /var/lib/vz
	content iso,vztmpl,backup

# a comment
zfspool: tank
        pool tank/containers
        content images,rootdir
        sparse 1

nfs: share
	server 10.0.0.9
	export /srv
	disable
";

    fn pool(name: &str) -> Storage {
        pools(FILE).into_iter().find(|pool| pool.name == name).unwrap()
    }

    #[test]
    fn pools_say_what_they_take_and_can() {
        assert!(!pool("local").takes_containers() && pool("tank").takes_containers());
        assert!(!pool("local").has_snapshots() && pool("tank").has_snapshots());
        assert!(pool("share").is_disabled() && !pool("tank").is_disabled());
    }

    #[test]
    fn templates_lie_in_directories_alone() {
        assert_eq!(pool("local").template("a.tar.zst").unwrap(), Path::new("/var/lib/vz/template/cache/a.tar.zst"));
        assert_eq!(pool("share").template("a").unwrap(), Path::new("/mnt/pve/share/template/cache/a"));
        assert_eq!(pool("tank").template("a"), None);
    }

    #[test]
    fn what_ext4_keeps_for_itself_is_no_room() {
        // A file system of 60 MB and one of 250 GB on which every write fails.
        assert!(is_full(1228, 52_197, 1024));
        assert!(is_full(4096, 66_053_021, 4096));
        assert!(!is_full(4096 + 256, 66_053_021, 4096));
        assert!(!is_full(20_000, 52_197, 1024));
    }

    #[test]
    fn local_is_there_without_a_word() {
        assert_eq!(pools("").iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["local"]);
    }
}
