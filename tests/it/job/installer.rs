//! The method `installer`: from the image of the package, mounted in the container while NVIDIA's installer runs there.

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::test_driver::{Misbehaviour, TestDriver};

const OWN: &str = "/var/lib/phoenix-nvidia";

impl Job {
    /// Nothing is mounted any more, in the container and on the host, and no loop device is held.
    #[track_caller]
    fn assert_nothing_is_mounted(&self) {
        assert_eq!(self.mounts_inside(OWN), "");
        assert!(self.world.mounts().is_empty(), "{:?}", self.world.mounts());
        self.assert_loop_devices(0);
    }
}

fn installs_from_the_package(job: &Job) {
    job.set("nvidia_install_method", "installer");
    job.run("create").ok();
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
    job.assert_nothing_is_mounted();
    let receipt = fs_err::read_to_string(job.receipt()).unwrap();
    assert!(receipt.contains("\"method\": \"installer\""), "{receipt}");
    assert!(job.rootfs("var/lib/nvidia/log").exists(), "it was not NVIDIA's installer that did it");
}

#[test]
fn the_installer_runs_from_the_mounted_package_in_an_unprivileged_container() {
    installs_from_the_package(&Job::new());
}

#[test]
fn the_installer_runs_from_the_mounted_package_in_a_privileged_container() {
    installs_from_the_package(&Job::privileged());
}

#[test]
fn both_ways_of_the_installer_leave_the_same_files() {
    let (one, other) = (Job::new(), Job::new());
    other.set("nvidia_install_method", "installer");
    one.run("create").ok();
    other.run("create").ok();
    let ours = |job: &Job| {
        let mut tree = job.tree();
        // Their contents name the container, the time and the command line.
        tree.retain(|path, _| !path.starts_with("/var/lib/phoenix-nvidia/") && !path.starts_with("/var/log/"));
        // It holds the numbers of inodes.
        tree.remove("/var/cache/ldconfig/aux-cache");
        tree
    };
    assert_eq!(crate::tree::differences(&ours(&one), &ours(&other)), "");
}

#[test]
fn a_version_is_replaced_by_another_from_its_package() {
    let job = Job::new();
    job.set("nvidia_install_method", "installer");
    job.run("create").ok();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set("nvidia_driver_version", OTHER_VERSION);
    job.run("install").ok();
    job.assert_installed(OTHER_VERSION);
    job.assert_nothing_is_mounted();
    job.run("uninstall").ok();
    assert_eq!(job.status()["installed"], serde_json::Value::Null);
    job.assert_nothing_is_mounted();
}

#[test]
fn an_installer_that_fails_leaves_no_mount_behind() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).misbehaving(Misbehaviour::Fail));
    job.set("nvidia_install_method", "installer");
    let ran = job.run("create").exits(6);
    assert!(ran.stderr.contains("The installation was told to fail."), "{}", ran.stderr);
    job.assert_nothing_is_left();
    job.assert_nothing_is_mounted();
}

#[test]
fn killed_while_the_installer_runs_from_a_mount_the_next_run_takes_it_away() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).misbehaving(Misbehaviour::HangAfterHalf));
    job.set("nvidia_install_method", "installer");
    let mut process = job.start("create");
    process.wait_until("half of it is installed", |_| job.rootfs("usr/bin/nvidia-smi").exists());
    process.kill();
    assert!(job.mounts_inside(OWN).ends_with("/package\n"), "{}", job.mounts_inside(OWN));
    job.assert_loop_devices(1);
    job.cache(&TestDriver::new(VERSION));
    // The extracted driver is the one that hangs.
    fs_err::remove_dir_all(job.world.base().join("lib/nvidia")).unwrap();
    let ran = job.run("create").ok();
    assert!(ran.stderr.contains("left by an interrupted run"), "{}", ran.stderr);
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
    job.assert_nothing_is_mounted();
}
