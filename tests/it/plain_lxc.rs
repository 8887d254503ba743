//! What is plain LXC's own: frozen containers, forms of templates, networks, and what a killed run leaves.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Stdio};

use phoenix_nvidia::config::{Configuration, Layout};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::device::DeviceNode;
use phoenix_nvidia::hypervisor::lxc::Lxc;
use phoenix_nvidia::hypervisor::{Desired, Inside, LifeCycle, Settings, State};
use phoenix_nvidia::sys::cancel::Cancel;
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::world::{Privilege, World};

fn id(ctid: u32) -> ContainerId {
    ContainerId::new(ctid.into()).unwrap()
}

fn configured(world: &World, containers: &Value) -> Configuration {
    world.write_containers(&json!({ "lxc_configs": containers }));
    Configuration::load(&Layout::new(world.base())).unwrap()
}

fn desired(configuration: &Configuration, ctid: u32) -> Desired<'_> {
    Desired {
        container: configuration.container(id(ctid)).unwrap(),
        devices: Vec::<DeviceNode>::new(),
        kept: Vec::new(),
        mounts: Vec::new(),
    }
}

/// The names below the lxcpath, hidden ones too.
fn names(world: &World) -> Vec<String> {
    let mut names: Vec<_> = fs_err::read_dir(world.lxcpath())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_frozen_container_is_thawed_by_a_start_and_ended_by_a_stop() {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    world.create_by_hand(901, Privilege::Unprivileged, &["lxc.signal.halt = SIGKILL"]);
    lxc.start(id(901)).unwrap();
    world.lxc("lxc-freeze", 901, &[]).ok();
    assert_eq!(lxc.state(id(901)).unwrap(), State::Frozen);
    lxc.start(id(901)).unwrap();
    assert!(matches!(lxc.state(id(901)).unwrap(), State::Running { .. }));
    world.lxc("lxc-freeze", 901, &[]).ok();
    lxc.stop(id(901)).unwrap();
    assert_eq!(lxc.state(id(901)).unwrap(), State::Stopped);
    world.lxc("lxc-start", 901, &["--daemon"]).ok();
    world.lxc("lxc-freeze", 901, &[]).ok();
    lxc.destroy(id(901)).unwrap();
    assert_eq!(names(&world), Vec::<String>::new());
}

/// A tarball of a small root, as `tar` makes it with this option, with or without `./` before its names.
fn small_template(world: &World, name: &str, option: &str, members: &[&str]) -> std::path::PathBuf {
    let root = world.scratch("small-root");
    fs_err::create_dir_all(root.join("etc")).unwrap();
    fs_err::create_dir_all(root.join("dev")).unwrap();
    fs_err::write(root.join("etc/os-release"), "ID=small\n").unwrap();
    fs_err::write(root.join("dev/console"), "not to be unpacked").unwrap();
    let path = world.scratch(name);
    let words: [&OsStr; 5] = ["-C".as_ref(), root.as_ref(), option.as_ref(), "-cf".as_ref(), path.as_ref()];
    Ran::of("tar", &[&words[..], &members.iter().map(OsStr::new).collect::<Vec<_>>()].concat(), &[]).ok();
    path
}

#[test]
fn templates_are_unpacked_whatever_they_are_compressed_with() {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let forms = [
        ("t.tar", "--owner=0", &["."][..]),
        ("t.tar.gz", "--gzip", &["."]),
        ("t.tar.xz", "--xz", &["."]),
        ("t.tar.zst", "--zstd", &["."]),
        ("t.bz2", "--bzip2", &["."]),
        ("bare names.zst", "--zstd", &["etc", "dev"]),
    ];
    for (number, (name, option, members)) in (901..).zip(forms) {
        let template = small_template(&world, name, option, members);
        let configuration = configured(
            &world,
            &json!({ number.to_string(): { "name": "small", "template": template, "unprivileged": number % 2 == 0 } }),
        );
        lxc.create(&desired(&configuration, number)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let door = lxc.rootfs(id(number)).unwrap();
        assert_eq!(door.read("/etc/os-release", 100).unwrap().unwrap(), b"ID=small\n", "{name}");
        assert_eq!(door.look("/dev/console").unwrap(), None, "{name}: device nodes are LXC's to make");
    }
}

#[test]
fn what_exists_is_not_created_over() {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let template = small_template(&world, "t.tar", "--owner=0", &["."]);
    let configuration = configured(&world, &json!({ "901": { "name": "small", "template": template } }));
    lxc.create(&desired(&configuration, 901)).unwrap();
    fs_err::write(world.rootfs(901).join("etc/mine"), "mine").unwrap();
    assert!(lxc.create(&desired(&configuration, 901)).is_err());
    assert_eq!(fs_err::read(world.rootfs(901).join("etc/mine")).unwrap(), b"mine");
    assert_eq!(names(&world), ["901"]);
}

/// A bridge of this host that ends with the test.
pub(crate) struct Bridge(pub(crate) String);

impl Bridge {
    /// Nothing where this machine makes no bridges.
    #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
    pub(crate) fn new() -> Option<Self> {
        let name = format!("phx{}", std::process::id());
        let made = Ran::of("ip", &["link", "add", &name, "type", "bridge"], &[]);
        if made.code != 0 {
            eprintln!("ignored: this machine makes no bridges: {}", made.stderr);
        }
        (made.code == 0).then_some(Self(name))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        Ran::of("ip", &["link", "del", &self.0], &[]);
    }
}

#[test]
fn a_network_is_a_veth_on_the_bridge_with_address_and_name_server() {
    let Some(bridge) = Bridge::new() else { return };
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let configuration = configured(
        &world,
        &json!({ "901": {
            "name": "net", "template": world.template(), "mac_address": "52:54:00:12:34:56",
            "network_config": { "name": "lan0", "bridge": bridge.0, "ip": "10.99.0.2/24", "gw": "10.99.0.1",
                "nameservers": "10.99.0.1" },
        } }),
    );
    lxc.check(&desired(&configuration, 901)).unwrap();
    lxc.create(&desired(&configuration, 901)).unwrap();
    lxc.start(id(901)).unwrap();
    let members = fs_err::read_dir(Path::new("/sys/class/net").join(&bridge.0).join("brif")).unwrap().count();
    assert_eq!(members, 1);
    assert_eq!(world.inside(901, "cat /sys/class/net/lan0/address").ok().stdout, "52:54:00:12:34:56\n");
    let routes = world.inside(901, "cat /proc/net/fib_trie /etc/resolv.conf; cat /proc/net/route").ok().stdout;
    assert!(routes.contains("10.99.0.2") && routes.contains("nameserver 10.99.0.1"), "{routes}");
    assert!(routes.contains("0100630A"), "the gateway, in the kernel's form: {routes}");
}

/// Starts the program and kills it, and it alone, as soon as `is_time`.
#[expect(clippy::disallowed_methods, reason = "a process that is to be killed is started without a limit")]
fn killed_when(world: &World, arguments: &[&str], is_time: impl Fn() -> bool) {
    let mut program: Child = std::process::Command::new(env!("CARGO_BIN_EXE_phoenix-nvidia"))
        .args(arguments)
        .envs(world.environment())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !is_time() {
        assert!(program.try_wait().unwrap().is_none(), "the program has ended before it could be killed");
        std::thread::yield_now();
    }
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn a_creation_that_was_killed_is_done_by_the_next_one() {
    let world = World::new();
    let template = world.template();
    configured(&world, &json!({ "901": { "name": "killed", "template": template, "unprivileged": true } }));
    let staged = world.lxcpath().join(".phoenix-nvidia-901/901/rootfs/usr/bin");
    killed_when(&world, &["create", "901"], || staged.exists());
    assert!(!world.lxcpath().join("901").exists(), "it is there as a whole or not at all");
    let found = world.run(&["doctor", "901"]).stdout;
    let left = world.lxcpath().join(".phoenix-nvidia-901");
    let told = format!("901: note: a killed run began to create it, and left `{}` [left-over]", left.display());
    assert!(found.contains(&told) && found.contains("remedy: phoenix-nvidia create 901, which removes it"), "{found}");
    // What unpacks may still be at it.
    world.run(&["create", "901"]).ok();
    assert_eq!(names(&world), ["901"]);
    assert!(!world.run(&["doctor", "901"]).stdout.contains("left-over"));
    // Somebody else has made the container meanwhile: making it again would remove nothing.
    fs_err::create_dir_all(left.join("901/rootfs")).unwrap();
    let found = world.run(&["doctor", "901"]).stdout;
    assert!(found.contains(&format!("remedy: rm -r {}\n", left.display())), "{found}");
    world.inside(901, "test -x /usr/bin/env").ok();
}

#[test]
fn a_copy_that_was_killed_is_done_by_the_next_one_and_its_source_runs_again() {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let template = world.template();
    configured(
        &world,
        &json!({
            "901": { "name": "source", "template": template, "unprivileged": true },
            "902": { "name": "copy", "clone_from_ctid": "901", "unprivileged": true },
        }),
    );
    world.run(&["create", "901"]).ok();
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let staged = world.lxcpath().join(".phoenix-nvidia-902/902/rootfs/usr");
    killed_when(&world, &["create", "902"], || staged.exists());
    assert_eq!(lxc.state(id(901)).unwrap(), State::Frozen, "nobody was left to thaw it");
    let found = world.run(&["doctor", "902"]).stdout;
    assert!(found.contains(".phoenix-nvidia-902`, and its source, container 901, frozen [left-over]"), "{found}");
    world.run(&["create", "902"]).ok();
    assert!(matches!(lxc.state(id(901)).unwrap(), State::Running { .. }));
    assert_eq!(names(&world), ["901", "902"]);
    assert_eq!(world.inside(902, "hostname").ok().stdout, "copy\n");
}

#[test]
fn a_source_that_somebody_has_frozen_stays_frozen() {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let configuration = configured(&world, &json!({ "902": { "name": "copy", "clone_from_ctid": "901" } }));
    world.create_by_hand(901, Privilege::Privileged, &[]);
    lxc.start(id(901)).unwrap();
    world.lxc("lxc-freeze", 901, &[]).ok();
    lxc.clone_from(id(901), &desired(&configuration, 902)).unwrap();
    assert_eq!(lxc.state(id(901)).unwrap(), State::Frozen);
}

#[test]
fn a_missing_mount_source_is_made_for_its_owner_and_what_lxc_cannot_do_is_said() {
    let (world, cancel) = (World::new(), Cancel::new().unwrap());
    let lxc = Lxc::new(world.lxcpath(), world.scratch("pve"), &cancel);
    let source = world.scratch("not there yet/logs");
    let configuration = configured(
        &world,
        &json!({ "901": {
            "name": "mounted", "template": world.template(), "id_maps": [{ "type": "gid" }],
            "mount_points": [{ "host_path": source, "container_path": "/var/log/nginx", "owner_uid": 33, "owner_gid": 33 }],
            "volumes": [{ "name": "models", "pool": "fast", "size_gb": 50, "mount_point": "/models" }],
            "enable_lifecycle_snapshots": true,
        } }),
    );
    let desired = desired(&configuration, 901);
    lxc.create(&desired).unwrap();
    lxc.start(id(901)).unwrap();
    world.inside(901, "touch /var/log/nginx/seen").ok();
    let owner = fs_err::metadata(&source).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (100_033, 100_033), "an idmap alone makes it unprivileged");
    assert!(source.join("seen").exists());
    let left_out = lxc.left_out(desired.container).unwrap();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out[0].contains("`models`"), "{left_out:?}");
}
