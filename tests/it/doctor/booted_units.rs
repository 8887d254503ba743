//! The units on a host that boots: a container with systemd and LXC of its own, in which the package is installed, and
//! in it a container that follows the driver. Its kernel module is a directory that is mounted over `/proc/driver`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use phoenix_nvidia::sys::cancel::Cancel;
use serde_json::json;

use super::package::package;
use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::world::{Privilege, World};

const VERSION: &str = "580.76.05";
const OTHER_VERSION: &str = "570.133.20";
const FOLLOW: &str = "phoenix-nvidia-follow.service";
/// On machines with the controllers of cgroup v1 apart from each other, systemd in a container makes an empty directory
/// of two of them, which LXC (5.0.2) takes for their hierarchies, and starts nothing.
const CGROUPS: &str = "cd /sys/fs/cgroup && [ -d cpu,cpuacct ] && ! [ -e cpu,cpuacct/cgroup.procs ] || exit 0; \
                       mount -o remount,rw . && rm cpu cpuacct && mkdir cpu cpuacct && \
                       mount -t cgroup -o cpu cgroup cpu && mount -t cgroup -o cpuacct cgroup cpuacct";
const PATIENCE: Duration = Duration::from_secs(40);

/// The host.
struct Host {
    world: World,
    ctid: u32,
}

impl Host {
    /// It has booted with this module, and with the package and its units enabled.
    fn booted(version: &str) -> Self {
        let world = World::new();
        let host = Self { ctid: world.ctid(), world };
        host.load(version);
        let pretended = host.world.scratch("pretended");
        let mounts = ["driver", "devices"]
            .map(|it| format!("lxc.mount.entry = {}/{it} proc/{it} none bind 0 0", pretended.display()));
        let lines = [
            "lxc.init.cmd = /sbin/init",
            "lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed",
            "lxc.include = /usr/share/lxc/config/nesting.conf",
            "lxc.apparmor.profile = unconfined",
            "lxc.cgroup.devices.allow = a",
            "lxc.cgroup2.devices.allow = a",
            &mounts[0],
            &mounts[1],
        ];
        host.world.create_by_hand_from(&template(&host.world), host.ctid, Privilege::Privileged, &lines);
        // Else LXC's own unit waits half a minute for its bridge.
        let root = host.world.rootfs(host.ctid);
        fs_err::write(root.join("etc/default/lxc-net"), "USE_LXC_BRIDGE=false\n").unwrap();
        let inside = host.world.rootfs(host.ctid).join("root/phoenix-nvidia.deb");
        fs_err::copy(package(&host.world), &inside).unwrap();
        host.boot();
        host.sh("dpkg --install /root/phoenix-nvidia.deb && rm /root/phoenix-nvidia.deb").ok();
        host
    }

    fn boot(&self) {
        self.world.lxc("lxc-start", self.ctid, &[]).ok();
        let state = "systemctl is-system-running";
        self.wait_until("the boot", || ["running\n", "degraded\n"].contains(&self.sh(state).stdout.as_str()));
    }

    fn reboot(&self) {
        self.world.lxc("lxc-stop", self.ctid, &["--kill"]).ok();
        self.boot();
    }

    /// Loads another kernel module, as far as anybody can see. Files that are mounted are written in place.
    fn load(&self, version: &str) {
        let pretended = self.world.scratch("pretended");
        PretendedGpuHost::with_module(version).gpu("0000:01:00.0", 0).write_files(&pretended);
    }

    fn sh(&self, script: &str) -> Ran {
        self.world.inside(self.ctid, script)
    }

    /// A property of a unit.
    fn property(&self, unit: &str, name: &str) -> String {
        self.sh(&format!("systemctl show --property {name} --value {unit}")).ok().stdout.trim().to_owned()
    }

    fn microseconds(&self, unit: &str, name: &str) -> u64 {
        self.property(unit, name).parse().unwrap()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let (cancel, began) = (Cancel::new().unwrap(), Instant::now());
        while !is_so() {
            let journal = || self.sh("journalctl --no-pager -n 40; systemctl --failed --no-pager").stdout;
            assert!(began.elapsed() < PATIENCE, "{what}: in vain\n{}", journal());
            cancel.wait(Duration::from_millis(50)).unwrap();
        }
    }

    /// Waits until the service has followed this version, and fails unless it ended well.
    #[track_caller]
    fn wait_until_followed(&self, version: &str) {
        let followed = format!("grep -q ' {version} ' /run/phoenix-nvidia/followed");
        self.wait_until("the service", || self.sh(&followed).code == 0);
        self.wait_until("its end", || self.property(FOLLOW, "ActiveState") == "inactive");
        let status = self.sh(&format!("systemctl status --no-pager {FOLLOW}")).stdout;
        assert!(status.contains("code=exited, status=0/SUCCESS"), "{status}");
    }

    /// Makes container 901 in this host, which has GPU 0 and the driver of its module; both drivers are in the cache.
    fn create_container(&self) {
        let root = self.world.rootfs(self.ctid);
        let base = root.join("usr/local/phoenix_hypervisor");
        fs_err::create_dir_all(base.join("etc")).unwrap();
        fs_err::create_dir_all(base.join("cache")).unwrap();
        fs_err::copy(self.world.template(), root.join("root/debian.tar.zst")).unwrap();
        let containers = json!({ "nvidia_driver_version": VERSION, "lxc_configs": { "901": {
            "name": "gpu", "template": "/root/debian.tar.zst", "unprivileged": false, "features": ["nvidia"],
            "gpu_assignment": "0", "nvidia_install_method": "native",
        } } });
        fs_err::write(base.join("etc/phoenix_lxc_configs.json"), containers.to_string()).unwrap();
        let hypervisor = json!({ "nvidia_driver": { "offline": true } });
        fs_err::write(base.join("etc/phoenix_hypervisor_config.json"), hypervisor.to_string()).unwrap();
        for version in [VERSION, OTHER_VERSION] {
            TestDriver::new(version).write_into(&base.join("cache"));
        }
        self.sh(CGROUPS).ok();
        self.sh("systemctl start phoenix-nvidia-host.service").ok();
        // Nothing in the new container answers for a module yet.
        self.sh("phoenix-nvidia create 901").exits(7);
        self.answer_with(VERSION);
        self.sh("phoenix-nvidia verify 901").ok();
    }

    /// What `nvidia-smi` in container 901 takes for the module.
    fn answer_with(&self, version: &str) {
        self.sh(&format!("echo {version} > /var/lib/lxc/901/rootfs/etc/pretended-kernel-module")).ok();
    }

    fn installed(&self) -> String {
        let rows = self.sh("phoenix-nvidia status 901 --output json").ok().stdout;
        let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
        rows[0]["installed"].as_str().unwrap_or("none").to_owned()
    }
}

/// What `sh demo/template.sh target/test-template/systemd.tar.zst systemd` makes.
fn template(world: &World) -> PathBuf {
    let template = world.template().with_file_name("systemd.tar.zst");
    assert!(template.exists(), "`{}` is missing: `make test` makes it", template.display());
    template
}

#[test]
#[ignore = "boots systemd in a container, from a template of its own that `make test` makes"]
fn device_nodes_are_made_before_lxc_starts_its_containers() {
    let host = Host::booted(VERSION);
    host.sh("systemctl enable phoenix-nvidia-host.service lxc.service").ok();
    host.sh("rm -f /dev/nvidia*").ok();
    host.reboot();
    assert_eq!(host.property("phoenix-nvidia-host.service", "Result"), "success");
    let ready = host.microseconds("phoenix-nvidia-host.service", "ActiveEnterTimestampMonotonic");
    let lxc = host.microseconds("lxc.service", "ExecMainStartTimestampMonotonic");
    assert!(0 < ready && ready < lxc, "nodes were ready at {ready}, and LXC began at {lxc}");
    assert_eq!(host.sh("stat -c '%Hr:%Lr' /dev/nvidia0 /dev/nvidiactl").ok().stdout, "195:0\n195:255\n");
}

#[test]
#[ignore = "boots systemd in a container, from a template of its own that `make test` makes"]
fn a_container_follows_after_a_boot_by_the_timer_and_when_a_module_is_installed() {
    let host = Host::booted(VERSION);
    host.create_container();
    host.sh("mkdir -p /etc/systemd/system/phoenix-nvidia-follow.timer.d").ok();
    // Every second in place of every five minutes.
    let sooner = "[Timer]\\nOnCalendar=\\nOnCalendar=*:*:*\\nAccuracySec=100ms\\n";
    host.sh(&format!("printf '{sooner}' > /etc/systemd/system/phoenix-nvidia-follow.timer.d/sooner.conf")).ok();
    host.sh("systemctl daemon-reload && systemctl start phoenix-nvidia-follow.timer").ok();
    host.wait_until_followed(VERSION);
    assert_eq!(host.installed(), VERSION);

    host.answer_with(OTHER_VERSION);
    host.load(OTHER_VERSION);
    host.wait_until_followed(OTHER_VERSION);
    assert_eq!(host.installed(), OTHER_VERSION, "the timer has seen it");

    host.sh("systemctl stop phoenix-nvidia-follow.timer").ok();
    host.sh("mkdir -p /lib/modules/$(uname -r) && systemctl start phoenix-nvidia-follow.path").ok();
    host.answer_with(VERSION);
    host.load(VERSION);
    host.sh("touch /lib/modules/$(uname -r)/modules.dep; echo >> /lib/modules/$(uname -r)/modules.dep").ok();
    host.wait_until_followed(VERSION);
    assert_eq!(host.installed(), VERSION, "the path unit has seen it");
}
