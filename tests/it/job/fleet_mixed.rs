//! Twenty containers of every sort after a host upgrade, brought in sync by one command; and that command killed.

use std::time::{Duration, Instant};

use phoenix_nvidia::sys::cancel::Cancel;
use serde_json::{Map, Value};

use super::fixture::{Job, OTHER_VERSION, VERSION};
use super::process::Process;
use crate::test_driver::TestDriver;
use crate::tree;

const METHODS: [&str; 3] = ["runfile", "native", "shared"];

impl Job {
    fn rows(&self) -> Vec<Map<String, Value>> {
        serde_json::from_str(&self.world.run(&["status", "--output", "json"]).ok().stdout).unwrap()
    }

    /// More containers beside the first, the methods and privileges mixed; all are created.
    fn of(count: usize) -> (Self, Vec<u32>) {
        let job = Self::new();
        job.set("nvidia_install_method", METHODS[0]);
        let mut ids = vec![job.ctid];
        for number in 1..count {
            let mut entry = job.entry(&format!("gpu-{number}"));
            entry["unprivileged"] = Value::from(number % 2 == 0);
            entry["nvidia_install_method"] = Value::from(METHODS[number % METHODS.len()]);
            ids.push(job.add(entry));
        }
        let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let words: Vec<&str> = ["create"].into_iter().chain(words.iter().map(String::as_str)).collect();
        job.world.run(&words).ok();
        (job, ids)
    }

    /// Another version is wanted by all, and is in the cache beside the first.
    fn wants_another_version(&self) {
        self.cache(&TestDriver::new(OTHER_VERSION));
        self.set_for_all("nvidia_driver_version", OTHER_VERSION);
    }
}

#[test]
fn twenty_containers_of_every_sort_are_brought_in_sync_or_explained() {
    let (job, ids) = Job::of(20);
    let (stopped, broken, musl) = (ids[4], ids[6], ids[9]);
    // One has the wanted driver already.
    job.wants_another_version();
    job.world.run(&["install", &ids[1].to_string()]).ok();
    job.world.lxc("lxc-stop", stopped, &["-k"]).ok();
    job.world.inside(broken, "rm -f /var/log/nvidia-installer.log; mkdir /var/log/nvidia-installer.log").ok();
    // To us, a container without glibc's loader is one of musl.
    job.world.inside(musl, "rm /lib64/ld-linux-x86-64.so.2").exits(0);
    let ended = job.world.run(&["apply", "--all"]).exits(5);
    for row in job.rows() {
        let id = u32::try_from(row["id"].as_u64().unwrap()).unwrap();
        let wanted = if [broken, musl].contains(&id) { VERSION } else { OTHER_VERSION };
        assert_eq!(row["installed"], wanted, "{row:?}\n{}", ended.stderr);
        assert_eq!(row["state"], if id == stopped { "stopped" } else { "running" });
        let method = METHODS[ids.iter().position(|it| *it == id).unwrap() % METHODS.len()];
        assert_eq!(row["method"], method, "{row:?}");
    }
    let explained = |id: u32, what: &str| {
        let error = ended.stderr.lines().find(|line| line.starts_with(&format!("error: container {id}: ")));
        assert!(error.is_some_and(|error| error.contains(what)), "{id}: {}", ended.stderr);
    };
    explained(broken, "`/var/log/nvidia-installer.log` is not a regular file");
    explained(musl, "glibc");
    let before = tree::of(&job.world.lxcpath());
    job.world.run(&["apply", "--all"]).exits(5);
    let after = tree::of(&job.world.lxcpath());
    let changed: Vec<&String> =
        after.iter().filter(|(path, it)| before.get(*path) != Some(it)).map(|(path, _)| path).collect();
    assert!(changed.is_empty(), "a second run does nothing: {changed:?}");
}

#[test]
fn killed_at_any_moment_the_next_run_brings_all_in_sync() {
    let (job, ids) = Job::of(3);
    job.cache(&TestDriver::new(OTHER_VERSION));
    let cancel = Cancel::new().unwrap();
    // One run that is left alone says how long a run takes on this machine.
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    let begun = Instant::now();
    job.world.run(&["apply", "--all"]).ok();
    let whole = u64::try_from(begun.elapsed().as_millis()).unwrap().max(2);
    let mut killed = 0;
    for round in 1..=20 {
        let version = if round % 2 == 0 { OTHER_VERSION } else { VERSION };
        job.set_for_all("nvidia_driver_version", version);
        let working = Process::start(&job.world, &["apply", "--all"]);
        // Its length is chance; that it is killed somewhere is not.
        cancel.wait(Duration::from_millis(fastrand::u64(1..whole))).unwrap();
        killed += usize::from(working.kill());
        job.world.run(&["apply", "--all"]).ok();
        let installed: Vec<Value> = job.rows().into_iter().map(|row| row["installed"].clone()).collect();
        assert_eq!(installed, vec![Value::from(version); ids.len()], "round {round}");
    }
    assert!(killed > 0, "every run was faster than its killer");
    let found = job.world.run(&["doctor", "--all"]).stdout;
    for rule in ["mixed-methods", "several-versions", "left-over", "receipt-unreadable"] {
        assert!(!found.contains(rule), "{found}");
    }
    job.assert_nothing_is_left();
}
