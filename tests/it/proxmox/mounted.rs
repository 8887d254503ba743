//! The root of a stopped container: `pct` mounts it for real, and unmounts it only when nobody is in it any more.

use phoenix_nvidia::hypervisor::{Inside, LifeCycle};
use serde_json::json;

use super::{Job, VERSION, id};
use crate::test_driver::TestDriver;

const OLDER: &str = "570.133.20";

/// A stopped container with this driver by this method, whose configuration wants the next one by `native`.
fn stopped_with(method: &str) -> Job {
    let job = Job::new();
    for version in [OLDER, VERSION] {
        TestDriver::new(version).write_into(&job.world.cache());
        job.run(&["store", "extract", version]).ok();
    }
    job.set("features", json!(["nvidia"]));
    job.set("nvidia_driver_version", OLDER);
    job.set("nvidia_install_method", method);
    job.run(&["create", "901"]).ok();
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    job.set("nvidia_driver_version", VERSION);
    job.set("nvidia_install_method", "native");
    job.node.calls();
    job
}

fn assert_updated(job: &Job) {
    let conf = job.node.conf(901);
    assert!(!conf.contains("lock") && !conf.contains("phoenix-nvidia"), "{conf}");
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&job.world.lxcpath().display().to_string()), "{table}");
    job.with_proxmox(|proxmox| proxmox.start(id(901)).unwrap());
    let said = job.inside(901, "nvidia-smi --help | head -n 1; ls /var/lib/phoenix-nvidia");
    assert_eq!(said, format!("NVIDIA System Management Interface -- v{VERSION}\nreceipt.json\n"));
}

#[test]
fn a_driver_is_placed_in_a_stopped_container_without_starting_it() {
    let job = stopped_with("native");
    job.run(&["apply", "901"]).ok();
    let calls = job.node.calls();
    assert!(calls.iter().all(|call| ["pct mount 901", "pct unmount 901"].contains(&&**call)), "{calls:?}");
    assert_updated(&job);
}

#[test]
fn a_stopped_container_that_shared_gets_its_own_driver_and_loses_the_mount() {
    let job = stopped_with("shared");
    job.run(&["apply", "901"]).ok();
    let calls = job.node.calls();
    assert!(!calls.iter().any(|call| call.starts_with("pct start")), "{calls:?}");
    assert_updated(&job);
}

#[test]
fn a_root_is_mounted_once_for_all_that_are_in_it_and_let_go_by_the_last() {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    job.with_proxmox(|proxmox| {
        proxmox.stop(id(901)).unwrap();
        job.node.calls();
        let first = proxmox.rootfs(id(901)).unwrap();
        let second = proxmox.rootfs(id(901)).unwrap();
        drop(first);
        second.write("/etc/made", b"text", 0o644).unwrap();
        assert_eq!(job.node.calls(), ["pct mount 901"]);
        let refused = proxmox.start(id(901)).unwrap_err();
        assert_eq!(refused.message(), "container 901: its root is still mounted by this run");
        drop(second);
        assert_eq!(job.node.calls(), ["pct unmount 901"]);
        proxmox.start(id(901)).unwrap();
    });
}
