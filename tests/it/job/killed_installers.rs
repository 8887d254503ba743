//! Every method, killed at forty moments of an installation: what an uninstallation leaves then is what there was
//! before, to the file. Where NVIDIA's installer runs, it is its moments: it goes on without its parent.

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::ran::Ran;
use crate::tree::{self, Tree};
use crate::world::Privilege;

const MOMENTS: u32 = 40;
const CONTROL: &str = "stand-in-stops-at";
const REACHED: &str = "stand-in-has-stopped";
const COUNTED: &str = "stand-in-has-counted";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

impl Job {
    /// A running container in which others have put files where the driver goes, and links, and libraries deep below.
    fn with_files_of_others(method: &str) -> Self {
        let job = Self::native_running(Privilege::Unprivileged);
        job.inside(&format!(
            "cd /{LIBRARIES}; echo an old driver > libnvidia-cfg.so.535.261.03; ln -s libnvidia-cfg.so.535.261.03 libnvidia-cfg.so.1
             mkdir deep; echo somebody > deep/libnvidia-ml.so.1; ln -s nowhere libnvidia-encode.so.1
             seq 9999 > /usr/bin/nvidia-smi; chmod 750 /usr/bin/nvidia-smi; chown 7:8 /usr/bin/nvidia-smi; ldconfig"
        ));
        job.want(VERSION, method, "full");
        job
    }

    /// The container's files, but for what `ldconfig` writes.
    fn files(&self) -> Tree {
        let mut tree = self.tree();
        tree.retain(|path, _| path != "/etc/ld.so.cache" && !path.starts_with("/var/cache/ldconfig"));
        tree
    }

    /// How many moments an installation has.
    fn moments(&self) -> u32 {
        fs_err::write(self.rootfs(CONTROL), u32::MAX.to_string()).unwrap();
        self.run("install").ok();
        let count = fs_err::read_to_string(self.rootfs(COUNTED)).unwrap().parse().unwrap();
        fs_err::remove_file(self.rootfs(COUNTED)).unwrap();
        fs_err::remove_file(self.rootfs(CONTROL)).unwrap();
        count
    }

    /// Kills an installation at one of its moments; the installer goes on standing there, without a parent.
    fn killed_at_moment(&self, number: u32) {
        fs_err::write(self.rootfs(CONTROL), number.to_string()).unwrap();
        let mut process = self.start("install");
        process.wait_until(&format!("moment {number} has come"), |_| self.rootfs(REACHED).exists());
        process.kill();
        fs_err::remove_file(self.rootfs(REACHED)).unwrap();
    }

    /// The system calls of an installation that are among these, in their order: each with how many there were of it.
    fn calls_of_installation(&self, calls: &str) -> Vec<(String, u32)> {
        let told = self.world.scratch("calls");
        let (trace, program) = (format!("trace={calls}"), env!("CARGO_BIN_EXE_phoenix-nvidia"));
        let (output, id) = (told.to_string_lossy().into_owned(), self.ctid.to_string());
        let words = ["-qq", "-o", &output, "-e", &trace, program, "install", &id];
        Ran::of("strace", &words, &self.world.environment()).ok();
        let text = fs_err::read_to_string(told).unwrap();
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        let names = text.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned());
        let counted = names.map(|name| {
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            (name, *count)
        });
        counted.collect()
    }

    #[track_caller]
    fn is_as_before(&self, before: &Tree, what: &str) {
        self.run("uninstall").ok();
        let differences = tree::differences(before, &self.files());
        assert_eq!(differences, "", "{what}");
        assert!(!self.intent().exists() && !self.receipt().exists(), "{what}");
        self.assert_nothing_is_left();
    }
}

fn killed_at_forty_moments(method: &str) {
    let job = Job::with_files_of_others(method);
    let before = job.files();
    let count = job.moments();
    job.is_as_before(&before, "not killed");
    for moment in 0..MOMENTS {
        let number = 1 + moment * (count - 1) / (MOMENTS - 1);
        let what = format!("killed at moment {number} of {count}");
        if moment % 4 == 0 {
            job.want(OTHER_VERSION, method, "full");
            job.run("install").ok();
            job.want(VERSION, method, "full");
        }
        job.killed_at_moment(number);
        assert_ne!(job.status()["verdict"], "installed, not verified live", "{what}");
        job.run_with("plan", &["--exit-code"]).exits(4);
        match moment % 3 {
            0 => {}
            1 => {
                job.run("install").ok();
                assert_eq!(job.status()["installed"], VERSION, "{what}");
            }
            _ => {
                job.want(OTHER_VERSION, "native", "full");
                job.run("install").ok();
                assert_eq!(job.status()["installed"], OTHER_VERSION, "{what}");
                job.want(VERSION, method, "full");
            }
        }
        job.is_as_before(&before, &what);
    }
}

#[test]
fn a_run_file_killed_at_forty_moments_leaves_nothing() {
    killed_at_forty_moments("runfile");
}

#[test]
fn an_installer_killed_at_forty_moments_leaves_nothing() {
    killed_at_forty_moments("installer");
}

/// The methods of the host: each moment is a system call that changes something.
fn killed_at_forty_calls(method: &str) {
    let calls = "renameat,renameat2,unlinkat,linkat,symlinkat,mkdirat,fchmod,fchown,copy_file_range,move_mount,umount2";
    let job = Job::with_files_of_others(method);
    let before = job.files();
    job.run("install").ok();
    job.is_as_before(&before, "not killed");
    let calls = job.calls_of_installation(calls);
    job.is_as_before(&before, "not killed");
    for moment in 0..MOMENTS as usize {
        let (call, number) = &calls[moment * (calls.len() - 1) / (MOMENTS as usize - 1)];
        let what = format!("killed at call {number} of `{call}`");
        assert!(job.killed_at("install", call, *number), "not {what}");
        if moment % 2 == 0 {
            job.run("install").ok();
            assert_eq!(job.status()["installed"], VERSION, "{what}");
        }
        job.is_as_before(&before, &what);
    }
}

#[test]
fn the_way_native_killed_at_forty_moments_leaves_nothing() {
    killed_at_forty_calls("native");
}

#[test]
fn the_way_shared_killed_at_forty_moments_leaves_nothing() {
    killed_at_forty_calls("shared");
}

#[test]
fn an_uninstallation_killed_at_any_call_is_brought_to_its_end_by_the_next() {
    let calls = "renameat,renameat2,unlinkat,linkat,symlinkat";
    let job = Job::with_files_of_others("runfile");
    let before = job.files();
    let mut killed = 0;
    for number in (1..).step_by(7) {
        job.run("install").ok();
        if !job.killed_at("uninstall", calls, number) {
            break;
        }
        killed += 1;
        job.is_as_before(&before, &format!("killed at call {number}"));
    }
    assert!(killed > 3, "{killed}");
    job.is_as_before(&before, "not killed");
}

#[test]
fn what_a_killed_copy_has_left_goes_though_the_former_driver_is_still_the_right_one() {
    let job = Job::new();
    job.run("create").ok();
    let left = "/var/lib/phoenix-nvidia/phoenix-nvidia-run-0123456789abcdef";
    for (verb, code) in [("install", 0), ("uninstall", 0)] {
        job.inside(&format!("mkdir {left}; echo run > {left}/NVIDIA.run"));
        let plan = job.run_with("install", &["--dry-run"]).ok().stdout;
        assert!(plan.contains(left), "{plan}");
        let verified = job.run("verify").exits(0);
        assert!(verified.stderr.contains(left), "{}", verified.stderr);
        let status = job.run("status").ok().stdout;
        assert!(status.contains("interrupted run"), "{status}");
        job.run(verb).exits(code);
        job.assert_nothing_is_left();
    }
}
