//! What a host lacks for the moment, and what a GPU suffers: neither takes anything from a container, nor its right driver.

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::gpu_host::{GpuHostBuilder, PretendedGpuHost};
use crate::test_driver::TestDriver;

const UPGRADED: &str = OTHER_VERSION;

fn host_of(version: &str) -> GpuHostBuilder {
    PretendedGpuHost::with_module(version).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1)
}

impl Job {
    /// A running container with both GPUs and a verified driver of the host's version.
    fn with_two_gpus(method: &str) -> Self {
        let job = Self::new();
        job.set("gpu_assignment", "0,1");
        job.set("nvidia_install_method", method);
        job.created_on(&host_of(VERSION).start(), VERSION).ok();
        job
    }

    /// The host has come up with another driver, which is in the cache.
    fn after_an_upgrade(&self) {
        self.cache(&TestDriver::new(UPGRADED));
        self.world.pretend_kernel_module(self.ctid, UPGRADED);
    }

    /// Everything that its settings say.
    fn both_files(&self) -> [String; 2] {
        ["config", "phoenix-nvidia.conf"]
            .map(|name| fs_err::read_to_string(self.world.lxcpath().join(self.ctid.to_string()).join(name)).unwrap())
    }

    /// The host's record of it: its cards, among others.
    fn record(&self) -> String {
        fs_err::read_to_string(self.world.base().join(format!("lib/containers/{}.json", self.ctid))).unwrap()
    }

    fn init(&self) -> String {
        self.inside("readlink /proc/1/ns/pid; cat /proc/1/stat | cut -d ' ' -f 22")
    }

    /// The version that the host's receipt is of.
    fn installed_version(&self) -> String {
        let receipt: serde_json::Value = serde_json::from_slice(&fs_err::read(self.receipt()).unwrap()).unwrap();
        receipt["version"].as_str().unwrap().to_owned()
    }

    /// `nvidia-smi` in the container prints this text and ends with this code.
    fn nvidia_smi_says(&self, code: i32, text: &str) {
        fs_err::write(self.rootfs("/etc/pretended-answer"), format!("{code}\n{text}\n")).unwrap();
    }

    fn installed_on(&self, host: &PretendedGpuHost) -> String {
        let words = ["status", &self.ctid.to_string(), "--output", "json"];
        let rows: serde_json::Value = serde_json::from_str(&self.world.run_on(host, &words).ok().stdout).unwrap();
        rows[0]["installed"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_module_that_is_not_loaded_takes_no_gpu_from_a_container() {
    let job = Job::with_two_gpus("native");
    let (settings, init) = (job.both_files(), job.init());
    // This machine has no module at all.
    for verb in ["create", "apply", "install"] {
        let ran = job.run(verb).exits(7);
        assert!(
            ran.stderr.contains("its GPUs are pending until the host's NVIDIA kernel module is loaded"),
            "{verb}: {}",
            ran.stderr
        );
        assert_eq!((job.both_files(), job.init()), (settings.clone(), init.clone()), "{verb}");
    }
    let plan = job.run_with("plan", &["--exit-code"]).exits(0).stdout;
    assert!(
        plan.contains(
            "its GPUs are pending until the host's NVIDIA kernel module is loaded: no NVIDIA kernel module is loaded \
             on this host"
        ),
        "{plan}"
    );
    let status = job.run_with("status", &["--exit-code"]).exits(4).stdout;
    assert!(status.contains("GPU unavailable"), "{status}");
    // Back again, nothing was lost and nothing is to do.
    let host = host_of(VERSION).start();
    let ran = job.run_on(&host, "create").ok();
    assert_eq!(ran.stdout, format!("{} gpu-test: nothing to do; driver {VERSION} verified\n", job.ctid));
    assert_eq!((job.both_files(), job.init()), (settings, init));
}

#[test]
fn without_a_module_a_stopped_container_keeps_its_gpus_and_is_not_started_in_vain() {
    let job = Job::with_two_gpus("native");
    let settings = job.both_files();
    job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
    let ran = job.run("create").exits(10);
    assert!(ran.stderr.contains("cannot start: this host has no `/dev/nvidia0`"), "{}", ran.stderr);
    job.run("apply").exits(7);
    assert_eq!(job.both_files(), settings);
    job.run_on(&host_of(VERSION).start(), "create").ok();
}

#[test]
fn a_new_container_on_a_host_without_a_module_gets_its_gpus_when_there_is_one() {
    let job = Job::new();
    job.run("create").ok();
    job.world.pretend_kernel_module(job.ctid, VERSION);
    let host = host_of(VERSION).start();
    let ran = job.run_on(&host, "create").ok();
    assert!(ran.stdout.contains("configure, restart"), "{}", ran.stdout);
    assert!(job.both_files()[1].contains("/dev/nvidia0 dev/nvidia0"));
}

#[test]
fn after_a_host_upgrade_a_lost_gpu_undoes_no_driver_and_stays_assigned() {
    for method in ["runfile", "native", "shared"] {
        let job = Job::with_two_gpus(method);
        let (settings, init) = (job.both_files(), job.init());
        job.after_an_upgrade();
        let crippled = PretendedGpuHost::with_module(UPGRADED).gpu("0000:01:00.0", 0).start();
        let words = ["apply", &job.ctid.to_string(), "--target", "host"];
        let ran = job.world.run_on(&crippled, &words).exits(7);
        assert!(ran.stderr.contains("GPU 1 is pending: this host lacks it"), "{method}: {}", ran.stderr);
        assert_eq!(job.installed_on(&crippled), UPGRADED, "{method}: {}", ran.stderr);
        let kept = job.both_files()[1].contains("/dev/nvidia1 dev/nvidia1");
        assert!(kept, "{method}: {:?}", job.both_files());
        assert_eq!(job.init(), init, "{method}: it was restarted");
        if method != "shared" {
            assert_eq!(job.both_files(), settings, "{method}");
        }
    }
}

#[test]
fn of_all_gpus_one_that_is_lost_stays_assigned_and_waits() {
    for module in [Some(VERSION), None] {
        let job = Job::with_two_gpus("native");
        job.set("gpu_assignment", "all");
        job.run_on(&host_of(VERSION).start(), "create").ok();
        let (settings, init, record) = (job.both_files(), job.init(), job.record());
        let crippled = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).start();
        if module.is_none() {
            // Its GPUs are told, and its version is not.
            crippled.sh("echo 'NVRM version: of no release' > /proc/driver/nvidia/version").ok();
        }
        for verb in ["create", "apply", "verify"] {
            let ran = job.run_on(&crippled, verb).exits(7);
            assert!(ran.stderr.contains("pending"), "{verb}: {}", ran.stderr);
            assert_eq!((job.both_files(), job.init()), (settings.clone(), init.clone()), "{verb}");
            assert_eq!(job.record(), record, "{verb}");
        }
        job.run_on(&host_of(VERSION).start(), "create").ok();
        assert_eq!(job.both_files(), settings);
        // Whoever has taken the card out for good names those that are left.
        job.set("gpu_assignment", "0");
        let one = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).start();
        job.run_on(&one, "create").ok();
        job.set("gpu_assignment", "all");
        job.run_on(&one, "create").ok();
        assert!(!job.both_files()[1].contains("/dev/nvidia1"), "{}", job.both_files()[1]);
    }
}

#[test]
fn a_gpu_with_a_corrupted_inforom_works_and_its_driver_stays() {
    for code in [14, 0] {
        let job = Job::with_two_gpus("native");
        job.after_an_upgrade();
        let text = format!("{UPGRADED}\n{UPGRADED}\nWARNING: infoROM is corrupted at gpu 0000:01:00.0");
        job.nvidia_smi_says(code, &text);
        let host = host_of(UPGRADED).start();
        let words = ["apply", &job.ctid.to_string(), "--target", "host"];
        let ran = job.world.run_on(&host, &words).ok();
        assert!(ran.stdout.contains(&format!("driver {UPGRADED} verified")), "{}", ran.stdout);
        assert!(ran.stderr.contains("warning: `nvidia-smi` says: WARNING: infoROM is corrupted"), "{}", ran.stderr);
        assert_eq!(job.installed_on(&host), UPGRADED);
    }
}

#[test]
fn gpus_off_the_bus_undo_no_driver_and_are_not_the_cgroups_doing() {
    let job = Job::with_two_gpus("native");
    job.after_an_upgrade();
    job.nvidia_smi_says(255, "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error");
    let host = host_of(UPGRADED).start();
    let ran = job.world.run_on(&host, &["apply", &job.ctid.to_string(), "--target", "host"]).exits(7);
    assert!(ran.stderr.contains("a GPU no longer answers"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("cgroup"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("put driver"), "{}", ran.stderr);
    assert_eq!(job.installed_on(&host), UPGRADED);
}

#[test]
fn a_closed_node_is_reported_as_one() {
    let job = Job::with_two_gpus("native");
    job.nvidia_smi_says(4, "Failed to initialize NVML: Insufficient Permissions");
    let ran = job.run_on(&host_of(VERSION).start(), "verify").exits(7);
    assert!(ran.stderr.contains("the mode or owner of a device node denies access"), "{}", ran.stderr);
}

#[test]
fn a_driver_that_fails_is_never_replaced_by_one_that_cannot_work() {
    let job = Job::with_two_gpus("native");
    job.after_an_upgrade();
    // Whatever this is, driver 580.76.05 would be no better with this module.
    job.nvidia_smi_says(1, "something that nobody has seen before");
    let host = host_of(UPGRADED).start();
    let ran = job.world.run_on(&host, &["apply", &job.ctid.to_string(), "--target", "host"]).exits(7);
    let why = format!("driver {VERSION} is not restored: the host's kernel module is {UPGRADED}");
    assert!(ran.stderr.contains(&why), "{}", ran.stderr);
    assert_eq!(job.installed_on(&host), UPGRADED);
}

#[test]
fn a_container_starts_without_a_node_that_cuda_does_not_need() {
    for unprivileged in [true, false] {
        let job = Job::new();
        job.set("unprivileged", unprivileged);
        job.set("features", json!([]));
        job.run_on(&host_of(VERSION).start(), "create").ok();
        let settings = job.both_files();
        assert!(settings[1].contains("dev/nvidia-modeset none bind,optional,create=file"), "{}", settings[1]);
        job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
        // After the next boot nobody has loaded the module.
        let host = host_of(VERSION).without_node("nvidia-modeset").start();
        job.run_on(&host, "create").ok();
        assert_eq!(job.both_files(), settings);
    }
}

#[test]
fn a_module_whose_version_nobody_understands_takes_no_gpu_from_a_container() {
    let job = Job::with_two_gpus("native");
    let files = job.both_files();
    let host = host_of(VERSION).start();
    host.sh("echo 'NVRM version: something that no release has written yet' > /proc/driver/nvidia/version").ok();
    for verb in ["create", "apply"] {
        let ran = job.run_on(&host, verb).exits(7);
        assert!(ran.stderr.contains("names no version that is understood: `NVRM version: something"), "{}", ran.stderr);
        assert_eq!(job.both_files(), files, "{verb}");
    }
}

/// What may be the matter with a host and its GPUs, and with which module.
fn hosts(module: &str) -> [(&'static str, Option<PretendedGpuHost>); 6] {
    let host = || host_of(module);
    [
        ("all is well", Some(host().start())),
        ("no module", None),
        ("GPU 1 lost", Some(PretendedGpuHost::with_module(module).gpu("0000:01:00.0", 0).start())),
        ("no node of GPU 1", Some(host().without_node("nvidia1").start())),
        ("no nvidia-uvm", Some(host().without_node("nvidia-uvm").without_node("nvidia-uvm-tools").start())),
        ("no nvidia-modeset", Some(host().without_node("nvidia-modeset").start())),
    ]
}

#[test]
fn whatever_happens_what_is_assigned_stays_assigned_and_the_loaded_version_installed() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let job = Job::with_two_gpus("native");
    for version in [VERSION, UPGRADED] {
        TestDriver::new(version).write_into(&job.world.cache());
    }
    // Which version is wanted follows from the host alone.
    job.set_for_all("nvidia_driver_version", "host");
    let (all, id) = ([VERSION, UPGRADED].map(|module| (module, hosts(module))), job.ctid.to_string());
    let verbs: [&[&str]; 5] =
        [&["create"], &["apply"], &["apply", "--target", "host"], &["status"], &["hook", "lxc", "pre-start"]];
    let mut story = format!("seed {seed}");
    for _ in 0..24 {
        let (module, hosts) = &all[random.usize(..all.len())];
        let ((what, host), verb) = (&hosts[random.usize(..hosts.len())], verbs[random.usize(..verbs.len())]);
        job.world.pretend_kernel_module(job.ctid, module);
        let answer = job.rootfs("/etc/pretended-answer");
        job.set("gpu_assignment", if random.bool() { "0,1" } else { "all" });
        let warning = random.bool();
        match warning {
            true => job.nvidia_smi_says(14, &format!("{module}\n{module}\nWARNING: infoROM is corrupted at gpu 0")),
            false => drop(fs_err::remove_file(&answer)),
        }
        let before = job.installed_version();
        let words = [&verb[..1], &[id.as_str()], &verb[1..]].concat();
        let ran = match host {
            Some(host) => job.world.run_on(host, &words),
            None => job.world.run(&words),
        };
        story.push_str(&format!("\n{module}, {what}, warning {warning}: {verb:?} ends with {}", ran.code));
        let settings = job.both_files().concat();
        for node in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"] {
            assert!(settings.contains(&format!("/dev/{node} dev/{node} ")), "{node} is gone\n{story}\n{}", ran.stderr);
        }
        if host.is_some() && before == *module {
            assert_eq!(job.installed_version(), *module, "{story}\n{}", ran.stderr);
        }
    }
}
