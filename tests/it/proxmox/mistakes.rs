//! The mistakes of the shell scripts that concern Proxmox VE: each of them is impossible here.
//!
//! That a clone kept its source's GPUs, and that lines landed in a snapshot's section: see `calls`.

use phoenix_nvidia::hypervisor::{LifeCycle, Snapshots};
use serde_json::json;

use super::{Job, id, two_gpus};
use crate::tree;

#[test]
fn settings_never_land_in_a_snapshots_section() {
    let (job, host) = (Job::new(), two_gpus());
    job.run_on(Some(&host), &["create", "901"]).ok();
    job.with_proxmox(|proxmox| proxmox.take(id(901), "aaa", "").unwrap());
    let snapshot = |conf: String| conf.split_once("[aaa]\n").unwrap().1.to_owned();
    let before = snapshot(job.node.conf(901));
    job.set("gpu_assignment", "0");
    job.set("lxc_options", json!(["lxc.environment=GREETING=hello"]));
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(snapshot(job.node.conf(901)), before);
    assert_eq!(job.inside(901, "cd /dev; echo nvidia[0-9]*"), "nvidia0\n");
    assert_eq!(job.inside(901, "tr '\\0' '\\n' < /proc/1/environ | grep GREETING"), "GREETING=hello\n");
}

#[test]
fn a_container_with_the_second_gpu_alone_has_that_one() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("gpu_assignment", "1");
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(job.inside(901, "cd /dev; echo nvidia[0-9]*"), "nvidia1\n");
    let devices: Vec<String> =
        job.node.conf(901).lines().filter(|line| line.starts_with("dev")).map(str::to_owned).collect();
    assert_eq!(
        devices,
        [
            "dev0: /dev/nvidia1,mode=0666",
            "dev1: /dev/nvidiactl,mode=0666",
            "dev2: /dev/nvidia-uvm,mode=0666",
            "dev3: /dev/nvidia-uvm-tools,mode=0666",
        ]
    );
}

#[test]
fn a_dry_run_changes_nothing_and_calls_pct_for_nothing() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("gpu_assignment", "0");
    let dry = |words: &[&str]| {
        let before = tree::with_times_of(&job.world.scratch(""));
        let ran = job.run_on(Some(&host), words).ok();
        assert_eq!(tree::differences(&before, &tree::with_times_of(&job.world.scratch(""))), "", "{words:?}");
        ran.stdout
    };
    assert!(dry(&["create", "901", "--dry-run"]).contains("  create from `local:vztmpl/debian-12.tar.zst`\n"));
    job.run_on(Some(&host), &["create", "901"]).ok();
    job.set("gpu_assignment", "1");
    let planned = dry(&["create", "901", "--dry-run"]);
    assert!(
        planned.contains("      - dev0: /dev/nvidia0,mode=0666\n      + dev4: /dev/nvidia1,mode=0666\n"),
        "{planned}"
    );
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    job.node.calls();
    dry(&["create", "901", "--dry-run"]);
    dry(&["destroy", "901", "--dry-run"]);
    assert!(dry(&["status", "901"]).contains("stopped"));
}

#[test]
fn a_snapshot_whose_name_only_contains_another_is_another() {
    let job = Job::new();
    job.set("enable_lifecycle_snapshots", true);
    job.set("template_snapshot_name", "template");
    job.run(&["create", "901"]).ok();
    let names = || {
        let conf = job.node.conf(901);
        conf.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(), "[final-form] [pre-configured] [template]");
    job.with_proxmox(|proxmox| proxmox.take(id(901), "final-form-of-march", "").unwrap());
    job.node.edit(901, |text| {
        let (before, after) = text.split_once("[final-form]\n").unwrap();
        let (_, rest) = after.split_once("\n[").unwrap();
        format!("{before}[{rest}")
    });
    fs_err::remove_dir_all(job.node.root("tank", 901).with_file_name("subvol-901-disk-0@final-form")).unwrap();
    assert_eq!(names(), "[final-form-of-march] [pre-configured] [template]");
    job.node.calls();
    assert_eq!(job.run(&["create", "901"]).ok().stdout, "901 gpu1: take the snapshot `final-form`\n");
    assert_eq!(job.node.calls(), ["pct snapshot 901 final-form"]);
}
