//! Ended at any moment: a run that is killed is gone over again by the next, one that fails leaves what was there.

use std::path::PathBuf;

use crate::job::fixture::{Job, OTHER_VERSION, VERSION};
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::tree::Tree;
use crate::world::Privilege;

use super::assert_same;

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

impl Job {
    pub(in crate::job) fn intent(&self) -> PathBuf {
        self.world.base().join(format!("lib/intents/{}.json", self.ctid))
    }

    /// Runs a verb and kills it at its `number`th of these system calls; whether it got that far.
    pub(in crate::job) fn killed_at(&self, verb: &str, calls: &str, number: u32) -> bool {
        let inject = format!("inject={calls}:signal=SIGKILL:when={number}");
        let trace = format!("trace={calls}");
        let words = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, PROGRAM, verb];
        let ran = Ran::of("strace", &[&words[..], &[&self.ctid.to_string()]].concat(), &self.world.environment());
        assert!(ran.code == 0 || ran.code == 137, "{}", ran.stderr);
        ran.code == 137
    }
}

/// A stopped container with the other version, and something that was in the way of it.
fn with_other_version() -> (Job, Tree) {
    let job = Job::native(Privilege::Unprivileged);
    fs_err::write(job.rootfs("usr/lib/x86_64-linux-gnu/libcuda.so.535.261.03"), "an old driver").unwrap();
    fs_err::write(job.rootfs("usr/bin/nvidia-smi"), "by hand, and longer than what is in its place: ".repeat(999))
        .unwrap();
    let before = job.plain_tree();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.want(OTHER_VERSION, "native", "full");
    job.run("install").ok();
    job.cache(&TestDriver::new(VERSION));
    (job, before)
}

/// Kills `verb` at every one of these calls in turn; each time another run must bring the same end.
fn at_every(calls: &str, verb: &str, every: usize) {
    let (job, before) = with_other_version();
    let back = |job: &Job| {
        job.want(OTHER_VERSION, "native", "full");
        job.run("install").ok();
        job.want(VERSION, "native", "full");
    };
    job.want(VERSION, "native", "full");
    job.run(verb).ok();
    let undisturbed = job.plain_tree();
    let mut killed = 0;
    for number in (1..).step_by(every) {
        back(&job);
        if !job.killed_at(verb, calls, number) {
            break;
        }
        killed += 1;
        if job.intent().exists() {
            assert_ne!(job.status()["verdict"], "installed", "killed at {number}");
        }
        job.run(verb).ok();
        assert!(!job.intent().exists(), "killed at {number}");
        assert_same(&undisturbed, &job.plain_tree());
    }
    assert!(killed > 3, "`{verb}` has only {killed} of {calls}");
    if verb == "install" {
        job.run("uninstall").ok();
    }
    assert_same(&before, &job.plain_tree());
}

#[test]
fn an_installation_killed_at_any_rename_is_finished_by_the_next() {
    at_every("renameat,renameat2,rename", "install", 1);
}

#[test]
fn an_installation_killed_at_any_removal_or_link_is_finished_by_the_next() {
    at_every("unlinkat,linkat,symlinkat,mkdirat", "install", 1);
}

#[test]
fn an_installation_killed_while_it_stages_is_finished_by_the_next() {
    at_every("copy_file_range,fchmod,utimensat", "install", 5);
}

#[test]
fn an_uninstallation_killed_at_any_removal_is_finished_by_the_next() {
    at_every("unlinkat,renameat,renameat2", "uninstall", 1);
}

#[test]
fn a_killed_installation_can_be_uninstalled() {
    let (job, before) = with_other_version();
    for number in [3, 12, 20, 30] {
        job.want(VERSION, "native", "full");
        assert!(job.killed_at("install", "renameat", number));
        job.run("uninstall").ok();
        assert_same(&before, &job.plain_tree());
        assert!(!job.intent().exists() && !job.receipt().exists());
    }
}

#[test]
fn what_fails_while_it_is_staged_leaves_the_container_as_it_was() {
    let (job, _) = with_other_version();
    let whole = job.tree();
    job.want(VERSION, "native", "full");
    let inject = "inject=copy_file_range:error=ENOSPC:when=5+";
    let words = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=copy_file_range", "-e", inject, PROGRAM, "install"];
    let ran = Ran::of("strace", &[&words[..], &[&job.ctid.to_string()]].concat(), &job.world.environment()).exits(10);
    let failed = format!("error: container {}: driver {VERSION} could not be placed in it\n", job.ctid);
    assert!(ran.stderr.contains(&failed), "{}", ran.stderr);
    assert_same(&whole, &job.tree());
    assert!(!job.intent().exists());
    assert_eq!(job.status()["installed"], OTHER_VERSION);
}
