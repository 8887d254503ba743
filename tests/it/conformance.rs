//! What every hypervisor must do, asked of each backend through the library: one function, real containers.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use phoenix_nvidia::config::{Configuration, Context, Layout};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::device::DeviceNode;
use phoenix_nvidia::error::Kind;
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::hypervisor::lxc::Lxc;
use phoenix_nvidia::hypervisor::proxmox::Proxmox;
use phoenix_nvidia::hypervisor::{Desired, Exec, Hypervisor, State};
use phoenix_nvidia::sys::cancel::Cancel;
use phoenix_nvidia::sys::rootfs::Found;
use serde_json::json;

use crate::proxmox_node::{self, ProxmoxNode};
use crate::world::{Privilege, World};

/// Where the roots lie, for those hypervisors that have storage pools.
const POOL: &str = "tank";
const FIRST: &str = "901";
const CLONE: &str = "902";
const SECOND_CLONE: &str = "903";

/// A backend, and what its containers are to be.
struct Ground<'a> {
    hypervisor: &'a dyn Hypervisor,
    configuration: Configuration,
    /// What the container's root is on the host.
    root: u32,
}

impl<'a> Ground<'a> {
    fn new(hypervisor: &'a dyn Hypervisor, world: &World, template: &Path, privilege: Privilege) -> Self {
        let unprivileged = privilege == Privilege::Unprivileged;
        fs_err::create_dir_all(world.scratch("shared")).unwrap();
        fs_err::write(world.scratch("shared/greeting"), "of the host").unwrap();
        let mount = json!({ "host_path": world.scratch("shared"), "container_path": "/srv/shared" });
        // Not every hypervisor clones containers that see directories of the host, so only a clone has one.
        let container = |name: &str, source: Option<&str>, mounts: &[&serde_json::Value]| {
            json!({
                "name": name, "template": template, "clone_from_ctid": source, "unprivileged": unprivileged,
                "storage_pool": POOL, "memory_mb": 256, "cores": 1, "pct_options": ["nesting=1"],
                "lxc_options": ["lxc.environment=GREETING=hello"],
                "mount_points": mounts,
                "start_at_boot": true, "boot_order": 3, "boot_delay": 5,
            })
        };
        world.write_containers(&json!({ "lxc_configs": {
            FIRST: container("first", None, &[]),
            CLONE: container("clone", Some(FIRST), &[&mount]),
            SECOND_CLONE: container("second-clone", Some(FIRST), &[]),
        } }));
        let configuration = Configuration::load(&Layout::new(world.base())).unwrap();
        Self { hypervisor, configuration, root: if unprivileged { 100_000 } else { 0 } }
    }

    fn desired(&self, ctid: &str, devices: &[DeviceNode]) -> Desired<'_> {
        Desired {
            container: self.configuration.container(id(ctid)).unwrap(),
            devices: devices.to_vec(),
            kept: Vec::new(),
            mounts: Vec::new(),
        }
    }

    fn init_of(&self, ctid: &str) -> u32 {
        match self.hypervisor.state(id(ctid)).unwrap() {
            State::Running { init } => init,
            state => panic!("container {ctid} is {}", state.word()),
        }
    }

    /// What a shell script in the container prints, which must end well.
    #[track_caller]
    fn sh(&self, ctid: &str, script: &str) -> String {
        let output = self.hypervisor.exec(id(ctid), &Exec::new(["sh", "-c", script]), &mut |_| {}).unwrap();
        assert!(output.success(), "{script}: {}", output.last_lines());
        output.stdout_text().trim().to_owned()
    }
}

fn id(ctid: &str) -> ContainerId {
    ctid.parse().unwrap()
}

/// A harmless node of this host that no container gets by itself.
fn harmless_node() -> DeviceNode {
    let path = PathBuf::from("/dev/loop-control");
    let device = fs_err::metadata(&path).unwrap().rdev();
    DeviceNode { path, major: rustix::fs::major(device), minor: rustix::fs::minor(device), mode: 0o666, group: 0 }
}

/// Asks a backend for everything that [`Hypervisor`] promises.
fn conformance(ground: &Ground<'_>) {
    absent_containers_are_absent(ground);
    creating_and_settling(ground);
    starting_and_settings_that_hold(ground);
    running_commands(ground);
    reaching_files(ground, FIRST);
    cloning(ground);
    devices_go_when_they_are_no_longer_desired(ground);
    going_back(ground);
    stopping_and_destroying(ground);
}

fn absent_containers_are_absent(ground: &Ground<'_>) {
    let first = id(FIRST);
    assert_eq!(ground.hypervisor.state(first).unwrap(), State::Absent);
    ground.hypervisor.stop(first).unwrap();
    ground.hypervisor.destroy(first).unwrap();
    assert!(ground.hypervisor.start(first).is_err());
    assert!(ground.hypervisor.rootfs(first).is_err());
    assert!(ground.hypervisor.drift(&ground.desired(FIRST, &[])).is_err());
    assert!(ground.hypervisor.configure(&ground.desired(FIRST, &[])).is_err());
    assert!(ground.hypervisor.clone_from(first, &ground.desired(CLONE, &[])).is_err());
    assert_eq!(ground.hypervisor.state(id(CLONE)).unwrap(), State::Absent);
}

fn creating_and_settling(ground: &Ground<'_>) {
    let node = harmless_node();
    let desired = ground.desired(FIRST, std::slice::from_ref(&node));
    ground.hypervisor.check(&desired).unwrap();
    assert_eq!(ground.hypervisor.state(id(FIRST)).unwrap(), State::Absent, "a check makes nothing");
    ground.hypervisor.create(&desired).unwrap();
    assert_eq!(ground.hypervisor.state(id(FIRST)).unwrap(), State::Stopped);
    assert!(ground.hypervisor.drift(&desired).unwrap().changes.is_empty(), "it is as it was desired");
    reaching_files(ground, FIRST);
    let other = ground.desired(FIRST, &[]);
    assert!(!ground.hypervisor.drift(&other).unwrap().changes.is_empty(), "a device fewer is a change");
    for _ in 0..2 {
        ground.hypervisor.configure(&other).unwrap();
        assert!(ground.hypervisor.drift(&other).unwrap().changes.is_empty());
    }
    ground.hypervisor.configure(&desired).unwrap();
    assert!(ground.hypervisor.drift(&desired).unwrap().changes.is_empty());
}

fn starting_and_settings_that_hold(ground: &Ground<'_>) {
    ground.hypervisor.start(id(FIRST)).unwrap();
    let init = ground.init_of(FIRST);
    ground.hypervisor.start(id(FIRST)).unwrap();
    assert_eq!(ground.init_of(FIRST), init, "starting twice is starting once");
    let drift = ground.hypervisor.drift(&ground.desired(FIRST, &[harmless_node()])).unwrap();
    assert_eq!((drift.changes.len(), drift.restart), (0, false));
    assert_eq!(ground.sh(FIRST, "hostname"), "first");
    assert_eq!(ground.sh(FIRST, "tr '\\0' '\\n' < /proc/1/environ | grep GREETING"), "GREETING=hello");
    assert_eq!(ground.sh(FIRST, "ls /sys/class/net"), "lo", "no network was asked for");
    ground.sh(FIRST, "test -d /dev/.lxc/proc");
    assert_eq!(limit(init, "memory", "memory.limit_in_bytes", "memory.max"), (256 << 20).to_string());
    assert_eq!(limit(init, "cpu", "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("100000"));
    let node = harmless_node();
    let numbers = ground.sh(FIRST, "stat -c '%Hr:%Lr' /dev/loop-control; ls /dev | grep -c nvidia || true");
    assert_eq!(numbers, format!("{}:{}\n0", node.major, node.minor));
}

/// What the cgroup of a process says, on hosts with controllers of v1 and on those with v2 alone.
fn limit(process: u32, controller: &str, v1: &str, v2: &str) -> String {
    let groups = fs_err::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let place = |line: &str| -> Option<PathBuf> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        // Proxmox VE's limits are those of the cgroup above the one in which the container's processes are.
        let path = path.trim_end_matches("/init.scope").trim_end_matches("/ns");
        let is_v1 = controllers.split(',').any(|it| it == controller);
        let directory = if is_v1 { format!("/sys/fs/cgroup/{controller}") } else { "/sys/fs/cgroup".to_owned() };
        let file = Path::new(&directory).join(path).join(if is_v1 { v1 } else { v2 });
        (is_v1 || controllers.is_empty()).then_some(file).filter(|file| file.exists())
    };
    let file = groups.lines().find_map(place).unwrap_or_else(|| panic!("no `{controller}` in {groups}"));
    fs_err::read_to_string(file).unwrap().trim().to_owned()
}

fn running_commands(ground: &Ground<'_>) {
    let exec = |exec: &Exec| ground.hypervisor.exec(id(FIRST), exec, &mut |_| {});
    let output = exec(&Exec::new(["sh", "-c", "echo out; echo err >&2; exit 7"])).unwrap();
    assert_eq!((output.code, output.stdout_text().as_str(), output.stderr.as_slice()), (7, "out\n", &b"err\n"[..]));
    assert_eq!(exec(&Exec::new(["sh", "-c", "kill -9 $$"])).unwrap().code, 137);
    assert_eq!(exec(&Exec::new(["nonexistent"])).unwrap().code, 127);
    let words = Exec::new(["sh", "-c", "echo \"$A:$HOME\"; echo \"$1\"", "sh", "two  words; $A"]).env("A", "b=c d");
    assert_eq!(exec(&words).unwrap().stdout_text(), "b=c d:\ntwo  words; $A\n");
    let mut seen: Vec<u8> = Vec::new();
    ground.hypervisor.exec(id(FIRST), &Exec::new(["echo", "watched"]), &mut |piece| seen.extend(piece)).unwrap();
    assert_eq!(seen, b"watched\n");
    let flood = exec(&Exec { output_limit: 1000, ..Exec::new(["yes"]) }).unwrap_err();
    assert!(flood.message().contains("more than 1000 bytes"), "{}", flood.message());
    let slow = Exec { deadline: Duration::from_millis(300), ..Exec::new(["sh", "-c", "sleep 4321 & sleep 4321"]) };
    let error = exec(&slow).unwrap_err();
    assert_eq!(error.kind(), Kind::Command);
    assert!(error.message().contains("did not end within 0.3 s"), "{}", error.message());
    let left = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline | grep -E '^(sleep 4321|yes)' || true; done";
    assert_eq!(ground.sh(FIRST, left), "", "whoever was too slow or too loud is gone inside, too");
}

/// What is made through the door belongs to the container's root, on both sides.
fn reaching_files(ground: &Ground<'_>, ctid: &str) {
    let door = ground.hypervisor.rootfs(id(ctid)).unwrap();
    door.remove("/srv/made").unwrap();
    door.make_directory("/srv/made", 0o755).unwrap();
    door.write("/srv/made/file", b"text", 0o640).unwrap();
    assert_eq!(door.look("/srv/made/file").unwrap(), Some(Found::File { size: 4, mode: 0o640 }));
    let owner = door.open_file("/srv/made/file").unwrap().unwrap().metadata().unwrap().uid();
    assert_eq!(owner, ground.root);
    if matches!(ground.hypervisor.state(id(ctid)).unwrap(), State::Running { .. }) {
        assert_eq!(ground.sh(ctid, "stat -c %u:%g /srv/made/file; cat /srv/made/file"), "0:0\ntext");
    }
}

fn cloning(ground: &Ground<'_>) {
    let init = ground.init_of(FIRST);
    ground.sh(FIRST, "echo mine > /root/mark; chown 33 /root/mark");
    let clone = ground.desired(CLONE, &[]);
    ground.hypervisor.clone_from(id(FIRST), &clone).unwrap();
    assert_eq!(ground.init_of(FIRST), init, "its source has gone on running");
    assert_eq!(ground.hypervisor.state(id(CLONE)).unwrap(), State::Stopped);
    assert!(ground.hypervisor.drift(&clone).unwrap().changes.is_empty());
    ground.hypervisor.start(id(CLONE)).unwrap();
    assert_eq!(
        ground.sh(CLONE, "hostname; cat /etc/hostname /root/mark; stat -c %u /root/mark"),
        "clone\nclone\nmine\n33"
    );
    assert_eq!(ground.sh(CLONE, "cat /srv/shared/greeting"), "of the host");
    ground.sh(CLONE, "test ! -e /dev/loop-control");
    ground.sh(CLONE, "rm /root/mark");
    ground.sh(FIRST, "test -e /root/mark");
    ground.hypervisor.stop(id(FIRST)).unwrap();
    ground.hypervisor.clone_from(id(FIRST), &ground.desired(SECOND_CLONE, &[])).unwrap();
    assert_eq!(ground.hypervisor.state(id(FIRST)).unwrap(), State::Stopped, "and a stopped one is not started");
    assert_eq!(ground.hypervisor.state(id(SECOND_CLONE)).unwrap(), State::Stopped);
    assert!(ground.hypervisor.clone_from(id(FIRST), &clone).is_err(), "what exists is not cloned over");
    assert_eq!(ground.sh(CLONE, "hostname"), "clone");
}

fn devices_go_when_they_are_no_longer_desired(ground: &Ground<'_>) {
    ground.hypervisor.start(id(FIRST)).unwrap();
    let none = ground.desired(FIRST, &[]);
    assert!(ground.hypervisor.drift(&none).unwrap().restart);
    ground.hypervisor.configure(&none).unwrap();
    let drift = ground.hypervisor.drift(&none).unwrap();
    assert!(drift.changes.is_empty() && drift.restart, "written, and it still runs with the previous ones");
    ground.hypervisor.stop(id(FIRST)).unwrap();
    ground.hypervisor.start(id(FIRST)).unwrap();
    assert!(!ground.hypervisor.drift(&none).unwrap().restart);
    ground.sh(FIRST, "test ! -e /dev/loop-control");
}

/// Where a hypervisor has snapshots, a container comes back whole, stopped, and with nothing of what came after.
fn going_back(ground: &Ground<'_>) {
    let (hypervisor, first) = (ground.hypervisor, id(FIRST));
    let snapshots = match hypervisor.snapshots() {
        Ok(snapshots) => snapshots,
        Err(why) => return assert!(!why.is_empty()),
    };
    assert_eq!(snapshots.find(first, "before").unwrap(), None);
    if let Some(why) = snapshots.why_not(first).unwrap() {
        assert!(!why.is_empty());
        assert!(snapshots.take(first, "before", "of a test").is_err());
        return;
    }
    snapshots.take(first, "before", "of a test").unwrap();
    let found = snapshots.find(first, "before").unwrap().unwrap();
    assert_eq!((found.description.as_str(), found.is_whole), ("of a test", true));
    assert!(snapshots.take(first, "before", "again").is_err(), "a name is taken once");
    ground.sh(FIRST, "rm /root/mark; echo later > /root/later");
    snapshots.roll_back(first, "before").unwrap();
    assert_eq!(hypervisor.state(first).unwrap(), State::Stopped);
    for _ in 0..2 {
        snapshots.remove(first, "before").unwrap();
    }
    assert_eq!(snapshots.find(first, "before").unwrap(), None);
    hypervisor.start(first).unwrap();
    assert_eq!(ground.sh(FIRST, "cat /root/mark; stat -c %u /root/mark; ls /root"), "mine\n33\nmark");
}

fn stopping_and_destroying(ground: &Ground<'_>) {
    for _ in 0..2 {
        ground.hypervisor.stop(id(FIRST)).unwrap();
        assert_eq!(ground.hypervisor.state(id(FIRST)).unwrap(), State::Stopped);
    }
    assert!(ground.hypervisor.exec(id(FIRST), &Exec::new(["true"]), &mut |_| {}).is_err());
    assert!(matches!(ground.hypervisor.state(id(CLONE)).unwrap(), State::Running { .. }));
    for ctid in [FIRST, CLONE, SECOND_CLONE, CLONE] {
        ground.hypervisor.destroy(id(ctid)).unwrap();
        assert_eq!(ground.hypervisor.state(id(ctid)).unwrap(), State::Absent);
    }
}

#[test]
fn plain_lxc_conforms_with_privileged_containers() {
    plain_lxc_conforms(Privilege::Privileged);
}

#[test]
fn plain_lxc_conforms_with_unprivileged_containers() {
    plain_lxc_conforms(Privilege::Unprivileged);
}

fn plain_lxc_conforms(privilege: Privilege) {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let ground = Ground::new(&lxc, &world, &world.template(), privilege);
    conformance(&ground);
    assert_eq!(fs_err::read_dir(world.lxcpath()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn proxmox_conforms_with_privileged_containers() {
    proxmox_conforms(Privilege::Privileged);
}

#[test]
fn proxmox_conforms_with_unprivileged_containers() {
    proxmox_conforms(Privilege::Unprivileged);
}

fn proxmox_conforms(privilege: Privilege) {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let node = ProxmoxNode::new(&world);
    let layout = Layout::new(world.base());
    let proxmox = Proxmox::new(node.settings(), Context::new(&layout, &NoListener, &cancel));
    let ground = Ground::new(&proxmox, &world, Path::new(proxmox_node::TEMPLATE), privilege);
    conformance(&ground);
    assert_eq!(node.left(), Vec::<String>::new(), "nothing is left");
}
