//! The two configuration files of a job with its containers, and the run files in its cache.

use std::cell::RefCell;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::world::World;

use super::process::Process;
use crate::tree::{self, Tree};

pub(super) const VERSION: &str = "580.76.05";
pub(super) const OTHER_VERSION: &str = "570.133.20";

/// A world whose configuration names containers; the first one is there from the beginning.
pub(super) struct Job {
    pub(super) world: World,
    /// The first container.
    pub(super) ctid: u32,
    containers: RefCell<Value>,
    hypervisor: RefCell<Value>,
}

impl Job {
    /// One unprivileged container with GPU 0 that wants [`VERSION`], which is cached; the network is not to be used.
    pub(super) fn new() -> Self {
        let job = Self::without_driver();
        job.cache(&TestDriver::new(VERSION));
        job
    }

    /// The same with nothing in the cache.
    pub(super) fn without_driver() -> Self {
        let world = World::new();
        let ctid = world.ctid();
        let job = Self {
            world,
            ctid,
            containers: RefCell::new(json!({ "nvidia_driver_version": VERSION, "lxc_configs": {} })),
            hypervisor: RefCell::new(json!({ "nvidia_driver": { "offline": true } })),
        };
        job.configure(ctid, job.entry("gpu-test"));
        job.write_hypervisor(|_| {});
        job
    }

    /// The same whose first container is privileged.
    pub(super) fn privileged() -> Self {
        let job = Self::new();
        job.set("unprivileged", false);
        job
    }

    /// The entry of an unprivileged container from the template, with GPU 0 and its driver.
    pub(super) fn entry(&self, name: &str) -> Value {
        json!({
            "name": name, "template": self.world.template(), "unprivileged": true,
            "memory_mb": 512, "cores": 1, "features": ["nvidia"], "gpu_assignment": "0",
        })
    }

    /// The entry of a copy of another container, with GPU 0 and its driver.
    pub(super) fn copy_of(&self, source: u32, name: &str) -> Value {
        json!({
            "name": name, "clone_from_ctid": source.to_string(),
            "memory_mb": 512, "cores": 1, "features": ["nvidia"], "gpu_assignment": "0",
        })
    }

    /// Adds a container to the configuration.
    pub(super) fn add(&self, entry: Value) -> u32 {
        let ctid = self.world.ctid();
        self.configure(ctid, entry);
        ctid
    }

    fn configure(&self, ctid: u32, entry: Value) {
        self.write(|file| file["lxc_configs"][ctid.to_string()] = entry);
    }

    /// Sets a key of the first container.
    pub(super) fn set(&self, key: &str, value: impl Into<Value>) {
        self.set_of(self.ctid, key, value);
    }

    /// Sets a key of a container.
    pub(super) fn set_of(&self, ctid: u32, key: &str, value: impl Into<Value>) {
        self.write(|file| file["lxc_configs"][ctid.to_string()][key] = value.into());
    }

    /// Sets a key of the file's root.
    pub(super) fn set_for_all(&self, key: &str, value: impl Into<Value>) {
        self.write(|file| file[key] = value.into());
    }

    /// Lets run files be had from a server of the test, at this URL.
    pub(super) fn fetch_from(&self, url: &str) {
        self.set_for_all("nvidia_runfile_url", url);
        self.write_hypervisor(|file| file["nvidia_driver"] = json!({ "allow_http": ["127.0.0.1"] }));
    }

    fn write(&self, change: impl FnOnce(&mut Value)) {
        let mut file = self.containers.borrow_mut();
        change(&mut file);
        self.world.write_containers(&file);
    }

    fn write_hypervisor(&self, change: impl FnOnce(&mut Value)) {
        let mut file = self.hypervisor.borrow_mut();
        change(&mut file);
        self.world.write_hypervisor(&file);
    }

    /// Puts a driver's run file into the cache in place of an earlier one, as somebody would who never had that.
    pub(super) fn cache(&self, driver: &TestDriver) -> PathBuf {
        for record in ["SHA256SUMS", "stamps.json"] {
            let _ = fs_err::remove_file(self.world.cache().join(record));
        }
        for variant in phoenix_nvidia::driver::Variant::ALL {
            let path = self.world.cache().join(phoenix_nvidia::driver::run_file::file_name(
                "x86_64",
                &driver.version().parse().unwrap(),
                variant,
            ));
            let _ = fs_err::remove_file(path);
        }
        driver.write_into(&self.world.cache())
    }

    /// `<verb> <CTID of the first container>` on the host as it is.
    pub(super) fn run(&self, verb: &str) -> Ran {
        self.run_with(verb, &[])
    }

    /// The same with more words.
    pub(super) fn run_with(&self, verb: &str, words: &[&str]) -> Ran {
        self.world.run(&[&[verb, &self.ctid.to_string()], words].concat())
    }

    /// As [`Job::run`] on a host that seems to have GPUs.
    pub(super) fn run_on(&self, host: &PretendedGpuHost, verb: &str) -> Ran {
        self.world.run_on(host, &[verb, &self.ctid.to_string()])
    }

    /// Starts `<verb> <CTID>` and does not wait for its end.
    pub(super) fn start(&self, verb: &str) -> Process {
        Process::start(&self.world, &[verb, &self.ctid.to_string()])
    }

    /// Runs a shell script in the first container; its standard output.
    #[track_caller]
    pub(super) fn inside(&self, script: &str) -> String {
        self.world.inside(self.ctid, script).ok().stdout
    }

    /// A path in the first container, as the host sees it.
    pub(super) fn rootfs(&self, path: &str) -> PathBuf {
        self.world.rootfs(self.ctid).join(path.trim_start_matches('/'))
    }

    /// The host's receipt of the first container.
    pub(super) fn receipt(&self) -> PathBuf {
        self.world.base().join(format!("lib/receipts/{}.json", self.ctid))
    }

    /// The file tree of the first container.
    pub(super) fn tree(&self) -> Tree {
        tree::of(&self.world.rootfs(self.ctid))
    }

    /// The row of the first container in `status`.
    pub(super) fn status(&self) -> Map<String, Value> {
        let rows: Vec<Map<String, Value>> =
            serde_json::from_str(&self.run_with("status", &["--output", "json"]).ok().stdout).unwrap();
        rows.into_iter().next().unwrap()
    }

    /// Fails unless everything temporary is gone from the first container: files anywhere, and processes.
    #[track_caller]
    pub(super) fn assert_nothing_is_left(&self) {
        let left: Vec<String> = self.tree().into_keys().filter(|path| is_temporary(path)).collect();
        assert!(left.is_empty(), "left in the container: {left:?}");
        if self.status()["state"] == "running" {
            let processes = self.inside("for it in /proc/[0-9]*/exe; do readlink $it; done; :");
            let stray: Vec<&str> = processes.lines().filter(|it| it.contains("installer")).collect();
            assert!(stray.is_empty(), "left running: {stray:?}");
        }
    }

    /// Gives the first container the programs `mount` and `umount`, which the template lacks, and sees that they work.
    pub(super) fn give_mount_programs(&self) {
        let copy = "for it in mount umount; do f=$(command -v $it); cp \"$f\" \"$1/usr/bin\"; \
                    ldd \"$f\" | grep -o '/[^ ]*' | while read -r l; do cp -n \"$l\" \"$1/usr/lib/x86_64-linux-gnu/\"; done; done; \
                    chmod 755 \"$1\"/usr/bin/*mount";
        crate::ran::Ran::of("sh", &["-c".as_ref(), copy.as_ref(), "copy".as_ref(), self.rootfs("").as_os_str()], &[])
            .ok();
        self.inside(
            "mkdir -p /control && mount -t tmpfs control /control && mount -o remount,bind,ro /control && umount /control",
        );
    }

    /// Fails unless so many loop devices have their files in this job's world.
    #[track_caller]
    pub(super) fn assert_loop_devices(&self, expected: usize) {
        crate::loop_devices::assert_below(&self.world.base(), expected);
    }

    /// What is mounted below a directory of the first container, one mount point a line.
    pub(super) fn mounts_inside(&self, directory: &str) -> String {
        self.inside("while read -r _ _ _ _ point _; do echo \"$point\"; done < /proc/self/mountinfo")
            .lines()
            .filter(|point| point.starts_with(directory))
            .map(|point| format!("{point}\n"))
            .collect()
    }

    /// Fails unless the driver of this version is there, wholly, and no other.
    #[track_caller]
    pub(super) fn assert_installed(&self, version: &str) {
        let status = self.status();
        assert_eq!(status["installed"], version, "{status:?}");
        // A container that a test has made by hand has settings of its own.
        let there = ["installed, not verified live", "settings differ"];
        assert!(there.iter().any(|verdict| status["verdict"] == *verdict), "{status:?}");
        let help = self.inside("nvidia-smi --help | head -n 1");
        assert_eq!(help, format!("NVIDIA System Management Interface -- v{version}\n"));
        assert!(self.receipt().exists(), "no receipt");
        let libraries = self.tree().into_keys().filter(|path| path.contains("/libcuda.so."));
        let versions: Vec<String> =
            libraries.filter_map(|path| path.rsplit_once(".so.").map(|(_, version)| version.to_owned())).collect();
        assert_eq!(versions, ["1", version]);
    }
}

/// Whether a path is one of those that an installation makes for itself alone.
fn is_temporary(path: &str) -> bool {
    let ours = ["phoenix-nvidia-run-", "stand-ins"].iter().any(|part| path.contains(part));
    ours || path.ends_with(".run") || ["/selfgz", "/makeself."].iter().any(|part| path.contains(part))
}
