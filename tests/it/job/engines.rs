//! Podman in a container: it gives the driver and the GPUs on to its own containers by the specification that lies beside
//! the driver, and nothing of NVIDIA's toolkit is there.

use std::path::PathBuf;

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
        self.world.inside(self.ctid, &format!("cd /; {common} {words} 2> /tmp/podman.err || {{ code=$?; cat /tmp/podman.err; exit $code; }}"))
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

    // Another driver, and another method: the next container of the engine has it, with nothing in between.
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    job.bring_in_sync(&host, "apply");
    assert_eq!(job.in_engine("nvidia.com/gpu=all", "nvidia-smi --help"), smi(OTHER_VERSION));
    job.set("nvidia_install_method", "shared");
    job.bring_in_sync(&host, "apply");
    assert_eq!(job.in_engine("nvidia.com/gpu=all", "nvidia-smi --help"), smi(OTHER_VERSION));
    assert!(job.in_engine("nvidia.com/gpu=all", "/root/opener").starts_with(directory));
}
