//! Containers of Proxmox VE that nobody has configured: found and adopted by their own files, which stay as they are.

use serde_json::{Value, json};

use super::{IN_SYNC, VERSION, of, rows};
use crate::gpu_host::PretendedGpuHost;
use crate::proxmox_node::{ProxmoxNode, TEMPLATE};
use crate::test_driver::TestDriver;
use crate::world::World;

/// A messy file of an operator: a section for a snapshot, notes, raw lines of an older guide, and one `devN`.
const MESSY: &str = "\
#<div align='center'>Jellyfin</div>
arch: amd64
cores: 4
dev0: /dev/nvidia0,gid=44
dev1: /dev/nvidiactl
features: nesting=1
hostname: jellyfin
memory: 2048
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth
onboot: 1
ostype: debian
parent: before
rootfs: local:905/vm-905-disk-0.raw,size=8G
tags: community-script;media
unprivileged: 1
lxc.cgroup2.devices.allow: c 511:* rwm
lxc.mount.entry: /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file

[before]
arch: amd64
hostname: jellyfin
";

#[test]
fn proxmox_ves_containers_are_found_in_their_files() {
    let world = World::new();
    let (node, host) = (ProxmoxNode::new(&world), PretendedGpuHost::with_one_gpu(VERSION));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    TestDriver::new(VERSION).write_into(&world.cache());
    let run = |words: &[&str]| {
        world.run_with(
            Some(&host),
            &[words, &["--backend", "proxmox", "--lock-timeout", "1"]].concat(),
            &node.environment(),
        )
    };
    let pct = |words: &[&str]| {
        host.run(node.pct().to_str().unwrap(), words, &[("LC_ALL", "C.UTF-8".into())]).ok();
    };
    for (ctid, name) in [("905", "jellyfin"), ("906", "web")] {
        pct(&["create", ctid, TEMPLATE, "--hostname", name, "--unprivileged", "1", "--storage", "tank"]);
    }
    let rootfs = node.conf(905).lines().find(|line| line.starts_with("rootfs:")).unwrap().to_owned();
    node.edit(905, |_| {
        let lines = MESSY.lines().map(|line| if line.starts_with("rootfs:") { rootfs.as_str() } else { line });
        lines.filter(|line| !line.starts_with("net0")).map(|line| format!("{line}\n")).collect()
    });
    fs_err::write(node.root("tank", 905).join("etc/pretended-kernel-module"), VERSION).unwrap();
    pct(&["start", "905"]);
    let before = (node.conf(905), node.conf(906));
    let status = || rows(&run(&["status", "--output", "json"]).ok().stdout);
    assert_eq!(status(), of([("905", ["null", "null", "not installed"])]));
    run(&["apply", "--all"]).ok();
    assert_eq!(status(), of([("905", [VERSION, "compute", IN_SYNC])]));
    run(&["install", "906"]).ok();
    run(&["uninstall", "906"]).ok();
    run(&["uninstall", "--all"]).ok();
    assert_eq!((node.conf(905), node.conf(906)), before);
    run(&["adopt", "--write"]).ok();
    let planned = run(&["plan", "--all"]).ok().stdout;
    assert!(planned.contains("install driver") && !planned.contains("settings"), "{planned}");
    run(&["create", "905"]).ok();
    assert_eq!(status(), of([("905", [VERSION, "compute", IN_SYNC])]));
    assert_eq!((node.conf(905), node.conf(906)), before);
    let said = run(&["install", "jellyfin"]).exits(3).stderr;
    assert!(said.contains("container jellyfin is not defined in"), "{said}");
}

#[test]
fn odd_files_of_proxmox_ve_are_adopted_and_planned_without_a_change_of_them() {
    let world = World::new();
    let (node, host) = (ProxmoxNode::new(&world), PretendedGpuHost::with_one_gpu(VERSION));
    let run = |words: &[&str]| {
        world.run_with(
            Some(&host),
            &[words, &["--backend", "proxmox", "--lock-timeout", "1"]].concat(),
            &node.environment(),
        )
    };
    let fixtures = [
        include_str!("../../fixtures/pct/conf-pending.txt"),
        include_str!("../../fixtures/pct/conf-raw-lines.txt"),
        include_str!("../../fixtures/pct/conf-snapshot-appended.txt"),
        include_str!("../../fixtures/pct/conf-snapshot-described.txt"),
        MESSY,
    ];
    let guests: Vec<(u32, &str)> = (910..).zip(fixtures).collect();
    // What `cat` was asked for stands above what it printed.
    let recorded = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("pct (") && !line.starts_with("$ "))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    for (ctid, text) in &guests {
        node.write(&format!("lxc/{ctid}.conf"), &format!("dev7: /dev/nvidia0,gid=44\n{}", recorded(text)));
    }
    let list =
        guests.iter().map(|(ctid, _)| (ctid.to_string(), json!({ "node": node.name(), "type": "lxc", "version": 1 })));
    node.set_guests(&Value::Object(list.collect()));
    let before: Vec<String> = guests.iter().map(|(ctid, _)| node.conf(*ctid)).collect();
    run(&["adopt", "--write"]).ok();
    run(&["lint"]).ok();
    let planned: Vec<Value> = serde_json::from_str::<Value>(&run(&["plan", "--all", "--output", "json"]).stdout)
        .unwrap()["containers"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(planned.len(), guests.len());
    for plan in &planned {
        let steps: Vec<&str> =
            plan["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
        let of_drivers = ["fetch_run_file", "extract_driver", "install_driver", "verify"];
        assert!(steps.iter().all(|step| of_drivers.contains(step)), "{plan}");
    }
    assert_eq!(guests.iter().map(|(ctid, _)| node.conf(*ctid)).collect::<Vec<_>>(), before);
}
