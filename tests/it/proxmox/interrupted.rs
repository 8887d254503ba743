//! Creations that were killed or interrupted: the next run knows its own, and leaves those of others alone.

use std::process::{Child, Stdio};

use phoenix_nvidia::hypervisor::{LifeCycle, State};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{Job, id};
use crate::proxmox_node::TEMPLATE;

/// Starts the program, and gives it a signal as soon as `is_time`; waits for its end.
pub(super) fn ended_when(job: &Job, words: &[&str], signal: Signal, is_time: impl Fn() -> bool) {
    assert!(ended_if_it_runs(job, words, signal, is_time), "the program has ended before it could be ended");
}

/// The same where the program may come to its end before; says whether it did not.
#[expect(clippy::disallowed_methods, reason = "a process that is to be killed is started without a limit")]
pub(super) fn ended_if_it_runs(job: &Job, words: &[&str], signal: Signal, is_time: impl Fn() -> bool) -> bool {
    let mut program: Child = std::process::Command::new(env!("CARGO_BIN_EXE_phoenix-nvidia"))
        .args(words)
        .args(["--backend", "proxmox"])
        .envs(job.world.environment())
        .envs(job.node.environment())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !is_time() {
        if program.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&program), signal).unwrap();
    program.wait().unwrap();
    true
}

#[test]
fn a_creation_that_was_killed_is_cleared_away_and_done_by_the_next_run() {
    let job = Job::new();
    let begun = job.node.root("tank", 901).join("usr/bin");
    // On a busy machine the whole container may be there before the kill is.
    let is_half_made = || {
        ended_when(&job, &["create", "901"], Signal::KILL, || begun.exists());
        let mut state = State::Absent;
        job.with_proxmox(|proxmox| state = proxmox.state(id(901)).unwrap());
        state == State::Absent || {
            job.node.wait_for_pct();
            job.run(&["destroy", "901", "--yes"]).ok();
            false
        }
    };
    assert!((0..5).any(|_| is_half_made()), "every creation was faster than its killer");
    job.node.calls();
    job.run(&["create", "901"]).ok();
    let calls: Vec<String> =
        job.node.calls().iter().map(|call| call.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(calls, ["pct unlock 901", "pct destroy 901", "pct create 901", "pct start 901"]);
    assert_eq!(job.inside(901, "cat /etc/hostname"), "gpu1\n");
    assert!(!job.node.root("tank", 901).with_file_name("subvol-901-disk-1").exists(), "the orphan is gone");
    // A later one of the same CTID is somebody else's.
    job.node.edit(901, |text| format!("lock: create\n{text}"));
    job.run(&["create", "901"]).exits(9);
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_creation_that_is_interrupted_leaves_nothing() {
    let job = Job::new();
    let begun = job.node.root("tank", 901).join("usr/bin");
    ended_when(&job, &["create", "901"], Signal::INT, || begun.exists());
    assert_eq!(job.node.left(), Vec::<String>::new());
    job.with_proxmox(|proxmox| assert_eq!(proxmox.state(id(901)).unwrap(), State::Absent));
}

#[test]
fn a_clone_that_was_killed_frees_its_source_too() {
    let job = job_with_copy(931, 932);
    job.run(&["create", "931"]).ok();
    job.with_proxmox(|proxmox| proxmox.stop(id(931)).unwrap());
    let begun = job.node.hang_next_copy();
    ended_when(&job, &["create", "932"], Signal::KILL, || begun.exists());
    job.run(&["create", "932"]).ok();
    // The worker of the killed one, were it still there, would take the new one's volume and file away.
    job.node.wait_for_pct();
    assert_eq!(job.inside(932, "cat /etc/hostname"), "copy\n");
    assert!(!job.node.conf(931).contains("lock"), "{}", job.node.conf(931));
}

#[test]
fn a_source_is_free_again_whatever_there_is_of_its_killed_copy() {
    let job = job_with_copy(941, 942);
    job.run(&["create", "941"]).ok();
    // Of a running source, by a snapshot: killed before the copy has a file, the source keeps that snapshot.
    ended_when(&job, &["create", "942"], Signal::KILL, || job.node.conf(941).contains("[phoenix-nvidia-clone]"));
    job.node.wait_for_pct();
    // Killed between the two files, `pct` leaves a lock that nobody holds.
    job.node.edit(941, |text| format!("lock: disk\n{text}"));
    if job.node.pve("lxc/942.conf").exists() {
        fs_err::remove_file(job.node.pve("lxc/942.conf")).unwrap();
    }
    let told = "a killed run began to create it, and left the lock `disk` on container 941, its source, the snapshot \
                `phoenix-nvidia-clone` of container 941 [left-over]";
    let found = job.run(&["doctor", "942"]).stdout;
    assert!(found.contains(told) && found.contains("remedy: phoenix-nvidia create 942"), "{found}");
    job.run(&["destroy", "--yes", "942"]).ok();
    assert!(!job.run(&["doctor", "942"]).stdout.contains("left-over"));
    let source = job.node.conf(941);
    assert!(!source.contains("lock") && !source.contains('['), "{source}");
    job.run(&["create", "942"]).ok();
    assert_eq!(job.inside(942, "cat /etc/hostname"), "copy\n");
}

#[test]
fn a_lock_on_a_source_that_another_task_holds_is_not_taken_away() {
    let job = job_with_copy(951, 952);
    job.run(&["create", "951"]).ok();
    job.with_proxmox(|proxmox| proxmox.stop(id(951)).unwrap());
    let begun = job.node.hang_next_copy();
    ended_when(&job, &["create", "952"], Signal::KILL, || begun.exists());
    let title = format!("task UPID:{}:0000C2AA:0004BF4C:6B09D79A:move_volume:951:root@pam:", job.node.name());
    let other = Titled::start(&title);
    job.run(&["create", "952"]).exits(9);
    assert!(job.node.conf(951).contains("lock: disk"), "{}", job.node.conf(951));
    drop(other);
    job.run(&["create", "952"]).ok();
    assert!(!job.node.conf(951).contains("lock"), "{}", job.node.conf(951));
}

/// A container and its copy.
fn job_with_copy(source: u32, copy: u32) -> Job {
    let job = Job::new();
    job.add(source, json!({ "name": "gpu1", "template": TEMPLATE, "storage_pool": "tank", "unprivileged": true }));
    job.add(copy, json!({ "name": "copy", "clone_from_ctid": source.to_string() }));
    job
}

/// A process that waits, with this title, until this is dropped.
struct Titled(Child);

impl Titled {
    #[expect(clippy::disallowed_methods, reason = "a process that is to be killed is started without a limit")]
    fn start(title: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("sleep");
        command.arg0(title).arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Titled {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn what_somebody_else_has_begun_is_named_and_left_alone() {
    let job = Job::new();
    job.node.write("lxc/901.conf", "lock: create\n");
    let said = job.run(&["create", "901"]).exits(9).stderr;
    assert!(said.starts_with("error: container 901 is being created by another program: "), "{said}");
    assert!(said.contains("`pct unlock 901 && pct destroy 901 --destroy-unreferenced-disks 1`"), "{said}");
    job.run(&["destroy", "--yes", "901"]).exits(9);
    assert_eq!(job.node.calls(), Vec::<String>::new());
    assert_eq!(job.node.conf(901), "lock: create\n");
}

#[test]
fn a_temporary_snapshot_of_a_running_source_goes_with_the_copy() {
    let job = Job::new();
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901" }));
    job.run(&["create", "901"]).ok();
    job.node.calls();
    job.run(&["create", "902"]).ok();
    assert!(!job.node.conf(901).contains('['), "{}", job.node.conf(901));
    assert_eq!(
        job.node.calls()[..3],
        [
            "pct snapshot 901 phoenix-nvidia-clone",
            "pct clone 901 902 --hostname copy --full 1 --snapname phoenix-nvidia-clone",
            "pct delsnapshot 901 phoenix-nvidia-clone",
        ]
    );
}
