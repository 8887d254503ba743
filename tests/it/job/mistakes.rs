//! The mistakes of the shell scripts that this program replaces: each of them is impossible here.
//!
//! Those that others look after: the second argument of the feature script and `--dry-run` (`lifecycle`), the cache
//! that wrote to the final name and the failure without a message (`cache`), the run file that stayed behind
//! (`failures`), lines behind a snapshot's section (the settings are one file, replaced as a whole).

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use super::process::Process;
use crate::gpu_host::PretendedGpuHost;
use crate::http_server::{Answer, HttpServer};
use crate::test_driver::TestDriver;
use crate::tree;

fn two_gpus() -> PretendedGpuHost {
    PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start()
}

/// What opening a node in a container says; the numbers of a pretended host have no driver behind them.
fn opening(job: &Job, ctid: u32, node: &str) -> String {
    job.world.inside(ctid, &format!("LC_ALL=C; (: < {node}) 2>&1")).stdout
}

const NO_DRIVER_BEHIND: &str = "No such device or address";

#[test]
fn parallel_creations_share_one_download() {
    let job = Job::without_driver();
    let file = TestDriver::new(VERSION).run_file().build();
    let (arrived, first) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let server = HttpServer::start(move |asked| {
        if !asked.path.ends_with(".run") {
            return Answer::new(404, "");
        }
        let _ = arrived.send(());
        let _ = released.lock().unwrap().recv();
        Answer::file(asked, &file, "\"one\"")
    });
    job.fetch_from(&server.url(&format!("/{}", TestDriver::new(VERSION).file_name())));
    let other = job.add(job.entry("other"));
    let one = job.start("create");
    first.recv().unwrap();
    let mut two = Process::start(&job.world, &["create", &other.to_string()]);
    two.wait_until("it waits for the download", |said| said.contains("waiting: "));
    release.send(()).unwrap();
    drop(release);
    one.end().ok();
    two.end().ok();
    assert_eq!(server.asked_for(".run").len(), 1);
    job.assert_installed(VERSION);
    assert!(job.world.inside(other, "nvidia-smi --help").ok().stdout.contains(VERSION));
}

#[test]
fn that_nvidia_smi_exists_does_not_mean_that_the_wanted_version_is_installed() {
    let job = Job::new();
    job.run("create").ok();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    let said = job.run("verify").exits(7).stderr;
    let message = format!(
        "error: container {}: driver {OTHER_VERSION} is wanted, but {VERSION} is installed\n\n\
         hint: install {OTHER_VERSION} with `phoenix-nvidia install {}`\n",
        job.ctid, job.ctid
    );
    assert_eq!(said, message);
    let plan = job.run_with("plan", &["--exit-code"]).exits(4).stdout;
    assert!(plan.contains(&format!("  install driver {OTHER_VERSION}\n      replaces {VERSION}\n")), "{plan}");
    job.run("create").ok();
    job.assert_installed(OTHER_VERSION);
}

#[test]
fn the_major_of_uvm_is_the_one_that_the_host_has() {
    for major in [235, 511] {
        let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).uvm_major(major).start();
        let job = Job::privileged();
        job.set("features", json!([]));
        job.run_on(&host, "create").ok();
        assert_eq!(job.inside("stat -c '%Hr:%Lr' /dev/nvidia-uvm"), format!("{major}:0\n"));
        let said = opening(&job, job.ctid, "/dev/nvidia-uvm");
        assert!(said.contains(NO_DRIVER_BEHIND), "the device cgroup denies {major}: {said}");
    }
}

#[test]
fn a_clone_has_the_gpus_that_are_assigned_to_it_and_no_others() {
    let (job, host) = (Job::privileged(), two_gpus());
    job.set("gpu_assignment", "0,1");
    job.set("features", json!([]));
    job.run_on(&host, "create").ok();
    assert!(opening(&job, job.ctid, "/dev/nvidia1").contains(NO_DRIVER_BEHIND));
    let clone = job.add(job.copy_of(job.ctid, "copy"));
    job.set_of(clone, "features", json!([]));
    job.world.run_on(&host, &["create", &clone.to_string()]).ok();
    assert!(opening(&job, clone, "/dev/nvidia0").contains(NO_DRIVER_BEHIND));
    job.world.inside(clone, "test -e /dev/nvidia1").exits(1);
    // Root in a privileged container can make the node; the device cgroup is what keeps it out.
    job.world.inside(clone, "mknod -m 666 /dev/made c 195 1").ok();
    assert!(opening(&job, clone, "/dev/made").contains("Operation not permitted"));

    job.set("gpu_assignment", "1");
    job.run_on(&host, "create").ok();
    job.world.inside(job.ctid, "test -e /dev/nvidia0").exits(1);
    assert!(opening(&job, job.ctid, "/dev/nvidia1").contains(NO_DRIVER_BEHIND));
}

#[test]
fn a_container_with_the_second_gpu_alone_works_and_so_do_several_features() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("gpu_assignment", "1");
    job.created_on(&host, VERSION).ok();
    assert_eq!(job.inside("cd /dev; echo nvidia[0-9]*"), "nvidia1\n");
    // A word was searched in a list of features joined by line breaks, and never found when there were several.
    let script = job.world.base().join("bin/lxc_setup/phoenix_hypervisor_feature_install_docker.sh");
    fs_err::create_dir_all(script.parent().unwrap()).unwrap();
    fs_err::write(&script, format!("#!/bin/sh\necho \"$@\" >> {}\n", job.world.scratch("scripts").display())).unwrap();
    fs_err::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    job.set("features", json!(["base_setup", "docker", "nvidia", "vllm"]));
    let ran = job.run_on(&host, "create").ok();
    let line = format!(
        "{} gpu-test: run the feature script of `docker`, update the CDI specification; driver {VERSION} verified\n",
        job.ctid
    );
    assert_eq!(ran.stdout, line);
    for missing in ["base_setup", "vllm"] {
        let note = format!("note: feature `{missing}` has no installation script on this host, so it is skipped\n");
        assert!(ran.stderr.contains(&note), "{}", ran.stderr);
    }
    job.run_on(&host, "create").ok();
    assert_eq!(fs_err::read_to_string(job.world.scratch("scripts")).unwrap(), format!("{}\n", job.ctid));
}

#[test]
fn a_host_without_the_uvm_node_is_reported_by_a_rehearsal_and_gets_it_before_anything_else_is_changed() {
    let job = Job::new();
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).without_node("nvidia-uvm").start();
    let before = tree::of(&job.world.lxcpath());
    let said = job.world.run_on(&host, &["create", &job.ctid.to_string(), "--dry-run"]).exits(10).stderr;
    let message = format!("error: container {}: the device node `/dev/nvidia-uvm` is missing on this host\n", job.ctid);
    assert!(said.starts_with(&message), "{said}");
    assert!(said.ends_with("hint: make it with `phoenix-nvidia host prepare`\n"), "{said}");
    assert_eq!(tree::differences(&before, &tree::of(&job.world.lxcpath())), "");
    // No driver answers on this host.
    let said = job.run_on(&host, "create").exits(7).stderr;
    assert!(said.contains(&format!("{}: note: make /dev/nvidia-uvm ", job.ctid)), "{said}");
    host.sh("test -c /dev/nvidia-uvm").ok();
}
