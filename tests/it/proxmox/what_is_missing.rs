//! What a node lacks for the moment stays in a container's file: entries of devices, and the raw lines of older versions.

use serde_json::json;

use super::{Job, VERSION, two_gpus};
use crate::gpu_host::PretendedGpuHost;
use crate::test_driver::TestDriver;

impl Job {
    /// The lines of its file that pass devices.
    fn passing(&self) -> Vec<String> {
        let conf = self.node.conf(901);
        let passes =
            |line: &&str| line.starts_with("dev") || line.contains("/dev/nvidia") || line.contains("devices.allow");
        conf.lines().filter(passes).map(str::to_owned).collect()
    }

    fn with_gpus() -> Self {
        let (job, host) = (Self::new(), two_gpus());
        job.set("features", json!(["nvidia"]));
        job.set("gpu_assignment", "0,1");
        job.set("nvidia_install_method", "native");
        TestDriver::new(VERSION).write_into(&job.world.cache());
        job.run_on(Some(&host), &["create", "901"]).exits(7);
        job.inside(901, &format!("echo {VERSION} > /etc/pretended-kernel-module"));
        job.run_on(Some(&host), &["verify", "901"]).ok();
        job.node.calls();
        job
    }
}

#[test]
fn a_module_that_is_not_loaded_takes_no_gpu_from_a_container() {
    let job = Job::with_gpus();
    let passing = job.passing();
    assert!(passing.len() >= 6, "{passing:?}");
    for verb in ["create", "apply"] {
        let ran = job.run(&[verb, "901"]).exits(7);
        assert!(
            ran.stderr.contains("its GPUs are pending until the host's NVIDIA kernel module is loaded"),
            "{}",
            ran.stderr
        );
        assert_eq!(job.passing(), passing, "{verb}");
    }
    assert_eq!(job.node.calls(), Vec::<String>::new());
    job.run_on(Some(&two_gpus()), &["create", "901"]).ok();
    assert_eq!(job.passing(), passing);
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_lost_gpu_stays_assigned_by_its_number_and_as_one_of_all() {
    let job = Job::with_gpus();
    let passing = job.passing();
    let crippled = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).start();
    for gpus in ["0,1", "all"] {
        job.set("gpu_assignment", gpus);
        let ran = job.run_on(Some(&crippled), &["create", "901"]).exits(7);
        assert!(ran.stderr.contains("GPU 1 is pending: this host lacks it"), "{}", ran.stderr);
        assert_eq!(job.passing(), passing, "{gpus}");
        assert_eq!(job.node.calls(), Vec::<String>::new(), "{gpus}");
    }
}

#[test]
fn nodes_to_draw_with_come_and_go_beside_those_of_the_operator() {
    let (job, host) = (Job::new(), two_gpus());
    host.draw_with("0000:00:02.0", 0);
    host.draw_with("0000:01:00.0", 1);
    job.set("gpu_assignment", "0");
    job.set("nvidia_dri", true);
    job.run_on(Some(&host), &["create", "901"]).ok();
    let dri = || {
        let conf = job.node.conf(901);
        conf.lines().filter(|line| line.contains("/dri/")).map(str::to_owned).collect::<Vec<_>>()
    };
    let ours = dri();
    assert_eq!(ours.len(), 2, "{ours:?}");
    for (line, node) in ours.iter().zip(["card1", "renderD129"]) {
        assert!(line.starts_with("lxc.mount.entry") && line.contains(&format!(" dev/dri/{node} ")), "{ours:?}");
    }
    // The operator's own: another card, and one of ours that is there before we are asked for it.
    job.set("nvidia_dri", false);
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(dri(), Vec::<String>::new());
    let own = ["dev20: /dev/dri/card0,gid=44", "dev21: /dev/dri/card1,gid=104"];
    job.node.edit(901, |conf| own.join("\n") + "\n" + conf);
    job.set("nvidia_dri", true);
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(dri().len(), 3, "{:?}", dri());
    // What the host lacks for the moment stays.
    let before = job.node.conf(901);
    host.draw_with_none();
    let ran = job.run_on(Some(&host), &["create", "901"]).ok();
    assert!(ran.stderr.contains("GPU 0 has no node in `/dev/dri` on this host"), "{}", ran.stderr);
    assert_eq!(job.node.conf(901), before);
    host.draw_with("0000:00:02.0", 0);
    host.draw_with("0000:01:00.0", 1);
    job.set("nvidia_dri", false);
    job.run_on(Some(&host), &["create", "901"]).ok();
    let mut left = dri();
    left.sort();
    assert_eq!(left, own);
}
