//! File systems that containers lie on: ext4 copies, xfs and btrfs share blocks with the store, and a full one refuses.

use std::path::PathBuf;

use crate::job::fixture::{Job, VERSION};
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::world::Privilege;

use super::{ENDS_AT_ONCE, assert_same};

const LIBRARY: usize = 4 << 20;
const LIBRARIES: u64 = 9;

/// A job whose containers and whose store lie on a file system of their own, in a file on a loop device.
struct OnFileSystem {
    // Unmounted before the job's directory is removed.
    mounts: Mounts,
    job: Job,
}

struct Mounts(Vec<PathBuf>);

impl Drop for Mounts {
    fn drop(&mut self) {
        for place in self.0.iter().rev() {
            Ran::of("umount", &["--lazy", place.to_str().unwrap()], &[]);
        }
    }
}

impl OnFileSystem {
    /// A stopped container on a file system that `make` makes.
    fn new(make: &str) -> Self {
        let job = Job::without_driver();
        job.cache(&TestDriver::new(VERSION).library_size(LIBRARY));
        job.set("nvidia_install_method", "native");
        let script = "set -e; truncate --size 600M image; $MAKE image > /dev/null; mkdir fs base/lib; mount -o loop image fs; \
                      mkdir fs/lib fs/lxc; mount --bind fs/lib base/lib; mount --bind fs/lxc lxc";
        let script = format!("cd '{}'; MAKE='{make}'; {script}", job.world.scratch("").display());
        Ran::of("sh", &["-c", &script], &[]).ok();
        let mounts = Mounts(["fs", "base/lib", "lxc"].map(|place| job.world.scratch(place)).to_vec());
        job.world.create_by_hand(job.ctid, Privilege::Unprivileged, &[ENDS_AT_ONCE]);
        Self { mounts, job }
    }

    /// How many bytes are in use, everything written.
    fn used(&self) -> u64 {
        let place = &self.mounts.0[0];
        Ran::of("sync", &["--file-system", place.to_str().unwrap()], &[]).ok();
        let room = rustix::fs::statvfs(place).unwrap();
        (room.f_blocks - room.f_bfree) * room.f_frsize
    }

    /// Installs, and how many bytes more are in use then. The driver has been extracted before.
    fn installed(&self) -> u64 {
        let before = self.job.plain_tree();
        self.job.run("install").ok();
        let installed = self.job.plain_tree();
        self.job.run("uninstall").ok();
        assert_same(&before, &self.job.plain_tree());
        let used = self.used();
        self.job.run("install").ok();
        assert_same(&installed, &self.job.plain_tree());
        self.used().saturating_sub(used)
    }
}

#[test]
#[ignore = "needs loop devices"]
fn ext4_gets_copies() {
    let place = OnFileSystem::new("mkfs.ext4 -q");
    let more = place.installed();
    assert!(more >= LIBRARIES * LIBRARY as u64, "{more}");
}

#[test]
#[ignore = "needs loop devices"]
fn xfs_and_btrfs_share_the_blocks_of_the_store() {
    for make in ["mkfs.xfs -q -m reflink=1", "mkfs.btrfs -q"] {
        let place = OnFileSystem::new(make);
        let more = place.installed();
        assert!(more < LIBRARY as u64, "{make}: {more}");
    }
}

#[test]
#[ignore = "needs loop devices"]
fn a_file_system_without_room_is_reported_in_bytes_and_left_as_it_was() {
    let place = OnFileSystem::new("mkfs.ext4 -q -m 0");
    // Extracted first: the store lies on the same file system.
    place.job.world.run(&["store", "extract", VERSION]).ok();
    let filler = place.job.rootfs("var/filler");
    let room = rustix::fs::statvfs(&place.mounts.0[2]).unwrap();
    let free = room.f_bavail * room.f_frsize;
    let length = (free - 10_000_000).to_string();
    Ran::of("fallocate", &["--length", &length, filler.to_str().unwrap()], &[]).ok();
    let before = place.job.tree();
    let ran = place.job.run("install").exits(10);
    let reason = ran.stderr.lines().find(|line| line.contains(" bytes are needed below ")).unwrap_or(&ran.stderr);
    let numbers: Vec<u64> = reason.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [needed, available] = numbers[..] else { panic!("{reason}") };
    assert!(needed > LIBRARIES * LIBRARY as u64 && available < 10_100_000, "{reason}");
    assert_same(&before, &place.job.tree());
    fs_err::remove_file(filler).unwrap();
    place.job.run("install").ok();
    assert_eq!(place.job.status()["installed"], VERSION);
}
