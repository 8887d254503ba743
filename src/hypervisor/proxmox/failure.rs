//! What `pct`'s words mean when it fails: each with a message and what to do next. Pure.

use crate::container_id::ContainerId;
use crate::error::{Error, Kind};
use crate::sys::command::Output;
use crate::sys::space::says_full;

/// The failure of a call.
pub(super) fn of(id: ContainerId, command: &str, output: &Output) -> Error {
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stderr), output.stdout_text());
    let error = match meaning(id, &said) {
        Some((kind, message, hint)) => Error::new(kind, format!("container {id}: {message}")).hint(hint),
        None => Error::new(Kind::Command, format!("container {id}: `{command}` failed"))
            .hint("see its task log in the web interface, or below `/var/log/pve/tasks`"),
    };
    error.output(output.last_lines())
}

/// Whether a call has given up because another one works on the container: before it did anything, for what fails
/// halfway says what has failed first.
pub(super) fn is_locked_out(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().any(|line| line.starts_with("can't lock file '") && line.contains("/pve-config-"))
}

/// The part of a line between two texts.
fn between<'t>(said: &'t str, before: &str, after: &str) -> Option<&'t str> {
    said.lines().find_map(|line| {
        let rest = &line[line.find(before)? + before.len()..];
        rest.find(after).map(|end| &rest[..end])
    })
}

/// The texts are those of pve-container 6.1.10.
fn meaning(id: ContainerId, said: &str) -> Option<(Kind, String, String)> {
    let has = |text: &str| said.contains(text);
    let some = |kind: Kind, message: String, hint: String| Some((kind, message, hint));
    if let Some(lock) = between(said, "CT is locked (", ")") {
        let hint = format!("wait for the task that holds it; if there is none, run `pct unlock {id}`");
        return some(Kind::Busy, format!("Proxmox VE has it locked: `{lock}`"), hint);
    }
    if has("can't lock file") {
        let hint = "another `pct` works on it; wait until it has finished, then run the same command again";
        return some(Kind::Busy, "its configuration is in use".to_owned(), hint.to_owned());
    }
    if let Some(storage) = between(said, "storage '", "' does not exist") {
        let hint = "set `storage_pool` to one that `pvesm status` lists".to_owned();
        return some(Kind::Configuration, format!("there is no storage pool `{storage}`"), hint);
    }
    if let Some(volume) = between(said, "volume '", "' does not exist") {
        return some(Kind::Configuration, format!("there is no volume `{volume}`"), download(volume));
    }
    if let Some(node) = between(said, "already exists on node '", "'") {
        let hint = format!("look at it with `pct config {id}` on `{node}`");
        return some(Kind::Configuration, format!("it exists already on node `{node}`"), hint);
    }
    if let Some(bridge) = between(said, "bridge '", "' does not exist") {
        let hint = "set `network_config.bridge` to one listed by `ip -brief link show type bridge`".to_owned();
        return some(Kind::Configuration, format!("there is no bridge `{bridge}` on this host"), hint);
    }
    if has("snapshot feature is not available") {
        let hint = "set `enable_lifecycle_snapshots` to false, or keep its disks in a pool with snapshots (ZFS, LVM-thin, Ceph) and no directories of the host in it";
        return some(Kind::Configuration, "its storage has no snapshots".to_owned(), hint.to_owned());
    }
    if let Some(mount) = between(said, "unable to clone mountpoint '", "'") {
        return some(Kind::Configuration, no_clone_of_mount(mount), CLONE_HINT.to_owned());
    }
    if let Some(device) = between(said, "Device ", " does not exist") {
        let hint = match device.starts_with("/dev/dri/") {
            true => {
                "load the module of its GPU, `modprobe nvidia-drm` for NVIDIA's, or remove its `devN` from the \
                 container"
            }
            false => "make the nodes with `nvidia-modprobe -c 0 -u -m`, or run `nvidia-smi` once on the host as root",
        };
        return some(Kind::Host, format!("the device node `{device}` is missing on this host"), hint.to_owned());
    }
    if has("no quorum") {
        let hint = "check `pvecm status`, and run the same command when the cluster is quorate";
        return some(Kind::Host, "the cluster has no quorum, so it cannot be changed".to_owned(), hint.to_owned());
    }
    if has("please run as root") {
        return some(Kind::Host, "only root can run `pct`".to_owned(), "run the same command with `sudo`".to_owned());
    }
    if has("hookscript error for") {
        let hint = format!("`pct config {id}` names it as `hookscript`; it can refuse a start");
        return some(Kind::Command, "its hookscript refused".to_owned(), hint);
    }
    if has("does not look like a valid DNS name") {
        let hint = "use letters, digits and `-` in `name`".to_owned();
        return some(Kind::Configuration, "Proxmox VE does not take its name".to_owned(), hint);
    }
    // Last: what is said above has failed first.
    if says_full(said) {
        let hint =
            "make its root larger with `storage_size_gb`, or free some space in its storage pool (`pvesm status`)";
        return some(Kind::Host, "no space: its root or its storage pool has filled up".to_owned(), hint.to_owned());
    }
    None
}

/// How a template comes to this host.
pub(super) fn download(template: &str) -> String {
    match template.split_once(":vztmpl/") {
        Some((storage, name)) => format!("download it with `pveam update && pveam download {storage} {name}`"),
        None => "name an existing one: `pveam list local` lists them".to_owned(),
    }
}

/// What `pct clone` does to a source with a directory of the host.
pub(super) const CLONE_HINT: &str =
    "`pct` cannot clone a container with host directories; give the `mount_points` to the clones, not to their source";

/// Why a source cannot be cloned.
pub(super) fn no_clone_of_mount(mount: &str) -> String {
    format!("its source cannot be cloned, because `{mount}` is a directory of the host")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fixture: &str) -> Error {
        let path = format!("{}/tests/fixtures/pct/{fixture}", env!("CARGO_MANIFEST_DIR"));
        let text = fs_err::read_to_string(path).unwrap();
        let stderr = text.splitn(3, '\n').nth(2).unwrap().as_bytes().to_vec();
        of("901".parse().unwrap(), "pct start 901", &Output { code: 255, stdout: Vec::new(), stderr })
    }

    #[test]
    fn every_recorded_failure_has_its_own_message() {
        let messages = [
            ("fails-locked.txt", Kind::Busy, "Proxmox VE has it locked: `backup`"),
            ("fails-lock-timeout.txt", Kind::Busy, "its configuration is in use"),
            ("fails-no-storage.txt", Kind::Configuration, "there is no storage pool `nope`"),
            ("fails-no-template.txt", Kind::Configuration, "there is no volume `local:vztmpl/nope.tar.zst`"),
            ("fails-exists.txt", Kind::Configuration, "it exists already on node `vm`"),
            ("fails-no-bridge.txt", Kind::Configuration, "there is no bridge `vmbrNONE` on this host"),
            ("fails-no-snapshots.txt", Kind::Configuration, "its storage has no snapshots"),
            (
                "fails-clone-of-mount.txt",
                Kind::Configuration,
                "its source cannot be cloned, because `mp0` is a directory of the host",
            ),
            ("fails-no-device.txt", Kind::Host, "the device node `/dev/labnv/nvidia-uvm` is missing on this host"),
            ("fails-hook.txt", Kind::Command, "its hookscript refused"),
            ("fails-name.txt", Kind::Configuration, "Proxmox VE does not take its name"),
            ("fails-otherwise.txt", Kind::Command, "`pct start 901` failed"),
        ];
        for (fixture, kind, message) in messages {
            let error = error(fixture);
            assert_eq!((error.kind(), error.message()), (kind, &*format!("container 901: {message}")), "{fixture}");
            assert!(error.hint_text().is_some() && error.output_text().is_some(), "{fixture}");
        }
    }

    #[test]
    fn a_disk_that_fills_up_is_the_hosts_fault() {
        let stderr = b"tar: ./usr/bin/env: Cannot write: No space left on device\ntar: Exiting with failure status\n";
        let output = Output { code: 255, stdout: Vec::new(), stderr: stderr.to_vec() };
        let error = of("901".parse().unwrap(), "pct create 901", &output);
        let message = "container 901: no space: its root or its storage pool has filled up";
        assert_eq!((error.kind(), error.message()), (Kind::Host, message));
    }

    #[test]
    fn a_missing_template_is_reported_with_the_command_that_gets_it() {
        let error = error("fails-no-template.txt");
        assert_eq!(error.hint_text(), Some("download it with `pveam update && pveam download local nope.tar.zst`"));
    }
}
