//! Verification on a host that seems to have GPUs: what is right, every way of being wrong, and answers that lie.

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use super::process::Process;
use crate::gpu_host::PretendedGpuHost;

/// Before NVIDIA's in a root's `PATH`.
const SHADOW: &str = "usr/local/bin/nvidia-smi";

impl Job {
    /// The container with its driver on such a host, where `nvidia-smi` finds a kernel module of this version.
    #[track_caller]
    pub(super) fn created_on(&self, host: &PretendedGpuHost, module: &str) -> crate::ran::Ran {
        self.set("features", json!([]));
        self.run_on(host, "create").ok();
        self.world.pretend_kernel_module(self.ctid, module);
        self.set("features", json!(["nvidia"]));
        self.run_on(host, "create")
    }

    /// Puts another `nvidia-smi` in front of NVIDIA's.
    fn shadow_nvidia_smi(&self, script: &str) {
        let path = self.rootfs(SHADOW);
        fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&path, mode).unwrap();
    }

    /// Verifies in vain: what is told.
    #[track_caller]
    fn verify_fails_on(&self, host: &PretendedGpuHost, code: i32) -> String {
        let ran = self.run_on(host, "verify").exits(code);
        assert!(!ran.stdout.contains(" verified"), "{}", ran.stdout);
        ran.stderr
    }

    fn error(&self, reason: &str) -> String {
        format!("error: container {}: {reason}\n", self.ctid)
    }
}

#[test]
fn a_driver_that_answers_for_its_gpu_is_verified_and_one_of_another_version_is_not() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    let ran = job.created_on(&host, VERSION).ok();
    let line = format!("{} gpu-test: install driver {VERSION}; driver {VERSION} verified\n", job.ctid);
    assert_eq!(ran.stdout, line);
    let status = job.world.run_on(&host, &["status", "--live", "--wide"]).ok().stdout;
    let row = format!(
        "{}  gpu-test  running  {VERSION}  {VERSION}  {VERSION}  {VERSION}  runfile  full     0     5 ok   yes     verified\n",
        job.ctid
    );
    assert!(status.ends_with(&row), "{status}");

    job.world.pretend_kernel_module(job.ctid, OTHER_VERSION);
    let upgraded = PretendedGpuHost::with_one_gpu(OTHER_VERSION);
    assert_eq!(
        job.verify_fails_on(&upgraded, 7),
        job.error(&format!(
            "driver {VERSION} is wanted, but `nvidia-smi` fails with exit code 18: the version of the host's kernel \
             module differs from that of the container's libraries"
        )) + "  | Failed to initialize NVML: Driver/library version mismatch\n  | NVML library version: 580.76\n\n"
            + &format!(
                "hint: the host's kernel module is {OTHER_VERSION}; set `nvidia_driver_version` to \
                 \"{OTHER_VERSION}\", or upgrade the host and reboot\n"
            )
    );
    let pending = PretendedGpuHost::with_module(OTHER_VERSION).on_disk(VERSION).gpu("0000:01:00.0", 0).start();
    let told = job.verify_fails_on(&pending, 7);
    let reboot = format!(
        "hint: the host's kernel module on disk is already {VERSION}, but {OTHER_VERSION} is still loaded: reboot the \
         host\n"
    );
    assert!(told.ends_with(&reboot), "{told}");

    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    let said = job.verify_fails_on(&upgraded, 7);
    let reason = job.error(&format!("driver {OTHER_VERSION} is wanted, but {VERSION} is installed"));
    assert!(said.starts_with(&reason), "{said}");
}

#[test]
fn a_host_without_the_module_verifies_nothing_live_and_says_so_where_that_is_required() {
    let job = Job::new();
    let ran = job.run_with("create", &["--require-live"]).exits(7);
    let message = job.error("the driver is installed, not verified live: no NVIDIA kernel module on this host");
    assert!(ran.stderr.contains(&message), "{}", ran.stderr);
    job.assert_installed(VERSION);
    job.run_with("verify", &["--require-live"]).exits(7);
    assert!(job.run("verify").ok().stdout.contains("installed, not verified live: no NVIDIA kernel module"));
}

#[test]
fn a_node_that_is_missing_or_denied_is_named() {
    let (job, host) = (Job::privileged(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    let directory = job.world.lxcpath().join(job.ctid.to_string());
    let restart_with = |file: &str, change: &dyn Fn(&str) -> String| {
        let file = directory.join(file);
        job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
        let text = fs_err::read_to_string(&file).unwrap();
        fs_err::write(&file, change(&text)).unwrap();
        job.world.lxc_on(&host, "lxc-start", job.ctid, &["--daemon"]).ok();
        text
    };
    let without_uvm = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("/dev/nvidia-uvm "))
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let settings = restart_with("phoenix-nvidia.conf", &without_uvm);
    let said = job.verify_fails_on(&host, 7);
    let message = job.error("the device node `/dev/nvidia-uvm` (511:0) is not in the container");
    assert!(said.starts_with(&message), "{said}");

    restart_with("phoenix-nvidia.conf", &|_| settings.clone());
    let version = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "" };
    let deny = format!("lxc.cgroup{version}.devices.deny = c 195:255 rwm\n");
    restart_with("config", &|text| text.to_owned() + &deny);
    let said = job.verify_fails_on(&host, 7);
    let message = job.error(&format!(
        "driver {VERSION} is wanted, but `nvidia-smi` fails with exit code 255: the container's device cgroup denies \
         it the GPU"
    ));
    assert!(said.starts_with(&message), "{said}");
}

#[test]
fn an_nvidia_smi_that_lies_is_never_believed() {
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start();
    let job = Job::new();
    job.set("gpu_assignment", "0,1");
    job.created_on(&host, VERSION).ok();
    let unreadable = format!(
        "driver {VERSION} is wanted, but `nvidia-smi` fails with exit code 0: its answer is not a list of versions"
    );
    for (script, reason) in [
        ("echo all fine", &*unreadable),
        ("exit 0", &unreadable),
        (&format!("echo {VERSION}; echo {VERSION}; head -c 30000 /dev/urandom"), &unreadable),
        (&format!("echo {VERSION}"), "2 GPUs are assigned, but `nvidia-smi` reports 1"),
        (
            &format!("echo {VERSION}; echo {OTHER_VERSION}"),
            &format!("driver {VERSION} is wanted, but nvidia-smi reports {OTHER_VERSION}"),
        ),
    ] {
        job.shadow_nvidia_smi(script);
        let said = job.verify_fails_on(&host, 7);
        assert!(said.starts_with(&job.error(reason)), "{script}: {said}");
        assert!(!said.contains('\u{1b}') && said.len() < 10_000, "{script}: {said}");
    }
    job.shadow_nvidia_smi(&format!("while :; do echo {VERSION}; done"));
    let said = job.verify_fails_on(&host, 6);
    assert!(said.contains("printed more than 65536 bytes and was killed\n"), "{said}");
    assert_eq!(
        job.inside("for it in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $it; echo; done | grep '[/]nvidia-smi' || :"),
        ""
    );

    fs_err::remove_file(job.rootfs(SHADOW)).unwrap();
    job.run_on(&host, "verify").ok();
    fs_err::write(job.rootfs("usr/bin/nvidia-smi"), format!("#!/bin/sh\necho {VERSION}\n")).unwrap();
    let said = job.verify_fails_on(&host, 7);
    let reason = format!(
        "driver {VERSION} is not completely installed: `/usr/bin/nvidia-smi` has changed since its installation"
    );
    assert!(said.starts_with(&job.error(&reason)), "{said}");
}

/// `LD_LIBRARY_PATH` of an image, or of the container's settings, leads NVML to another driver's library.
#[test]
fn a_version_mismatch_where_all_versions_agree_does_not_ask_for_the_version_that_is_there() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    job.shadow_nvidia_smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18");
    let said = job.verify_fails_on(&host, 7);
    assert!(said.contains("hint: libraries of another driver come before the right ones"), "{said}");
    assert!(
        said.contains("`LD_LIBRARY_PATH` among `lxc.environment`") && !said.contains("set `nvidia_driver"),
        "{said}"
    );
    let doctor = job.run_on(&host, "doctor").stdout;
    assert!(doctor.contains("[reported-not-installed]") && !doctor.contains("--target host"), "{doctor}");

    job.shadow_nvidia_smi(&format!("echo {OTHER_VERSION}"));
    let said = job.verify_fails_on(&host, 7);
    assert!(said.contains("hint: libraries of another driver come before the right ones"), "{said}");
}

#[test]
fn of_two_gpus_one_needs_a_reset_and_the_driver_is_not_called_wrong() {
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start();
    let job = Job::new();
    job.set("gpu_assignment", "0,1");
    job.created_on(&host, VERSION).ok();
    for script in [
        format!("echo {VERSION}; echo '[GPU requires reset]'"),
        format!("echo {VERSION}; echo 'Failed to properly shut down NVML: Unknown Error'; exit 255"),
        format!("echo {VERSION}; exit 10"),
    ] {
        job.shadow_nvidia_smi(&script);
        let said = job.verify_fails_on(&host, 7);
        assert!(said.contains(&job.error("2 GPUs are assigned, but `nvidia-smi` reports 1")), "{script}: {said}");
    }
}

#[test]
fn an_nvidia_smi_that_hangs_is_ended_by_an_interruption_and_by_the_end_of_its_container() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    job.shadow_nvidia_smi("touch /run/asked; exec sleep 86401");
    let (asked, ctid) = (job.rootfs("run/asked"), job.ctid.to_string());
    let verify = || {
        let mut process = Process::start_on(&host, &job.world, &["verify", &ctid]);
        process.wait_until("nvidia-smi hangs", |_| job.world.inside(job.ctid, "test -e /run/asked").code == 0);
        process
    };
    let process = verify();
    process.interrupt();
    process.end().exits(130);
    assert_eq!(job.inside("for it in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $it; echo; done | grep 8640[1] || :"), "");
    job.inside("rm /run/asked");
    assert!(!asked.exists());

    let process = verify();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    let ran = process.end().exits(6);
    let message = format!("error: container {ctid} does not run, so `nvidia-smi` could not be run in it\n");
    assert!(ran.stderr.starts_with(&message), "{}", ran.stderr);
}
