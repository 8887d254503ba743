//! The root of a container that does not run, read on its volume without `pct`: nothing is mounted, started or locked.
//!
//! Where a volume lies is what the plugins of libpve-storage-perl say (`filesystem_path`, `path`; 9.1.7).

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::error::Result;
use crate::hypervisor::State;
use crate::sys::ext4::Volume;
use crate::sys::mount;
use crate::sys::readable::Readable;
use crate::sys::rootfs::Rootfs;

use super::Proxmox;
use super::config_file::ConfigFile;
use super::keys::index_of;
use super::mounted::idmap;
use super::property;
use super::storage::Storage;

/// Below these directories a driver has files.
const TREES: [&str; 10] = [
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/sbin",
    "/usr",
    "/var/lib/nvidia",
    "/var/lib/phoenix-nvidia",
];
/// In these, something of its installation lies, and in none below them.
const DIRECTORIES: [&str; 4] = ["/root", "/tmp", "/var/log", "/var/tmp"];

/// What a volume is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A directory with the container's files.
    Directory(PathBuf),
    /// A data set of ZFS, and where it is mounted if it is.
    DataSet { name: String, directory: PathBuf },
    /// A file or a block device with a file system in it.
    Image(PathBuf),
}

impl Proxmox<'_> {
    /// See [`crate::hypervisor::Hypervisor::rootfs_at_hand`].
    pub(super) fn root_at_hand(&self, id: ContainerId) -> Result<Option<Box<dyn Readable>>> {
        match self.current_state(id)? {
            State::Running { .. } => Ok(Some(Box::new(self.open_rootfs(id)?))),
            State::Stopped => self.stopped_root(id),
            State::Absent | State::Frozen => Ok(None),
        }
    }

    fn stopped_root(&self, id: ContainerId) -> Result<Option<Box<dyn Readable>>> {
        let config = self.config(id)?;
        // A backup only reads; whoever has another lock may be exchanging the volume.
        if config.lock().is_some_and(|lock| lock != "backup") {
            return Ok(None);
        }
        let Some(volume) = whole_root(&config) else { return Ok(None) };
        let pools = self.pools()?;
        let Some(place) = place(&volume, &pools) else { return Ok(None) };
        let (name, idmap) = (format!("container {id}"), idmap(&config, id)?);
        let directory = match place {
            Place::Image(path) => return Ok(Volume::open(&path, idmap, name).map(|volume| Box::new(volume) as _)),
            Place::Directory(directory) => directory,
            Place::DataSet { name, directory } => match mount::at(&directory)? {
                Some(mounted) if mounted.file_system == "zfs" && mounted.source == name => directory,
                _ => return Ok(None),
            },
        };
        if !has_entries(&directory) {
            return Ok(None);
        }
        Ok(Some(Box::new(Rootfs::open(&directory, idmap, name)?)))
    }
}

/// The volume of a container's root, where all of a driver lies in it and nowhere else.
fn whole_root(config: &ConfigFile) -> Option<String> {
    let mut root = property::parts(config.value("rootfs")?, "volume");
    let target = |value: &str| property::parts(value, "volume").remove("mp").unwrap_or_default();
    let mut others = config.keys().filter(|(key, _)| index_of(key, "mp").is_some()).map(|(_, value)| target(value));
    // Numbers of its own, which are none of the container's.
    if root.contains_key("idmap") || others.any(|target| hides_driver(Path::new(&target))) {
        return None;
    }
    root.remove("volume")
}

/// Whether something that is mounted there hides files of a driver, or has them.
fn hides_driver(target: &Path) -> bool {
    let holds = |directory: &&str| Path::new(directory).starts_with(target);
    TREES.iter().any(|tree| holds(tree) || target.starts_with(tree)) || DIRECTORIES.iter().any(holds)
}

/// Where a volume lies, `POOL:NAME`; `None` where that is not known, or the volume can only be reached while its
/// container runs (RBD).
fn place(volume: &str, pools: &[Storage]) -> Option<Place> {
    let (pool, path) = volume.split_once(':')?;
    let pool = pools.iter().find(|it| it.name == pool && !it.is_disabled())?;
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    if !path.split('/').all(is_plain) {
        return None;
    }
    // A linked copy has the name of what it is a copy of before its own.
    let (before, name) = path.rsplit_once('/').unwrap_or(("", path));
    match pool.kind.as_str() {
        "zfspool" if name.starts_with("subvol-") || name.starts_with("basevol-") => {
            let data_set = pool.property("pool")?;
            let directory = pool.property("mountpoint").map_or_else(|| Path::new("/").join(data_set), PathBuf::from);
            Some(Place::DataSet { name: format!("{data_set}/{name}"), directory: directory.join(name) })
        }
        "lvmthin" | "lvm" if !name.contains(".qcow2") => {
            Some(Place::Image(Path::new("/dev").join(pool.property("vgname")?).join(name)))
        }
        "dir" | "nfs" | "cifs" | "cephfs" | "glusterfs" | "btrfs" => {
            let owner = before.rsplit('/').next().filter(|it| !it.is_empty())?;
            let directory = pool.images()?.join(owner);
            match name.rsplit_once('.')? {
                (stem, "raw") if pool.kind == "btrfs" => Some(Place::Image(directory.join(stem).join("disk.raw"))),
                (_, "raw") => Some(Place::Image(directory.join(name))),
                (_, "subvol") => Some(Place::Directory(directory.join(name))),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether it is a directory with something in it: an empty one is what a file system that is not mounted leaves.
fn has_entries(directory: &Path) -> bool {
    let is_directory = fs_err::symlink_metadata(directory).is_ok_and(|it| it.is_dir());
    is_directory && fs_err::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::proxmox::storage::pools;

    const POOLS: &str = "\
dir: local
	path /var/lib/vz
	content rootdir

dir: moved
	path /srv
	content-dirs iso=iso,images=disks

dir: off
	path /srv
	disable

btrfs: bt
	path /bt

zfspool: tank
	pool rpool/data

zfspool: elsewhere
	pool rpool/other
	mountpoint /mnt/other

lvmthin: local-lvm
	vgname pve
	thinpool data

nfs: share
	server 10.0.0.9
	export /srv

rbd: ceph
	pool rbd
";

    fn placed(volume: &str) -> Option<Place> {
        place(volume, &pools(POOLS))
    }

    fn image(path: &str) -> Option<Place> {
        Some(Place::Image(path.into()))
    }

    #[test]
    fn volumes_lie_where_the_plugins_of_proxmox_put_them() {
        assert_eq!(placed("local:901/vm-901-disk-0.raw"), image("/var/lib/vz/images/901/vm-901-disk-0.raw"));
        assert_eq!(placed("moved:901/vm-901-disk-0.raw"), image("/srv/disks/901/vm-901-disk-0.raw"));
        assert_eq!(placed("share:901/vm-901-disk-0.raw"), image("/mnt/pve/share/images/901/vm-901-disk-0.raw"));
        assert_eq!(placed("bt:901/vm-901-disk-0.raw"), image("/bt/images/901/vm-901-disk-0/disk.raw"));
        assert_eq!(placed("local-lvm:vm-901-disk-0"), image("/dev/pve/vm-901-disk-0"));
        let directory = |path: &str| Some(Place::Directory(path.into()));
        assert_eq!(
            placed("local:901/subvol-901-disk-0.subvol"),
            directory("/var/lib/vz/images/901/subvol-901-disk-0.subvol")
        );
        assert_eq!(placed("bt:901/subvol-901-disk-0.subvol"), directory("/bt/images/901/subvol-901-disk-0.subvol"));
        let data_set =
            |name: &str, directory: &str| Some(Place::DataSet { name: name.to_owned(), directory: directory.into() });
        assert_eq!(
            placed("tank:basevol-100-disk-0/subvol-901-disk-0"),
            data_set("rpool/data/subvol-901-disk-0", "/rpool/data/subvol-901-disk-0")
        );
        assert_eq!(
            placed("elsewhere:subvol-901-disk-0"),
            data_set("rpool/other/subvol-901-disk-0", "/mnt/other/subvol-901-disk-0")
        );
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for volume in [
            "ceph:vm-901-disk-0",
            "off:901/vm-901-disk-0.raw",
            "gone:901/vm-901-disk-0.raw",
            "local:901/vm-901-disk-0.qcow2",
            "local:vm-901-disk-0.raw",
            "local:../../etc/shadow.raw",
            "local-lvm:../sda",
            "/srv/root",
        ] {
            assert_eq!(placed(volume), None, "{volume}");
        }
    }

    #[test]
    fn a_mount_that_hides_a_part_of_the_driver_hides_the_root() {
        let root = |mounts: &str| {
            whole_root(&ConfigFile::new(format!("arch: amd64\n{mounts}rootfs: local:901/vm-901-disk-0.raw,size=4G\n")))
        };
        let whole = Some("local:901/vm-901-disk-0.raw".to_owned());
        assert_eq!(root(""), whole);
        for harmless in ["/srv/data", "/var/lib/docker", "/home", "/root/models", "/usrlocal"] {
            assert_eq!(root(&format!("mp0: local:901/vm-901-disk-1.raw,mp={harmless},size=1G\n")), whole, "{harmless}");
        }
        for hiding in ["/usr", "/usr/local/lib/", "/var", "/var/lib", "/var/tmp", "/etc/vulkan", "/root"] {
            assert_eq!(root(&format!("mp3: /srv/share,mp={hiding}\n")), None, "{hiding}");
        }
        let mapped = ConfigFile::new("rootfs: local:901/vm-901-disk-0.raw,idmap=u:0:0:1\n");
        assert_eq!(whole_root(&mapped), None);
        assert_eq!(whole_root(&ConfigFile::new("arch: amd64\n")), None);
    }
}
