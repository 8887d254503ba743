//! Podman in a container: it gives the driver and the GPUs on to its own containers by the specification that lies beside
//! the driver, and nothing of NVIDIA's toolkit is there.

use std::path::PathBuf;

use phoenix_nvidia::driver::loader_cache::{LibraryFlags, LoaderCache};
use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::job::fixture::{Job, OTHER_VERSION, VERSION};
use crate::ran::Ran;
use crate::test_driver::TestDriver;

const SPECIFICATION: &str = "/etc/cdi/nvidia.json";

/// Opens both libraries as programs that compute do, and prints which files the loader took.
const OPENER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
int main(void) {
    const char *names[] = { "libcuda.so.1", "libnvidia-ml.so.1", "libcuda.so" };
    for (int i = 0; i < 3; i++) {
        void *library = dlopen(names[i], RTLD_NOW);
        struct link_map *map;
        if (!library || dlinfo(library, RTLD_DI_LINKMAP, &map)) { puts(dlerror()); return 1; }
        puts(map->l_name);
    }
    return 0;
}
"#;

/// With the template of Podman, which `make test` makes.
fn template(job: &Job) -> PathBuf {
    job.world.template().with_file_name("podman.tar.zst")
}

/// A container with Podman and GPU 0 whose driver came by this method, running on this host.
fn with_podman(host: &PretendedGpuHost, unprivileged: bool) -> Job {
    let job = Job::new();
    job.set("template", template(&job).to_str().unwrap());
    job.set("unprivileged", unprivileged);
    job.set("memory_mb", 2048);
    job.set("nvidia_install_method", "native");
    job.set("pct_options", json!(["nesting=1"]));
    // With cgroups of version 1, runc writes rules of devices that the list above must allow.
    let options = [
        "lxc.mount.auto=proc:rw sys:rw cgroup:rw:force",
        "lxc.apparmor.profile=unconfined",
        "lxc.cgroup.devices.allow=a",
        "lxc.cgroup2.devices.allow=a",
    ];
    job.set("lxc_options", json!(options));
    job.bring_in_sync(host, "create");
    job.inside("mkdir -p /dev/shm");
    job
}

impl Job {
    /// The pretended module is none that the driver's own programs accept after a change of the version.
    #[track_caller]
    fn bring_in_sync(&self, host: &PretendedGpuHost, verb: &str) {
        let ran = self.run_on(host, verb);
        assert!([0, 7].contains(&ran.code), "{}{}", ran.stdout, ran.stderr);
    }

    fn podman(&self, words: &str) -> Ran {
        let common = "podman --cgroup-manager cgroupfs --runtime runc --storage-driver vfs --events-backend file";
        self.world.inside(
            self.ctid,
            &format!("cd /; {common} {words} 2> /tmp/podman.err || {{ code=$?; cat /tmp/podman.err; exit $code; }}"),
        )
    }

    /// An image with glibc, a shell, and the program that opens libraries.
    fn import_image(&self) {
        let work = self.world.scratch("image");
        fs_err::create_dir_all(&work).unwrap();
        fs_err::write(work.join("opener.c"), OPENER).unwrap();
        let words = ["-o".into(), work.join("opener").into_os_string(), work.join("opener.c").into_os_string()];
        Ran::of("cc", &words, &[]).ok();
        fs_err::copy(work.join("opener"), self.rootfs("root/opener")).unwrap();
        let files = "bin/sh usr/bin/dash usr/bin/head usr/bin/ls lib64 usr/lib64/ld-linux-x86-64.so.2 \
                     usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 usr/lib/x86_64-linux-gnu/libc.so.6 \
                     usr/lib/x86_64-linux-gnu/libselinux.so.1 usr/lib/x86_64-linux-gnu/libpcre2-8.so.0";
        self.inside(&format!(
            "cd / && tar -ch {files} lib/x86_64-linux-gnu/libc.so.6 root/opener > /root/image.tar 2> /dev/null; \
             test -s /root/image.tar"
        ));
        self.podman("import /root/image.tar small").ok();
    }

    /// What a script prints in a container of the engine that has this device.
    fn in_engine(&self, device: &str, script: &str) -> String {
        let words = format!("run --rm --network none --device {device} localhost/small /usr/bin/dash -c '{script}'");
        self.podman(&words).ok().stdout
    }

    fn specification(&self) -> Value {
        serde_json::from_slice(&fs_err::read(self.rootfs(SPECIFICATION)).unwrap()).unwrap()
    }
}

/// A container with the feature `podman` and GPU 1 of this host, made on it.
fn with_feature(host: &PretendedGpuHost) -> Job {
    let job = Job::new();
    job.set("features", json!(["nvidia", "podman"]));
    job.set("nvidia_install_method", "native");
    job.set("nvidia_driver_profile", "compute");
    job.set("gpu_assignment", "1");
    job.bring_in_sync(host, "create");
    job
}

fn two_gpus() -> PretendedGpuHost {
    PretendedGpuHost::with_module(VERSION).gpu("0000:02:00.0", 0).gpu("0000:01:00.0", 1).start()
}

fn names(specification: &Value) -> Vec<&str> {
    let devices = specification["devices"].as_array().unwrap();
    devices.iter().map(|device| device["name"].as_str().unwrap()).collect()
}

#[test]
fn a_specification_lies_beside_the_driver_and_goes_with_it() {
    let host = two_gpus();
    let job = with_feature(&host);
    let first = job.specification();
    let uuid = |minor: u32| format!("GPU-00000000-0000-0000-0000-{minor:012}");
    assert_eq!(names(&first), ["0", &uuid(1), "all"]);
    assert_eq!(first["devices"][0]["containerEdits"]["deviceNodes"][0]["path"], "/dev/nvidia1");
    for mount in first["containerEdits"]["mounts"].as_array().unwrap() {
        let source = mount["hostPath"].as_str().unwrap();
        assert!(job.rootfs(source).symlink_metadata().is_ok(), "{source}");
    }
    assert_eq!(job.run_on(&host, "status").ok().stdout.matches("in sync").count(), 1);

    // Another GPU: planned as such, and nothing else of the driver is touched.
    job.set("gpu_assignment", "0,1");
    job.bring_in_sync(&host, "create");
    assert_eq!(names(&job.specification()), ["0", "1", &uuid(1), &uuid(0), "all"]);
    let printed = job.world.run_on(&host, &["cdi", &job.ctid.to_string(), "--print"]).ok().stdout;
    assert_eq!(printed, fs_err::read_to_string(job.rootfs(SPECIFICATION)).unwrap());
    assert!(job.run_on(&host, "cdi").ok().stdout.contains("nothing to do"));

    fs_err::remove_file(job.rootfs(SPECIFICATION)).unwrap();
    let ctid = job.ctid.to_string();
    let row = job.world.run_on(&host, &["status", &ctid, "--output", "json"]).ok().stdout;
    assert!(row.contains("its CDI specification is missing") && row.contains("settings differ"), "{row}");
    let planned = job.run_on(&host, "plan").ok().stdout;
    assert!(planned.contains("update the CDI specification\n      its CDI specification is missing\n"), "{planned}");
    job.bring_in_sync(&host, "apply");
    assert_eq!(fs_err::read_to_string(job.rootfs(SPECIFICATION)).unwrap(), printed);

    job.set("nvidia_cdi", false);
    job.bring_in_sync(&host, "apply");
    assert!(!job.rootfs("etc/cdi").exists());
    job.set("nvidia_cdi", true);
    job.bring_in_sync(&host, "apply");
    job.run_on(&host, "uninstall").ok();
    assert!(!job.rootfs("etc/cdi").exists());
}

#[test]
fn an_engine_that_is_found_is_enough_and_a_file_of_others_is_kept() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("nvidia_install_method", "native");
    job.bring_in_sync(&host, "create");
    assert!(!job.rootfs(SPECIFICATION).exists());
    fs_err::write(job.rootfs("usr/bin/podman"), "").unwrap();
    fs_err::create_dir_all(job.rootfs("etc/cdi")).unwrap();
    fs_err::write(job.rootfs(SPECIFICATION), "{ \"kind\": \"nvidia.com/gpu\" }").unwrap();
    // Beside another one in the same directory, engines would have none.
    fs_err::rename(job.rootfs(SPECIFICATION), job.rootfs("etc/cdi/toolkit.yaml")).unwrap();
    let found = job.run_on(&host, "doctor").exits(4).stdout;
    assert!(found.contains("`/etc/cdi/toolkit.yaml`") && found.contains("[cdi-shadowed]"), "{found}");
    assert!(job.run_on(&host, "cdi").exits(3).stderr.contains("/etc/cdi/toolkit.yaml"));
    fs_err::rename(job.rootfs("etc/cdi/toolkit.yaml"), job.rootfs(SPECIFICATION)).unwrap();
    let said = job.run_on(&host, "install");
    assert!(said.stderr.contains("not written by phoenix-nvidia, so it is kept"), "{}", said.stderr);
    assert!(job.run_on(&host, "cdi").exits(3).stderr.contains("remove it in the container"));
    fs_err::remove_file(job.rootfs(SPECIFICATION)).unwrap();
    job.bring_in_sync(&host, "install");
    assert_eq!(names(&job.specification()).len(), 3);
}

#[test]
fn a_hostile_place_for_the_specification_is_refused() {
    let host = two_gpus();
    let job = with_feature(&host);
    let place = job.rootfs(SPECIFICATION);
    let before = fs_err::read(job.rootfs("etc/passwd")).unwrap();
    for script in ["ln -s /etc/passwd $f", "mkfifo $f", "mkdir $f", "cd /etc && rm -r cdi && ln -s /etc cdi"] {
        job.inside(&format!("f={SPECIFICATION}; rm -rf $f; {script}"));
        let said = job.run_on(&host, "cdi");
        assert_ne!(said.code, 0, "{script}: {}", said.stdout);
        job.run_on(&host, "uninstall").ok();
        // The driver is there all the same, and does not go back for it.
        let installed = job.run_on(&host, "install");
        assert!(installed.stderr.contains("CDI") || installed.stderr.contains("so it is kept"), "{}", installed.stderr);
        assert!(job.rootfs("usr/bin/nvidia-smi").exists(), "{script}");
        assert!(!job.rootfs("etc/nvidia.json").exists());
    }
    assert_eq!(fs_err::read(job.rootfs("etc/passwd")).unwrap(), before);
    job.inside("rm /etc/cdi");
    job.bring_in_sync(&host, "cdi");
    assert!(place.is_file());
}

#[test]
fn what_cannot_be_described_is_said() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("nvidia_install_method", "native");
    job.set("gpu_assignment", "none");
    job.bring_in_sync(&host, "create");
    let said = job.run_on(&host, "cdi").exits(3).stderr;
    assert!(said.contains("no GPU is assigned to it, so there is nothing to describe"), "{said}");
    job.set("gpu_assignment", "0");
    job.bring_in_sync(&host, "create");
    job.run_on(&host, "uninstall").ok();
    let said = job.run_on(&host, "cdi").exits(3).stderr;
    assert!(said.contains("it has no driver") && said.contains("phoenix-nvidia install"), "{said}");
    // One that was asked for stays where no engine is found, and follows.
    job.bring_in_sync(&host, "install");
    job.run_on(&host, "cdi").ok();
    let planned = job.run_on(&host, "plan").ok().stdout;
    assert!(planned.contains("nothing to do"), "{planned}");
    job.bring_in_sync(&host, "apply");
    assert!(job.rootfs(SPECIFICATION).is_file());
}

#[test]
fn engines_on_the_host_get_the_hosts_own_driver() {
    let (job, host) = (Job::new(), two_gpus());
    let libraries = job.world.scratch("libraries");
    fs_err::create_dir_all(&libraries).unwrap();
    let library = libraries.join(format!("libcuda.so.{VERSION}"));
    fs_err::write(&library, "").unwrap();
    let cache = LoaderCache::default().with("libcuda.so.1", &library, LibraryFlags::X86_64);
    fs_err::write(job.world.scratch("cache"), cache.to_bytes().unwrap()).unwrap();
    let added = job.world.scratch("over");
    fs_err::create_dir_all(&added).unwrap();
    let over = format!(
        "cd {} && mount -t tmpfs over . && cd {0} && mkdir up work && mount -t overlay over -o \
         lowerdir=/etc,upperdir=$PWD/up,workdir=$PWD/work /etc && cp {} /etc/ld.so.cache",
        added.display(),
        job.world.scratch("cache").display()
    );
    host.sh(&over).ok();
    let run = |words: &[&str]| job.world.run_on(&host, &[&["cdi", "--host"], words].concat());
    let printed = run(&["--print"]).ok().stdout;
    let specification: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(names(&specification).len(), 5);
    let mount = &specification["containerEdits"]["mounts"][0];
    assert_eq!(mount["hostPath"], library.to_str().unwrap());
    assert!(run(&[]).ok().stdout.contains("wrote `/etc/cdi/nvidia.json`"));
    assert_eq!(host.sh("cat /etc/cdi/nvidia.json").ok().stdout, printed);
    assert_eq!(run(&[]).ok().stdout, "nothing to do\n");
    host.sh("echo '{}' > /etc/cdi/nvidia.json").ok();
    assert!(run(&[]).exits(3).stderr.contains("so it is kept"));
    assert!(job.world.run(&["cdi", "--host"]).exits(10).stderr.contains("modprobe nvidia"));
}

fn smi(version: &str) -> String {
    format!("NVIDIA System Management Interface -- v{version}\n")
}

#[test]
#[ignore = "needs the template with Podman: `make test` makes it and runs this"]
fn podman_in_a_container_gives_the_driver_and_its_gpus_on() {
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    let job = with_podman(&host, false);
    job.import_image();
    assert_eq!(job.in_engine("nvidia.com/gpu=all", "nvidia-smi --help"), smi(VERSION));
    let opened = job.in_engine("nvidia.com/gpu=0", "/root/opener");
    let directory = "/usr/lib/x86_64-linux-gnu";
    assert_eq!(opened, format!("{directory}/libcuda.so.1\n{directory}/libnvidia-ml.so.1\n{directory}/libcuda.so.1\n"));
    let nodes = job.in_engine(
        "nvidia.com/gpu=all",
        "ls /dev/nvidia0 /dev/nvidiactl /dev/nvidia-uvm; echo $NVIDIA_VISIBLE_DEVICES",
    );
    assert_eq!(nodes, "/dev/nvidia-uvm\n/dev/nvidia0\n/dev/nvidiactl\nvoid\n");

    // The host's driver is another one, and then another method: the next container of the engine has it, with nothing in
    // between.
    let host = PretendedGpuHost::with_one_gpu(OTHER_VERSION);
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    job.bring_in_sync(&host, "apply");
    assert_eq!(job.in_engine("nvidia.com/gpu=all", "nvidia-smi --help"), smi(OTHER_VERSION));
    job.set("nvidia_install_method", "shared");
    job.bring_in_sync(&host, "apply");
    assert!(
        fs_err::read_to_string(job.rootfs(SPECIFICATION))
            .unwrap()
            .contains("/usr/lib/phoenix-nvidia/current/lib/libcuda.so.1")
    );
    assert_eq!(job.in_engine("nvidia.com/gpu=all", "nvidia-smi --help"), smi(OTHER_VERSION));
    assert!(job.in_engine("nvidia.com/gpu=all", "/root/opener").starts_with(directory));
}

#[test]
#[ignore = "needs the template with Podman: `make test` makes it and runs this"]
fn podman_in_an_unprivileged_container_does_the_same() {
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    let job = with_podman(&host, true);
    job.import_image();
    assert_eq!(job.in_engine("nvidia.com/gpu=all", "nvidia-smi --help"), smi(VERSION));
    assert!(job.in_engine("nvidia.com/gpu=0", "ls /dev").contains("nvidia0"));
}
