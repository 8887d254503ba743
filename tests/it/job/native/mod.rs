//! The method `native`: the same driver as from NVIDIA's installer, placed from outside, and taken out again.

mod changes;
mod file_systems;
mod files;
mod hostile;
mod interruptions;
mod layouts;

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::test_driver::TestDriver;
use crate::tree::{self, Tree};
use crate::world::Privilege;

// Its init does not know the signal that asks it to end, and would be waited for in vain.
const ENDS_AT_ONCE: &str = "lxc.signal.halt = SIGKILL";

impl Job {
    /// A container that somebody has made, stopped, whose driver is to be placed.
    pub(super) fn native(privilege: Privilege) -> Self {
        let job = Self::new();
        job.cache(&TestDriver::new(OTHER_VERSION));
        job.cache(&TestDriver::new(VERSION));
        job.set("unprivileged", privilege == Privilege::Unprivileged);
        job.set("nvidia_install_method", "native");
        job.world.create_by_hand(job.ctid, privilege, &[ENDS_AT_ONCE]);
        job
    }

    /// The same, running.
    pub(super) fn native_running(privilege: Privilege) -> Self {
        let job = Self::native(privilege);
        job.start_container();
        job
    }

    pub(super) fn start_container(&self) {
        self.world.lxc("lxc-start", self.ctid, &["--daemon"]).ok();
    }

    /// Another version, profile or method from now on.
    pub(super) fn want(&self, version: &str, method: &str, profile: &str) {
        self.set_for_all("nvidia_driver_version", version);
        self.set("nvidia_install_method", method);
        self.set("nvidia_driver_profile", profile);
    }

    /// The container's files, without what every installation writes as it likes: logs, lists, the loader's caches.
    pub(super) fn plain_tree(&self) -> Tree {
        let mut tree = self.tree();
        tree.retain(|path, _| !is_written_as_one_likes(path));
        tree
    }

    /// The entries of NVIDIA's list, each as one line, sorted. `/lib` is a link to `/usr/lib`: NVIDIA's installer writes
    /// through it, and the host names what is behind it.
    pub(super) fn listed(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.rootfs("var/lib/nvidia/log")).unwrap();
        let mut lines = text.lines().skip(2);
        let mut listed = Vec::new();
        while let Some(line) = lines.next() {
            let more = if line.starts_with("2: ") { 2 } else { 1 };
            let detail: Vec<&str> = lines.by_ref().take(more).collect();
            let line = line.replace(": /lib/", ": /usr/lib/");
            listed.push(format!("{line} = {}", detail.join(" ")));
        }
        listed.sort();
        listed
    }
}

fn is_written_as_one_likes(path: &str) -> bool {
    let own = ["/etc/ld.so.cache", "/var/lib/phoenix-nvidia", "/var/lib/nvidia/log", "/var/lib/nvidia/dirs"];
    let below = ["/var/cache/ldconfig", "/var/log/nvidia-", "/var/lib/phoenix-nvidia/"];
    own.contains(&path) || below.iter().any(|start| path.starts_with(start))
}

/// What has changed, one path a line.
#[track_caller]
fn assert_same(expected: &Tree, found: &Tree) {
    assert_eq!(tree::differences(expected, found), "");
}

#[test]
fn create_places_the_driver_and_verifies_it() {
    let job = Job::new();
    job.set("nvidia_install_method", "native");
    let ran = job.run("create").ok();
    let done = format!("extract driver {VERSION}, install driver {VERSION} by method `native`; driver {VERSION} ");
    assert!(ran.stdout.contains(&done), "{}", ran.stdout);
    job.assert_installed(VERSION);
    let receipt: serde_json::Value = serde_json::from_slice(&fs_err::read(job.receipt()).unwrap()).unwrap();
    assert_eq!((&receipt["method"], &receipt["profile"]), (&json!("native"), &json!("full")));
    assert!(!job.intent().exists());
    assert!(job.run("create").ok().stdout.contains(" gpu-test: nothing to do; driver "));
}
