//! Containers as guides have their readers make them, each in its own fashion.

use super::{ByHand, IN_SYNC, LEAST, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::test_driver::TestDriver;
use crate::world::{Privilege, World};

/// What guides have their readers write, each in its own fashion.
const FASHIONS: [(&str, Privilege, &[&str]); 8] = [
    ("no-blanks", Privilege::Privileged, &["lxc.mount.entry=/dev/nvidia0 dev/nvidia0 none bind,optional,create=file"]),
    (
        "tabs",
        Privilege::Privileged,
        &["lxc.mount.entry\t=\t/dev/nvidia0\tdev/nvidia0\tnone\tbind,optional,create=file\t0\t0"],
    ),
    (
        "old-rules",
        Privilege::Privileged,
        &["lxc.cgroup.devices.allow = c 195:* rwm", "# lxc.mount.entry = /dev/nvidia9"],
    ),
    (
        "new-rules",
        Privilege::Privileged,
        &["lxc.cgroup2.devices.allow = c 195:0 rw", "lxc.cgroup2.devices.allow = c 511:* rwm"],
    ),
    (
        "absolute",
        Privilege::Privileged,
        &["lxc.mount.entry = /dev/nvidia0 /dev/nvidia0 none bind,optional,create=file 0 0"],
    ),
    (
        "passed-group",
        Privilege::Unprivileged,
        &["lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,optional,create=file", "lxc.start.auto = 1"],
    ),
    (
        "capabilities",
        Privilege::Unprivileged,
        &["lxc.mount.entry = /dev/nvidia-caps dev/nvidia-caps none bind,optional,create=dir"],
    ),
    (
        "network",
        Privilege::Privileged,
        &[
            "lxc.net.1.type = veth",
            "lxc.net.1.link = br-none",
            "lxc.mount.entry = /dev/nvidiactl dev/nvidiactl none bind,optional,create=file",
        ],
    ),
];

#[test]
fn containers_of_every_fashion_are_found_and_brought_in_sync_without_a_change_of_their_files() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    TestDriver::new(VERSION).write_into(&world.cache());
    for (name, privilege, lines) in FASHIONS {
        world.create_by_hand(name, privilege, lines);
    }
    // Lines in a file of their own, and a root elsewhere.
    let included = world.scratch("gpu.conf");
    fs_err::write(&included, LEAST.join("\n")).unwrap();
    world.create_by_hand("included", Privilege::Privileged, &[&format!("lxc.include = {}", included.display())]);
    let elsewhere = world.scratch("elsewhere");
    fs_err::rename(world.rootfs("included"), &elsewhere).unwrap();
    let config = world.lxcpath().join("included/config");
    let text = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, text.replace(&world.rootfs("included").display().to_string(), elsewhere.to_str().unwrap()))
        .unwrap();
    // liblxc takes any bytes in a comment.
    let config = world.lxcpath().join("tabs/config");
    fs_err::write(&config, [b"# f\xfcr GPUs\n", &fs_err::read(&config).unwrap()[..]].concat()).unwrap();
    let by_hand = ByHand { world, host };
    let settings = by_hand.settings();
    let applied = by_hand.run(&["apply", "--all"]);
    let status = by_hand.status();
    let not_in_sync: Vec<_> = status.iter().filter(|(_, row)| row[2] != IN_SYNC).collect();
    assert_eq!((status.len(), not_in_sync), (FASHIONS.len() + 1, Vec::new()), "{}", applied.stderr);
    assert_eq!(by_hand.settings(), settings);
    assert!(elsewhere.join("usr/bin/nvidia-smi").exists());
    by_hand.run(&["adopt", "--write"]).ok();
    let planned = by_hand.run(&["plan", "--all"]).ok().stdout;
    assert_eq!(planned.matches("nothing to do").count(), FASHIONS.len() + 1, "{planned}");
    assert_eq!(by_hand.settings(), settings);
}
