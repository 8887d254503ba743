//! Every call of `pct` that a job makes, in its order; each costs most of a second.

use phoenix_nvidia::hypervisor::{Desired, Inside, LifeCycle, Settings, Snapshots};
use serde_json::json;

use super::{Job, VERSION, id, two_gpus};
use crate::ran::Ran;
use crate::test_driver::TestDriver;

#[test]
fn a_creation_makes_few_calls_and_a_second_one_none() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("gpu_assignment", "0");
    job.set("memory_mb", 512);
    job.set("cores", 2);
    job.set("storage_size_gb", 8);
    job.set("pct_options", json!(["nesting=1"]));
    job.set("lxc_options", json!(["lxc.cap.drop=sys_time"]));
    job.set("volumes", json!([{ "name": "models", "pool": "tank", "size_gb": 5, "mount_point": "/models" }]));
    job.set("enable_lifecycle_snapshots", true);
    job.set("start_at_boot", true);
    job.run_on(Some(&host), &["create", "901"]).ok();
    insta::assert_snapshot!(job.node.calls().join("\n"), @r"
    pct create 901 local:vztmpl/debian-12.tar.zst --unprivileged 1 --rootfs tank:8 --hostname gpu1 --memory 512 --cores 2 --features nesting=1 --onboot 1 --mp0 tank:5,mp=/models --dev0 /dev/nvidia0,mode=0666 --dev1 /dev/nvidiactl,mode=0666 --dev2 /dev/nvidia-uvm,mode=0666 --dev3 /dev/nvidia-uvm-tools,mode=0666
    pct start 901
    pct snapshot 901 pre-configured
    pct snapshot 901 final-form
    ");
    insta::assert_snapshot!(job.node.conf(901).split("\n[").next().unwrap().replace("cgroup2", "cgroup"), @r"
    arch: amd64
    cores: 2
    dev0: /dev/nvidia0,mode=0666
    dev1: /dev/nvidiactl,mode=0666
    dev2: /dev/nvidia-uvm,mode=0666
    dev3: /dev/nvidia-uvm-tools,mode=0666
    features: nesting=1
    hostname: gpu1
    memory: 512
    mp0: tank:subvol-901-disk-1,mp=/models,size=5G
    onboot: 1
    ostype: debian
    parent: final-form
    rootfs: tank:subvol-901-disk-0,size=8G
    swap: 512
    unprivileged: 1
    lxc.cap.drop: sys_time
    lxc.mount.entry: /dev/nvidia-modeset dev/nvidia-modeset none bind,optional,create=file
    lxc.cgroup.devices.allow: c 195:254 rwm
    ");
    let before = job.node.conf(901);
    let again = job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(again.stdout, "901 gpu1: nothing to do\n");
    assert_eq!(job.node.calls(), Vec::<String>::new());
    assert_eq!(job.node.conf(901), before);
}

#[test]
fn a_clone_is_made_from_its_sources_snapshot_and_loses_the_gpus_that_are_not_its_own() {
    let (job, host) = (Job::new(), two_gpus());
    job.set("gpu_assignment", "0,1");
    job.set("template_snapshot_name", "for-clones");
    job.set("lxc_options", json!(["lxc.cap.drop=sys_time"]));
    job.set("storage_size_gb", 8);
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901", "gpu_assignment": "1", "storage_size_gb": 12 }));
    job.run_on(Some(&host), &["create", "901"]).ok();
    job.node.calls();
    job.run_on(Some(&host), &["create", "902"]).ok();
    insta::assert_snapshot!(job.node.calls().join("\n"), @r"
    pct clone 901 902 --hostname copy --full 1 --snapname for-clones
    pct set 902 --delete dev0
    pct resize 902 rootfs 12G
    pct start 902
    ");
    assert_eq!(job.inside(902, "cd /dev; echo nvidia[0-9]*; cat /etc/hostname"), "nvidia1\ncopy\n");
    let conf = job.node.conf(902);
    assert!(!conf.contains("/dev/nvidia0") && !conf.contains("sys_time") && !conf.contains("[for-clones]"), "{conf}");
    assert!(job.node.conf(901).contains("/dev/nvidia0"));
    job.run_on(Some(&host), &["create", "902"]).ok();
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn old_raw_lines_become_device_entries_and_everything_else_stays() {
    let (job, host) = (Job::new(), two_gpus());
    job.run_on(Some(&host), &["create", "901"]).ok();
    job.with_proxmox(|proxmox| proxmox.take(id(901), "before", "").unwrap());
    // As the shell scripts wrote them, with their constant for the major of `nvidia-uvm`.
    let old = "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 243:* rwm\n\
               lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file\n\
               lxc.mount.entry: /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file\n";
    let foreign = "lxc.mount.entry: /dev/kvm dev/kvm none bind,optional,create=file\n";
    job.node.edit(901, |text| text.replacen("\n[before]\n", &format!("{old}{foreign}\n[before]\n{old}"), 1));
    job.node.calls();
    job.set("gpu_assignment", "0");
    job.run_on(Some(&host), &["create", "901"]).ok();
    insta::assert_snapshot!(job.node.calls().join("\n"), @r"
    pct set 901 --dev0 /dev/nvidia0,mode=0666 --dev1 /dev/nvidiactl,mode=0666 --dev2 /dev/nvidia-uvm,mode=0666 --dev3 /dev/nvidia-uvm-tools,mode=0666
    pct shutdown 901 --forceStop 1 --timeout 60
    pct start 901
    ");
    let conf = job.node.conf(901);
    let (main, snapshot) = conf.split_once("[before]\n").unwrap();
    assert!(!main.contains("dev/nvidia0 none") && !main.contains("195:*") && !main.contains("243:*"), "{main}");
    assert!(main.contains(foreign) && main.contains("dev0: /dev/nvidia0,mode=0666\n"), "{main}");
    assert!(old.lines().all(|line| snapshot.contains(line)), "a snapshot is not ours to change: {snapshot}");
    assert_eq!(job.inside(901, "cd /dev; echo nvidia[0-9]*"), "nvidia0\n");
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_pct_without_device_entries_gets_raw_lines_before_the_first_section() {
    let (job, host) = (Job::new(), two_gpus());
    job.node.set_version("4.4.7");
    job.run_on(Some(&host), &["create", "901"]).ok();
    job.with_proxmox(|proxmox| proxmox.take(id(901), "before", "").unwrap());
    job.set("gpu_assignment", "1");
    job.run_on(Some(&host), &["create", "901"]).ok();
    let conf = job.node.conf(901);
    let (main, snapshot) = conf.split_once("[before]\n").unwrap();
    assert!(main.contains("lxc.mount.entry: /dev/nvidia1 dev/nvidia1 none bind,create=file\n"), "{main}");
    assert!(!snapshot.contains("nvidia") && !conf.contains("dev0:"), "{conf}");
    assert_eq!(job.inside(901, "cd /dev; echo nvidia[0-9]*"), "nvidia1\n");
    job.set("gpu_assignment", "none");
    job.run_on(Some(&host), &["create", "901"]).ok();
    assert!(!job.node.conf(901).contains("nvidia"), "{}", job.node.conf(901));
    assert_eq!(job.inside(901, "cd /dev; echo nvidia[0-9]*"), "nvidia[0-9]*\n");
}

#[test]
fn a_root_is_grown_and_never_shrunk() {
    let job = Job::new();
    job.set("storage_size_gb", 8);
    job.run(&["create", "901"]).ok();
    job.node.calls();
    job.set("storage_size_gb", 12);
    let ran = job.run(&["create", "901"]).ok();
    assert_eq!(ran.stdout, "901 gpu1: grow the root to 12 GiB\n");
    assert_eq!(job.node.calls(), ["pct resize 901 rootfs 12G"]);
    job.set("storage_size_gb", 4);
    job.run(&["create", "901"]).ok();
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_change_that_waits_for_the_next_start_is_a_restart() {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    job.node.calls();
    job.set("memory_mb", 640);
    assert_eq!(job.run(&["create", "901"]).ok().stdout, "901 gpu1: configure\n", "memory comes at once");
    job.set("pct_options", json!(["nesting=1"]));
    assert_eq!(job.run(&["create", "901"]).ok().stdout, "901 gpu1: configure, restart\n");
    let calls = job.node.calls();
    assert_eq!(calls[0], "pct set 901 --memory 640");
    assert_eq!(
        calls[1..],
        ["pct set 901 --features nesting=1", "pct shutdown 901 --forceStop 1 --timeout 60", "pct start 901",]
    );
    let configuration = job.configuration();
    let desired = Desired {
        container: configuration.container(id(901)).unwrap(),
        devices: Vec::new(),
        kept: Vec::new(),
        mounts: Vec::new(),
    };
    job.with_proxmox(|proxmox| {
        assert!(!proxmox.drift(&desired).unwrap().restart);
    });
    // Somebody else has queued a change of what the configuration decides.
    job.node.edit(901, |text| format!("{text}\n[pve:pending]\nfeatures: nesting=1,keyctl=1\n"));
    let planned = job.run(&["plan", "901", "--restart"]).ok().stdout;
    assert!(planned.contains("- features: nesting=1,keyctl=1") && planned.contains("  restart\n"), "{planned}");
}

#[test]
fn a_stopped_containers_root_is_mounted_for_as_long_as_it_is_looked_at() {
    let job = Job::new();
    let configuration = job.configuration();
    let desired = Desired {
        container: configuration.container(id(901)).unwrap(),
        devices: Vec::new(),
        kept: Vec::new(),
        mounts: Vec::new(),
    };
    job.with_proxmox(|proxmox| {
        proxmox.create(&desired).unwrap();
        assert!(proxmox.rootfs_at_hand(id(901)).unwrap().is_none());
        job.node.calls();
        let door = proxmox.rootfs(id(901)).unwrap();
        assert!(job.node.conf(901).contains("lock: mounted\n"));
        door.write("/etc/made", b"text", 0o644).unwrap();
        drop(door);
        assert_eq!(job.node.calls(), ["pct mount 901", "pct unmount 901"]);
        assert!(!job.node.conf(901).contains("lock"));
        let owner = fs_err::metadata(job.node.root("tank", 901).join("etc/made")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 100_000);
        // What a killed run left mounted is unmounted by the next one, and only that.
        Ran::of(job.node.pct(), &["mount", "901"], &[("LC_ALL", "C.UTF-8".into())]).ok();
        fs_err::write(job.world.base().join("lib/proxmox/901.json"), "{ \"mounted\": true }").unwrap();
        proxmox.start(id(901)).unwrap();
        assert_eq!(job.node.calls(), ["pct mount 901", "pct unmount 901", "pct start 901"]);
    });
}

#[test]
fn a_driver_is_installed_and_found_again_after_a_stop() {
    let job = Job::new();
    job.set("features", json!(["nvidia"]));
    TestDriver::new(VERSION).write_into(&job.world.cache());
    let ran = job.run(&["create", "901"]).ok();
    assert!(ran.stdout.contains(&format!(", start, install driver {VERSION}; driver {VERSION} ")), "{}", ran.stdout);
    assert_eq!(
        job.inside(901, "nvidia-smi --help | head -n 1"),
        format!("NVIDIA System Management Interface -- v{VERSION}\n")
    );
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    let status = job.run(&["status", "901"]).ok().stdout;
    assert!(status.contains("stopped") && status.contains("unknown"), "{status}");
    let planned = job.run(&["plan", "901"]).ok().stdout;
    assert!(planned.contains("      unless it is already installed\n"), "{planned}");
    let ran = job.run(&["create", "901"]).ok();
    assert!(ran.stdout.starts_with(&format!("901 gpu1: start; driver {VERSION} ")), "{}", ran.stdout);
}

#[test]
fn a_template_is_a_path_too() {
    let job = Job::new();
    job.set("template", job.world.template().to_str().unwrap());
    job.run(&["create", "901"]).ok();
    assert!(job.node.calls()[0].starts_with("pct create 901 /"));
}

#[test]
fn a_container_whose_monitor_is_in_the_foreground_is_found_without_a_tool() {
    let job = Job::new();
    let notes = job.node.note_calls_of("lxc-info");
    job.run(&["create", "901"]).ok();
    job.run(&["create", "901"]).ok();
    job.run(&["status"]).ok();
    assert_eq!(fs_err::read_to_string(notes).unwrap(), "");
}

#[test]
fn a_source_that_was_destroyed_is_not_made_again_for_a_copy_that_exists() {
    let job = Job::new();
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901" }));
    job.run(&["create", "901"]).ok();
    job.run_patiently(&["create", "902"]).ok();
    job.run(&["destroy", "--yes", "901"]).ok();
    job.node.calls();
    for words in [&["plan", "902"][..], &["create", "902"], &["apply", "902"]] {
        let ran = job.run(words).ok();
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("901"), "{words:?}: {} {}", ran.stdout, ran.stderr);
    }
    assert_eq!(job.node.calls(), Vec::<String>::new());
    // A copy that does not exist needs it.
    job.run(&["destroy", "--yes", "902"]).ok();
    assert!(job.run(&["plan", "902"]).ok().stdout.contains("901"));
}

#[test]
fn what_an_operator_may_not_expect_of_a_container_is_reported() {
    let job = Job::new();
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901" }));
    job.run(&["create", "901"]).ok();
    job.node.edit(901, |text| format!("net0: name=eth0,bridge=vmbr0,ip=10.0.0.5/24\n{text}"));
    let planned = job.run(&["plan", "902"]).ok().stdout;
    assert!(planned.contains("it keeps the address 10.0.0.5/24 of container 901"), "{planned}");
    job.node.edit(901, |text| {
        let text = text.replace("net0: name=eth0,bridge=vmbr0,ip=10.0.0.5/24\n", "");
        format!("{text}\n[before]\n{text}lxc.cgroup2.devices.allow: c 195:* rwm\n")
    });
    let planned = job.run(&["plan", "901"]).ok().stdout;
    assert!(planned.contains("in the section of its snapshot `before`"), "{planned}");
}

#[test]
fn a_container_that_was_given_an_image_while_it_ran_is_not_restarted_for_it() {
    let job = Job::new();
    TestDriver::new(VERSION).write_into(&job.world.cache());
    job.set("features", json!(["nvidia"]));
    job.set("nvidia_install_method", "shared");
    job.run(&["create", "901"]).ok();
    let mount = "lxc.mount.entry: ";
    assert!(job.node.conf(901).contains(mount) && !job.liblxc_config(901).contains("phoenix-nvidia/"));
    job.node.calls();
    let again = job.run(&["create", "901"]).ok();
    assert!(again.stdout.starts_with("901 gpu1: nothing to do; "), "{}", again.stdout);
    assert_eq!(job.node.calls(), Vec::<String>::new());
    let status = job.run(&["status", "901"]).ok().stdout;
    assert!(!status.contains("settings differ"), "{status}");
}
