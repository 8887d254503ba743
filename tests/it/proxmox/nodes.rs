//! Device nodes of the host that are missing or change while a container starts: `pct` looks at them before it calls any
//! hookscript, and writes down which numbers the container may open.

use serde_json::json;

use super::{Job, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::TestDriver;

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");
/// What nobody answers at (ENXIO), and what the container's rules refuse (EPERM).
const OPEN: &str = "(exec 3< /dev/nvidia-uvm) 2>&1 | grep -o 'No such device\\|not permitted'";

struct Node {
    job: Job,
    host: PretendedGpuHost,
}

impl Node {
    /// A privileged container with GPU 0: an unprivileged one of Proxmox VE may open everything.
    fn new(host: PretendedGpuHost, lacks_node: bool) -> Self {
        Self::with_privilege(host, lacks_node, false)
    }

    fn with_privilege(host: PretendedGpuHost, lacks_node: bool, is_unprivileged: bool) -> Self {
        let job = Job::new();
        job.set("unprivileged", is_unprivileged);
        job.set("gpu_assignment", "0");
        TestDriver::new(VERSION).write_into(&job.world.cache());
        let node = Self { job, host };
        let said = node.run(&["create", "901"]).ok().stderr;
        assert_eq!(said.contains("901: note: make /dev/nvidia-uvm "), lacks_node, "{said}");
        fs_err::write(node.job.node.root("tank", 901).join("etc/pretended-kernel-module"), VERSION).unwrap();
        node.job.set("features", json!(["nvidia"]));
        node.run(&["create", "901"]).ok();
        node
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.job.run_on(Some(&self.host), words)
    }

    fn pct(&self, words: &[&str]) -> Ran {
        self.job.pct_on(&self.host, words)
    }

    /// Stops 901, and lets `pct` call this with the phase when it starts it.
    fn stop_and_hook(&self, command: &str) {
        self.pct(&["shutdown", "901", "--forceStop", "1"]).ok();
        self.job.hook_on(&self.host, command);
    }
}

#[test]
fn a_missing_node_keeps_pct_from_calling_the_hook_and_is_made_before_our_own_starts() {
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).without_node("nvidia-uvm").start();
    let node = Node::new(host, true);
    assert_eq!(node.job.inside(901, OPEN), "No such device\n");
    node.stop_and_hook(&format!("touch {}", node.job.world.scratch("called").display()));
    node.host.sh("rm /dev/nvidia-uvm").ok();
    let said = node.pct(&["start", "901"]).exits(255).stderr;
    assert_eq!(said, "Device /dev/nvidia-uvm does not exist\n");
    assert!(!node.job.world.scratch("called").exists(), "`pct` has called the hookscript");
    node.run(&["install", "901"]).ok();
    node.run(&["create", "901"]).ok();
    assert_eq!(node.job.inside(901, OPEN), "No such device\n");
}

#[test]
fn a_node_that_the_hook_replaces_may_be_opened_in_the_container_that_starts() {
    let node = Node::new(PretendedGpuHost::with_one_gpu(VERSION), false);
    node.stop_and_hook(&format!("exec {PROGRAM} hook \"$@\""));
    node.host.change_uvm_major(511, 508);
    let said = node.pct(&["start", "901"]).ok().stdout;
    assert!(said.contains("901: note: allowed its device nodes by their present numbers\n"), "{said}");
    assert_eq!(node.job.inside(901, OPEN), "No such device\n");
    assert!(node.run(&["status", "901"]).ok().stdout.contains("in sync"));
    let rules = node.job.liblxc_config(901);
    assert!(!rules.contains(" c 511:") && rules.contains(" c 508:0 rw"), "{rules}");
}

#[test]
fn a_container_that_was_started_with_the_former_numbers_is_reported_by_everybody_and_restarted() {
    let node = Node::new(PretendedGpuHost::with_one_gpu(VERSION), false);
    // Somebody else's hook brings the nodes in order, too late for the rules.
    node.stop_and_hook(&format!("[ \"$2\" = pre-start ] || exit 0\nexec {PROGRAM} host prepare"));
    node.host.change_uvm_major(511, 508);
    node.pct(&["start", "901"]).ok();
    assert_eq!(node.job.inside(901, OPEN), "not permitted\n");
    let status = node.run(&["status", "901"]).ok().stdout;
    assert!(
        status.contains(
            "the device node `/dev/nvidia-uvm` is missing in the container, has another number, or may not be opened"
        ),
        "{status}"
    );
    let verified = node.run(&["verify", "901"]).exits(7).stderr;
    assert!(verified.contains("the container may not open the device node `/dev/nvidia-uvm`"), "{verified}");
    let found = node.run(&["doctor", "901"]);
    assert!(
        found.stdout.contains("denied to the container: its settings allow other device numbers"),
        "{}",
        found.stdout
    );
    node.run(&["create", "901"]).ok();
    assert_eq!(node.job.inside(901, OPEN), "No such device\n");
    assert!(node.run(&["create", "901"]).ok().stdout.contains("nothing to do"));
}

#[test]
fn a_running_container_with_a_node_of_the_former_number_waits_for_a_restart_and_create_restarts_it() {
    let node = Node::with_privilege(PretendedGpuHost::with_one_gpu(VERSION), false, true);
    let (plan, major) = (["plan", "901", "--exit-code"], "stat -c %t /dev/nvidia-uvm");
    assert!(node.run(&plan).ok().stdout.contains("901 gpu1: nothing to do"));
    // The module was loaded again, with another number.
    node.host.change_uvm_major(511, 508);
    node.run(&["host", "prepare"]).ok();
    assert_eq!(node.job.inside(901, major), "1ff\n");
    let planned = node.run(&plan).exits(4).stdout;
    assert!(
        planned.contains("901 gpu1: a restart is pending") && planned.contains("`--restart` restarts it now"),
        "{planned}"
    );
    let applied = node.run(&["apply", "901"]).ok();
    let told = "901 gpu1: nothing to do; driver 580.76.05 installed, not verified live: the device node `/dev/nvidia-uvm` \
                takes effect at the container's next start\n";
    assert_eq!(applied.stdout, told);
    assert!(applied.stderr.contains("`--restart` restarts it now"), "{}", applied.stderr);
    let verified = node.run(&["verify", "901"]).exits(7).stderr;
    assert!(verified.contains("(508:0) is not in the container"), "{verified}");
    assert_eq!(node.run(&["create", "901"]).ok().stdout, "901 gpu1: restart; driver 580.76.05 verified\n");
    assert_eq!(node.job.inside(901, major), "1fc\n");
    assert!(node.run(&plan).ok().stdout.contains("901 gpu1: nothing to do"));
}
