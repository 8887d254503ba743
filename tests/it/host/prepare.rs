//! `host prepare` and `host show` on pretended hosts: real nodes with the numbers of `/proc`, whatever was there before.

use crate::gpu_host::{GpuHostBuilder, PretendedGpuHost};
use crate::ran::Ran;
use crate::shown::assert_shown;
use crate::world::World;

const VERSION: &str = "580.76.05";

/// Two GPUs whose order on the bus is not that of their nodes, and a major that is seldom seen.
fn two_gpus() -> GpuHostBuilder {
    PretendedGpuHost::with_module(VERSION).gpu("0000:07:00.0", 2).gpu("0000:81:00.0", 0).uvm_major(508)
}

/// Every node of NVIDIA's on this host: name, mode, numbers; and its links.
fn nodes(host: &PretendedGpuHost) -> String {
    let script = "cd /dev; export LC_ALL=C; for it in nvidia*; do [ ! -c $it ] || stat -c '%n %a %Hr:%Lr' $it; done; \
        [ ! -d nvidia-caps ] || stat -c '%n %a %Hr:%Lr' nvidia-caps/*; \
        for it in char/*; do case $(readlink $it) in ../nvidia*) echo $it $(readlink $it) ;; esac; done; \
        find . nvidia-caps char -maxdepth 1 -name '.nvidia*' 2> /dev/null; true";
    host.sh(script).ok().stdout
}

const RIGHT: &str = "\
nvidia-modeset 666 195:254
nvidia-uvm 666 508:0
nvidia-uvm-tools 666 508:1
nvidia0 666 195:0
nvidia2 666 195:2
nvidiactl 666 195:255
nvidia-caps/nvidia-cap1 400 507:1
nvidia-caps/nvidia-cap2 444 507:2
char/195:0 ../nvidia0
char/195:2 ../nvidia2
char/195:254 ../nvidia-modeset
char/195:255 ../nvidiactl
char/507:1 ../nvidia-caps/nvidia-cap1
char/507:2 ../nvidia-caps/nvidia-cap2
char/508:0 ../nvidia-uvm
char/508:1 ../nvidia-uvm-tools
";

#[track_caller]
fn prepare(world: &World, host: &PretendedGpuHost) -> Ran {
    world.run_on(host, &["host", "prepare"])
}

#[test]
fn every_node_is_made_with_its_number_and_the_second_run_changes_nothing() {
    let host =
        two_gpus().without_nodes().capability("mig/config", 1, 0o400).capability("mig/monitor", 2, 0o444).start();
    let world = World::new();
    let shows = |name: &str, arguments: &[&str]| assert_shown(name, &world, arguments, &world.run_on(&host, arguments));
    shows("host_show_before", &["host", "show"]);
    shows("host_prepare_a_dry_run", &["host", "prepare", "--dry-run"]);
    assert_eq!(nodes(&host), "", "a dry run makes nothing");
    assert!(!world.log_file().exists(), "nor a log");
    shows("host_prepare", &["host", "prepare"]);
    assert_eq!(nodes(&host), RIGHT);
    shows("host_prepare_again", &["host", "prepare"]);
    shows("host_prepare_again_as_json", &["host", "prepare", "--output", "json"]);
    shows("host_show", &["host", "show"]);
    shows("host_show_as_json", &["host", "show", "--output", "json"]);
    let log = fs_err::read_to_string(world.log_file()).unwrap();
    assert!(log.contains("[INFO] phoenix-nvidia: host: make /dev/nvidia-uvm (508:0, mode 0666)\n"), "{log}");
}

#[test]
fn a_module_that_was_loaded_again_gets_nodes_of_its_new_number_and_the_others_stay() {
    let (world, host) = (World::new(), two_gpus().start());
    prepare(&world, &host).ok();
    let inode = || host.sh("stat -c '%i %Z' /dev/nvidia0 /dev/nvidia2 /dev/nvidiactl").ok().stdout;
    let before = inode();
    host.change_uvm_major(508, 234);
    assert_shown("host_prepare_after_a_reload", &world, &["host", "prepare"], &prepare(&world, &host));
    let uvm = host.sh("stat -c '%Hr:%Lr' /dev/nvidia-uvm /dev/nvidia-uvm-tools").ok().stdout;
    assert_eq!(uvm, "234:0\n234:1\n");
    assert_eq!(host.sh("readlink /dev/char/234:0; test -L /dev/char/508:0").exits(1).stdout, "../nvidia-uvm\n");
    assert_eq!(inode(), before, "what was right is not touched");
    assert_eq!(prepare(&world, &host).ok().stdout, "nothing to do\n");
}

#[test]
fn mode_and_owner_are_those_that_the_module_was_loaded_with() {
    let (world, host) = (World::new(), two_gpus().node_mode(0o660).start());
    host.sh("sed -i 's/DeviceFileGID: 0/DeviceFileGID: 44/' /proc/driver/nvidia/params; rm /dev/nvidia2").ok();
    host.sh("umask 077; chown root:44 /dev/nvidiactl; chmod 666 /dev/nvidia0").ok();
    let done = prepare(&world, &host).ok().stdout;
    assert!(done.contains("set access of /dev/nvidia0 (195:0, mode 0660, owner 0:44)\n"), "{done}");
    assert!(!done.contains(" /dev/nvidiactl ("), "{done}");
    let all = host.sh("stat -c '%a %u:%g' /dev/nvidia* | sort -u").ok().stdout;
    assert_eq!(all, "660 0:44\n");
}

#[test]
fn an_empty_file_is_replaced_and_anything_else_is_named_and_left() {
    let (world, host) = (World::new(), two_gpus().without_nodes().start());
    host.sh(": > /dev/nvidia-uvm; echo mine > /dev/nvidia0; mkdir /dev/nvidia2; ln -s null /dev/nvidia-modeset").ok();
    let ran = prepare(&world, &host).exits(10);
    assert_shown("host_prepare_with_things_in_the_way", &world, &["host", "prepare"], &ran);
    let json = world.run_on(&host, &["host", "prepare", "--output", "json"]).exits(10).stdout;
    assert_eq!(json.matches("not a device node").count(), 3, "{json}");
    let left = "cat /dev/nvidia0; readlink /dev/nvidia-modeset; stat -c '%Hr:%Lr' /dev/nvidia-uvm /dev/nvidiactl";
    assert_eq!(host.sh(left).ok().stdout, "mine\nnull\n508:0\n195:255\n", "all others are made");
    host.sh("rm /dev/nvidia0 /dev/nvidia-modeset; rmdir /dev/nvidia2").ok();
    prepare(&world, &host).ok();
}

#[test]
fn a_host_whose_nodes_are_made_by_others_is_reported_so() {
    let (world, host) = (World::new(), two_gpus().without_node("nvidia2").start());
    host.sh("sed -i 's/ModifyDeviceFiles: 1/ModifyDeviceFiles: 0/' /proc/driver/nvidia/params; chmod 600 /dev/nvidia0")
        .ok();
    let ran = prepare(&world, &host).exits(10);
    let message = "error: `/dev/nvidia2` is missing, and must not be changed\n";
    assert!(ran.stderr.starts_with(message) && ran.stderr.contains("NVreg_ModifyDeviceFiles=0"), "{}", ran.stderr);
    host.sh("mknod /dev/nvidia2 c 195 2").ok();
    prepare(&world, &host).ok();
    assert_eq!(host.sh("stat -c %a /dev/nvidia0").ok().stdout, "600\n");
}

/// Hides the module, as before it is loaded; a program that runs `bring` has loaded it.
const HIDE: &str = "cp -r /proc/driver/nvidia /proc/driver/later; cp /proc/devices /proc/driver/devices; \
    rm -r /proc/driver/nvidia; new=$(grep -v nvidia /proc/devices); echo \"$new\" > /proc/devices";
const BRING: &str = "cp -r /proc/driver/later /proc/driver/nvidia; cat /proc/driver/devices > /proc/devices";

#[test]
fn modules_are_loaded_by_nvidias_own_program_or_else_by_modprobe() {
    for (program, said) in [("nvidia-modprobe", "-c 0 -u -m"), ("modprobe", "nvidia")] {
        let (world, host) = (World::new(), two_gpus().without_nodes().start());
        host.sh(HIDE).ok();
        host.install_program("modprobe", "exit 1");
        host.install_program(program, &format!("echo \"$*\" >> /proc/driver/asked; {BRING}"));
        let planned = world.run_on(&host, &["host", "prepare", "--dry-run"]).ok().stdout;
        assert_eq!(planned, "load the kernel module nvidia\nload the kernel module nvidia-uvm\n");
        let done = prepare(&world, &host).ok().stdout;
        assert!(done.starts_with(&format!("{planned}make /dev/nvidia0 ")), "{done}");
        assert_eq!(host.sh("cat /proc/driver/asked").ok().stdout, format!("{said}\n"));
        assert_eq!(prepare(&world, &host).ok().stdout, "nothing to do\n");
        assert_eq!(
            host.sh("cat /proc/driver/asked").ok().stdout,
            format!("{said}\n"),
            "what is loaded is not loaded again"
        );
    }
}

#[test]
fn a_host_without_module_or_gpu_says_so() {
    let (world, host) = (World::new(), PretendedGpuHost::with_module(VERSION).without_nodes().start());
    assert_shown("host_prepare_without_gpu", &world, &["host", "prepare"], &prepare(&world, &host));
    assert_eq!(nodes(&host), "");
    host.sh(HIDE).ok();
    host.install_program(
        "modprobe",
        "echo \"modprobe: FATAL: Module $1 not found in directory /lib/modules/6.8\" >&2; exit 1",
    );
    assert_shown("host_prepare_without_module", &world, &["host", "prepare"], &prepare(&world, &host));
    assert_shown("host_show_without_module", &world, &["host", "show"], &world.run_on(&host, &["host", "show"]));
}

#[test]
fn who_is_not_root_is_reported_and_makes_nothing() {
    let (world, host) = (World::new(), two_gpus().without_nodes().start());
    let program = env!("CARGO_BIN_EXE_phoenix-nvidia");
    let copy = world.scratch("phoenix-nvidia");
    fs_err::copy(program, &copy).unwrap();
    let opened = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(world.scratch(""), opened).unwrap();
    let words = ["--reuid=65534", "--clear-groups", copy.to_str().unwrap(), "host", "prepare"];
    let ran = host.run("setpriv", &words, &world.environment()).exits(10);
    assert!(ran.stderr.contains("hint: run it as root on the host itself"), "{}", ran.stderr);
    assert_eq!(nodes(&host), "");
}

#[test]
fn the_unit_is_understood_by_systemd_and_comes_before_every_guest() {
    let world = World::new();
    let unit = include_str!("../../../etc/systemd/phoenix-nvidia-host.service");
    let before = unit.lines().find_map(|line| line.strip_prefix("Before=")).unwrap();
    for guests in ["pve-guests.service", "lxc.service", "lxc-net.service", "incus.service"] {
        assert!(before.split(' ').any(|it| it == guests), "{guests}");
    }
    let path = world.scratch("phoenix-nvidia-host.service");
    fs_err::write(&path, unit.replace("/usr/local/bin/phoenix-nvidia", env!("CARGO_BIN_EXE_phoenix-nvidia"))).unwrap();
    let words = ["verify", "--man=no", path.to_str().unwrap()];
    let ran = Ran::of("systemd-analyze", &words, &[]);
    // 127: there is no systemd on this machine.
    if ran.code != 127 {
        let ours: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("phoenix-nvidia")).collect();
        assert_eq!((ran.code, ours), (0, vec![]), "{}", ran.stderr);
    }
}

#[test]
fn gpus_of_drivers_that_tell_no_minor_get_their_nodes() {
    let (world, host) =
        (World::new(), PretendedGpuHost::with_module("340.108").gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start());
    host.sh(
        "for it in /proc/driver/nvidia/gpus/*/information; do t=$(grep -v Minor $it); echo \"$t\" > $it; done; rm \
         /dev/nvidia?",
    )
    .ok();
    world.run_on(&host, &["host", "prepare"]).ok();
    host.sh("test -c /dev/nvidia0 && test -c /dev/nvidia1").ok();
}
