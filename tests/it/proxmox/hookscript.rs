//! The check before a start as `pct` calls it, with its lock held: what is refused, and a driver that is brought in
//! sync while the container starts.

use serde_json::json;

use super::{Job, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::TestDriver;

const OLDER: &str = "570.133.20";
const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

/// A node whose container 901 has an older driver than the host's module, of this method, and our hookscript.
struct Node {
    job: Job,
    host: PretendedGpuHost,
}

impl Node {
    fn new(method: &str, on_mismatch: &str) -> Self {
        let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
        job.containers.borrow_mut()["nvidia_driver_version"] = json!(OLDER);
        job.set("features", json!(["nvidia"]));
        job.set("gpu_assignment", "0");
        job.set("nvidia_install_method", method);
        job.set("nvidia_driver_profile", "compute");
        job.set("nvidia_on_mismatch", on_mismatch);
        TestDriver::new(OLDER).write_into(&job.world.cache());
        let node = Self { job, host };
        // The module is another one, which is what all this is about.
        node.run(&["create", "901"]).exits(7);
        node.pct(&["shutdown", "901", "--forceStop", "1"]).ok();
        let phases = node.job.world.scratch("phases");
        let script = format!("echo \"$2\" >> {}\nexec {PROGRAM} --backend proxmox hook \"$@\"", phases.display());
        node.job.hook_on(&node.host, &script);
        node.job.node.calls();
        node
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.job.run_on(Some(&self.host), words)
    }

    fn pct(&self, words: &[&str]) -> Ran {
        self.job.pct_on(&self.host, words)
    }

    fn extract(&self) {
        TestDriver::new(VERSION).write_into(&self.job.world.cache());
        self.run(&["store", "extract", VERSION]).ok();
    }

    fn phases(&self) -> String {
        fs_err::read_to_string(self.job.world.scratch("phases")).unwrap().replace('\n', " ")
    }

    #[track_caller]
    fn assert_driver(&self, version: &str) {
        let said = self.job.inside(901, "nvidia-smi --help | head -n 1");
        assert_eq!(said, format!("NVIDIA System Management Interface -- v{version}\n"));
    }
}

#[test]
fn a_driver_is_brought_in_sync_while_pct_starts_its_container_and_pct_is_not_called() {
    let node = Node::new("native", "update");
    let said = node.pct(&["start", "901"]).exits(255);
    let refused = format!("error: container 901: driver {VERSION} is not extracted on this host\n");
    assert!(said.stdout.contains(&refused), "{}", said.stdout);
    assert!(said.stderr.starts_with("hookscript error for 901 on pre-start: command '"), "{}", said.stderr);
    assert!(said.stderr.ends_with(" 901 pre-start' failed: exit code 3\n"), "{}", said.stderr);
    node.extract();
    node.job.node.calls();
    let said = node.pct(&["start", "901"]).ok().stdout;
    assert!(said.contains(&format!("901: note: driver {VERSION} is installed when its root is set up\n")), "{said}");
    assert_eq!(node.phases(), "pre-start pre-start post-start ");
    assert_eq!(node.job.node.calls(), ["pct start 901"], "that would wait for the start, which waits for the hook");
    node.assert_driver(VERSION);
    assert_eq!(node.job.inside(901, "ls /var/lib/phoenix-nvidia"), "receipt.json\n");
    node.pct(&["shutdown", "901", "--forceStop", "1"]).ok();
    node.pct(&["start", "901"]).ok();
    node.assert_driver(VERSION);
    assert_eq!(node.phases(), "pre-start pre-start post-start pre-stop post-stop pre-start post-start ");
}

#[test]
fn a_container_that_shares_sees_the_new_image_at_once_and_after_the_next_start() {
    let node = Node::new("shared", "warn");
    node.extract();
    node.pct(&["start", "901"]).ok();
    // A cache that knows of no image: what its loader finds later has been written from outside.
    node.job.inside(901, "cd /etc/ld.so.conf.d; mv 00-phoenix-nvidia.conf /tmp; ldconfig; mv /tmp/00-* .");
    assert_eq!(node.job.inside(901, "ldconfig -p | grep -c phoenix-nvidia || true"), "0\n");
    node.pct(&["shutdown", "901", "--forceStop", "1"]).ok();
    node.job.set("nvidia_on_mismatch", "update");
    node.job.node.calls();
    node.pct(&["start", "901"]).ok();
    assert_eq!(node.job.node.calls(), ["pct start 901"]);
    let mounted = "while read -r _ _ _ _ point _; do echo $point; done < /proc/self/mountinfo | grep phoenix-nvidia/";
    for _ in 0..2 {
        node.assert_driver(VERSION);
        assert_eq!(node.job.inside(901, mounted), format!("/usr/lib/phoenix-nvidia/{VERSION}-compute\n"));
        let conf = node.job.node.conf(901);
        assert!(conf.contains(&format!("usr/lib/phoenix-nvidia/{VERSION}-compute none bind")), "{conf}");
        assert!(!conf.contains(OLDER), "{conf}");
        // What was written for the loader is what its own tool writes.
        let libraries = || node.job.inside(901, "ldconfig -p | grep phoenix-nvidia");
        let written = libraries();
        node.job.inside(901, "ldconfig");
        assert_eq!(written, libraries());
        node.pct(&["shutdown", "901", "--forceStop", "1"]).ok();
        node.pct(&["start", "901"]).ok();
    }
}

#[test]
fn what_fails_after_the_start_is_reported_and_the_container_is_not_left_frozen() {
    let node = Node::new("native", "update");
    node.extract();
    // What can be known before the start is right; what stands in the container's way is seen only afterwards.
    let own = node.job.node.root("tank", 901).join("var/lib/phoenix-nvidia");
    fs_err::remove_dir_all(&own).unwrap();
    fs_err::write(&own, "a file").unwrap();
    let said = node.pct(&["start", "901"]);
    assert!(
        said.stdout.contains("hookscript error for 901 on post-start: command '"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let state = node.job.world.lxc("lxc-info", 901, &["-s", "-H"]).ok().stdout;
    assert_eq!(state, "RUNNING\n");
}

#[test]
fn a_mismatch_is_refused_before_the_start_and_an_installer_cannot_update() {
    let node = Node::new("runfile", "update");
    let said = node.pct(&["start", "901"]).exits(255).stdout;
    assert!(said.contains("cannot be installed by NVIDIA's installer while the container starts\n"), "{said}");
    node.job.set("nvidia_on_mismatch", "refuse");
    let said = node.pct(&["start", "901"]).exits(255).stdout;
    assert!(said.contains(&format!("error: container 901: driver {OLDER} is installed, but ")), "{said}");
    node.job.set("nvidia_on_mismatch", "warn");
    node.pct(&["start", "901"]).ok();
    node.assert_driver(OLDER);
}

#[test]
fn a_container_that_a_killed_hook_has_left_frozen_goes_on_with_the_next_creation() {
    let node = Node::new("native", "warn");
    node.extract();
    node.pct(&["start", "901"]).ok();
    // As a hook leaves it that is killed before it has begun to change anything.
    node.job.world.lxc("lxc-freeze", 901, &[]).ok();
    assert!(node.run(&["status"]).ok().stdout.contains("frozen"));
    node.job.containers.borrow_mut()["nvidia_driver_version"] = json!(VERSION);
    node.job.set("nvidia_on_mismatch", "update");
    let ran = node.run(&["create", "901"]);
    assert_eq!(node.job.world.lxc("lxc-info", 901, &["-s", "-H"]).ok().stdout, "RUNNING\n", "{}", ran.stderr);
    node.assert_driver(VERSION);
}
