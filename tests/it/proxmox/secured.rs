//! `apply --snapshot`: a container whose new driver fails is what it was before, also when the program was killed.

use std::time::{Duration, Instant};

use phoenix_nvidia::hypervisor::{LifeCycle, Snapshots, State};
use phoenix_nvidia::sys::cancel::Cancel;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::interrupted::{ended_if_it_runs, ended_when};
use super::{Job, VERSION, id, two_gpus};
use crate::gpu_host::PretendedGpuHost;
use crate::test_driver::{Misbehaviour, TestDriver};

const OTHER_VERSION: &str = "570.133.20";
const SECTION: &str = "[phoenix-nvidia-apply]";
const ASK: &str = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1";

impl Job {
    /// 901 runs with GPU 0 and [`VERSION`], which this host's module is, too; [`OTHER_VERSION`] is wanted and cached.
    fn of_old_driver(method: &str) -> (Self, PretendedGpuHost) {
        let (job, host) = (Self::new(), two_gpus());
        job.set("features", json!(["nvidia"]));
        job.set("gpu_assignment", "0");
        job.set("nvidia_install_method", method);
        TestDriver::new(VERSION).write_into(&job.world.cache());
        job.run_on(Some(&host), &["create", "901"]).exits(7);
        job.inside(901, &format!("echo {VERSION} > /etc/pretended-kernel-module; echo mine > /root/mark"));
        job.run_on(Some(&host), &["verify", "901"]).ok();
        job.wants(TestDriver::new(OTHER_VERSION));
        job.node.calls();
        (job, host)
    }

    /// A host with this module, which `nvidia-smi` in the container finds, too.
    fn host_of(&self, version: &str) -> PretendedGpuHost {
        self.inside(901, &format!("echo {version} > /etc/pretended-kernel-module"));
        PretendedGpuHost::with_module(version).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start()
    }

    fn wants(&self, driver: TestDriver) {
        for record in ["SHA256SUMS", "stamps.json"] {
            let _ = fs_err::remove_file(self.world.cache().join(record));
        }
        driver.write_into(&self.world.cache());
        self.set("nvidia_driver_version", OTHER_VERSION);
    }

    fn receipt(&self) -> Value {
        let path = self.world.base().join("lib/receipts/901.json");
        serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
    }

    /// Fails where a snapshot, or a word of one, is left.
    #[track_caller]
    fn assert_no_snapshot(&self) {
        self.assert_no_section();
        assert!(!self.world.base().join("lib/rollbacks/901.json").exists());
    }

    #[track_caller]
    fn assert_no_section(&self) {
        assert!(!self.node.conf(901).contains(SECTION), "{}", self.node.conf(901));
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.node.calls();
        calls
            .into_iter()
            .map(|call| call.split_once(" --description").map_or(call.clone(), |it| it.0.to_owned()))
            .collect()
    }
}

#[test]
fn a_driver_that_fails_its_verification_is_rolled_back_and_the_old_one_reports() {
    for method in ["runfile", "native", "shared"] {
        let (job, host) = Job::of_old_driver(method);
        let before = job.receipt();
        let planned = job.run_on(Some(&host), &["plan", "901", "--snapshot"]).ok().stdout;
        assert!(planned.contains("  take the snapshot `phoenix-nvidia-apply` for a rollback\n"), "{planned}");
        // The host's module is the old one, so that the new driver cannot report.
        let ran = job.run_on(Some(&host), &["apply", "901", "--snapshot", "--output", "json"]).exits(7);
        let told = "error: container 901: failed, rolled back to the snapshot `phoenix-nvidia-apply`\n  caused by: ";
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let done = report[0]["done"].as_array().unwrap();
        assert!(done.contains(&json!("roll back to the snapshot `phoenix-nvidia-apply`")), "{done:?}");
        assert_eq!(
            job.calls().into_iter().filter(|call| !call.starts_with("pct set")).collect::<Vec<_>>(),
            [
                "pct snapshot 901 phoenix-nvidia-apply",
                "pct rollback 901 phoenix-nvidia-apply",
                "pct start 901",
                "pct delsnapshot 901 phoenix-nvidia-apply",
            ]
        );
        job.assert_no_snapshot();
        assert_eq!(job.inside(901, ASK), format!("{VERSION}\n"), "method `{method}`");
        assert_eq!(job.inside(901, "cat /root/mark"), "mine\n");
        assert_eq!(job.receipt(), before);
        job.set("nvidia_driver_version", VERSION);
        job.run_on(Some(&host), &["plan", "901", "--exit-code"]).exits(0);
        job.run_on(Some(&host), &["verify", "901"]).ok();
    }
}

#[test]
fn a_driver_that_is_right_leaves_no_snapshot() {
    let (job, _) = Job::of_old_driver("runfile");
    let host = job.host_of(OTHER_VERSION);
    let done = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).ok().stdout;
    assert!(done.contains(", remove the snapshot `phoenix-nvidia-apply`; driver 570.133.20 verified"), "{done}");
    assert_eq!(job.calls(), ["pct snapshot 901 phoenix-nvidia-apply", "pct delsnapshot 901 phoenix-nvidia-apply"]);
    job.assert_no_snapshot();
    assert_eq!(job.inside(901, ASK), format!("{OTHER_VERSION}\n"));
    let again = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).ok().stdout;
    assert!(again.starts_with("901 gpu1: nothing to do; "), "{again}");
    assert_eq!(job.calls(), Vec::<String>::new());
}

#[test]
fn a_stopped_container_is_stopped_again_after_its_rollback() {
    let (job, host) = Job::of_old_driver("runfile");
    job.wants(TestDriver::new(OTHER_VERSION).misbehaving(Misbehaviour::Sigbus));
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    let failed = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).exits(10).stderr;
    assert!(failed.contains("failed, rolled back to the snapshot"), "{failed}");
    job.with_proxmox(|proxmox| assert_eq!(proxmox.state(id(901)).unwrap(), State::Stopped));
    job.assert_no_snapshot();
    job.set("nvidia_driver_version", VERSION);
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(job.inside(901, ASK), format!("{VERSION}\n"));
}

#[test]
fn what_failed_before_it_touched_anything_is_not_gone_back_for() {
    let (job, host) = Job::of_old_driver("runfile");
    job.inside(901, "rm -f /var/log/nvidia-installer.log; mkdir /var/log/nvidia-installer.log");
    let failed = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).stderr;
    assert!(!failed.contains("rolled back") && failed.contains("is not a regular file"), "{failed}");
    assert_eq!(job.calls(), ["pct snapshot 901 phoenix-nvidia-apply", "pct delsnapshot 901 phoenix-nvidia-apply"]);
    job.assert_no_snapshot();
}

#[test]
fn where_no_snapshot_can_be_had_that_is_reported_and_the_former_driver_is_put_back() {
    let (job, host) = Job::of_old_driver("native");
    job.run_on(Some(&host), &["store", "extract", VERSION]).ok();
    job.node.edit(901, |text| format!("mp0: /srv/share,mp=/share\n{text}"));
    let note = "no snapshot: `mp0` is a host directory, and Proxmox VE cannot snapshot such a container; if the new \
                driver fails, the previous driver is restored\n";
    let planned = job.run_on(Some(&host), &["plan", "901", "--snapshot"]).ok().stdout;
    assert!(planned.contains(note) && !planned.contains("take the snapshot"), "{planned}");
    let ran = job.run_on(Some(&host), &["apply", "901", "--snapshot", "--output", "json"]).exits(7);
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report[0]["notes"][1].as_str().unwrap().contains("which was installed before, is restored"), "{report}");
    assert_eq!(job.inside(901, ASK), format!("{VERSION}\n"));
    job.node
        .edit(901, |text| text.replace("mp0: /srv/share,mp=/share\n", "").replace("rootfs: tank:", "rootfs: local:"));
    let planned = job.run_on(Some(&host), &["plan", "901", "--snapshot"]).ok().stdout;
    assert!(planned.contains("no snapshot: the storage pool `local` (dir) cannot snapshot containers; "), "{planned}");
    assert!(!job.calls().iter().any(|call| call.contains("snapshot")));
}

#[test]
fn a_pool_that_turns_out_to_have_none_is_reported_and_the_run_goes_on() {
    let (job, host) = Job::of_old_driver("native");
    // A type of pool that nobody knows; the stand-in's is that of the name.
    let storage = fs_err::read_to_string(job.node.pve("storage.cfg")).unwrap();
    job.node.write("storage.cfg", &storage.replace("zfspool: tank", "custom-dir: tank"));
    let failed = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).exits(7).stderr;
    assert!(failed.contains("no snapshot: container 901: its storage has no snapshots"), "{failed}");
    assert!(failed.contains(&format!("restore driver {VERSION}")), "{failed}");
    job.assert_no_snapshot();
}

#[test]
fn a_snapshot_of_that_name_that_is_not_ours_is_refused_and_stays() {
    let (job, host) = Job::of_old_driver("runfile");
    job.with_proxmox(|proxmox| proxmox.take(id(901), "phoenix-nvidia-apply", "of somebody").unwrap());
    job.node.calls();
    let before = job.node.conf(901);
    let refused = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).exits(3).stderr;
    assert!(refused.contains("has a snapshot `phoenix-nvidia-apply` that this program did not take"), "{refused}");
    let planned = job.run_on(Some(&host), &["plan", "901", "--snapshot"]).exits(3).stdout;
    assert!(planned.contains("cannot be planned: container 901 has a snapshot"), "{planned}");
    job.run_on(Some(&host), &["apply", "901"]).exits(7);
    assert_eq!((job.calls(), job.node.conf(901)), (Vec::new(), before));
}

#[test]
fn killed_while_it_installs_the_next_run_goes_on_with_the_snapshot() {
    let (job, host) = Job::of_old_driver("runfile");
    job.wants(TestDriver::new(OTHER_VERSION).misbehaving(Misbehaviour::HangAfterHalf));
    let half = job.node.root("tank", 901).join(format!("usr/lib/x86_64-linux-gnu/libcuda.so.{OTHER_VERSION}"));
    ended_when(&job, &["apply", "901", "--snapshot"], Signal::KILL, || half.exists());
    assert!(job.node.conf(901).contains(SECTION), "{}", job.node.conf(901));
    let found = job.run_on(Some(&host), &["doctor", "901"]).stdout;
    assert!(found.contains("was interrupted has left the snapshot `phoenix-nvidia-apply`"), "{found}");
    job.wants(TestDriver::new(OTHER_VERSION));
    let planned = job.run_on(Some(&host), &["plan", "901", "--snapshot"]).ok().stdout;
    assert!(planned.contains("  continue with the snapshot `phoenix-nvidia-apply`\n"), "{planned}");
    job.node.calls();
    // The new driver fails its verification on this host, and what comes back is what was there before the killed run.
    let failed = job.run_on(Some(&host), &["apply", "901", "--snapshot"]).exits(7).stderr;
    assert!(failed.contains("failed, rolled back to the snapshot"), "{failed}");
    assert!(!job.calls().iter().any(|call| call.starts_with("pct snapshot")), "the first one is the good one");
    job.assert_no_snapshot();
    assert_eq!(job.inside(901, ASK), format!("{VERSION}\n"));
}

#[test]
fn interrupted_while_it_installs_it_keeps_the_snapshot_for_the_next_run() {
    let (job, _) = Job::of_old_driver("runfile");
    // Large enough that it is not done when the interruption comes.
    job.wants(TestDriver::new(OTHER_VERSION).library_size(8 << 20));
    let half = job.node.root("tank", 901).join(format!("usr/lib/x86_64-linux-gnu/libcuda.so.{OTHER_VERSION}"));
    ended_when(&job, &["apply", "901", "--snapshot"], Signal::INT, || half.exists());
    // What was being installed has come to its end, and was not verified.
    assert_eq!(job.receipt()["version"], OTHER_VERSION);
    assert!(job.node.conf(901).contains(SECTION), "{}", job.node.conf(901));
    let done = job.run_on(Some(&job.host_of(OTHER_VERSION)), &["apply", "901"]).ok().stdout;
    assert!(done.contains("remove the snapshot `phoenix-nvidia-apply`; driver 570.133.20"), "{done}");
    job.assert_no_snapshot();
}

#[test]
fn killed_while_it_goes_back_the_next_run_finishes_that_before_anything_else() {
    let (job, host) = Job::of_old_driver("runfile");
    job.wants(TestDriver::new(OTHER_VERSION).misbehaving(Misbehaviour::Sigbus));
    ended_when(&job, &["apply", "901", "--snapshot"], Signal::KILL, || job.node.conf(901).contains("lock: rollback"));
    job.node.wait_for_pct();
    let planned = job.run_on(Some(&host), &["plan", "901"]).ok().stdout;
    assert!(planned.contains("  finish the rollback to the snapshot `phoenix-nvidia-apply`\n"), "{planned}");
    job.set("nvidia_driver_version", VERSION);
    let done = job.run_on(Some(&host), &["apply", "901"]).ok().stdout;
    assert!(done.starts_with("901 gpu1: finish the rollback to the snapshot"), "{done}");
    job.assert_no_snapshot();
    assert_eq!(job.inside(901, ASK), format!("{VERSION}\n"));
}

#[test]
fn killed_at_any_moment_no_snapshot_is_left_after_the_next_run() {
    let (job, _) = Job::of_old_driver("native");
    let cancel = Cancel::new().unwrap();
    // One run that is left alone says how long a run takes on this machine; the first is the slowest.
    job.set("nvidia_driver_version", OTHER_VERSION);
    let begun = Instant::now();
    job.run_on(Some(&job.host_of(OTHER_VERSION)), &["apply", "901", "--snapshot"]).ok();
    let whole = u64::try_from(begun.elapsed().as_millis()).unwrap().max(2);
    let mut killed = 0;
    for round in 1..=12 {
        let version = if round % 2 == 0 { OTHER_VERSION } else { VERSION };
        job.set("nvidia_driver_version", version);
        let (begun, patience) = (Instant::now(), Duration::from_millis(fastrand::u64(1..whole / 2 + 2)));
        let is_time = || cancel.wait(Duration::from_millis(1)).is_ok() && begun.elapsed() > patience;
        killed += usize::from(ended_if_it_runs(&job, &["apply", "901", "--snapshot"], Signal::KILL, is_time));
        job.node.wait_for_pct();
        job.run_on(Some(&job.host_of(version)), &["apply", "901"]).ok();
        // What was remembered of one that was not taken yet may stay for a while.
        job.assert_no_section();
        assert_eq!(job.receipt()["version"], version, "round {round}");
    }
    assert!(killed > 0, "every run was faster than its killer");
}

#[test]
fn what_is_remembered_of_a_snapshot_that_was_never_taken_goes_when_nobody_can_be_at_it_any_more() {
    let (job, _) = Job::of_old_driver("native");
    let (record, host) = (job.world.base().join("lib/rollbacks/901.json"), job.host_of(OTHER_VERSION));
    fs_err::create_dir_all(record.parent().unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (age, stays) in [(0, true), (3600, false)] {
        let taken_at = jiff::Timestamp::from_second(i64::try_from(now).unwrap() - age).unwrap().to_string();
        let remembered = json!({ "receipt": null, "intent": null });
        let text = json!({
            "token": "00c0ffee00c0ffee", "taken_at": taken_at, "was_running": true, "remembered": remembered,
            "going_back": false,
        });
        fs_err::write(&record, text.to_string()).unwrap();
        job.run_on(Some(&host), &["apply", "901"]).ok();
        assert_eq!(record.exists(), stays);
    }
}

#[test]
fn a_saved_plan_keeps_its_snapshots() {
    let (job, host) = Job::of_old_driver("runfile");
    let file = job.world.scratch("plan.json");
    let file = file.to_str().unwrap();
    job.run_on(Some(&host), &["plan", "901", "--snapshot", "--save", file]).ok();
    job.run_on(Some(&host), &["apply", file, "--snapshot"]).exits(2);
    let failed = job.run_on(Some(&host), &["apply", file]).exits(7).stderr;
    assert!(failed.contains("failed, rolled back to the snapshot"), "{failed}");
    job.assert_no_snapshot();
}
