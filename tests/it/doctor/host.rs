//! What the doctor finds on a host: the driver, nodes, the next kernel, and our own files.

use serde_json::json;

use super::{OTHER, VERSION, found, world};
use crate::gpu_host::PretendedGpuHost;
use crate::shown::assert_shown;
use crate::test_driver::TestDriver;
use crate::world::World;

/// A host whose links in `/dev/char` are made.
fn host() -> PretendedGpuHost {
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    World::new().run_on(&host, &["host", "prepare"]).ok();
    host
}

#[test]
fn a_sound_host_has_no_findings_and_one_that_was_neglected_has_all_of_them() {
    let (world, sound) = (world(), host());
    world.run(&["cache", "verify"]).ok();
    assert_shown("doctor_of_a_sound_host", &world, &["doctor"], &world.run_on(&sound, &["doctor"]));
    let neglected = PretendedGpuHost::with_module(VERSION)
        .gpu("0000:01:00.0", 0)
        .on_disk(OTHER)
        .without_node("nvidia-uvm")
        .without_node("nvidia-uvm-tools")
        .start();
    neglected.sh("rm /dev/nvidiactl; : > /dev/nvidiactl; chmod 600 /dev/nvidia0").ok();
    let run_file = world.cache().join(TestDriver::new(OTHER).file_name());
    let beside = |ending: &str| run_file.with_extension(format!("run.{ending}"));
    fs_err::write(beside("partial"), "beginning").unwrap();
    fs_err::write(beside("wrong"), "wrong").unwrap();
    fs_err::create_dir_all(world.base().join("lib/nvidia/.phoenix-nvidia-570.133.20-x")).unwrap();
    fs_err::create_dir_all(world.base().join("lib/receipts")).unwrap();
    fs_err::write(world.base().join("lib/receipts/901.json"), "{").unwrap();
    fs_err::write(world.base().join("lib/receipts/901.json.unreadable-20261123"), "{").unwrap();
    let before = (crate::tree::of(&world.base()), fs_err::read(world.log_file()).unwrap());
    assert_shown("doctor_of_a_neglected_host", &world, &["doctor"], &world.run_on(&neglected, &["doctor"]));
    let json = ["doctor", "--output", "json"];
    assert_shown("doctor_of_a_neglected_host_as_json", &world, &json, &world.run_on(&neglected, &json));
    assert_eq!(crate::tree::differences(&before.0, &crate::tree::of(&world.base())), "", "nothing is changed");
    assert_eq!(fs_err::read(world.log_file()).unwrap(), before.1, "nor logged");
}

#[test]
fn the_next_kernel_is_examined_before_it_is_booted() {
    let (world, host) = (world(), host());
    // Kernels beside those of this machine, seen by the pretended host alone.
    let modules = world.scratch("usr-lib");
    for kernel in ["6.8.12-9-pve", "999.8.12-10-pve"] {
        fs_err::create_dir_all(modules.join("modules").join(kernel)).unwrap();
        fs_err::write(modules.join("modules").join(kernel).join("vmlinuz"), "").unwrap();
    }
    let mounted = format!("mount -t overlay overlay -o lowerdir={}:/usr/lib /usr/lib", modules.display());
    host.sh(&mounted).ok();
    host.install_program("dkms", "echo 'nvidia/580.76.05, 6.8.12-9-pve, x86_64: installed'");
    assert!(found(&world, &host, 4, &[]).contains(&"host next-kernel-without-module".to_owned()));
    let modinfo = "case \"$*\" in \
        '-k 999.8.12-10-pve -F version nvidia') echo 570.133.20;; '-F version nvidia') echo 580.76.05;; *) exit 1;; esac";
    host.install_program("modinfo", modinfo);
    let rules = found(&world, &host, 4, &[]);
    assert!(rules.contains(&"host next-kernel-other-driver".to_owned()), "{rules:?}");
    host.install_program("mokutil", "echo SecureBoot enabled");
    let rules = found(&world, &host, 4, &[]);
    assert!(rules.contains(&"host secure-boot-unsigned".to_owned()), "{rules:?}");
}

/// Debian's packages call the module otherwise: `modprobe` knows that, and `modinfo` does not (kmod 30).
#[test]
fn a_debian_host_whose_module_is_called_nvidia_current_has_one_on_disk() {
    let (world, host) = (world(), host());
    let on_disk = |version: &str| {
        let not_found = "echo 'modinfo: ERROR: Module nvidia not found.' >&2; exit 1";
        let modinfo = format!("[ \"$*\" = '-F version nvidia-current' ] && echo {version} && exit\n{not_found}");
        host.install_program("modinfo", &modinfo);
    };
    on_disk(OTHER);
    assert_eq!(found(&world, &host, 0, &[]), ["host run-file-unchecked"], "nobody says what is meant");
    let modprobe = "[ \"$*\" = '--show-depends nvidia' ] && echo 'install modprobe -i nvidia-current $CMDLINE_OPTS'";
    host.install_program("modprobe", modprobe);
    assert!(found(&world, &host, 4, &[]).contains(&"host reboot-pending".to_owned()));
    on_disk(VERSION);
    assert_eq!(found(&world, &host, 0, &[]), ["host run-file-unchecked"]);
}

#[test]
fn gpus_that_are_assigned_on_a_host_without_a_module_are_reported() {
    let world = world();
    world.run(&["cache", "verify"]).ok();
    let ran = world.run(&["doctor", "--all"]).exits(4);
    let cause = "host: error: GPUs are assigned to container `901`, but the host has no NVIDIA module loaded";
    assert!(ran.stdout.contains(cause) && ran.stdout.contains("[gpus-without-module]"), "{}", ran.stdout);
    world.write_containers(&json!({ "lxc_configs": { "901": { "name": "gpu", "template": world.template() } } }));
    assert!(!world.run(&["doctor", "--all"]).stdout.contains("gpus-without-module"));
}

#[test]
fn without_a_configuration_the_host_is_examined_all_the_same() {
    let (world, host) = (World::new(), host());
    assert_eq!(found(&world, &host, 0, &[]), [""; 0]);
    assert_eq!(found(&world, &host, 0, &["--all"]), [""; 0]);
    world.run_on(&host, &["doctor", "901"]).exits(4);
    fs_err::write(world.base().join("etc/phoenix_lxc_configs.json"), "{").unwrap();
    assert_eq!(found(&world, &host, 4, &[]), ["host configuration"]);
    world.run_on(&host, &["doctor", "901"]).exits(3);
}

#[test]
fn lines_for_the_journal_carry_their_priority() {
    let world = World::new();
    let program = env!("CARGO_BIN_EXE_phoenix-nvidia");
    let with_journal = format!("JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec {program} lint");
    let ran = crate::ran::Ran::of("sh", &["-c", &with_journal], &world.environment()).exits(3);
    assert!(ran.stderr.starts_with("<3>error: "), "{}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.starts_with("<3>")), "{}", ran.stderr);
    let elsewhere = format!("JOURNAL_STREAM=1:2 exec {program} lint");
    let ran = crate::ran::Ran::of("sh", &["-c", &elsewhere], &world.environment()).exits(3);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
}

/// What sysfs shows of GPU 0, whose driver has this name.
fn show_gpu(host: &PretendedGpuHost, device: &str, driver: &str) {
    let script = format!(
        "mount -t tmpfs devices /sys/bus/pci/devices; cd /sys/bus/pci/devices; mkdir -p 0000:01:00.0 drivers/{driver}; \
         cd 0000:01:00.0; echo 0x10de > vendor; echo 0x030000 > class; echo {device} > device; ln -s ../drivers/{driver} driver"
    );
    host.sh(&script).ok();
}

#[test]
fn a_driver_that_drops_a_gpu_is_reported_before_the_upgrade() {
    const NEXT: &str = "590.44.01";
    let list = r#"{ "chips": [ { "devid": "0x1B80", "name": "NVIDIA GeForce GTX 1080", "legacybranch": "580.xx" } ] }"#;
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    show_gpu(&host, "0x1b80", "nvidia");
    TestDriver::new(NEXT).supported_gpus(list).write_into(&world.cache());
    world.write_containers(&json!({ "nvidia_driver_version": NEXT, "lxc_configs": { "901": {
        "name": "gpu", "template": world.template(), "features": ["nvidia"], "gpu_assignment": "0",
    } } }));
    world.run_on(&host, &["store", "extract", NEXT]).ok();
    let told = "590.44.01 no longer supports GPU 0 (NVIDIA GeForce GTX 1080): its last branch is 580";
    let plan = world.run_on(&host, &["plan", "901"]).ok().stdout;
    assert!(plan.contains(told), "{plan}");
    let lint = world.run_on(&host, &["lint"]).ok().stdout;
    assert!(lint.contains(&format!("warning: {told}")) && lint.contains("lxc_configs.901.gpu_assignment"), "{lint}");
    let elsewhere = world.run(&["lint"]).ok().stdout;
    assert!(!elsewhere.contains("no longer drives"), "{elsewhere}");
    let found = world.run_on(&host, &["doctor"]).exits(4).stdout;
    let told = "590.44.01 no longer supports GPU `0000:01:00.0` (NVIDIA GeForce GTX 1080): its last branch is 580";
    assert!(found.contains(told) && found.contains("[driver-drops-gpu]"), "{found}");
}

#[test]
fn why_a_gpu_is_not_driven_is_said_by_the_kernels_log_and_by_sysfs() {
    let (world, host) = (World::new(), PretendedGpuHost::with_module(VERSION).start());
    let log = "[    5.5] NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:2c58)\n\
               NVRM: installed in this system requires use of the NVIDIA open kernel modules.\n\
               [    5.6] NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:884)";
    host.install_program("dmesg", &format!("cat << 'END'\n{log}\nEND"));
    show_gpu(&host, "0x2c58", "nvidia");
    let found = world.run_on(&host, &["doctor"]).stdout;
    assert!(found.contains("requires use of the NVIDIA open kernel modules. [gpu-not-driven]"), "{found}");
    assert!(found.contains("--kernel-module-type=open"), "{found}");
    host.sh("cd /sys/bus/pci/devices; mkdir drivers/vfio-pci; ln -sfn ../drivers/vfio-pci 0000:01:00.0/driver").ok();
    let found = world.run_on(&host, &["doctor"]).stdout;
    assert!(found.contains("[gpu-of-vfio]") && !found.contains("[gpu-not-driven]"), "{found}");
}

#[test]
fn a_mode_in_decimal_is_reported_with_what_was_meant() {
    let (world, host) =
        (World::new(), PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).node_mode(660).start());
    let found = world.run_on(&host, &["doctor"]).exits(4).stdout;
    assert!(
        found.contains("`NVreg_DeviceFileMode=660` is decimal, 01224 in octal; 0660 was probably meant"),
        "{found}"
    );
}
