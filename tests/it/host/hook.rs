//! The check before a start, called as Proxmox VE and liblxc call it, on pretended hosts that come up anew.

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::shown::assert_shown;
use crate::test_driver::TestDriver;
use crate::world::{Privilege, World};

const VERSION: &str = "580.76.05";
const OLDER: &str = "570.133.20";
const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

/// A world whose container 901 has GPU 0 and wants a driver, and whose 902 has neither.
fn world(on_mismatch: &str) -> World {
    let world = World::new();
    write(&world, json!(on_mismatch));
    world
}

fn write(world: &World, on_mismatch: Value) {
    world.write_containers(&json!({
        "nvidia_driver_version": VERSION,
        "nvidia_on_mismatch": on_mismatch,
        "lxc_configs": {
            "901": { "name": "gpu", "template": "/t.tar", "features": ["nvidia"], "gpu_assignment": "0" },
            "902": { "name": "plain", "template": "/t.tar" },
            "903": { "name": "faulty", "template": "/t.tar", "gpu_assignment": "every" },
            "904": { "name": "absent", "template": "/t.tar", "gpu_assignment": "0000:99:00.0" },
        },
    }));
}

/// The host's record of a driver that it has installed in 901.
fn installed(world: &World, version: &str) {
    let receipt = json!({
        "format": 1, "version": version, "way": "runfile", "run_file_sha256": "0".repeat(64),
        "installed_at": "2026-11-23T10:00:00Z", "written_by": "phoenix-nvidia 0.1.0", "files": [], "links": [],
    });
    let path = world.base().join("lib/receipts/901.json");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, receipt.to_string()).unwrap();
}

fn host() -> PretendedGpuHost {
    let host =
        PretendedGpuHost::with_module(VERSION).gpu("0000:07:00.0", 2).gpu("0000:81:00.0", 0).uvm_major(508).start();
    host.run(PROGRAM, &["host", "prepare", "--log-file", "/dev/null"], &[]).ok();
    host
}

fn hook(world: &World, host: &PretendedGpuHost, words: &[&str]) -> Ran {
    world.run_on(host, &[&["hook"], words].concat())
}

#[test]
fn a_container_whose_driver_is_the_hosts_starts_without_a_word() {
    let (world, host) = (world("refuse"), host());
    installed(&world, VERSION);
    // That would tell of every process that it starts.
    let ran = world.run_on(&host, &["--verbose", "hook", "901", "pre-start"]).ok();
    assert_eq!(ran.stdout + &ran.stderr, "");
    for phase in ["post-start", "pre-stop", "post-stop"] {
        installed(&world, OLDER);
        let ran = hook(&world, &host, &["901", phase]).ok();
        assert_eq!(ran.stdout + &ran.stderr, "", "{phase} checks nothing");
    }
}

#[test]
fn a_mismatch_is_reported_or_refused_as_the_operator_wants() {
    let (world, host) = (world("warn"), host());
    installed(&world, OLDER);
    let shows = |name: &str| {
        let arguments = ["hook", "901", "pre-start"];
        assert_shown(name, &world, &arguments, &world.run_on(&host, &arguments));
    };
    shows("hook_warns");
    write(&world, Value::Null);
    hook(&world, &host, &["901", "pre-start"]).ok();
    write(&world, json!("refuse"));
    shows("hook_refuses");
    write(&world, json!("update"));
    shows("hook_cannot_update");
    let log = fs_err::read_to_string(world.log_file()).unwrap();
    assert!(log.contains("[WARN] phoenix-nvidia: 901: driver 570.133.20 is installed, but "), "{log}");
    assert!(log.contains("[ERROR] phoenix-nvidia: container 901: driver 570.133.20 is installed, but "), "{log}");
}

#[test]
fn nodes_that_a_boot_has_not_made_or_made_with_another_number_are_made() {
    let (world, host) = (world("refuse"), host());
    host.sh("rm /dev/nvidia*; mknod /dev/nvidia-uvm c 511 0").ok();
    let ran = hook(&world, &host, &["901", "pre-start"]).ok();
    assert!(
        ran.stderr.contains("901: note: replace /dev/nvidia-uvm (508:0, mode 0666), which was 511:0\n"),
        "{}",
        ran.stderr
    );
    let nodes = host.sh("cd /dev; stat -c '%n %Hr:%Lr' nvidia*").ok().stdout;
    let expected =
        "nvidia-modeset 195:254\nnvidia-uvm 508:0\nnvidia-uvm-tools 508:1\nnvidia0 195:0\nnvidiactl 195:255\n";
    assert_eq!(nodes, expected, "those of GPU 0 and no others");
}

#[test]
fn nodes_that_cannot_be_made_are_reported_or_keep_it_from_starting() {
    let (world, host) = (world("warn"), host());
    host.sh("rm /dev/nvidia0; mkdir /dev/nvidia0").ok();
    let told = hook(&world, &host, &["901", "pre-start"]).ok().stderr;
    let message = "`/dev/nvidia0` is a directory, not a device node";
    assert!(told.starts_with(&format!("901: warning: {message}; inspect it")), "{told}");
    let told = hook(&world, &host, &["904", "pre-start"]).ok().stderr;
    assert!(told.contains("904: warning: this host has no GPU `0000:99:00.0`"), "{told}");
    write(&world, json!("refuse"));
    let refused = hook(&world, &host, &["901", "pre-start"]).exits(10).stderr;
    assert!(refused.starts_with(&format!("error: container 901: {message}\n")), "{refused}");
    host.sh("rm -r /proc/driver/nvidia").ok();
    let refused = hook(&world, &host, &["901", "pre-start"]).exits(10).stderr;
    assert!(refused.starts_with("error: container 901: no NVIDIA kernel module is loaded on this host\n"), "{refused}");
}

#[test]
fn what_has_nothing_to_do_with_nvidia_always_starts() {
    let (world, host) = (world("refuse"), host());
    installed(&world, OLDER);
    host.sh("rm -r /proc/driver/nvidia /dev/nvidia*").ok();
    for words in [&["902", "pre-start"][..], &["999", "pre-start"], &["web", "lxc", "pre-start"]] {
        let ran = hook(&world, &host, words).ok();
        assert_eq!(ran.stdout + &ran.stderr, "", "{words:?}");
    }
    let faulty = hook(&world, &host, &["903", "pre-start"]).ok();
    assert!(faulty.stderr.starts_with("903: warning: the driver was not checked: "), "{}", faulty.stderr);
    fs_err::write(world.base().join("etc/phoenix_lxc_configs.json"), "{").unwrap();
    let unreadable = hook(&world, &host, &["901", "pre-start"]).ok();
    assert!(unreadable.stderr.starts_with("901: warning: the driver was not checked: "), "{}", unreadable.stderr);
}

#[test]
fn words_that_are_wrong_fail_a_start_and_nothing_else() {
    let world = world("refuse");
    for (name, words, code) in [
        ("hook_of_no_vmid", &["web", "pre-start"][..], 2),
        ("hook_of_no_vmid_after_the_start", &["web", "post-start"], 0),
        ("hook_of_no_phase", &["901", "prestart"], 0),
        ("hook_by_hand", &[], 2),
    ] {
        let arguments = [&["hook"], words].concat();
        assert_shown(name, &world, &arguments, &world.run(&arguments).exits(code));
    }
}

#[test]
fn a_start_by_the_program_itself_is_not_refused() {
    let (world, host) = (world("refuse"), host());
    installed(&world, OLDER);
    let lock = world.base().join("lib/locks/901.lock");
    fs_err::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = fs_err::File::create(&lock).unwrap();
    held.file().lock().unwrap();
    let ran = hook(&world, &host, &["901", "pre-start"]).ok();
    assert!(ran.stderr.starts_with("901: warning: driver 570.133.20 is installed, but "), "{}", ran.stderr);
    drop(held);
    hook(&world, &host, &["901", "pre-start"]).exits(7);
}

#[test]
fn a_snippet_by_its_name_is_the_hook() {
    let (world, host) = (world("refuse"), host());
    installed(&world, OLDER);
    let snippet = world.scratch("phoenix-nvidia-hook");
    std::os::unix::fs::symlink(PROGRAM, &snippet).unwrap();
    let refused = host.run(snippet.to_str().unwrap(), &["901", "pre-start"], &world.environment()).exits(7);
    assert!(refused.stderr.starts_with("error: container 901: driver "), "{}", refused.stderr);
    host.run(snippet.to_str().unwrap(), &["901", "post-stop"], &world.environment()).ok();
}

#[test]
fn liblxc_calls_it_in_both_of_its_ways_and_a_refused_container_does_not_run() {
    let (world, host) = (World::new(), host());
    let ctid = world.ctid();
    let containers = |on_mismatch: &str| {
        world.write_containers(&json!({ "nvidia_on_mismatch": on_mismatch, "lxc_configs": {
            ctid.to_string(): { "name": "gpu", "template": "/t.tar", "gpu_assignment": "0" },
        } }));
    };
    let log = world.log_file();
    let hook =
        format!("lxc.hook.pre-start = {PROGRAM} --base {} --log-file {} hook", world.base().display(), log.display());
    host.sh("rm /dev/nvidia-uvm; mkdir /dev/nvidia-uvm").ok();
    for version in ["lxc.hook.version = 0", "lxc.hook.version = 1"] {
        let directory = world.lxcpath().join(ctid.to_string());
        let _ = fs_err::remove_dir_all(&directory);
        world.create_by_hand(ctid, Privilege::Unprivileged, &[version, &hook]);
        containers("refuse");
        world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).exits(1);
        assert!(fs_err::read_to_string(&log).unwrap().contains("`/dev/nvidia-uvm` is a directory, not a device node"));
        containers("warn");
        world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).ok();
        world.lxc("lxc-stop", ctid, &["--kill"]).ok();
        fs_err::remove_file(&log).unwrap();
    }
}

#[test]
fn a_driver_placed_from_outside_is_brought_in_sync_before_the_start() {
    let (world, host) = (World::new(), host());
    let ctid = world.ctid();
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    world.write_containers(&json!({
        "nvidia_driver_version": OLDER, "nvidia_install_method": "native", "nvidia_on_mismatch": "update",
        "lxc_configs": { ctid.to_string(): {
            "name": "gpu", "template": "/t.tar", "features": ["nvidia"], "gpu_assignment": "0",
        } },
    }));
    let (base, log) = (world.base().display().to_string(), world.log_file().display().to_string());
    let hook = format!(
        "lxc.hook.pre-start = {PROGRAM} --base {base} --lxcpath {} --log-file {log} hook",
        world.lxcpath().display()
    );
    world.create_by_hand(ctid, Privilege::Unprivileged, &[&hook]);
    TestDriver::new(OLDER).write_into(&world.cache());
    world.run(&["install", &ctid.to_string()]).ok();
    // Nothing is downloaded or extracted while a container starts.
    world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).exits(1);
    let told = format!("container {ctid}: driver {VERSION} is not extracted on this host");
    assert!(fs_err::read_to_string(world.log_file()).unwrap().contains(&told));
    TestDriver::new(VERSION).write_into(&world.cache());
    world.run(&["store", "extract", VERSION]).ok();
    world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).ok();
    let said = world.inside(ctid, "nvidia-smi --help").ok().stdout;
    assert!(said.contains(&format!("v{VERSION}\n")), "{said}");
}

#[test]
fn a_shared_driver_is_brought_in_sync_before_the_containers_init_is_started() {
    let (world, host) = (World::new(), host());
    let ctid = world.ctid();
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    let (base, log) = (world.base().display().to_string(), world.log_file().display().to_string());
    let call = format!("{PROGRAM} --base {base} --lxcpath {} --log-file {log} hook", world.lxcpath().display());
    let containers = |options: Value| {
        world.write_containers(&json!({
            "nvidia_driver_version": OLDER, "nvidia_install_method": "shared", "nvidia_driver_profile": "compute",
            "nvidia_on_mismatch": "update",
            "lxc_configs": { ctid.to_string(): {
                "name": "gpu", "template": "/t.tar", "features": ["nvidia"], "gpu_assignment": "0",
                "lxc_options": options,
            } },
        }));
    };
    // The module is another one, which is what all this is about.
    let create = || {
        world.run_on(&host, &["create", &ctid.to_string()]).exits(7);
        world.lxc("lxc-stop", ctid, &["--kill"]).ok();
    };
    // What it finds when it begins is written down by init itself.
    world.create_by_hand(ctid, Privilege::Unprivileged, &["lxc.init.cmd = /bin/sh /init.sh"]);
    let init = "nvidia-smi --help > /found\nexec sleep infinity\n";
    fs_err::write(world.rootfs(ctid).join("init.sh"), init).unwrap();
    containers(json!([format!("lxc.hook.pre-start = {call}")]));
    for version in [OLDER, VERSION] {
        TestDriver::new(version).write_into(&world.cache());
        world.run(&["store", "extract", version]).ok();
    }
    create();
    world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).exits(1);
    let told = || fs_err::read_to_string(world.log_file()).unwrap();
    assert!(told().contains("shared` can only be mounted while its root is set up\n"), "{}", told());
    containers(json!([format!("lxc.hook.pre-start = {call}"), format!("lxc.hook.start-host = {call}")]));
    create();
    for _ in 0..2 {
        let _ = fs_err::remove_file(world.rootfs(ctid).join("found"));
        world.lxc_on(&host, "lxc-start", ctid, &["--daemon"]).ok();
        while world.inside(ctid, "cat /proc/1/comm").stdout != "sleep\n" {
            std::thread::yield_now();
        }
        let found = world.inside(ctid, "head -n 1 /found").ok().stdout;
        assert!(found.contains(&format!("v{VERSION}\n")), "{found}{}", told());
        let settings = fs_err::read_to_string(world.lxcpath().join(format!("{ctid}/phoenix-nvidia.conf"))).unwrap();
        assert!(settings.contains(&format!("{VERSION}-compute")) && !settings.contains(OLDER), "{settings}");
        world.lxc("lxc-stop", ctid, &["--kill"]).ok();
    }
}
