//! People's own words for what the host has: `"nvidia_driver_version": "host"`, `"gpu_assignment": "all"`.

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::test_driver::TestDriver;

fn host(version: &str) -> PretendedGpuHost {
    PretendedGpuHost::with_module(version).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start()
}

fn gpus(job: &Job) -> String {
    job.inside("cd /dev; echo nvidia[0-9]*").trim().to_owned()
}

#[test]
fn whoever_writes_host_and_all_gets_the_hosts_driver_and_all_its_gpus_after_every_upgrade() {
    let job = Job::new();
    job.set_for_all("nvidia_driver_version", "host");
    job.set_for_all("nvidia_install_method", "native");
    job.set("gpu_assignment", "all");
    let before = host(VERSION);
    // The driver finds its module by what the container's root says of it, which is there after the first run.
    job.run_on(&before, "create").exits(7);
    job.world.pretend_kernel_module(job.ctid, VERSION);
    job.run_on(&before, "create").ok();
    assert_eq!(gpus(&job), "nvidia0 nvidia1");
    assert!(job.receipt().exists());
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.world.pretend_kernel_module(job.ctid, OTHER_VERSION);
    let after = host(OTHER_VERSION);
    job.run_on(&after, "apply").ok();
    let help = job.inside("nvidia-smi --help | head -n 1");
    assert_eq!(help, format!("NVIDIA System Management Interface -- v{OTHER_VERSION}\n"));
    let settings = job.world.lxcpath().join(job.ctid.to_string()).join("phoenix-nvidia.conf");
    let devices =
        |text: String| text.lines().filter(|line| line.contains("nvidia")).map(str::to_owned).collect::<Vec<_>>();
    let given = devices(fs_err::read_to_string(&settings).unwrap());
    // Without a module, `host` is what is on disk, and what is assigned stays.
    after.sh("rm -r /proc/driver/nvidia").ok();
    job.run_on(&after, "apply");
    assert_eq!(devices(fs_err::read_to_string(&settings).unwrap()), given);
    assert_eq!(job.inside("nvidia-smi --help | head -n 1"), help);
}

#[test]
fn a_host_without_any_driver_is_reported_and_nothing_is_made() {
    let job = Job::new();
    job.set_for_all("nvidia_driver_version", "host");
    let said = job.run("create").exits(3).stderr;
    assert!(said.contains("`nvidia_driver_version` is `host`, and this host has no NVIDIA kernel module"), "{said}");
    assert!(!job.world.lxcpath().join(job.ctid.to_string()).exists());
    job.set_for_all("nvidia_runfile_sha256", "0".repeat(64));
    let said = job.run("create").exits(3).stderr;
    assert!(said.contains("a sum belongs to one version"), "{said}");
}
