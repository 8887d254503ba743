//! That the stand-in installer, in a real container, does what NVIDIA's was seen to do in one.

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::{Misbehaviour, TestDriver};
use crate::world::{Privilege, World};

const SILENT: &str = "--silent --no-kernel-module --no-install-compat32-libs --no-nvidia-modprobe";

/// A running container made by hand.
struct Guest {
    world: World,
    ctid: u32,
}

impl Guest {
    fn new(privilege: Privilege) -> Self {
        let world = World::new();
        let ctid = world.ctid();
        world.create_by_hand(ctid, privilege, &[]);
        world.lxc("lxc-start", ctid, &["--daemon"]).ok();
        Self { world, ctid }
    }

    fn sh(&self, script: &str) -> Ran {
        self.world.inside(self.ctid, script)
    }

    fn install(&self, driver: &TestDriver, options: &str) -> Ran {
        driver.write_into(&self.world.rootfs(self.ctid).join("root"));
        let name = driver.file_name();
        let ran = self.sh(&format!("sh /root/{name} {options}"));
        self.sh(&format!("rm /root/{name}")).ok();
        ran
    }

    /// Every file, link and directory below `/usr`, `/etc` and `/var/lib`, with mode, size and target.
    fn contents(&self) -> String {
        self.sh("find /usr /etc /var/lib ! -name ld.so.cache -printf '%p %m %s %l\\n' | sort").ok().stdout
    }
}

#[test]
fn an_installed_driver_is_known_to_the_loader_and_gone_without_a_trace_when_uninstalled() {
    for privilege in [Privilege::Privileged, Privilege::Unprivileged] {
        let guest = Guest::new(privilege);
        let before = guest.contents();
        let installed = guest.install(&TestDriver::new("580.76.05"), SILENT).ok();
        assert!(installed.stdout.contains("(version: 580.76.05) is now complete"), "{}", installed.stdout);
        assert_eq!(guest.sh("ls -A /tmp").ok().stdout, "");
        let loader = guest.sh("ldconfig -p").ok().stdout;
        assert!(loader.contains("libnvidia-ml.so.1 (libc6,x86-64) => /"), "{loader}");
        let help = guest.sh("nvidia-smi --help | head -n 1").ok().stdout;
        assert_eq!(help, "NVIDIA System Management Interface -- v580.76.05\n");
        guest.sh("nvidia-installer --sanity").ok();
        guest.sh("nvidia-uninstall --silent --skip-depmod").ok();
        assert_eq!(guest.contents(), before);
    }
}

#[test]
fn nvidia_smi_says_what_is_wrong_as_nvidias_does() {
    let guest = Guest::new(Privilege::Privileged);
    guest.install(&TestDriver::new("580.76.05"), SILENT).ok();
    let query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader";
    assert!(guest.sh(query).exits(9).stdout.contains("couldn't communicate with the NVIDIA driver"));
    guest.sh("mknod -m 666 /dev/nvidiactl c 195 255; mknod -m 666 /dev/nvidia0 c 195 0").ok();
    assert!(guest.sh(query).exits(255).stdout.contains("Unknown Error"), "the cgroup forbids it");
    guest.sh("rm /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.*").ok();
    assert!(guest.sh(query).exits(12).stdout.contains("couldn't find libnvidia-ml.so"));
}

#[test]
fn nvidia_smi_reports_one_line_for_each_gpu_that_it_may_open() {
    let world = World::new();
    let host = PretendedGpuHost::with_module("580.76.05").gpu("0000:01:00.0", 0).gpu("0000:07:00.0", 1).start();
    let ctid = world.ctid();
    let nodes = ["nvidiactl", "nvidia0", "nvidia1"]
        .map(|node| format!("lxc.mount.entry = /dev/{node} dev/{node} none bind,create=file 0 0"));
    world.create_by_hand(ctid, Privilege::Unprivileged, &nodes.each_ref().map(String::as_str));
    world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).ok();
    let guest = Guest { world, ctid };
    guest.install(&TestDriver::new("580.76.05"), SILENT).ok();
    let query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader";
    guest.world.pretend_kernel_module(ctid, "580.76.05");
    assert_eq!(guest.sh(query).ok().stdout, "580.76.05\n580.76.05\n");
    guest.world.pretend_kernel_module(ctid, "580.142");
    let mismatch = guest.sh(query).exits(18).stdout;
    assert_eq!(mismatch, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.76\n");
}

#[test]
fn another_version_replaces_the_old_one_wholly() {
    let guest = Guest::new(Privilege::Unprivileged);
    guest.install(&TestDriver::new("570.133.20"), SILENT).ok();
    guest.install(&TestDriver::new("580.76.05"), SILENT).ok();
    let contents = guest.contents();
    assert!(contents.contains("libcuda.so.580.76.05"));
    assert!(!contents.contains("570.133.20"), "{contents}");
}

#[test]
fn what_was_there_before_comes_back_when_it_is_uninstalled() {
    let guest = Guest::new(Privilege::Privileged);
    guest
        .sh("cd /usr/lib/x86_64-linux-gnu; echo old > libcuda.so.535.261.03; ln -s libcuda.so.535.261.03 libcuda.so.1")
        .ok();
    let before = guest.contents();
    guest.install(&TestDriver::new("580.76.05"), SILENT).ok();
    guest.sh("test ! -e /usr/lib/x86_64-linux-gnu/libcuda.so.535.261.03").ok();
    guest.sh("nvidia-uninstall --silent --skip-depmod").ok();
    assert_eq!(guest.contents(), before);
}

#[test]
fn an_unknown_option_and_a_missing_program_end_it_with_1() {
    let guest = Guest::new(Privilege::Privileged);
    let unknown = guest.install(&TestDriver::new("470.256.02"), &format!("{SILENT} --no-dkms")).exits(1);
    assert!(unknown.stderr.contains("unrecognized option: \"--no-dkms\""), "{}", unknown.stderr);
    guest.sh("rm -f /sbin/modprobe /usr/sbin/modprobe").ok();
    let missing = guest.install(&TestDriver::new("580.76.05"), SILENT).exits(1);
    assert!(missing.stderr.contains("Unable to find the module utility `modprobe`"), "{}", missing.stderr);
}

#[test]
fn it_misbehaves_as_it_is_reported() {
    let guest = Guest::new(Privilege::Privileged);
    let before = guest.contents();
    let misbehaving = |how| TestDriver::new("580.76.05").misbehaving(how);
    guest.install(&misbehaving(Misbehaviour::Fail), SILENT).exits(1);
    assert_eq!(guest.contents(), before);
    guest.install(&misbehaving(Misbehaviour::Lie), SILENT).ok();
    assert_eq!(guest.contents(), before);
    guest.install(&misbehaving(Misbehaviour::Sigbus), SILENT).exits(135);
    guest.sh("test -e /usr/bin/nvidia-smi").ok();
    guest.sh("test -e /usr/lib/x86_64-linux-gnu/libcuda.so.1").exits(1);
    guest.install(&misbehaving(Misbehaviour::WrongVersion), SILENT).ok();
    guest.sh("test -e /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.999.99.99").ok();
}

#[test]
fn a_package_that_hangs_ends_when_it_is_killed() {
    let guest = Guest::new(Privilege::Privileged);
    let driver = TestDriver::new("580.76.05").misbehaving(Misbehaviour::HangAfterHalf);
    let half = "until [ -e /usr/bin/nvidia-smi ]; do sleep 0.05; done";
    guest.install(&driver, &format!("{SILENT} & {half}; kill $(pidof nvidia-installer); wait $!")).exits(143);
    guest.sh("test -e /usr/bin/nvidia-smi").ok();
}
