//! That a host can seem to have GPUs, and that real containers start on it and see what they would see there.

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::world::{Privilege, World};

/// The device line of the cgroup version that this host enforces.
fn allow(device: &str) -> String {
    let v1 = std::path::Path::new("/sys/fs/cgroup/devices").exists();
    format!("lxc.cgroup{}.devices.allow = {device}", if v1 { "" } else { "2" })
}

/// What opening a node inside says.
fn opening(world: &World, ctid: u32, node: &str) -> String {
    world.inside(ctid, &format!("LC_ALL=C; (: < {node}) 2>&1")).stdout
}

const NODES: [&str; 2] = [
    "lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,create=file 0 0",
    "lxc.mount.entry = /dev/nvidia-uvm dev/nvidia-uvm none bind,create=file 0 0",
];

#[test]
fn it_shows_a_module_gpus_and_nodes_and_the_host_beside_it_does_not() {
    let host = PretendedGpuHost::with_module("580.76.05")
        .on_disk("580.142")
        .gpu("0000:07:00.0", 2)
        .gpu("0000:01:00.0", 0)
        .uvm_major(508)
        .node_mode(0o660)
        .without_node("nvidia-uvm-tools")
        .start();
    let version = host.sh("head -n 1 /proc/driver/nvidia/version").ok().stdout;
    assert!(version.starts_with("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.76.05  "), "{version}");
    assert_eq!(host.sh("modinfo -F version nvidia").ok().stdout, "580.142\n");
    let minor = host.sh("grep Minor /proc/driver/nvidia/gpus/0000:07:00.0/information").ok().stdout;
    assert_eq!(minor, "Device Minor: \t 2\n");
    assert_eq!(host.sh("grep nvidia-uvm /proc/devices").ok().stdout, "508 nvidia-uvm\n");
    let nodes = host.sh("cd /dev; stat -c '%n %a %Hr:%Lr' nvidia*").ok().stdout;
    assert_eq!(
        nodes,
        "nvidia-modeset 660 195:254\nnvidia-uvm 660 508:0\nnvidia0 660 195:0\nnvidia2 660 195:2\nnvidiactl 660 195:255\n"
    );
    host.sh("echo > /dev/null; test -c /dev/ptmx && test -e /dev/pts/ptmx").ok();
    assert!(!std::path::Path::new("/dev/nvidia2").exists());
}

#[test]
fn what_one_program_makes_in_dev_the_next_one_finds() {
    let host = PretendedGpuHost::with_module("580.76.05").gpu("0000:01:00.0", 0).without_nodes().start();
    host.sh("test -e /dev/nvidiactl").exits(1);
    host.sh("mknod /dev/nvidia0 c 195 0").ok();
    host.sh("test -c /dev/nvidia0").ok();
}

#[test]
fn the_open_module_says_so() {
    let host = PretendedGpuHost::with_module("580.142").open_kernel_module().start();
    assert!(
        host.sh("cat /proc/driver/nvidia/version").ok().stdout.contains("Open Kernel Module for x86_64  580.142  ")
    );
}

#[test]
fn a_privileged_container_opens_what_its_cgroup_allows_and_nothing_else() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu("580.76.05"));
    let ctid = world.ctid();
    world.create_by_hand(ctid, Privilege::Privileged, &[&NODES[..], &[&allow("c 195:0 rwm")]].concat());
    world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).ok();
    assert!(opening(&world, ctid, "/dev/nvidia0").contains("No such device or address"), "allowed, without a driver");
    assert!(opening(&world, ctid, "/dev/nvidia-uvm").contains("Operation not permitted"), "forbidden");
}

#[test]
fn an_unprivileged_container_starts_there_and_sees_nodes_of_nobody() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu("580.76.05"));
    let ctid = world.ctid();
    world.create_by_hand(ctid, Privilege::Unprivileged, &NODES);
    world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).ok();
    assert_eq!(world.inside(ctid, "stat -c '%u %a %Hr:%Lr' /dev/nvidia-uvm").ok().stdout, "65534 666 511:0\n");
    assert!(opening(&world, ctid, "/dev/nvidia-uvm").contains("No such device or address"));
    assert!(world.inside(ctid, "cat /proc/devices").ok().stdout.contains("Character devices"));
}

#[test]
fn a_world_that_ends_leaves_no_container_and_no_directory() {
    let world = World::new();
    let (ctid, directory) = (world.ctid(), world.scratch(""));
    world.create_by_hand(ctid, Privilege::Unprivileged, &[]);
    world.lxc("lxc-start", ctid, &["--daemon"]).ok();
    let pid = world.lxc("lxc-info", ctid, &["--pid", "--no-humanize"]).ok().stdout;
    drop(world);
    assert!(!directory.exists());
    // The shell's own `kill`: a minimal Debian has no other.
    Ran::of("sh", &["-c", &format!("kill -0 {}", pid.trim())], &[]).exits(1);
}
