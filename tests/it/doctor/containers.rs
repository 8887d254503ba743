//! What the doctor finds in containers.

use super::{OTHER, VERSION, configure, found, world};
use crate::gpu_host::PretendedGpuHost;
use crate::shown::assert_shown;
use crate::tree;

const DPKG: &str = "\nPackage: libcuda1\nStatus: install ok installed\nVersion: 535.183.01-1\n\
                    \nPackage: nvidia-smi\nStatus: install ok installed\nVersion: 535.183.01-1\n";

#[test]
fn a_container_that_is_in_order_has_no_findings_of_its_own() {
    let (world, host) = (world(), PretendedGpuHost::with_one_gpu(VERSION));
    world.run_on(&host, &["host", "prepare"]).ok();
    assert_eq!(found(&world, &host, 0, &["--all"]), ["host run-file-unchecked", "901 absent"]);
    world.run_on(&host, &["create", "901"]);
    world.pretend_kernel_module(901, VERSION);
    let before = tree::of(&world.rootfs(901));
    let arguments = ["doctor", "901"];
    assert_shown("doctor_of_a_sound_container", &world, &arguments, &world.run_on(&host, &arguments));
    assert_eq!(tree::differences(&before, &tree::of(&world.rootfs(901))), "");

    // Everything at once that somebody may do to a container.
    let rootfs = world.rootfs(901);
    let status = rootfs.join("var/lib/dpkg/status");
    let old = fs_err::read_to_string(&status).unwrap();
    fs_err::write(&status, old + DPKG).unwrap();
    let library = "for it in $(find / -xdev -name 'libcuda.so.580*'); do cp $it ${it%580*}570.133.20; done";
    world.inside(901, library).ok();
    world.inside(901, "mkdir /tmp/phoenix-nvidia-run-0123456789abcdef").ok();
    world
        .inside(
            901,
            "mkdir -p /usr/bin; printf '#!/bin/sh\\n' > /usr/bin/nvidia-container-runtime; chmod 755 \
             /usr/bin/nvidia-container-runtime",
        )
        .ok();
    world.inside(901, "mkdir -p /etc/docker; echo '{ oops' > /etc/docker/daemon.json").ok();
    world.pretend_kernel_module(901, OTHER);
    configure(&world, OTHER);
    assert_shown("doctor_of_a_maltreated_container", &world, &arguments, &world.run_on(&host, &arguments));
    host.sh("mv /dev/nvidiactl /dev/away").ok();
    let rules = found(&world, &host, 4, &["901"]);
    let both = ["901 gpu-unavailable", "901 several-versions"];
    assert!(both.iter().all(|rule| rules.iter().any(|it| it == rule)), "one fault hides no other: {rules:?}");
    host.sh("mv /dev/away /dev/nvidiactl").ok();
    world.lxc("lxc-stop", 901, &["--kill"]).ok();
    let rules = found(&world, &host, 4, &["901"]);
    assert!(rules.contains(&"901 not-running".to_owned()), "{rules:?}");
}

#[test]
fn a_node_that_is_closed_missing_or_no_device_is_reported() {
    let (world, host) =
        (world(), PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).node_mode(0o660).start());
    world.run_on(&host, &["host", "prepare"]).ok();
    world.run_on(&host, &["create", "901"]);
    world.pretend_kernel_module(901, VERSION);
    let rules = found(&world, &host, 4, &["901"]);
    assert!(rules.contains(&"901 container-node-access".to_owned()), "{rules:?}");
    // Somebody takes the lines of two nodes out, and a program in the container writes to one of them.
    world.lxc_on(&host, "lxc-stop", 901, &["--kill"]).ok();
    let directory = world.lxcpath().join("901");
    for file in ["config", "phoenix-nvidia.conf"].map(|name| directory.join(name)) {
        let text = fs_err::read_to_string(&file).unwrap();
        let is_kept = |line: &&str| !line.contains("/dev/nvidia-uvm") && !line.contains("/dev/nvidiactl");
        let kept: String = text.lines().filter(is_kept).map(|line| line.to_owned() + "\n").collect();
        fs_err::write(&file, kept).unwrap();
    }
    world.lxc_on(&host, "lxc-start", 901, &["--daemon"]).ok();
    world.inside(901, "echo something > /dev/nvidiactl").ok();
    let rules = found(&world, &host, 4, &["901"]);
    let all = ["901 container-node-missing", "901 container-node-wrong", "901 settings-drift"];
    assert!(all.iter().all(|rule| rules.iter().any(|it| it == rule)), "{rules:?}");
}

#[test]
fn a_node_that_the_host_has_never_had_hides_nothing_else() {
    let world = world();
    // Without a module nobody gives it a node.
    world.run(&["create", "901"]).ok();
    let library = "for it in $(find / -xdev -name 'libcuda.so.580*'); do cp $it ${it%580*}570.133.20; done";
    world.inside(901, library).ok();
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).without_node("nvidia-uvm").start();
    let rules = found(&world, &host, 4, &["901"]);
    let all = ["901 gpu-unavailable", "901 several-versions"];
    assert!(all.iter().all(|rule| rules.iter().any(|it| it == rule)), "{rules:?}");
    assert!(!rules.contains(&"901 not-examined".to_owned()), "{rules:?}");
    let said = world.run_on(&host, &["doctor", "901"]).stdout;
    assert!(said.contains("the device node `/dev/nvidia-uvm` is missing on this host [gpu-unavailable]"), "{said}");
}

#[test]
fn settings_that_differ_and_settings_that_bring_the_hosts_driver_in_are_reported_one_a_line() {
    let (world, host) = (world(), PretendedGpuHost::with_one_gpu(VERSION));
    world.run_on(&host, &["create", "901"]);
    let directory = world.lxcpath().join("901");
    let edit = |file: &str, change: &dyn Fn(&str) -> String| {
        let file = directory.join(file);
        fs_err::write(&file, change(&fs_err::read_to_string(&file).unwrap())).unwrap();
    };
    // As Incus and the toolkit's manual write it; with `void` the hook does nothing.
    let hook = "lxc.hook.mount = /usr/share/lxc/hooks/nvidia\nlxc.environment = NVIDIA_VISIBLE_DEVICES=";
    edit("config", &|text| format!("{text}{hook}void\n"));
    assert!(!world.run_on(&host, &["plan", "901"]).stdout.contains("host's own driver"));
    edit("config", &|text| text.replace("=void", "=all"));
    edit("phoenix-nvidia.conf", &|text| text.replace("/dev/nvidiactl", "/dev/elsewhere"));
    let said = world.run_on(&host, &["doctor", "901"]).exits(4).stdout;
    let lines: Vec<&str> = said.lines().skip_while(|line| !line.contains("[settings-drift]")).skip(1).collect();
    assert_eq!(lines[0], "    - lxc.mount.entry = /dev/elsewhere dev/nvidiactl none bind,create=file 0 0", "{said}");
    assert!(lines[1].starts_with("    + lxc.mount.entry = /dev/nvidiactl dev/nvidiactl"), "{said}");
    let expected = format!(
        "over the installed one at every start [host-driver-bound]\n    lxc.hook.mount: /usr/share/lxc/hooks/nvidia\n  remedy: remove \
         these lines from `{}`",
        directory.join("config").display()
    );
    assert!(said.contains(&expected), "{said}");
    let plan = world.run_on(&host, &["plan", "901"]).stdout;
    assert!(plan.contains("its settings mount the host's driver over the installed one at every start"), "{plan}");
}

#[test]
fn a_receipt_that_cannot_be_read_is_kept_aside_and_the_driver_is_looked_at() {
    let world = world();
    world.run(&["create", "901"]).ok();
    let receipts = world.base().join("lib/receipts");
    let receipt = receipts.join("901.json");
    let whole = fs_err::read(&receipt).unwrap();
    let damaged = &whole[..whole.len() / 2];
    fs_err::write(&receipt, damaged).unwrap();
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    let rules = found(&world, &host, 4, &[]);
    assert!(rules.contains(&"901 receipt-unreadable".to_owned()), "{rules:?}");
    assert_eq!(fs_err::read(&receipt).unwrap(), damaged, "looking changes nothing");
    world.run(&["install", "901"]).ok();
    assert_eq!(fs_err::read(&receipt).unwrap(), whole, "the container's own copy tells the same");
    let aside: Vec<_> = fs_err::read_dir(&receipts)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("901.json.unreadable-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs_err::read(&aside[0]).unwrap(), damaged);
    let rules = found(&world, &host, 0, &[]);
    assert!(rules.contains(&"host receipt-renamed".to_owned()), "{rules:?}");
    assert!(!rules.contains(&"901 receipt-unreadable".to_owned()), "{rules:?}");

    // A container that claims a driver of its own must not have the host believe it.
    fs_err::write(&receipt, damaged).unwrap();
    fs_err::remove_file(world.rootfs(901).join("usr/bin/nvidia-smi")).unwrap();
    world.run(&["install", "901"]).ok();
    assert_eq!(world.run(&["status", "901"]).ok().stdout.matches("installed, not verified live").count(), 1);
    assert_eq!(fs_err::read_dir(&receipts).unwrap().count(), 3);
}
