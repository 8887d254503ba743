//! One rule for every hypervisor: what the configuration says nothing of stays as somebody has made it.

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::proxmox_node::{ProxmoxNode, TEMPLATE};
use crate::world::{Privilege, World};

const VERSION: &str = "580.76.05";

/// Majors that scripts have written down for `nvidia-uvm`, and that the host gives to nobody.
const STALE: [&str; 2] = ["c 508:* rwm", "c 237:* rwm"];

fn configure(world: &World, entry: &Value) {
    world.write_containers(&json!({ "lxc_configs": { "901": entry } }));
}

/// What liblxc makes of a container's files.
fn effective(world: &World, key: &str) -> String {
    let said = world.lxc("lxc-info", 901, &["-c", key]).ok().stdout;
    said.split_once(" = ").map(|it| it.1.trim().to_owned()).unwrap_or_default()
}

#[test]
fn plain_lxc_leaves_a_container_made_by_hand_its_network_its_profile_and_its_start() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    let by_hand = [
        "lxc.signal.halt = SIGKILL",
        "lxc.net.0.type = veth",
        "lxc.net.0.name = lan0",
        "lxc.start.auto = 1",
        "lxc.cgroup.devices.allow = c 508:* rwm",
        "lxc.cgroup2.devices.allow = c 237:* rwm",
        "lxc.cgroup.devices.allow = c 10:200 rwm",
    ];
    world.create_by_hand(901, Privilege::Privileged, &by_hand);
    let entry = json!({ "name": "mine", "gpu_assignment": "0" });
    configure(&world, &entry);
    world.run_on(&host, &["create", "901"]).ok();
    assert_eq!(
        world
            .inside(901, "ls /sys/class/net /dev/nvidia0")
            .ok()
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "/dev/nvidia0 /sys/class/net: lan0 lo"
    );
    assert_eq!(effective(&world, "lxc.start.auto"), "1");
    assert_eq!(effective(&world, "lxc.apparmor.profile"), "unconfined");
    let config = fs_err::read_to_string(world.lxcpath().join("901/config")).unwrap();
    assert!(STALE.iter().all(|line| !config.contains(line)), "{config}");
    assert!(config.contains("c 10:200 rwm"), "{config}");
    assert_eq!(world.run_on(&host, &["create", "901"]).ok().stdout, "901 mine: nothing to do\n");
    let mut said = entry;
    said["start_at_boot"] = json!(false);
    configure(&world, &said);
    world.run_on(&host, &["create", "901"]).ok();
    assert_eq!(effective(&world, "lxc.start.auto"), "0");
}

#[test]
fn proxmox_leaves_a_container_made_by_hand_its_network_its_start_and_who_may_use_its_gpu() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    let node = ProxmoxNode::new(&world);
    let run =
        |words: &[&str]| world.run_with(Some(&host), &[words, &["--backend", "proxmox"]].concat(), &node.environment());
    let mut entry = json!({ "name": "mine", "template": TEMPLATE, "storage_pool": "tank", "unprivileged": true });
    configure(&world, &entry);
    run(&["create", "901"]).ok();
    let by_hand = "onboot: 1\ndev0: /dev/nvidia0,gid=996,mode=0660\nnet0: name=lan0,type=veth\n";
    let stale: String = STALE.iter().map(|value| format!("lxc.cgroup2.devices.allow: {value}\n")).collect();
    node.edit(901, |text| {
        format!("{}{by_hand}{stale}lxc.cgroup2.devices.allow: c 10:200 rwm\n", text.replace("onboot: 0\n", ""))
    });
    entry["gpu_assignment"] = json!("0");
    configure(&world, &entry);
    run(&["create", "901"]).ok();
    let conf = node.conf(901);
    assert!(by_hand.lines().all(|line| conf.contains(line)), "{conf}");
    assert!(STALE.iter().all(|line| !conf.contains(line)), "{conf}");
    assert!(conf.contains("c 10:200 rwm"), "{conf}");
    entry["gpu_mode"] = json!("0600");
    entry["gpu_gid"] = json!(44);
    entry["start_at_boot"] = json!(false);
    configure(&world, &entry);
    run(&["create", "901"]).ok();
    let conf = node.conf(901);
    let said = ["onboot: 0", "dev0: /dev/nvidia0,gid=44,mode=0600", "dev1: /dev/nvidiactl,gid=44,mode=0600"];
    assert!(said.iter().all(|line| conf.contains(line)), "{conf}");
}
