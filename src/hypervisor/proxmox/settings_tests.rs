//! What a configuration asks of `pct`, for new containers and for those that are nearly right.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::config::{Configuration, Layout};
use crate::driver::device::DeviceNode;

fn node(name: &str) -> DeviceNode {
    DeviceNode { path: PathBuf::from(format!("/dev/{name}")), major: 195, minor: 0, mode: 0o666, group: 0 }
}

fn surroundings(version: &str) -> Surroundings {
    Surroundings { version: Version::parse(version).unwrap(), majors: Majors::default(), allow: devices::ALLOW[0] }
}

/// What separates a container with this file from one with this entry and these devices.
fn changes(entry: &Value, devices: &[&str], file: &str, record: &Record, version: &str) -> (Changes, bool) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path());
    let containers = json!({ "lxc_configs": { "901": entry } }).to_string();
    crate::sys::atomic::write(&layout.containers_file(), containers.as_bytes(), 0o644).unwrap();
    let configuration = Configuration::load(&layout).unwrap();
    let container = configuration.container("901".parse().unwrap()).unwrap();
    let devices = devices.iter().map(|name| node(name)).collect();
    let desired = Desired { container, devices, kept: Vec::new(), mounts: Vec::new() };
    let (config, surroundings) = (ConfigFile::new(file), surroundings(version));
    let changes = Changes::between(&config, &desired, record, &surroundings);
    let restart = changes.need_restart(&config, surroundings.version);
    (changes, restart)
}

#[test]
fn a_drivers_mount_is_a_raw_line_and_asks_for_no_restart() {
    let mount = DriverMount {
        source: "/base/lib/mounts/580.76.05-compute/driver".into(),
        target: format!("{}/580.76.05-compute", DriverMount::DIRECTORY),
    };
    let line = RawLine::new("lxc.mount.entry", &liblxc::driver_mount(&mount));
    assert!(is_driver_mount(&line), "{line}");
    assert!(!is_driver_mount(&RawLine::new("lxc.mount.entry", "/srv/a usr/lib/other none bind 0 0")));
    let changes = Changes { raw_come: vec![line.clone()], raw_gone: vec![line], ..Changes::default() };
    assert!(!changes.need_restart(&ConfigFile::new(""), Version::parse("6.1.10").unwrap()));
}

fn words(entry: &Value, devices: &[&str], file: &str) -> String {
    changes(entry, devices, file, &Record::default(), "6.1.10").0.words().join(" ")
}

fn full_entry() -> Value {
    json!({
        "name": "gpu1", "memory_mb": 1024, "swap_mb": 0, "cores": 2, "pct_options": ["nesting=1", "keyctl=1"],
        "network_config": { "name": "eth0", "bridge": "vmbr0", "ip": "10.99.0.11/24", "gw": "10.99.0.1",
            "nameservers": "10.99.0.1 8.8.8.8" },
        "mac_address": "52:54:00:aa:bb:cd", "start_at_boot": true, "boot_order": 3, "boot_delay": 10,
        "mount_points": [{ "host_path": "/srv/models", "container_path": "/models" }],
        "volumes": [{ "name": "data", "pool": "tank", "size_gb": 50, "mount_point": "/data" }],
        "lxc_options": ["lxc.cap.drop=mknod"], "apparmor_profile": "mine",
    })
}

/// The file of a container as `pct` writes it, in its order and with what it adds.
const FULL_FILE: &str = "\
arch: amd64
cores: 2
dev0: /dev/nvidia0,mode=0666
features: keyctl=1,nesting=1
hostname: gpu1
memory: 1024
mp0: /srv/models,mp=/models
mp1: tank:subvol-901-disk-1,mp=/data,size=50G
nameserver: 10.99.0.1 8.8.8.8
net0: name=eth0,bridge=vmbr0,firewall=1,gw=10.99.0.1,hwaddr=52:54:00:AA:BB:CD,ip=10.99.0.11/24,type=veth
onboot: 1
ostype: debian
rootfs: tank:subvol-901-disk-0,size=8G
startup: order=3,up=10,down=60
swap: 0
unprivileged: 1
lxc.cap.drop: mknod
lxc.apparmor.profile: mine
";

#[test]
fn a_new_container_is_reported_everything_at_once() {
    insta::assert_snapshot!(words(&full_entry(), &["nvidia0"], "").replace(" --", "\n--"), @r"
    --hostname gpu1
    --memory 1024
    --swap 0
    --cores 2
    --nameserver 10.99.0.1 8.8.8.8
    --features nesting=1,keyctl=1
    --onboot 1
    --startup order=3,up=10
    --net0 name=eth0,bridge=vmbr0,ip=10.99.0.11/24,gw=10.99.0.1,hwaddr=52:54:00:AA:BB:CD
    --mp0 /srv/models,mp=/models
    --mp1 tank:50,mp=/data
    --dev0 /dev/nvidia0,mode=0666
    ");
}

#[test]
fn a_container_as_pct_writes_it_lacks_nothing() {
    let (changes, restart) = changes(&full_entry(), &["nvidia0"], FULL_FILE, &Record::default(), "6.1.10");
    assert_eq!((changes, restart), (Changes::default(), false));
}

#[test]
fn what_the_configuration_does_not_name_stays() {
    let entry = json!({ "name": "gpu1" });
    assert_eq!(words(&entry, &["nvidia0"], FULL_FILE), "");
    let file = FULL_FILE.replace("mode=0666", "gid=996,mode=0660");
    assert_eq!(words(&entry, &["nvidia0"], &file), "");
    assert_eq!(words(&json!({ "name": "gpu1", "start_at_boot": false }), &["nvidia0"], &file), "--onboot 0");
}

#[test]
fn a_delay_is_no_time_for_a_shutdown() {
    let entry = json!({ "name": "gpu1", "boot_order": 3, "boot_delay": 10 });
    let of = |startup: &str| words(&entry, &[], &format!("hostname: gpu1\nstartup: {startup}\n"));
    assert_eq!(of("order=3,up=10,down=10"), "--startup order=3,up=10", "a previous version has put it there");
    assert_eq!(of("order=3,up=10,down=120"), "", "an operator has");
    assert_eq!(of("3,up=10"), "");
    assert_eq!(of("2,down=10"), "--startup order=3,up=10,down=10");
    assert_eq!(words(&json!({ "name": "gpu1" }), &[], "hostname: gpu1\nstartup: order=3,up=10,down=10\n"), "");
}

#[test]
fn an_interface_keeps_its_address_and_what_others_have_set() {
    let entry = json!({ "name": "gpu1", "start_at_boot": true,
        "network_config": { "name": "eth0", "bridge": "vmbr1", "ip": "dhcp" } });
    assert_eq!(
        words(&entry, &["nvidia0"], FULL_FILE),
        "--net0 name=eth0,bridge=vmbr1,ip=dhcp,firewall=1,hwaddr=52:54:00:AA:BB:CD,type=veth"
    );
}

#[test]
fn a_change_that_waits_already_is_not_made_again() {
    let file = "hostname: gpu1\nmemory: 512\nfeatures: nesting=1\n\n[pve:pending]\nfeatures: nesting=1,keyctl=1\n";
    let entry = json!({ "name": "gpu1", "memory_mb": 512, "pct_options": ["nesting=1", "keyctl=1"] });
    assert_eq!(words(&entry, &[], file), "");
    let back = json!({ "name": "gpu1", "memory_mb": 512, "pct_options": ["nesting=1"] });
    assert_eq!(words(&back, &[], file), "--features nesting=1");
}

#[test]
fn a_gpu_that_is_no_longer_assigned_is_taken_away_and_foreign_devices_stay() {
    let file = "hostname: gpu1\ndev0: /dev/nvidia0,mode=0666\ndev1: /dev/nvidia1,mode=0666\ndev2: /dev/kvm\n";
    let entry = json!({ "name": "gpu1" });
    let (changes, restart) = changes(&entry, &["nvidia1"], file, &Record::default(), "6.1.10");
    assert_eq!((changes.words().join(" ").as_str(), restart), ("--delete dev0", true));
    assert_eq!(changes.phrases(&ConfigFile::new(file)), ["- dev0: /dev/nvidia0,mode=0666"]);
}

#[test]
fn a_new_device_comes_into_a_running_container_where_pct_can() {
    let file = "hostname: gpu1\n";
    let restart = |version| changes(&json!({ "name": "gpu1" }), &["nvidia0"], file, &Record::default(), version).1;
    assert!(!restart("6.0.4"));
    assert!(restart("6.0.3"));
}

#[test]
fn an_old_pct_gets_raw_lines_and_a_newer_one_takes_them_away_again() {
    let entry = json!({ "name": "gpu1" });
    let old = changes(&entry, &["nvidia0"], "hostname: gpu1\n", &Record::default(), "4.4.7").0;
    assert!(!old.needs_pct());
    let lines: Vec<String> = old.raw_come.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,create=file", "lxc.cgroup2.devices.allow: c 195:0 rwm"]
    );
    let file = format!("hostname: gpu1\n{}\nlxc.cap.drop: mknod\n\n[s]\n{}\n", lines.join("\n"), lines.join("\n"));
    let new = changes(&entry, &["nvidia0"], &file, &Record::default(), "6.1.10").0;
    assert_eq!(new.words(), ["--dev0", "/dev/nvidia0,mode=0666"]);
    let edited = ConfigFile::new(file).edited(&new.raw_gone, &new.raw_come);
    assert_eq!(edited, format!("hostname: gpu1\nlxc.cap.drop: mknod\n\n[s]\n{}\n", lines.join("\n")));
}

#[test]
fn a_raw_line_and_a_mount_of_ours_go_when_they_are_no_longer_configured() {
    let record = Record {
        raw: [RawLine::new("lxc.cap.drop", "mknod")].into(),
        mounts: ["/models".to_owned(), "/data".to_owned()].into(),
        ..Record::default()
    };
    let entry = json!({ "name": "gpu1", "start_at_boot": true });
    let (changes, _) = changes(&entry, &["nvidia0"], FULL_FILE, &record, "6.1.10");
    assert_eq!(changes.words(), ["--delete", "mp0"], "a volume is never taken away");
    assert_eq!(changes.raw_gone, [RawLine::new("lxc.cap.drop", "mknod")], "the profile line is not ours");
}

#[test]
fn a_profile_that_allows_nesting_needs_no_feature_and_unconfined_no_line() {
    let entry = json!({ "name": "gpu1", "pct_options": ["nesting=1"], "apparmor_manages_nesting": true,
        "apparmor_profile": "unconfined" });
    let (changes, _) = changes(&entry, &[], "hostname: gpu1\n", &Record::default(), "6.1.10");
    assert!(changes.is_empty(), "{changes:?}");
}
