//! Containers that do not run are looked into where they lie: nothing is mounted, started or locked for that.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use phoenix_nvidia::hypervisor::{LifeCycle, State};
use serde_json::json;

use super::{Job, VERSION, id};
use crate::loop_devices;
use crate::ran::Ran;
use crate::test_driver::TestDriver;

const OLDER: &str = "570.133.20";
const NOTHING: [&str; 0] = [];

/// A stopped container with [`OLDER`] by this method, whose volume is a file.
fn stopped_on_file(method: &str) -> Job {
    let job = Job::new();
    job.node.add_pool_of_files();
    job.set("storage_pool", "files");
    stopped(job, method)
}

fn stopped(job: Job, method: &str) -> Job {
    for version in [OLDER, VERSION] {
        TestDriver::new(version).write_into(&job.world.cache());
        job.run(&["store", "extract", version]).ok();
    }
    job.set("features", json!(["nvidia"]));
    job.set("nvidia_driver_version", OLDER);
    job.set("nvidia_install_method", method);
    job.run(&["create", "901"]).ok();
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    job.node.calls();
    job
}

impl Job {
    /// Fails unless the container is known to be in sync, by every command, without a change of anything.
    #[track_caller]
    fn assert_in_sync(&self) {
        let before = (self.node.conf(901), self.times_of_volume());
        self.run(&["plan", "901", "--exit-code"]).exits(0);
        let applied = self.run(&["apply", "--all"]).ok().stdout;
        assert!(applied.starts_with("901 gpu1: nothing to do"), "{applied}");
        let status: serde_json::Value =
            serde_json::from_str(&self.run(&["status", "901", "--output", "json"]).stdout).unwrap();
        let row = &status[0];
        // As good as it gets on a host without NVIDIA's module.
        assert_eq!(
            (&row["installed"], &row["verdict"]),
            (&json!(OLDER), &json!("installed, not verified live")),
            "{row}"
        );
        assert_eq!(self.node.calls(), NOTHING);
        assert_eq!((self.node.conf(901), self.times_of_volume()), before);
        self.assert_nothing_mounted();
    }

    fn times_of_volume(&self) -> Option<(i64, i64)> {
        fs_err::metadata(self.node.volume_file(901)).ok().map(|it| (it.mtime(), it.mtime_nsec()))
    }

    #[track_caller]
    fn assert_nothing_mounted(&self) {
        loop_devices::assert_below(&self.world.scratch("volumes"), 0);
        let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(&self.world.lxcpath().display().to_string()), "{table}");
    }

    #[track_caller]
    fn assert_stopped_with(&self, version: &str) {
        self.with_proxmox(|proxmox| {
            assert_eq!(proxmox.state(id(901)).unwrap(), State::Stopped);
            proxmox.start(id(901)).unwrap();
        });
        let said = self.inside(901, "nvidia-smi --help | head -n 1");
        assert_eq!(said, format!("NVIDIA System Management Interface -- v{version}\n"));
    }
}

#[test]
#[ignore = "needs loop devices"]
fn a_stopped_container_on_a_file_is_in_sync_without_a_mount_or_a_boot() {
    for method in ["native", "runfile", "shared"] {
        stopped_on_file(method).assert_in_sync();
    }
}

#[test]
fn a_stopped_container_in_a_directory_is_in_sync_without_a_mount_or_a_boot() {
    let job = Job::new();
    job.set("storage_pool", "local");
    stopped(job, "runfile").assert_in_sync();
}

#[test]
#[ignore = "needs loop devices"]
fn what_somebody_has_written_since_is_seen() {
    let job = stopped_on_file("native");
    job.assert_in_sync();
    let library = format!("usr/lib/x86_64-linux-gnu/libcuda.so.{OLDER}");
    job.node.change_volume(901, |root| fs_err::remove_file(root.join(&library)).unwrap());
    let planned = job.run(&["plan", "901", "--exit-code"]).exits(4).stdout;
    assert!(planned.contains(&format!("`/{library}` has changed since its installation")), "{planned}");
    assert_eq!(job.node.calls(), NOTHING);
    job.run(&["apply", "901"]).ok();
    job.node.calls();
    job.assert_in_sync();
}

#[test]
#[ignore = "needs loop devices"]
fn a_new_driver_is_placed_in_a_stopped_container_on_a_file_without_a_boot() {
    for method in ["native", "shared"] {
        let job = stopped_on_file(method);
        job.set("nvidia_driver_version", VERSION);
        let planned = job.run(&["plan", "901", "--exit-code"]).exits(4).stdout;
        assert!(planned.contains(&format!("replaces {OLDER}")), "{planned}");
        job.run(&["apply", "901"]).ok();
        let calls = job.node.calls();
        assert!(calls.iter().any(|call| call == "pct mount 901"), "{calls:?}");
        assert!(!calls.iter().any(|call| call.starts_with("pct start")), "{calls:?}");
        job.assert_nothing_mounted();
        job.run(&["plan", "901", "--exit-code"]).exits(0);
        job.assert_stopped_with(VERSION);
    }
}

#[test]
#[ignore = "needs loop devices"]
fn a_volume_that_was_not_unmounted_is_mounted_to_be_looked_at_and_never_booted() {
    let job = stopped_on_file("runfile");
    let (file, copy) = (job.node.volume_file(901), job.world.scratch("as-it-ran"));
    job.with_proxmox(|proxmox| proxmox.start(id(901)).unwrap());
    job.inside(901, "sync");
    // What a host that loses its power leaves.
    Ran::of("cp", &["--sparse=always".as_ref(), file.as_os_str(), copy.as_os_str()], &[]).ok();
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    fs_err::rename(&copy, &file).unwrap();
    job.node.calls();
    let planned = job.run(&["plan", "901", "--exit-code"]).exits(4).stdout;
    assert!(planned.contains("unless it is already installed"), "{planned}");
    let status = job.run(&["status", "901"]).stdout;
    assert!(status.contains("would have to be mounted to read it"), "{status}");
    assert_eq!(job.node.calls(), NOTHING);
    let applied = job.run(&["apply", "901"]).ok().stdout;
    assert!(applied.starts_with("901 gpu1: nothing to do"), "{applied}");
    assert_eq!(job.node.calls(), ["pct mount 901", "pct unmount 901"]);
    job.assert_in_sync();
}

#[test]
#[ignore = "needs loop devices"]
fn a_volume_that_somebody_has_mounted_or_locked_is_not_looked_into() {
    let job = stopped_on_file("native");
    let unknown = |job: &Job| {
        let planned = job.run(&["plan", "901"]).ok().stdout;
        assert!(planned.contains("unless it is already installed"), "{planned}");
    };
    job.node.change_volume(901, |_| unknown(&job));
    job.node.edit(901, |text| format!("{text}lock: migrate\n"));
    unknown(&job);
    job.node.edit(901, |text| text.replace("lock: migrate", "lock: backup"));
    job.run(&["plan", "901", "--exit-code"]).exits(0);
    job.node.edit(901, |text| text.replace("lock: backup\n", "mp0: /srv,mp=/usr/share\n"));
    unknown(&job);
}

#[test]
#[ignore = "needs loop devices"]
fn doctor_finds_in_a_volume_what_it_finds_in_a_mounted_root() {
    let job = stopped_on_file("native");
    let (library, foreign) = (format!("usr/lib/x86_64-linux-gnu/libcuda.so.{OLDER}"), "usr/lib/libcuda.so.550.54.14");
    job.node.change_volume(901, |root| fs_err::rename(root.join(&library), root.join(foreign)).unwrap());
    let read = job.run(&["doctor", "901"]);
    assert!(read.stdout.contains("libraries of 550.54.14 and 570.133.20 are in the container"), "{}", read.stdout);
    assert_eq!(job.node.calls(), NOTHING);
    let file = job.node.volume_file(901).display().to_string();
    Ran::of("debugfs", &["-w", "-R", "feature needs_recovery", &file], &[]).ok();
    let mounted = job.run(&["doctor", "901"]).exits(read.code);
    assert_eq!(job.node.calls(), ["pct mount 901", "pct unmount 901"]);
    assert_eq!(read.stdout, mounted.stdout);
}

/// The volume of 901 as a device of a volume group, for as long as this is there.
struct VolumeGroup {
    device: String,
    directory: PathBuf,
}

impl VolumeGroup {
    fn of(job: &Job) -> Self {
        let name = format!("phoenix-nvidia-test-{}", std::process::id());
        let directory = Path::new("/dev").join(&name);
        let file = job.node.volume_file(901).display().to_string();
        let device = Ran::of("losetup", &["--show", "--read-only", "--find", &file], &[]).ok().stdout.trim().to_owned();
        fs_err::create_dir(&directory).unwrap();
        fs_err::os::unix::fs::symlink(&device, directory.join("vm-901-disk-0")).unwrap();
        let pools = fs_err::read_to_string(job.node.pve("storage.cfg")).unwrap();
        let pool = format!("lvmthin: thin\n\tvgname {name}\n\tthinpool data\n\tcontent rootdir\n");
        job.node.write("storage.cfg", &format!("{pools}\n{pool}"));
        job.node.edit(901, |text| text.replace("files:901/vm-901-disk-0.raw", "thin:vm-901-disk-0"));
        Self { device, directory }
    }
}

impl Drop for VolumeGroup {
    fn drop(&mut self) {
        fs_err::remove_dir_all(&self.directory).unwrap();
        Ran::of("losetup", &["--detach", &self.device], &[]).ok();
    }
}

#[test]
#[ignore = "needs loop devices"]
fn a_stopped_container_on_a_block_device_is_in_sync_without_a_mount_or_a_boot() {
    let job = stopped_on_file("native");
    let group = VolumeGroup::of(&job);
    job.run(&["plan", "901", "--exit-code"]).exits(0);
    fs_err::remove_file(group.directory.join("vm-901-disk-0")).unwrap();
    let planned = job.run(&["plan", "901", "--exit-code"]).exits(4).stdout;
    assert!(planned.contains("unless it is already installed"), "{planned}");
    assert_eq!(job.node.calls(), NOTHING);
}
