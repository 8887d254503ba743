//! What CUDA does not need keeps no container from starting; an unprivileged one may open the nodes that it draws with.

use serde_json::json;

use super::{Job, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");
const FIRST: &str = "0000:01:00.0";
/// The address of a card of another vendor.
const FOREIGN: &str = "0000:00:02.0";
/// Whose the nodes are, and what nobody answers at (ENXIO) or refuses.
/// A mount that is `optional` leaves an empty file where the host has no node (liblxc 5.0.2).
const SEEN: &str =
    "cd /dev/dri 2> /dev/null && for it in *; do [ ! -c $it ] || stat -c '%n %t:%T %u:%g %a' $it; done; :";
const OPEN: &str = "(exec 3< /dev/dri/card1) 2>&1 | grep -o 'No such device\\|enied\\|not permitted'";
const SECOND: &str = "/dev/phoenix-nvidia/100000-100044-0660/dri/card1";

struct Node {
    job: Job,
    host: PretendedGpuHost,
}

impl Node {
    fn new(is_unprivileged: bool) -> Self {
        let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
        host.draw_with(FIRST, 1);
        job.set("unprivileged", is_unprivileged);
        job.set("gpu_assignment", "0");
        job.set("nvidia_dri", true);
        let node = Self { job, host };
        node.run(&["create", "901"]).ok();
        node
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.job.run_on(Some(&self.host), words)
    }

    fn pct(&self, words: &[&str]) -> Ran {
        self.job.pct_on(&self.host, words)
    }

    fn has_nothing_to_do(&self) -> bool {
        self.run(&["create", "901"]).ok().stdout.contains("nothing to do")
    }

    fn stop(&self) {
        self.pct(&["shutdown", "901", "--forceStop", "1"]).ok();
    }

    /// What a boot takes from the host; `nvidia-drm` is loaded later.
    fn boot(&self) {
        self.host.draw_with_none();
        self.host.sh("rm -rf /dev/phoenix-nvidia").ok();
    }

    fn seen(&self) -> String {
        self.job.inside(901, SEEN)
    }
}

#[test]
fn a_container_may_open_the_nodes_of_its_card_whatever_its_privilege() {
    for (is_unprivileged, seen) in [
        (true, "card1 e2:1 0:44 660\nrenderD129 e2:81 65534:65534 666\n"),
        (false, "card1 e2:1 0:44 660\nrenderD129 e2:81 0:44 666\n"),
    ] {
        let node = Node::new(is_unprivileged);
        assert_eq!(node.seen(), seen);
        assert_eq!(node.job.inside(901, OPEN), "No such device\n");
        let conf = node.job.node.conf(901);
        assert_eq!(conf.contains(SECOND), is_unprivileged, "{conf}");
        assert!(!conf.contains(": /dev/dri/card1,"), "{conf}");
        assert!(node.has_nothing_to_do());
        assert!(!node.run(&["doctor", "901"]).stdout.contains("/dev/dri"));
    }
}

#[test]
fn a_host_without_the_nodes_starts_the_container_and_they_are_there_again_when_it_has_them() {
    for is_unprivileged in [true, false] {
        let node = Node::new(is_unprivileged);
        let conf = node.job.node.conf(901);
        node.stop();
        node.boot();
        node.pct(&["start", "901"]).ok();
        assert_eq!(node.seen(), "");
        let said = node.run(&["create", "901"]).ok().stderr;
        assert!(said.contains("GPU 0 has no node in `/dev/dri` on this host"), "{said}");
        assert_eq!(node.job.node.conf(901), conf);
        node.stop();
        let prepare = ["host", "prepare"];
        // Another card has the number: an unprivileged container sees nothing of it.
        node.host.draw_with(FOREIGN, 1);
        let said = node.run(&prepare).ok().stdout;
        assert!(!said.contains("/dev/phoenix-nvidia"), "{said}");
        node.boot();
        // As the unit at boot does it.
        node.host.draw_with(FIRST, 1);
        let said = node.run(&prepare).ok().stdout;
        let makes = format!("make {SECOND} (226:1, mode 0660, owner 100000:100044)\n");
        assert_eq!(said.contains(&makes), is_unprivileged, "{said}");
        assert_eq!(node.run(&prepare).ok().stdout, "nothing to do\n");
        node.pct(&["start", "901"]).ok();
        assert_eq!(node.job.inside(901, OPEN), "No such device\n");
        // A card that goes while the driver's module stays, and is no longer wanted.
        node.boot();
        node.job.set("nvidia_dri", false);
        node.run(&["create", "901"]).ok();
        let conf = node.job.node.conf(901);
        assert!(!conf.contains("/dri/") && !conf.contains("226:"), "{conf}");
    }
}

#[test]
fn the_hook_makes_what_the_boot_has_taken() {
    let node = Node::new(true);
    node.stop();
    node.host.sh("rm -rf /dev/phoenix-nvidia").ok();
    node.job.hook_on(&node.host, &format!("exec {PROGRAM} hook \"$@\""));
    let said = node.pct(&["start", "901"]).ok().stdout;
    assert!(said.contains(&format!("901: note: make {SECOND} ")), "{said}");
    assert_eq!(node.job.inside(901, OPEN), "No such device\n");
}

/// Earlier commits passed these nodes as `devN`, and `pct` starts none of those without its node.
#[test]
fn an_entry_of_former_versions_becomes_lines_while_the_host_lacks_the_node_and_an_operators_stays() {
    let node = Node::new(true);
    let (conf, own) = (node.job.node.conf(901), "dev90: /dev/dri/card0,gid=44,mode=0660\n");
    let is_ours = |line: &&str| line.contains("/dri/") || line.contains(" c 226:");
    let mut before: String = conf.lines().filter(|line| !is_ours(line)).map(|line| format!("{line}\n")).collect();
    before.insert_str(0, "dev80: /dev/dri/card1,gid=44,mode=0660\ndev81: /dev/dri/renderD129,gid=44,mode=0666\n");
    before.insert_str(0, own);
    node.stop();
    node.boot();
    node.host.draw_with(FOREIGN, 0);
    node.job.node.edit(901, |_| before);
    node.pct(&["start", "901"]).exits(255);
    node.run(&["create", "901"]).ok();
    assert_eq!(node.seen().lines().collect::<Vec<_>>().len(), 1, "{}", node.seen());
    let after = node.job.node.conf(901);
    assert!(after.contains(own) && !after.contains("dev80") && !after.contains("dev81"), "{after}");
    node.host.draw_with(FIRST, 1);
    node.run(&["create", "901"]).ok();
    assert_eq!(node.job.inside(901, OPEN), "No such device\n");
    node.job.set("gpu_assignment", json!("none"));
    node.run(&["create", "901"]).ok();
    let after = node.job.node.conf(901);
    assert!(after.contains(own) && !after.contains("card1") && !after.contains("renderD129"), "{after}");
}

const MODESET: &str = "stat -c '%t:%T %a' /dev/nvidia-modeset";

#[test]
fn a_host_without_the_node_of_nvidia_modeset_starts_the_container() {
    for is_unprivileged in [true, false] {
        let node = Node::new(is_unprivileged);
        assert_eq!(node.job.inside(901, MODESET), "c3:fe 666\n");
        node.stop();
        node.host.sh("rm /dev/nvidia-modeset").ok();
        node.pct(&["start", "901"]).ok();
        assert_eq!(node.job.inside(901, "test -c /dev/nvidia0 && [ ! -c /dev/nvidia-modeset ] && echo so"), "so\n");
        assert!(node.has_nothing_to_do(), "without the node");
        // It is not restarted for what CUDA does not need, and doctor says what is left.
        node.host.sh("mknod -m 666 /dev/nvidia-modeset c 195 254").ok();
        assert!(node.has_nothing_to_do(), "with the node");
        let said = node.run(&["doctor", "901"]).stdout;
        assert!(said.contains("restart container 901; CUDA works without it"), "{said}");
        assert!(!said.contains("container-node-missing") && !said.contains("container-node-wrong"), "{said}");
        node.stop();
        node.pct(&["start", "901"]).ok();
        assert_eq!(node.job.inside(901, MODESET), "c3:fe 666\n");
        assert!(!node.run(&["doctor", "901"]).stdout.contains("nvidia-modeset"));
    }
}

/// Earlier commits passed it as `devN`, and so do operators.
#[test]
fn an_entry_of_nvidia_modeset_becomes_lines_without_a_restart() {
    let node = Node::new(true);
    let is_modeset = |line: &&str| line.contains("nvidia-modeset") || line.contains(" c 195:254 ");
    let (lines, others): (Vec<String>, Vec<String>) =
        node.job.node.conf(901).lines().map(|line| format!("{line}\n")).partition(|line| is_modeset(&line.as_str()));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let before = format!("dev80: /dev/nvidia-modeset,mode=0666\n{}", others.concat());
    let as_before = || {
        node.stop();
        node.job.node.edit(901, |_| before.clone());
        node.pct(&["start", "901"])
    };
    as_before().ok();
    let started = node.job.inside(901, "cut -d' ' -f22 /proc/1/stat");
    let said = node.run(&["plan", "901"]).ok().stdout;
    node.run(&["create", "901"]).ok();
    assert!(said.contains("- dev80: /dev/nvidia-modeset,mode=0666"), "{said}");
    assert_eq!(node.job.inside(901, "cut -d' ' -f22 /proc/1/stat"), started, "it was restarted");
    assert_eq!(node.job.inside(901, MODESET), "c3:fe 666\n");
    assert!(lines.iter().all(|line| node.job.node.conf(901).contains(line)), "{}", node.job.node.conf(901));
    assert!(node.has_nothing_to_do());
    node.stop();
    node.host.sh("rm /dev/nvidia-modeset").ok();
    node.pct(&["start", "901"]).ok();
    assert!(!node.job.node.conf(901).contains("dev80"), "{}", node.job.node.conf(901));
    // The same while the host lacks it.
    as_before().exits(255);
    node.run(&["create", "901"]).ok();
    assert_eq!(node.job.inside(901, "test -c /dev/nvidia0 && [ ! -c /dev/nvidia-modeset ] && echo so"), "so\n");
    node.job.set("gpu_assignment", json!("none"));
    node.run(&["create", "901"]).ok();
    let after = node.job.node.conf(901);
    assert!(!after.lines().any(|line| is_modeset(&line)), "{after}");
}

#[test]
fn an_unprivileged_container_may_open_a_node_of_nvidia_modeset_that_belongs_to_a_group() {
    let node = Node::new(true);
    node.host.sh("chmod 660 /dev/nvidia-modeset; chgrp 44 /dev/nvidia-modeset").ok();
    node.run(&["create", "901"]).ok();
    node.stop();
    node.host.sh("rm -rf /dev/phoenix-nvidia").ok();
    let said = node.run(&["host", "prepare"]).ok().stdout;
    assert!(said.contains("make /dev/phoenix-nvidia/100000-100044-0660/nvidia-modeset (195:254, "), "{said}");
    node.pct(&["start", "901"]).ok();
    assert_eq!(node.job.inside(901, "stat -c '%t:%T %u:%g %a' /dev/nvidia-modeset"), "c3:fe 0:44 660\n");
}

#[test]
fn a_gpu_comes_into_a_running_container_without_a_restart_for_nvidia_modeset() {
    let node = Node::new(true);
    for (gpus, dri) in [("none", false), ("0", false)] {
        node.job.set("gpu_assignment", gpus);
        node.job.set("nvidia_dri", dri);
        let started = node.job.inside(901, "cut -d' ' -f22 /proc/1/stat");
        node.run(&["create", "901"]).ok();
        let is_restarted = node.job.inside(901, "cut -d' ' -f22 /proc/1/stat") != started;
        assert_eq!(is_restarted, gpus == "none", "{gpus}");
    }
    assert_eq!(node.job.inside(901, "test -c /dev/nvidia0 && [ ! -e /dev/nvidia-modeset ] && echo so"), "so\n");
    assert!(node.has_nothing_to_do());
}
