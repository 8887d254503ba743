//! `create`: from nothing to a container with its driver, and again to find nothing to do.

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::ran::Ran;
use crate::run_file::Compression;
use crate::test_driver::TestDriver;
use crate::tree;

const NOT_LIVE: &str = "installed, not verified live: no NVIDIA kernel module on this host";

/// What `create` says of a container on standard output.
fn line(ctid: u32, name: &str, done: &str, version: &str) -> String {
    format!("{ctid} {name}: {done}; driver {version} {NOT_LIVE}\n")
}

/// The programs that the program ran, by the log that `--verbose` writes.
fn programs(ran: &Ran) -> Vec<&str> {
    let run = ran.stderr.lines().filter_map(|line| line.strip_prefix("run: "));
    run.filter_map(|command| command.split(' ').next()).collect()
}

#[test]
fn a_privileged_container_is_created_with_its_driver() {
    let job = Job::privileged();
    let ran = job.run("create").ok();
    let done = format!("create from `{}`, start, install driver {VERSION}", job.world.template().display());
    assert_eq!(ran.stdout, line(job.ctid, "gpu-test", &done, VERSION));
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
    assert!(!job.inside("cat /proc/self/uid_map").contains("100000"));
}

#[test]
fn a_second_run_finds_nothing_to_do_and_changes_nothing() {
    let job = Job::new();
    assert!(programs(&job.run_with("create", &["--verbose"]).ok()).contains(&"lxc-start"));
    assert!(job.inside("cat /proc/self/uid_map").contains("100000"));
    let parts = ["base/lib/receipts", "base/cache", "base/etc", "lxc"].map(|part| job.world.scratch(part));
    let before = parts.each_ref().map(|part| tree::with_times_of(part));
    let again = job.run_with("create", &["--verbose"]).ok();
    assert_eq!(again.stdout, line(job.ctid, "gpu-test", "nothing to do", VERSION));
    let after = parts.each_ref().map(|part| tree::with_times_of(part));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(tree::differences(before, after), "");
    }
    // On a host without the module, there is nobody to ask, and files say the rest.
    assert_eq!(programs(&again), Vec::<&str>::new());
}

#[test]
fn every_compression_installs_and_every_version_replaces_the_one_before() {
    let job = Job::without_driver();
    let steps = [
        ("470.256.02", Compression::Xz),
        (OTHER_VERSION, Compression::Gzip),
        (VERSION, Compression::Zstd),
        ("535.216.01", Compression::None),
        ("304.137", Compression::Bzip2),
    ];
    for (version, compression) in steps {
        job.cache(&TestDriver::new(version).compression(compression));
        job.set_for_all("nvidia_driver_version", version);
        job.run("create").ok();
        job.assert_installed(version);
        job.assert_nothing_is_left();
        let others = steps.iter().map(|(other, _)| *other).filter(|other| *other != version);
        for other in others {
            let old: Vec<String> = job.tree().into_keys().filter(|path| path.contains(other)).collect();
            assert!(old.is_empty(), "{old:?}");
        }
    }
}

#[test]
fn a_clone_inherits_the_driver_and_dependencies_come_first() {
    let job = Job::new();
    let clone = job.add(job.copy_of(job.ctid, "copy"));
    let dependent = job.add(job.entry("dependent"));
    job.set_of(dependent, "dependencies", json!([clone.to_string()]));
    let ran = job.world.run(&["create", &dependent.to_string()]).ok();
    let order: Vec<&str> = ran.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(order, [job.ctid, clone, dependent].map(|ctid| ctid.to_string()));
    assert!(
        ran.stdout.contains(&line(clone, "copy", &format!("clone from {}, start", job.ctid), VERSION)),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains(&format!("{clone}: note: driver {VERSION} is already installed")), "{}", ran.stderr);
    assert_eq!(job.world.inside(clone, "cat /etc/hostname").ok().stdout, "copy\n");
    let again = job.world.run(&["create", &clone.to_string()]).ok();
    assert_eq!(again.stdout, line(clone, "copy", "nothing to do", VERSION));
}

#[test]
fn a_container_whose_dependency_failed_is_not_made() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).misbehaving(crate::test_driver::Misbehaviour::Fail));
    let dependent = job.add(job.entry("dependent"));
    job.set_of(dependent, "dependencies", json!([job.ctid.to_string()]));
    let ran = job.world.run(&["create", &dependent.to_string()]).exits(6);
    let message = format!("error: container {dependent} needs container {}, which failed\n", job.ctid);
    assert!(ran.stderr.contains(&message), "{}", ran.stderr);
    assert!(!job.world.lxcpath().join(dependent.to_string()).exists());
}
