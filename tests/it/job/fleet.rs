//! Many containers with one command: in sync with the configuration or the host, each by itself and all together.

use std::time::Duration;

use phoenix_nvidia::config::Layout;
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::sys::cancel::Cancel;
use phoenix_nvidia::sys::lock::FileLock;
use serde_json::{Value, json};

use super::fixture::{Job, OTHER_VERSION, VERSION};
use super::process::Process;
use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::{Misbehaviour, TestDriver};
use crate::tree;

impl Job {
    /// Two more containers beside the first, all created and running with [`VERSION`].
    fn of_three() -> (Self, [u32; 3]) {
        let job = Self::new();
        let ids = [job.ctid, job.add(job.entry("second")), job.add(job.entry("third"))];
        let words = ids.map(|ctid| ctid.to_string());
        job.world.run(&["create", &words[0], &words[1], &words[2]]).ok();
        (job, ids)
    }

    /// Lets all containers want another version, which is in the cache beside the first.
    fn upgrade(&self) {
        self.cache(&TestDriver::new(OTHER_VERSION));
        self.set_for_all("nvidia_driver_version", OTHER_VERSION);
    }

    /// The versions that `status` finds in the containers, in the order of their CTIDs.
    fn installed(&self) -> Vec<Value> {
        let rows: Vec<Value> =
            serde_json::from_str(&self.world.run(&["status", "--output", "json"]).ok().stdout).unwrap();
        rows.into_iter().map(|row| row["installed"].clone()).collect()
    }

    fn apply(&self, words: &[&str]) -> Ran {
        self.world.run(&[&["apply"], words].concat())
    }
}

#[test]
fn one_command_brings_all_in_sync_and_the_next_one_does_nothing() {
    let (job, ids) = Job::of_three();
    job.upgrade();
    // One that is configured and was never created is told, and not made.
    // What it would be created from is nobody's business then.
    let mut entry = job.entry("absent");
    entry["template"] = json!("/gone.tar.zst");
    let absent = job.add(entry);
    let planned = job.world.run(&["plan", "--all", "--exit-code"]).exits(4).stdout;
    assert_eq!(planned.matches(&format!("  install driver {OTHER_VERSION}\n")).count(), 3, "{planned}");
    let note = format!("note: it does not exist; `phoenix-nvidia create {absent}` creates it\n");
    assert!(planned.contains(&note), "{planned}");
    assert_eq!(planned.matches(&format!("create {absent}")).count(), 1, "{planned}");
    let applied = job.apply(&["--all", "--jobs", "3"]).ok().stderr;
    assert_eq!(applied.matches(&format!("`phoenix-nvidia create {absent}`")).count(), 1, "{applied}");
    assert_eq!(job.installed(), [json!(OTHER_VERSION), json!(OTHER_VERSION), json!(OTHER_VERSION), Value::Null]);
    job.world.run(&["plan", "--all", "--exit-code"]).exits(0);
    let before = tree::of(&job.world.lxcpath());
    let again = job.apply(&["--all"]).ok().stdout;
    for ctid in ids {
        assert!(again.contains(&format!("{ctid} ")) && again.contains("nothing to do"), "{again}");
    }
    assert_eq!(tree::of(&job.world.lxcpath()), before);
}

#[test]
fn a_stopped_container_gets_its_driver_and_is_stopped_again() {
    let job = Job::new();
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
    job.upgrade();
    let done = job.apply(&["--gpu"]).ok().stdout;
    assert!(done.contains(&format!("start, install driver {OTHER_VERSION}, stop again")), "{done}");
    let status = job.status();
    assert_eq!((&status["state"], &status["installed"]), (&json!("stopped"), &json!(OTHER_VERSION)));
}

#[test]
fn one_that_fails_stops_no_other_unless_that_is_asked_for() {
    let (job, ids) = Job::of_three();
    job.upgrade();
    // The installer opens its log, and a directory there is nothing that it could open.
    job.world.inside(ids[0], "rm -f /var/log/nvidia-installer.log; mkdir /var/log/nvidia-installer.log").ok();
    let failed = job.apply(&["--all", "--jobs", "1", "--fail-fast"]).exits(5).stderr;
    assert!(failed.contains(&format!("container {} was not started, because another one failed", ids[1])), "{failed}");
    assert_eq!(job.installed()[1..], [json!(VERSION), json!(VERSION)]);
    job.apply(&["--all"]).exits(5);
    assert_eq!(job.installed()[1..], [json!(OTHER_VERSION), json!(OTHER_VERSION)]);
}

#[test]
fn one_that_is_deleted_in_the_middle_is_reported_and_stops_no_other() {
    let (job, ids) = Job::of_three();
    job.upgrade();
    let (layout, cancel) = (Layout::new(job.world.base()), Cancel::new().unwrap());
    let lock = layout.container_lock(ids[0].to_string().parse().unwrap());
    let held = FileLock::acquire(&lock, "the first", Duration::ZERO, &NoListener, &cancel).unwrap();
    let mut working = Process::start(&job.world, &["apply", "--all", "--jobs", "1"]);
    working.wait_until("it waits for the first", |said| {
        said.contains(&format!("waiting: container {} is in use", ids[0]))
    });
    job.world.lxc("lxc-stop", ids[1], &["-k"]).ok();
    job.world.lxc("lxc-destroy", ids[1], &[]).ok();
    drop(held);
    let told = working.end().ok().stderr;
    assert!(told.contains(&format!("{}: note: it does not exist", ids[1])), "{told}");
    assert!(!job.world.rootfs(ids[1]).exists());
    assert_eq!(job.installed(), [json!(OTHER_VERSION), Value::Null, json!(OTHER_VERSION)]);
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    let job = Job::new();
    job.run("create").ok();
    let before = tree::of(&job.world.lxcpath());
    // What was written in the future and long ago: the record of the cache, the receipt, the run file's own times stay.
    for when in ["2099-01-01", "1999-01-01"] {
        for file in ["cache/SHA256SUMS", "cache/stamps.json", &format!("lib/receipts/{}.json", job.ctid)] {
            Ran::of("touch", &["-d", when, job.world.base().join(file).to_str().unwrap()], &[]).ok();
        }
        assert!(job.apply(&["--all"]).ok().stdout.contains("nothing to do"), "{when}");
        assert_eq!(job.status()["installed"], json!(VERSION), "{when}");
        job.world.run(&["cache", "prune"]).ok();
        job.world.run(&["cache", "verify"]).ok();
    }
    assert_eq!(tree::of(&job.world.lxcpath()), before);
}

#[test]
fn a_driver_that_fails_gives_way_to_the_one_before() {
    let job = Job::new();
    job.run("create").ok();
    job.cache(&TestDriver::new(OTHER_VERSION).misbehaving(Misbehaviour::Sigbus));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    let ctid = job.ctid.to_string();
    let ran = job.apply(&[&ctid, "--output", "json"]).exits(10);
    let reports: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(reports[0]["done"], json!([format!("restore driver {VERSION}")]));
    job.set_for_all("nvidia_driver_version", VERSION);
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
}

#[test]
fn plain_lxc_tells_that_it_takes_no_snapshot_and_puts_the_former_driver_back() {
    let job = Job::new();
    job.run("create").ok();
    job.cache(&TestDriver::new(OTHER_VERSION).misbehaving(Misbehaviour::Sigbus));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    let note = "no snapshot: `lxc-snapshot` cannot snapshot a running container, and copies a directory as a whole; if \
                the new driver fails, the previous driver is restored";
    assert!(job.run_with("plan", &["--snapshot"]).ok().stdout.contains(note));
    let ran = job.apply(&[&job.ctid.to_string(), "--snapshot", "--output", "json"]).exits(10);
    let reports: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(reports[0]["done"], json!([format!("restore driver {VERSION}")]));
    assert!(reports[0]["notes"].as_array().unwrap().contains(&json!(note)), "{}", reports[0]);
    job.set_for_all("nvidia_driver_version", VERSION);
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
}

#[test]
fn a_saved_plan_is_carried_out_only_while_it_fits() {
    let (job, ids) = Job::of_three();
    job.upgrade();
    let file = job.world.scratch("plan.json");
    let file = file.to_str().unwrap();
    job.world.run(&["plan", "--all", "--save", file]).ok();
    job.apply(&[&ids[1].to_string()]).ok();
    let refused = job.apply(&[file]).exits(3).stderr;
    let told = format!(
        "container {}: planned install driver {OTHER_VERSION} (replaces {VERSION}), verify driver {OTHER_VERSION}; now \
         needed verify driver {OTHER_VERSION}",
        ids[1]
    );
    assert!(refused.contains(&told), "{refused}");
    assert_eq!(job.installed()[0], VERSION);
    job.world.run(&["plan", "--all", "--save", file]).ok();
    for option in [&["--all"][..], &["--restart"], &["--snapshot"], &["--method", "native"], &["--target", "host"]] {
        job.apply(&[&[file], option].concat()).exits(2);
    }
    job.apply(&[file, "--jobs", "2"]).ok();
    assert_eq!(job.installed(), [OTHER_VERSION; 3]);
}

#[test]
fn containers_follow_the_hosts_driver_and_the_operator_is_reported_what_to_write() {
    let (job, ids) = Job::of_three();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_of(ids[2], "gpu_assignment", "none");
    let host = PretendedGpuHost::with_one_gpu(OTHER_VERSION);
    job.world.pretend_kernel_module(ids[0], OTHER_VERSION);
    job.world.pretend_kernel_module(ids[1], OTHER_VERSION);
    let ran = job.world.run_on(&host, &["apply", "--gpu", "--target", "host", "--restart"]).ok();
    let note = format!("the configuration says {VERSION}; set `nvidia_driver_version` to \"{OTHER_VERSION}\" in `");
    assert_eq!(ran.stderr.matches(&note).count(), 2, "{}", ran.stderr);
    assert_eq!(job.installed(), [OTHER_VERSION, OTHER_VERSION, VERSION]);
    let nothing = job.apply(&["--gpu", "--target", "host"]).exits(10).stderr;
    assert!(nothing.starts_with("error: no NVIDIA kernel module is loaded on this host"), "{nothing}");
}

#[test]
fn an_interruption_finishes_what_is_being_installed_and_begins_nothing_else() {
    let (job, ids) = Job::of_three();
    job.upgrade();
    let mut working = Process::start(&job.world, &["apply", "--all", "--jobs", "1"]);
    working.wait_until("the first installer", |said| said.contains(&format!("{}: install driver", ids[0])));
    working.interrupt();
    let ended = working.end().exits(130);
    assert_eq!(ended.stderr.matches("error: ").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("error: interrupted; finished: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("it continues where this one ended"), "{}", ended.stderr);
    assert_eq!(job.installed(), [OTHER_VERSION, VERSION, VERSION]);
    job.assert_nothing_is_left();
    job.apply(&["--all"]).ok();
    assert_eq!(job.installed(), [OTHER_VERSION; 3]);
}

#[test]
fn containers_have_to_be_named_somehow() {
    let job = Job::without_driver();
    for words in [&["apply"][..], &["plan"], &["apply", "--all", "901"]] {
        let refused = job.world.run(words).exits(2).stderr;
        assert!(refused.starts_with("error: name the containers"), "{refused}");
    }
}

#[test]
fn what_waits_for_a_restart_is_no_failure() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    let ctid = job.ctid.to_string();
    job.set("gpu_assignment", "none");
    job.run_on(&host, "create").ok();
    job.world.pretend_kernel_module(job.ctid, VERSION);
    job.set("gpu_assignment", "0");
    let applied = job.run_on(&host, "apply").ok();
    let told = format!(
        "{ctid} gpu-test: configure; driver {VERSION} installed, not verified live: the device node `/dev/nvidia0` takes \
         effect at the container's next start\n"
    );
    assert_eq!(applied.stdout, told);
    assert!(applied.stderr.contains("`--restart` restarts it now"), "{}", applied.stderr);
    let said = job.world.run_on(&host, &["apply", &ctid, "--require-live"]).exits(7).stderr;
    assert!(said.contains("hint: remove what prevents that, or leave out `--require-live`"), "{said}");
    job.world.run_on(&host, &["plan", &ctid, "--exit-code"]).exits(4);
    job.world.run_on(&host, &["status", &ctid, "--exit-code"]).exits(4);
    let restarted = job.world.run_on(&host, &["apply", &ctid, "--restart"]).ok().stdout;
    assert_eq!(restarted, format!("{ctid} gpu-test: restart; driver {VERSION} verified\n"));
}
