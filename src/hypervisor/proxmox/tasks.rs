//! Tasks of Proxmox VE that are at work on this host. A worker's title says which container it is about (pve-common
//! 9.2.1, `PVE::RESTEnvironment`): `task UPID:node:pid:pstart:starttime:type:901:user:`. Before it has one, `pct` is at
//! work itself, for some tenths of a second.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;

/// Whether a task of this node works on a container, whoever has begun it. Titles are what a process says of
/// itself, so only root's processes are asked, and none of a container's.
pub(super) fn is_at_work_on(node: &str, id: ContainerId) -> bool {
    let Some(ours) = namespace_of(Path::new("/proc/self")) else { return false };
    let processes = fs_err::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut of_root = processes.filter(|process| fs_err::metadata(process).is_ok_and(|it| it.uid() == 0));
    of_root.any(|process| {
        let title = fs_err::read(process.join("cmdline")).unwrap_or_default();
        container_of(node, &String::from_utf8_lossy(&title)) == Some(id)
            && namespace_of(&process).is_some_and(|namespace| namespace == ours)
    })
}

/// The PID namespace of a process, by the kernel's name for it.
fn namespace_of(process: &Path) -> Option<PathBuf> {
    fs_err::read_link(process.join("ns/pid")).ok()
}

/// The verbs of `pct` that put a lock on the container after them, or on the source of their copy.
const VERBS: [&str; 6] = ["clone", "snapshot", "delsnapshot", "rollback", "move-volume", "move_volume"];

/// The container that a worker's title or the words of a `pct` name; one that makes a copy names its source.
fn container_of(node: &str, title: &str) -> Option<ContainerId> {
    if let Some(upid) = title.strip_prefix("task UPID:") {
        let mut fields = upid.split(':');
        return (fields.next()? == node).then(|| ContainerId::known(fields.nth(4)?))?;
    }
    let mut words = title.split('\0').skip_while(|word| *word != "pct" && !word.ends_with("/pct")).skip(1);
    VERBS.contains(&words.next()?).then(|| ContainerId::known(words.next()?))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_known_by_its_title() {
        let title = "task UPID:vm:000000C7:0004FD6C:6B09D839:vzclone:901:root@pam:\0\0\0";
        assert_eq!(container_of("vm", title), ContainerId::new(901));
        assert_eq!(container_of("vm2", title), None);
        assert_eq!(container_of("vm", "task UPID:vm:000000C7:0004FD6C:6B09D839:aptupdate::root@pam:"), None);
        assert_eq!(container_of("vm", "/usr/bin/perl\0-T\0/usr/sbin/pct\0clone\0901\0902\0"), ContainerId::new(901));
        assert_eq!(container_of("vm", "/usr/bin/perl\0-T\0/usr/sbin/pct\0config\0901\0"), None);
        assert_eq!(container_of("vm", "sh\0-c\0clone 901\0"), None);
    }
}
