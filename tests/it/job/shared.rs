//! The method `shared`: containers that see one image, and what becomes of it over their lives.

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::test_driver::TestDriver;
use crate::tree;
use phoenix_nvidia::config::Context;

pub(super) const OWN: &str = "/usr/lib/phoenix-nvidia";
const PRINT_LIBRARY: &str = "ldconfig -p | grep -o '/.*/libcuda.so.1$'";

impl Job {
    pub(super) fn shared(self) -> Self {
        self.set_for_all("nvidia_install_method", "shared");
        self.set_for_all("nvidia_driver_profile", "compute");
        self
    }

    /// Fails unless the first container sees this version through an image, and no other.
    #[track_caller]
    pub(super) fn assert_shared(&self, version: &str) {
        let status = self.status();
        assert_eq!(status["installed"], version, "{status:?}");
        assert_eq!(status["verdict"], "installed, not verified live", "{status:?}");
        let help = self.inside("nvidia-smi --help | head -n 1");
        assert_eq!(help, format!("NVIDIA System Management Interface -- v{version}\n"));
        assert_eq!(self.inside(PRINT_LIBRARY), format!("{OWN}/current/lib/libcuda.so.1\n"));
        assert_eq!(self.mounts_inside(OWN), format!("{OWN}/{version}-compute\n"));
        let names = self.inside(&format!("ls {OWN}"));
        assert_eq!(names, format!("{version}-compute\ncurrent\n"));
        assert_eq!(self.world.mounts().len(), 1);
        self.assert_loop_devices(1);
    }

    /// Fails unless nothing of any image is left, in the container, in its configuration, and on the host.
    #[track_caller]
    fn assert_nothing_is_shared(&self) {
        assert_eq!(self.mounts_inside(OWN), "");
        assert!(!self.rootfs(OWN).exists());
        assert!(!self.rootfs("etc/ld.so.conf.d/00-phoenix-nvidia.conf").exists());
        assert!(!self.settings().contains(OWN), "{}", self.settings());
        assert!(self.world.mounts().is_empty(), "{:?}", self.world.mounts());
        self.assert_loop_devices(0);
    }

    fn settings(&self) -> String {
        fs_err::read_to_string(self.world.lxcpath().join(format!("{}/phoenix-nvidia.conf", self.ctid))).unwrap()
    }

    /// Ends the container, and starts it as the host does at its own start: without the program.
    fn restart_by_hand(&self) -> crate::ran::Ran {
        self.world.lxc("lxc-stop", self.ctid, &["--kill"]).ok();
        self.world.lxc("lxc-start", self.ctid, &["--daemon"])
    }

    /// The container's files without those that differ from run to run.
    fn lasting_tree(&self) -> tree::Tree {
        let mut tree = self.tree();
        for path in ["/var/cache/ldconfig/aux-cache", "/etc/ld.so.cache"] {
            tree.remove(path);
        }
        tree
    }
}

fn is_seen_at_once_and_after_a_restart(job: &Job) {
    job.run("create").ok();
    job.assert_shared(VERSION);
    let entry = format!("usr/lib/phoenix-nvidia/{VERSION}-compute none bind,ro,nosuid,nodev,create=dir 0 0");
    assert!(job.settings().contains(&entry), "{}", job.settings());
    let again = job.run("create").ok();
    assert!(again.stdout.contains("nothing to do") || !again.stderr.contains("install"), "{}", again.stderr);
    job.restart_by_hand().ok();
    job.assert_shared(VERSION);
    let plan = job.run_with("plan", &["--exit-code"]);
    assert_eq!(plan.code, 0, "{}", plan.stdout);
}

#[test]
fn an_unprivileged_container_sees_the_driver_at_once_and_after_a_restart() {
    is_seen_at_once_and_after_a_restart(&Job::new().shared());
}

#[test]
fn a_privileged_container_sees_the_driver_at_once_and_after_a_restart() {
    is_seen_at_once_and_after_a_restart(&Job::privileged().shared());
}

#[test]
fn a_container_costs_little_and_two_read_the_very_same_pages() {
    let job = Job::without_driver().shared();
    job.cache(&TestDriver::new(VERSION).library_size(3 << 20));
    job.set("nvidia_driver_version", "390.0");
    job.set("features", serde_json::json!([]));
    job.run("create").ok();
    let before = job.world.disk_usage(job.ctid);
    job.set("nvidia_driver_version", VERSION);
    job.set("features", serde_json::json!(["nvidia"]));
    job.run("install").ok();
    let cost = job.world.disk_usage(job.ctid) - before;
    assert!(cost < 1_000_000, "{cost} bytes for one container");
    let other = job.add(job.entry("other"));
    job.world.run(&["create", &other.to_string()]).ok();
    let library = format!("stat -L -c '%d %i %s' {OWN}/current/lib/libcuda.so.1");
    let (one, two) = (job.inside(&library), job.world.inside(other, &library).ok().stdout);
    assert_eq!(one, two, "another device or inode has pages of its own");
    assert!(one.split(' ').next_back().unwrap().trim().parse::<u64>().unwrap() > 3 << 20);
    job.assert_loop_devices(1);
}

#[test]
fn an_upgrade_flips_the_link_and_a_running_process_keeps_its_library() {
    let job = Job::new().shared();
    job.run("create").ok();
    let hold =
        format!("exec 9< {OWN}/current/lib/libcuda.so.1; echo $$ > /run/holder; exec sleep 600 > /dev/null 2>&1");
    job.inside(&format!("setsid sh -c '{hold}' > /dev/null 2>&1 < /dev/null & while [ ! -s /run/holder ]; do :; done"));
    let library = job.inside("cat /run/holder > /dev/null; sha256sum < /proc/$(cat /run/holder)/fd/9");
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    job.run("install").ok();
    assert_eq!(job.mounts_inside(OWN), format!("{OWN}/{OTHER_VERSION}-compute\n"));
    assert_eq!(job.inside("sha256sum < /proc/$(cat /run/holder)/fd/9"), library);
    job.assert_loop_devices(2);
    // Nobody reaps it, so that its directory stays; its files go.
    job.inside("p=$(cat /run/holder); kill $p; while [ -e /proc/$p/fd/9 ]; do :; done");
    job.assert_loop_devices(1);
    job.assert_shared(OTHER_VERSION);
}

#[test]
fn an_uninstallation_leaves_the_container_as_it_was() {
    for job in [Job::new(), Job::privileged()] {
        let job = job.shared();
        job.set("features", serde_json::json!([]));
        job.run("create").ok();
        job.inside("ldconfig");
        let before = job.lasting_tree();
        job.set("features", serde_json::json!(["nvidia"]));
        job.run("install").ok();
        job.assert_shared(VERSION);
        job.run("uninstall").ok();
        assert_eq!(tree::differences(&before, &job.lasting_tree()), "");
        job.assert_nothing_is_shared();
        assert!(!job.inside("ldconfig -p").contains("libcuda"));
    }
}

#[test]
fn a_stopped_container_is_known_and_left_without_being_started() {
    let job = Job::new().shared();
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    assert_eq!(job.status()["installed"], VERSION);
    job.run("uninstall").ok();
    assert_eq!(job.status()["installed"], serde_json::Value::Null);
    assert_eq!(job.status()["state"], "stopped");
    job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
    job.assert_nothing_is_shared();
}

#[test]
fn the_receipts_say_what_is_to_be_mounted_at_the_hosts_start() {
    use phoenix_nvidia::{
        config::Layout, event::NoListener, install::methods::shared, store::Store, sys::cancel::Cancel,
    };
    let job = Job::new().shared();
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    for point in job.world.mounts() {
        crate::ran::Ran::of("umount", &[point], &[]).ok();
    }
    let (layout, cancel) = (Layout::new(job.world.base()), Cancel::new().unwrap());
    shared::ensure_mounted(&Store::new(Context::new(&layout, &NoListener, &cancel)), &layout).unwrap();
    job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
    job.assert_shared(VERSION);
}

#[test]
fn changes_between_all_ways_leave_nothing_of_the_way_before() {
    let job = Job::new().shared();
    job.run("create").ok();
    job.assert_shared(VERSION);
    for method in ["runfile", "shared", "native", "shared", "installer", "shared"] {
        job.set_for_all("nvidia_install_method", method);
        job.run("install").ok();
        if method == "shared" {
            job.assert_shared(VERSION);
            let libraries = job.tree().into_keys().filter(|path| path.contains("/libcuda.so.")).collect::<Vec<_>>();
            assert!(libraries.is_empty(), "{libraries:?}");
        } else {
            job.assert_installed(VERSION);
            job.assert_nothing_is_shared();
        }
    }
}

#[test]
fn other_libraries_that_were_there_give_way_and_come_back() {
    let job = Job::new().shared();
    job.set("features", serde_json::json!([]));
    job.run("create").ok();
    let old = "/usr/lib/x86_64-linux-gnu/libcuda.so.535.261.03";
    job.inside(&format!("echo somebodys > {old}"));
    job.set("features", serde_json::json!(["nvidia"]));
    job.run("install").ok();
    job.assert_shared(VERSION);
    job.run("uninstall").ok();
    assert_eq!(job.inside(&format!("cat {old}")), "somebodys\n");
}

#[test]
fn after_the_hosts_start_a_container_without_its_image_does_not_start_and_create_mends_that() {
    let job = Job::new().shared();
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    for point in job.world.mounts() {
        crate::ran::Ran::of("umount", &[point], &[]).ok();
    }
    job.assert_loop_devices(0);
    assert_ne!(job.world.lxc("lxc-start", job.ctid, &["--daemon"]).code, 0, "it started with an empty driver");
    job.run("create").ok();
    job.assert_shared(VERSION);
}

#[test]
fn a_copy_of_a_container_gets_a_mount_of_its_own_and_the_source_can_go() {
    let job = Job::new().shared();
    job.run("create").ok();
    let copy = job.add(job.copy_of(job.ctid, "copy"));
    job.world.run(&["create", &copy.to_string()]).ok();
    let help = job.world.inside(copy, "nvidia-smi --help | head -n 1").ok().stdout;
    assert_eq!(help, format!("NVIDIA System Management Interface -- v{VERSION}\n"));
    job.run_with("destroy", &["--yes"]).ok();
    assert_eq!(job.world.mounts().len(), 1, "the copy still needs it");
    job.world.lxc("lxc-stop", copy, &["--kill"]).ok();
    job.world.lxc("lxc-start", copy, &["--daemon"]).ok();
    job.world.run(&["destroy", "--yes", &copy.to_string()]).ok();
    assert!(job.world.mounts().is_empty());
    job.assert_loop_devices(0);
}

#[test]
fn a_guest_that_takes_its_mount_away_gets_it_back() {
    let job = Job::new().shared();
    job.run("create").ok();
    job.give_mount_programs();
    job.inside(&format!("umount {OWN}/{VERSION}-compute"));
    assert_ne!(job.status()["verdict"], "installed, not verified live");
    job.run("create").ok();
    job.assert_shared(VERSION);
}

#[test]
fn killed_in_the_middle_of_a_change_the_next_run_brings_it_to_its_end() {
    let job = Job::new().shared();
    job.run("create").ok();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    // Without a cache `ldconfig` has to run, and this one never ends.
    job.inside(
        "rm /etc/ld.so.cache; mv /sbin/ldconfig /sbin/ldconfig.real; printf '#!/bin/sh\nexec sleep 600\n' > \
         /sbin/ldconfig; chmod +x /sbin/ldconfig",
    );
    let mut process = job.start("install");
    let current = job.rootfs(&format!("{OWN}/current"));
    process.wait_until("the link is switched", |_| {
        fs_err::read_link(&current).is_ok_and(|target| target.to_string_lossy().starts_with(OTHER_VERSION))
    });
    process.kill();
    job.inside("mv /sbin/ldconfig.real /sbin/ldconfig");
    job.run("install").ok();
    job.assert_shared(OTHER_VERSION);
    job.run("uninstall").ok();
    job.assert_nothing_is_shared();
}

#[test]
fn the_directory_of_a_former_image_goes_with_the_next_run_though_the_driver_is_there() {
    let job = Job::new().shared();
    job.run("create").ok();
    // As after a run that was killed between the receipt and its end.
    let left = format!("{OWN}/{OTHER_VERSION}-compute");
    for verb in ["install", "create", "apply"] {
        job.inside(&format!("mkdir {left}"));
        if verb != "install" {
            let planned = job.run("plan").ok().stdout;
            assert!(planned.contains("remove what an interrupted run left") && planned.contains(&left), "{planned}");
        }
        job.run(verb).ok();
        job.assert_shared(VERSION);
    }
}

#[test]
fn without_permission_no_other_way_is_gone_and_with_it_the_change_is_reported() {
    let job = Job::new().shared();
    job.set("features", serde_json::json!([]));
    job.run("create").ok();
    job.set("features", serde_json::json!(["nvidia"]));
    // A directory that cannot be made a mount point: what any refusal of the kernel comes to.
    job.inside(&format!("mkdir -p {OWN}; echo in the way > {OWN}/{VERSION}-compute"));
    let refused = job.run("install");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("is not a directory"), "{}", refused.stderr);
    job.set("nvidia_allow_fallback", true);
    let ran = job.run("install").ok();
    assert!(
        ran.stderr.contains("warning: the method `shared` does not work here, so `runfile` is used"),
        "{}",
        ran.stderr
    );
    let receipt = fs_err::read_to_string(job.receipt()).unwrap();
    assert!(receipt.contains("\"method\": \"runfile\"") && receipt.contains("\"instead_of\": {"), "{receipt}");
    let again = job.run("install").ok();
    assert!(again.stderr.contains("is already installed"), "{}", again.stderr);
}
