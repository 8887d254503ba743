//! Two runs at the same time on the same container, and a lock that is waited for no longer than was said.

use std::time::Duration;

use phoenix_nvidia::config::Layout;
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::sys::cancel::Cancel;
use phoenix_nvidia::sys::lock::FileLock;

use super::fixture::{Job, VERSION};
use crate::test_driver::{Misbehaviour, TestDriver};

#[test]
fn two_creations_of_one_container_do_its_work_once() {
    let job = Job::new();
    let (one, two) = (job.start("create"), job.start("create"));
    let (one, two) = (one.end().ok(), two.end().ok());
    let installed = [&one, &two].map(|ran| ran.stdout.contains(&format!("install driver {VERSION}")));
    assert_eq!(installed.iter().filter(|it| **it).count(), 1, "{}{}", one.stdout, two.stdout);
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
}

#[test]
fn who_does_not_want_to_wait_is_reported_who_works_on_the_container() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).misbehaving(Misbehaviour::Hang));
    let mut working = job.start("create");
    working.wait_until("the installer runs", |_| job.rootfs("var/log/nvidia-installer.log").exists());
    let busy = job.run_with("uninstall", &["--lock-timeout", "0"]).exits(9);
    let message = format!("error: container {} is in use by process {}\n", job.ctid, working.id());
    assert!(busy.stderr.starts_with(&message), "{}", busy.stderr);
    working.interrupt();
    working.end().exits(130);
}

#[test]
fn a_source_is_copied_by_one_at_a_time() {
    let job = Job::privileged();
    job.run("create").ok();
    let copy = job.add(job.copy_of(job.ctid, "copy")).to_string();
    let (layout, cancel) = (Layout::new(job.world.base()), Cancel::new().unwrap());
    let lock = layout.container_lock(job.ctid.to_string().parse().unwrap());
    let held = FileLock::acquire(&lock, "the source", Duration::ZERO, &NoListener, &cancel).unwrap();
    let busy = job.world.run(&["create", &copy, "--lock-timeout", "0"]).exits(9);
    let message = format!("error: container {} is in use by process {}\n", job.ctid, std::process::id());
    assert!(busy.stderr.contains(&message), "{}", busy.stderr);
    drop(held);
    job.world.run(&["create", &copy]).ok();
    assert_eq!(job.status()["state"], "running");
}
