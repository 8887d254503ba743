//! The lines that a configuration becomes, on hosts with cgroup v1 and v2, with AppArmor and without.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::config::{Configuration, Layout};
use crate::driver::device::DeviceNode;

const V1: HostFeatures = HostFeatures { cgroups: Cgroups::First, apparmor: false, swap_limit: false };
const V2: HostFeatures = HostFeatures { cgroups: Cgroups::Second, apparmor: true, swap_limit: true };

fn node(name: &str, major: u32, minor: u32) -> DeviceNode {
    DeviceNode { path: PathBuf::from(format!("/dev/{name}")), major, minor, mode: 0o666, group: 0 }
}

fn rendered(entry: &Value, devices: Vec<DeviceNode>, host: HostFeatures) -> String {
    rendered_after(entry, devices, host, &Before::of_new(Own::default()))
}

fn rendered_after(entry: &Value, devices: Vec<DeviceNode>, host: HostFeatures, before: &Before) -> String {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path());
    let file = json!({ "lxc_configs": { "901": entry } }).to_string();
    crate::sys::atomic::write(&layout.containers_file(), file.as_bytes(), 0o644).unwrap();
    let configuration = Configuration::load(&layout).unwrap();
    let container = configuration.container("901".parse().unwrap()).unwrap();
    let is_unprivileged = container.unprivileged == Some(true);
    render(&Desired { container, devices, kept: Vec::new(), mounts: Vec::new() }, host, is_unprivileged, before)
        .unwrap()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.contains(MARKER)).collect()
}

#[test]
fn a_container_of_few_words_gets_few_lines() {
    let text = rendered(&json!({ "name": "small", "template": "/t.tar" }), Vec::new(), V1);
    assert_eq!(lines(&text), ["lxc.uts.name = small", "lxc.apparmor.profile = unconfined", "lxc.net.0.type = empty"]);
}

#[test]
fn resources_are_said_to_the_controllers_that_enforce() {
    let entry = json!({ "name": "a", "template": "/t.tar", "memory_mb": 512, "swap_mb": 256, "cores": 2 });
    let v1 = rendered(&entry, Vec::new(), V1);
    assert!(v1.contains("lxc.cgroup.memory.limit_in_bytes = 536870912\n"), "{v1}");
    assert!(v1.contains("lxc.cgroup.cpu.cfs_quota_us = 200000\n"), "{v1}");
    assert!(!v1.contains("memsw") && !v1.contains("cgroup2"), "{v1}");
    let with_swap = rendered(&entry, Vec::new(), HostFeatures { swap_limit: true, ..V1 });
    assert!(with_swap.contains("lxc.cgroup.memory.memsw.limit_in_bytes = 805306368\n"), "{with_swap}");
    let v2 = rendered(&entry, Vec::new(), V2);
    assert!(v2.contains("lxc.cgroup2.memory.max = 536870912\n"), "{v2}");
    assert!(v2.contains("lxc.cgroup2.memory.swap.max = 268435456\n"), "{v2}");
    assert!(v2.contains("lxc.cgroup2.cpu.max = 200000 100000\n"), "{v2}");
}

#[test]
fn devices_are_bound_one_by_one_and_allowed_by_their_own_numbers() {
    let entry = json!({ "name": "a", "template": "/t.tar" });
    let nodes = vec![node("nvidia1", 195, 1), node("nvidia-uvm", 511, 0)];
    let text = rendered(&entry, nodes.clone(), V2);
    let devices: Vec<&str> =
        lines(&text).into_iter().filter(|line| line.contains("nvidia") || line.contains("devices")).collect();
    assert_eq!(
        devices,
        [
            "lxc.mount.entry = /dev/nvidia1 dev/nvidia1 none bind,create=file 0 0",
            "lxc.cgroup2.devices.allow = c 195:1 rwm",
            "lxc.mount.entry = /dev/nvidia-uvm dev/nvidia-uvm none bind,create=file 0 0",
            "lxc.cgroup2.devices.allow = c 511:0 rwm",
        ]
    );
    assert!(rendered(&entry, nodes, V1).contains("lxc.cgroup.devices.allow = c 195:1 rwm\n"));
}

#[test]
fn an_unprivileged_container_without_a_list_of_devices_gets_none() {
    let nodes = || vec![node("nvidia1", 195, 1)];
    let entry = json!({ "name": "a", "template": "/t.tar", "unprivileged": true });
    let text = rendered(&entry, nodes(), V2);
    assert!(text.contains("lxc.mount.entry = /dev/nvidia1 ") && !text.contains("devices"), "{text}");
    assert!(rendered(&entry, nodes(), V1).contains("lxc.cgroup.devices.allow = c 195:1 rwm\n"));
    let own = json!({
        "name": "a", "template": "/t.tar", "unprivileged": true,
        "lxc_options": ["lxc.cgroup2.devices.allow=c 1:3 rwm"],
    });
    assert!(rendered(&own, nodes(), V2).contains("lxc.cgroup2.devices.allow = c 195:1 rwm\n"));
}

#[test]
fn the_operators_own_apparmor_line_is_the_only_one() {
    let entry = json!({
        "name": "a", "template": "/t.tar", "apparmor_profile": "mine",
        "lxc_options": ["lxc.apparmor.profile=unconfined", "lxc.cap.keep=net_admin,sys_time"],
    });
    let text = rendered(&entry, Vec::new(), V2);
    assert_eq!(text.matches("lxc.apparmor.profile").count(), 1, "{text}");
    assert!(text.contains("lxc.cap.keep = net_admin sys_time\n"), "{text}");
    let profile = json!({ "name": "a", "template": "/t.tar", "apparmor_profile": "mine" });
    assert!(rendered(&profile, Vec::new(), V2).contains("lxc.apparmor.profile = mine\n"));
}

#[test]
fn mounts_keep_their_blanks_and_boot_its_order() {
    let entry = json!({
        "name": "a", "template": "/t.tar", "start_at_boot": true, "boot_order": 3, "boot_delay": 10,
        "mount_points": [{ "host_path": "/srv/my models", "container_path": "/models" }],
    });
    let text = rendered(&entry, Vec::new(), V1);
    assert!(text.contains("lxc.mount.entry = /srv/my\\040models models none bind,create=dir 0 0\n"), "{text}");
    assert!(text.contains("lxc.start.auto = 1\nlxc.start.order = 3\nlxc.start.delay = 10\n"), "{text}");
}

#[test]
fn the_fingerprint_changes_with_the_lines_and_only_with_them() {
    let entry = json!({ "name": "a", "template": "/t.tar" });
    let (plain, again) = (rendered(&entry, Vec::new(), V1), rendered(&entry, Vec::new(), V1));
    let other = rendered(&entry, vec![node("nvidia0", 195, 0)], V1);
    assert_eq!(marker_of(&plain).unwrap().len(), 16);
    assert_eq!(marker_of(&plain), marker_of(&again));
    assert_ne!(marker_of(&plain), marker_of(&other));
}

#[test]
fn differences_are_lines_that_go_and_come() {
    let entry = json!({ "name": "a", "template": "/t.tar" });
    let before = rendered(&entry, vec![node("nvidia0", 195, 0)], V1);
    let after = rendered(&entry, vec![node("nvidia1", 195, 1)], V1);
    assert_eq!(
        differences(&before, &after),
        [
            "- lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,create=file 0 0",
            "- lxc.cgroup.devices.allow = c 195:0 rwm",
            "+ lxc.mount.entry = /dev/nvidia1 dev/nvidia1 none bind,create=file 0 0",
            "+ lxc.cgroup.devices.allow = c 195:1 rwm",
        ]
    );
    assert_eq!(differences(&before, &before), Vec::<String>::new());
}

/// How a container is whose file this was, and whose `config` says this.
fn before(previous: &str, own: &str) -> Before {
    Before { previous: previous.to_owned(), own: Own::of(own), is_new: false }
}

fn full_entry() -> Value {
    json!({
        "name": "a", "template": "/t.tar", "memory_mb": 512, "swap_mb": 256, "cores": 2, "pct_options": ["nesting=1"],
        "network_config": { "name": "eth0", "bridge": "br0", "ip": "10.0.0.5/24", "gw": "10.0.0.1" },
        "start_at_boot": true, "boot_order": 3, "boot_delay": 10, "lxc_options": ["lxc.start.delay=7"],
        "mount_points": [{ "host_path": "/srv/a", "container_path": "/a" }],
    })
}

#[test]
fn what_the_configuration_says_nothing_of_any_more_stays_and_what_was_an_option_goes() {
    for host in [V1, V2, HostFeatures { swap_limit: true, ..V1 }] {
        let full = rendered(&full_entry(), vec![node("nvidia0", 195, 0)], host);
        let less = rendered_after(&json!({ "name": "a", "template": "/t.tar" }), Vec::new(), host, &before(&full, ""));
        let gone: Vec<String> = differences(&full, &less);
        let allowed = if host.cgroups == Cgroups::First { "lxc.cgroup" } else { "lxc.cgroup2" };
        assert_eq!(
            gone,
            [
                "- lxc.start.delay = 7".to_owned(),
                "- lxc.mount.entry = /srv/a a none bind,create=dir 0 0".to_owned(),
                "- lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,create=file 0 0".to_owned(),
                format!("- {allowed}.devices.allow = c 195:0 rwm"),
            ]
        );
        assert_eq!(
            rendered_after(&json!({ "name": "a", "template": "/t.tar" }), Vec::new(), host, &before(&less, "")),
            less
        );
    }
}

#[test]
fn a_container_made_by_hand_keeps_its_network_its_profile_and_its_start() {
    let own = "lxc.net.0.type = veth\nlxc.apparmor.profile = lxc-container-default\nlxc.start.auto = 1\n";
    let of = |entry: &Value, previous: &str| {
        let text = rendered_after(entry, Vec::new(), V2, &before(previous, own));
        lines(&text).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let little = json!({ "name": "a", "template": "/t.tar" });
    assert_eq!(of(&little, ""), ["lxc.uts.name = a"]);
    let taken = "lxc.uts.name = a\nlxc.apparmor.profile = generated\nlxc.net.0.type = empty\n";
    assert_eq!(of(&little, taken), ["lxc.uts.name = a"], "a previous version has taken its network");
    let said = json!({ "name": "a", "template": "/t.tar", "start_at_boot": false, "apparmor_profile": "mine" });
    assert_eq!(of(&said, ""), ["lxc.uts.name = a", "lxc.apparmor.profile = mine", "lxc.start.auto = 0"]);
    let nesting = json!({ "name": "a", "template": "/t.tar", "pct_options": ["nesting=1"] });
    assert_eq!(of(&nesting, ""), ["lxc.uts.name = a", NESTING, "lxc.apparmor.profile = lxc-container-default"]);
    let silent = rendered_after(&little, Vec::new(), V2, &before("", ""));
    assert_eq!(lines(&silent), ["lxc.uts.name = a"]);
}
