//! A host that seems to have NVIDIA GPUs and their kernel module: a mount namespace with another `/proc/driver`,
//! `/proc/devices` and `/dev`. What is opened there answers ENXIO, for there is no driver behind the numbers.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::ran::Ran;

const SETUP: &str = include_str!("gpu_host.sh");

/// One GPU as `/proc/driver/nvidia/gpus` shows it.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// Its directory's name, such as `0000:01:00.0`.
    pub pci: String,
    /// The N of `/dev/nvidiaN`; not in the order of the addresses on every host.
    pub minor: u32,
    pub uuid: String,
}

/// A host to be pretended.
#[derive(Debug, Clone)]
pub struct GpuHostBuilder {
    version: String,
    on_disk: Option<String>,
    open: bool,
    gpus: Vec<Gpu>,
    uvm_major: u32,
    mode: u32,
    missing: Vec<String>,
    capabilities: Vec<(String, u32, u32)>,
    instances: Vec<[u32; 3]>,
}

/// A pretended host while it exists: one mount namespace, in which programs are run one after the other and find what
/// the ones before them left. It ends when this is dropped; containers that were started in it go on.
pub struct PretendedGpuHost {
    holder: Child,
    directory: tempfile::TempDir,
}

impl PretendedGpuHost {
    /// A host with this kernel module loaded, and no GPU until [`GpuHostBuilder::gpu`] adds one.
    pub fn with_module(version: &str) -> GpuHostBuilder {
        GpuHostBuilder {
            version: version.to_owned(),
            on_disk: None,
            open: false,
            gpus: Vec::new(),
            uvm_major: 511,
            mode: 0o666,
            missing: Vec::new(),
            capabilities: Vec::new(),
            instances: Vec::new(),
        }
    }

    /// The usual one: one GPU, `/dev/nvidia0`, all nodes there.
    pub fn with_one_gpu(version: &str) -> Self {
        Self::with_module(version).gpu("0000:01:00.0", 0).start()
    }

    /// Runs a program on this host.
    pub fn run(&self, program: &str, arguments: &[impl AsRef<OsStr>], environment: &[(&'static str, OsString)]) -> Ran {
        let mut all: Vec<OsString> = vec![self.mount_namespace().into()];
        all.extend(["--".into(), program.into()]);
        all.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        let named =
            environment.iter().find(|(key, _)| *key == "PATH").map(|(_, path)| path.to_str().unwrap().to_owned());
        let path = named.unwrap_or_else(|| std::env::var("PATH").unwrap());
        let search = format!("{}:{path}", self.directory.path().join("bin").display());
        let mut environment = environment.to_vec();
        environment.push(("PATH", search.into()));
        Ran::of("nsenter", &all, &environment)
    }

    /// The option with which `nsenter` starts a program on this host.
    pub fn mount_namespace(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.holder.id())
    }

    /// Installs a shell script on this host as a program that is found before those of the real one.
    pub fn install_program(&self, name: &str, script: &str) {
        write_program(&self.directory.path().join("bin").join(name), script);
    }

    /// Loads the module for `nvidia-uvm` again, which then has another major; the nodes stay as they are.
    pub fn change_uvm_major(&self, from: u32, to: u32) {
        self.sh(&format!(
            "new=$(sed 's/^{from} nvidia-uvm$/{to} nvidia-uvm/' /proc/devices); echo \"$new\" > /proc/devices"
        ))
        .ok();
    }

    /// The host's own `nvidia-smi` gives these answers to `-L` and to `-q -x`.
    pub fn tell_instances(&self, [list, details]: &[String; 2]) {
        let answer = |question: &str, text: &str| format!("    '{question}') cat <<'END' ;;\n{text}END\n");
        let answers = answer("-L", list) + &answer("-q -x", details);
        self.install_program("nvidia-smi", &format!("case \"$*\" in\n{answers}    *) exit 2 ;;\nesac"));
    }

    /// `nvidia-drm`, or another driver, has made the nodes to draw with of a card, as the kernel does: root's and the group's,
    /// with this number; nodes of the group 44.
    pub fn draw_with(&self, pci: &str, number: u32) {
        let render = 128 + number;
        let node = |name: &str, minor: u32, mode: u32| {
            format!(
                "mkdir -p $pci/drm/{name} /dev/dri; echo 226:{minor} > $pci/drm/{name}/dev; \
                 mknod /dev/dri/{name} c 226 {minor}; chgrp 44 /dev/dri/{name}; chmod {mode:o} /dev/dri/{name}; "
            )
        };
        self.sh(&format!(
            "set -e; pci=/sys/bus/pci/devices/{pci}; mountpoint -q /sys/bus/pci/devices || \
             mount -t tmpfs devices /sys/bus/pci/devices; {}{}",
            node(&format!("card{number}"), number, 0o660),
            node(&format!("renderD{render}"), render, 0o666)
        ))
        .ok();
    }

    /// No card has nodes to draw with any more.
    pub fn draw_with_none(&self) {
        self.sh("rm -rf /dev/dri /sys/bus/pci/devices/*/drm").ok();
    }

    /// Runs a shell script on this host.
    pub fn sh(&self, script: &str) -> Ran {
        self.run("sh", &["-c", script], &[])
    }
}

impl Drop for PretendedGpuHost {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

impl GpuHostBuilder {
    /// Adds a GPU; its UUID ends with its minor.
    pub fn gpu(mut self, pci: &str, minor: u32) -> Self {
        let uuid = format!("GPU-00000000-0000-0000-0000-{minor:012}");
        self.gpus.push(Gpu { pci: pci.to_owned(), minor, uuid });
        self
    }

    /// Adds a GPU whose UUID belongs to the card, at whatever minor it is.
    pub fn card(mut self, pci: &str, minor: u32) -> Self {
        let digits: String = pci.chars().filter(char::is_ascii_digit).collect();
        let digits = &digits[4..8];
        self.gpus.push(Gpu {
            pci: pci.to_owned(),
            minor,
            uuid: format!("GPU-00000000-0000-0000-0000-00000000{digits}"),
        });
        self
    }

    /// The version that `modinfo` finds on disk, where it is another than the loaded one.
    pub fn on_disk(mut self, version: &str) -> Self {
        self.on_disk = Some(version.to_owned());
        self
    }

    /// The module is the open one, whose first line of `version` has another form.
    pub fn open_kernel_module(mut self) -> Self {
        self.open = true;
        self
    }

    /// The dynamic major of `nvidia-uvm`; that of `nvidia-caps` is one less.
    pub fn uvm_major(mut self, major: u32) -> Self {
        self.uvm_major = major;
        self
    }

    /// The permission bits of all nodes.
    pub fn node_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// A node that is not there, `nvidia-uvm` for example: as after a boot, before anybody has used the GPU.
    pub fn without_node(mut self, name: &str) -> Self {
        self.missing.push(name.to_owned());
        self
    }

    /// A capability, by its path below `capabilities`, with the minor and the mode of its node; that is not there.
    pub fn capability(mut self, path: &str, minor: u32, mode: u32) -> Self {
        self.capabilities.push((path.to_owned(), minor, mode));
        self
    }

    /// Divides a GPU, by its minor: an instance, whose nodes are missing. The minors of all that could be are fixed: 9
    /// for each of 15 GPU instances, as the list in NVIDIA's Multi-Instance GPU User Guide goes on from 3.
    pub fn mig(mut self, gpu: u32, gpu_instance: u32, compute_instance: u32) -> Self {
        self.instances.push([gpu, gpu_instance, compute_instance]);
        let first = 3 + 9 * (15 * gpu + gpu_instance);
        let directory = format!("gpu{gpu}/mig/gi{gpu_instance}");
        self.capability(&format!("{directory}/access"), first, 0o444).capability(
            &format!("{directory}/ci{compute_instance}/access"),
            first + 1 + compute_instance,
            0o444,
        )
    }

    /// What the host's `nvidia-smi` tells of its GPUs and their instances: the answers to `-L` and to `-q -x`, as 535 and 575
    /// give them. It numbers the instances of a GPU, and says their UUIDs in the first answer alone.
    pub fn told_instances(&self) -> [String; 2] {
        let (mut list, mut details) = (String::new(), "<?xml version=\"1.0\" ?>\n<nvidia_smi_log>\n".to_owned());
        for (place, gpu) in self.gpus.iter().enumerate() {
            writeln!(list, "GPU {place}: NVIDIA A100-SXM4-40GB (UUID: {})", gpu.uuid).unwrap();
            writeln!(details, "\t<gpu id=\"0000{}\">\n\t\t<mig_devices>", gpu.pci).unwrap();
            let of_gpu = self.instances.iter().filter(|[of, ..]| *of == gpu.minor);
            for (index, [gpu, gpu_instance, compute_instance]) in of_gpu.enumerate() {
                let uuid = instance_uuid(*gpu, *gpu_instance, *compute_instance);
                writeln!(list, "  MIG 1g.5gb      Device  {index}: (UUID: {uuid})").unwrap();
                writeln!(
                    details,
                    "\t\t\t<mig_device>\n\t\t\t\t<index>{index}</index>\n\t\t\t\t<gpu_instance_id>{gpu_instance}</gpu_instance_id>\n\
                     \t\t\t\t<compute_instance_id>{compute_instance}</compute_instance_id>\n\t\t\t</mig_device>"
                )
                .unwrap();
            }
            writeln!(details, "\t\t</mig_devices>\n\t\t<uuid>{}</uuid>\n\t</gpu>", gpu.uuid).unwrap();
        }
        [list, details + "</nvidia_smi_log>\n"]
    }

    /// No node at all is there.
    pub fn without_nodes(mut self) -> Self {
        self.missing = self.nodes().into_iter().map(|(name, ..)| name).collect();
        self
    }

    /// Makes the namespace.
    #[expect(
        clippy::disallowed_methods,
        reason = "the namespace is held by a process that no command of the library is"
    )]
    pub fn start(self) -> PretendedGpuHost {
        let directory = tempfile::Builder::new().prefix("phoenix-nvidia-gpu-host-").tempdir_in("/var/tmp").unwrap();
        self.write_files(directory.path());
        let mut holder = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-euc", SETUP, "gpu_host.sh"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answer = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut answer).unwrap();
        assert_eq!(answer, "ready\n", "the mount namespace of a pretended host could not be made");
        PretendedGpuHost { holder, directory }
    }

    /// Writes what is pretended: `driver` is `/proc/driver` there, and `devices` is `/proc/devices`.
    pub fn write_files(&self, directory: &Path) {
        let nvidia = directory.join("driver/nvidia");
        let write = |path: &Path, text: &str| {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write(&nvidia.join("version"), &self.version_text());
        write(&nvidia.join("params"), &self.params_text());
        for gpu in &self.gpus {
            write(&nvidia.join("gpus").join(&gpu.pci).join("information"), &self.information_text(gpu));
        }
        for (path, minor, mode) in &self.capabilities {
            let text = format!("DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n");
            write(&nvidia.join("capabilities").join(path), &text);
        }
        write(&directory.join("driver/nvidia-caps/mig-minors"), &self.mig_minors_text());
        write(&directory.join("devices"), &self.devices_text());
        let nodes = self.nodes().into_iter().filter(|(name, ..)| !self.missing.contains(name));
        let lines = nodes.fold(String::new(), |mut lines, (name, major, minor)| {
            writeln!(lines, "{name} {major} {minor} {:o}", self.mode).unwrap();
            lines
        });
        write(&directory.join("nodes"), &lines);
        let on_disk = self.on_disk.as_ref().unwrap_or(&self.version);
        let modinfo =
            format!("[ \"$*\" = '-F version nvidia' ] && echo {on_disk} && exit\nexec /sbin/modinfo \"$@\"\n");
        write_program(&directory.join("bin/modinfo"), &modinfo);
    }

    /// Name, major and minor of every node of this host.
    fn nodes(&self) -> Vec<(String, u32, u32)> {
        let mut nodes: Vec<_> = self.gpus.iter().map(|gpu| (format!("nvidia{}", gpu.minor), 195, gpu.minor)).collect();
        nodes.push(("nvidiactl".to_owned(), 195, 255));
        nodes.push(("nvidia-modeset".to_owned(), 195, 254));
        nodes.push(("nvidia-uvm".to_owned(), self.uvm_major, 0));
        nodes.push(("nvidia-uvm-tools".to_owned(), self.uvm_major, 1));
        nodes
    }

    /// Every instance that could be, whether it is or not.
    fn mig_minors_text(&self) -> String {
        let mut text = "config 1\nmonitor 2\n".to_owned();
        let mut next = 3..;
        let mut line = |text: &mut String, name: String| writeln!(text, "{name} {}", next.next().unwrap()).unwrap();
        for gpu in 0..=self.gpus.len() {
            for gpu_instance in 0..15 {
                let name = format!("gpu{gpu}/gi{gpu_instance}");
                line(&mut text, format!("{name}/access"));
                (0..8).for_each(|it| line(&mut text, format!("{name}/ci{it}/access")));
            }
        }
        text
    }

    fn version_text(&self) -> String {
        let module = match self.open {
            true => format!(
                "NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22-I3-AE18-23-3)  ",
                self.version
            ),
            false => format!("NVIDIA UNIX x86_64 Kernel Module  {}  ", self.version),
        };
        format!(
            "NVRM version: {module}Tue Jun 25 01:26:03 UTC 2024\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)\n"
        )
    }

    fn params_text(&self) -> String {
        format!(
            "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: {}\n",
            self.mode
        )
    }

    fn information_text(&self, gpu: &Gpu) -> String {
        format!(
            "Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 77\nGPU UUID: \t {}\nVideo BIOS: \t 94.02.26.40.81\n\
             Bus Type: \t PCI\nDMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\nBus Location: \t {}\n\
             Device Minor: \t {}\nGPU Firmware: \t {}\nGPU Excluded:\t No\n",
            gpu.uuid, gpu.pci, gpu.minor, self.version
        )
    }

    fn devices_text(&self) -> String {
        let real = fs_err::read_to_string("/proc/devices").unwrap();
        let (head, rest) = real.split_once("\n\n").unwrap();
        let kept: Vec<&str> = head.lines().filter(|line| !line.contains(" nvidia")).collect();
        let (uvm, caps) = (self.uvm_major, self.uvm_major - 1);
        format!(
            "{}\n195 nvidia\n195 nvidia-modeset\n195 nvidiactl\n{caps} nvidia-caps\n{uvm} nvidia-uvm\n\n{rest}",
            kept.join("\n")
        )
    }
}

/// The UUID of an instance, by the minor of its GPU and its numbers; it is of version 5, as NVIDIA's are.
pub fn instance_uuid(gpu: u32, gpu_instance: u32, compute_instance: u32) -> String {
    format!("MIG-00000000-0000-5000-8000-{gpu:04}{gpu_instance:04}{compute_instance:04}")
}

fn write_program(path: &Path, script: &str) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}
