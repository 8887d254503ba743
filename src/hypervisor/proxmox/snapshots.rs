//! Snapshots of a container, by their exact names, and the size of its disk.

use std::time::Duration;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;

use super::Proxmox;
use super::config_file::ConfigFile;
use super::keys::index_of;
use super::pct::Call;
use super::property;
use super::storage::{self, Storage};

// Going back can copy or merge a whole disk.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// The keys of directories of the host that a container sees.
pub(super) fn host_directories(config: &ConfigFile) -> Vec<String> {
    let keys = config.after_restart().into_iter();
    keys.filter(|(key, value)| index_of(key, "mp").is_some() && value.starts_with('/')).map(|(key, _)| key).collect()
}

/// The volumes of a container.
pub(super) fn volumes(config: &ConfigFile) -> Vec<String> {
    let keys = config.after_restart().into_iter();
    let disks = keys.filter(|(key, _)| key == "rootfs" || index_of(key, "mp").is_some());
    disks.filter_map(|(_, value)| property::parts(&value, "volume").remove("volume")).collect()
}

/// The first pool of a container's volumes that cannot snapshot containers.
pub(super) fn without_snapshots<'p>(config: &ConfigFile, pools: &'p [Storage]) -> Option<&'p Storage> {
    volumes(config).into_iter().find_map(|volume| {
        let name = volume.split_once(':')?.0;
        pools.iter().find(|pool| pool.name == name && !pool.has_snapshots())
    })
}

impl Proxmox<'_> {
    /// The storage pools of this host.
    pub(super) fn pools(&self) -> Result<Vec<Storage>> {
        Ok(storage::pools(&self.read("storage.cfg")?.unwrap_or_default()))
    }

    pub(super) fn snapshots_of(&self, container: &Container) -> Result<Option<Vec<String>>> {
        if !container.mounts.is_empty() {
            return Ok(None);
        }
        if self.current_state(container.id)? == State::Absent {
            return Ok(Some(Vec::new()));
        }
        let config = self.config(container.id)?;
        Ok(host_directories(&config).is_empty().then(|| config.snapshots()))
    }

    pub(super) fn take_snapshot(&self, id: ContainerId, name: &str, description: &str) -> Result<()> {
        self.members()?.require_quorum()?;
        self.unlocked(id)?;
        match description {
            "" => self.call("snapshot", id, &[name]),
            description => self.call("snapshot", id, &[name, "--description", description]),
        }
    }

    pub(super) fn conflict_to_snapshots(&self, id: ContainerId) -> Result<Option<String>> {
        let config = self.config(id)?;
        if let Some(key) = host_directories(&config).first() {
            return Ok(Some(format!("`{key}` is a host directory, and Proxmox VE cannot snapshot such a container")));
        }
        let pools = self.pools()?;
        Ok(without_snapshots(&config, &pools)
            .map(|pool| format!("the storage pool `{}` ({}) cannot snapshot containers", pool.name, pool.kind)))
    }

    pub(super) fn delete_snapshot(&self, id: ContainerId, name: &str) -> Result<()> {
        self.members()?.require_quorum()?;
        if self.unlocked(id)?.snapshot(name).is_none() {
            return Ok(());
        }
        let words = [name.to_owned()];
        let deleted = self.pct().run(&Call { deadline: SNAPSHOT_DEADLINE, ..Call::new("delsnapshot", id, &words) });
        match deleted {
            // Somebody was quicker, such as the `pct` that a killed run left at work.
            Err(_) if self.config(id)?.snapshot(name).is_none() => Ok(()),
            deleted => deleted.map(|_| ()),
        }
    }

    pub(super) fn return_to_snapshot(&self, id: ContainerId, name: &str) -> Result<()> {
        self.members()?.require_quorum()?;
        self.unlocked(id)?;
        self.pct().run(&Call { deadline: SNAPSHOT_DEADLINE, ..Call::new("rollback", id, &[name.to_owned()]) })?;
        Ok(())
    }

    pub(super) fn growth_of(&self, container: &Container) -> Result<Option<u64>> {
        let Some(wanted) = container.storage_size_gb else { return Ok(None) };
        let is_absent = self.current_state(container.id)? == State::Absent;
        // A new one from a template gets its size with its making.
        let measured = match (is_absent, container.clone_from) {
            (false, _) => container.id,
            (true, Some(source)) => source,
            (true, None) => return Ok(None),
        };
        let Some(config) = self.config_if_there(measured)? else { return Ok(Some(wanted)) };
        Ok(root_size(&config).is_some_and(|size| size < wanted << 30).then_some(wanted))
    }

    pub(super) fn grow_root(&self, id: ContainerId, gib: u64) -> Result<()> {
        self.members()?.require_quorum()?;
        self.unlocked(id)?;
        let words = ["rootfs".to_owned(), format!("{gib}G")];
        let output = self.pct().run(&Call::new("resize", id, &words))?;
        // Its only sign of a file system that did not grow with its volume (pve-container 6.1.10) is what it prints.
        let said = format!("{}{}", output.stdout_text(), String::from_utf8_lossy(&output.stderr));
        if said.contains("Failed to update the container's filesystem") {
            return Err(Error::new(
                Kind::Command,
                format!("container {id}: its volume has grown to {gib} GiB, but its file system has not"),
            )
            .hint(format!("stop it and run `pct resize {id} rootfs +1G`, which grows the file system, too"))
            .output(crate::sys::command::last_lines(&said)));
        }
        Ok(())
    }
}

/// The size of a container's root in bytes. `size=0T` is a directory without a limit, which cannot be grown.
fn root_size(config: &ConfigFile) -> Option<u64> {
    let root = config.after_restart().remove("rootfs")?;
    let size = property::parts(&root, "volume").remove("size")?;
    let number = size.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match &size[number.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * f64::from(shift).exp2();
    (bytes >= 1.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_volumes_are_its_root_and_its_mount_points() {
        let config = ConfigFile::new(
            "mp0: tank:subvol-901-disk-1,mp=/models\nmemory: 5\nrootfs: volume=local:901/d.raw,size=4G\n[s]\nmp1: x:y\n",
        );
        assert_eq!(volumes(&config), ["tank:subvol-901-disk-1", "local:901/d.raw"]);
    }

    #[test]
    fn the_size_of_a_root_is_read_as_proxmox_writes_it() {
        let size = |text: &str| root_size(&ConfigFile::new(format!("rootfs: local:901/disk.raw,size={text}\n")));
        assert_eq!(size("4G"), Some(4 << 30));
        assert_eq!(size("512M"), Some(512 << 20));
        assert_eq!(size("0.5T"), Some(512 << 30));
        assert_eq!(size("418816K"), Some(418_816 << 10));
        assert_eq!((size("0T"), size("?")), (None, None));
    }
}
