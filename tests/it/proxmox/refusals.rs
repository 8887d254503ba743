//! What prevents a container on this node: each is told before anything is changed, with what to do.

use std::time::Duration;

use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::hypervisor::proxmox::{Node, Proxmox};
use phoenix_nvidia::hypervisor::{LifeCycle, Snapshots, State};
use phoenix_nvidia::sys::cancel::Cancel;
use serde_json::json;

use super::{Job, VERSION, id, two_gpus};
use crate::ran::Ran;
use crate::test_driver::TestDriver;

#[test]
fn what_cannot_be_had_is_reported_before_anything_is_called() {
    let job = Job::new();
    let pool_hint = "set `storage_pool`, and `pool` of each volume, to one that `pvesm status --content rootdir` lists";
    job.set("storage_pool", "nope");
    assert_eq!(job.refusal(3), format!("container 901: there is no storage pool `nope` | {pool_hint}"));
    job.set("storage_pool", "tank");
    job.set("template", "local:vztmpl/debian-13.tar.zst");
    assert_eq!(
        job.refusal(3),
        "container 901: the template `local:vztmpl/debian-13.tar.zst` does not exist | download it with `pveam update \
         && pveam download local debian-13.tar.zst`"
    );
    job.set("template", "nope:vztmpl/debian-12.tar.zst");
    assert_eq!(
        job.refusal(3),
        "container 901: there is no storage pool `nope`, which `template` names | \
         name one that `pvesm status --content vztmpl` lists"
    );
    job.set("template", "--force");
    assert!(job.refusal(3).starts_with("container 901: `--force` names no template | "));
    job.set("template", "local:vztmpl/debian-12.tar.zst");
    job.set("enable_lifecycle_snapshots", true);
    job.set("storage_pool", "local");
    assert!(job.refusal(3).starts_with("container 901: the storage pool `local` (dir) cannot snapshot containers | "));
    job.set("enable_lifecycle_snapshots", false);
    job.set("network_config", json!({ "name": "eth0", "bridge": "vmbrNONE", "ip": "dhcp" }));
    assert!(job.refusal(3).starts_with("container 901: there is no bridge `vmbrNONE` on this host | "));
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn an_idmap_of_groups_alone_is_refused_by_every_verb_before_anything_is_called() {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    job.set("features", json!(["nvidia"]));
    job.set("nvidia_install_method", "native");
    job.node.edit(901, |text| format!("{text}lxc.idmap: g 0 100000 44\nlxc.idmap: g 44 44 1\n"));
    job.set("swap_mb", 64);
    job.node.calls();
    let before = job.node.conf(901);
    for verb in ["create", "install", "uninstall", "apply"] {
        let ran = job.run(&[verb, "901"]).exits(3);
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("container 901: its `lxc.idmap` lines do not map users"), "{verb}: {said}");
    }
    assert_eq!(job.node.calls(), Vec::<String>::new());
    assert_eq!(job.node.conf(901), before);
}

#[test]
fn a_ctid_of_another_node_or_of_a_machine_is_named_and_never_touched() {
    let job = Job::new();
    job.node.set_name("vm");
    job.node.set_guests(&json!({ "901": { "node": "pve2", "type": "lxc" }, "902": { "node": "vm", "type": "qemu" } }));
    assert_eq!(
        job.refusal(3),
        "container 901 is on node `pve2` of this cluster, and this is `vm` | run the same command on `pve2`"
    );
    // Nobody has named it: a run for all leaves it to its own node.
    let left = "note: it is on node `pve2`: run the command there\n";
    assert!(job.run(&["plan", "--all"]).ok().stdout.contains(left));
    assert!(job.run(&["apply", "--all"]).ok().stderr.contains(left));
    job.add(902, json!({ "name": "machine", "template": "local:vztmpl/debian-12.tar.zst" }));
    let said = job.run(&["destroy", "--yes", "902"]).exits(3).stderr;
    assert!(said.contains("error: 902 is a virtual machine, not a container\n"), "{said}");
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_cluster_without_quorum_and_a_host_without_proxmox_are_reported() {
    let job = Job::new();
    job.node.write(".members", r#"{ "nodename": "vm", "cluster": { "name": "c", "nodes": 3, "quorate": 0 } }"#);
    assert!(job.refusal(10).starts_with("node `vm` has no quorum in its cluster, so no container can be changed | "));
    job.node.write(".members", r#"{ "nodename": "vm" }"#);
    job.node.set_version("3.4.1");
    assert_eq!(
        job.refusal(10),
        "pve-container 3.4.1 is too old | upgrade Proxmox VE: pve-container 4.0.0 or later is needed"
    );
    job.node.set_version("");
    assert!(job.refusal(10).starts_with("the package `pve-container` is not installed on this host | "));
    fs_err::remove_file(job.node.pve(".vmlist")).unwrap();
    assert!(job.run(&["status", "901"]).stdout.contains("the cluster's file system is not mounted"));
}

#[test]
fn a_locked_container_is_waited_for_and_then_told() {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    job.set("memory_mb", 640);
    job.node.edit(901, |text| format!("lock: backup\n{text}"));
    job.node.calls();
    let said = job.run(&["create", "901"]).exits(9).stderr;
    assert!(said.contains("Proxmox VE has container 901 locked: `backup`\n"), "{said}");
    assert!(said.contains("error: container 901: Proxmox VE has it locked: `backup`\n"), "{said}");
    assert!(said.contains("hint: wait for the task that holds it; if there is none, run `pct unlock 901`\n"));
    assert_eq!(job.node.calls(), Vec::<String>::new());
    let (layout, node) = (Layout::new(job.world.base()), job.node.settings());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let (cancel, patience) = (Cancel::new().unwrap(), Duration::from_secs(60));
            Proxmox::new(Node { patience, ..node }, Context::new(&layout, &NoListener, &cancel)).take(
                id(901),
                "free",
                "",
            )
        });
        job.node.edit(901, |text| text.replace("lock: backup\n", ""));
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_source_that_cannot_be_cloned_is_reported_before_its_copy_is_begun() {
    let job = Job::new();
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901", "unprivileged": false }));
    job.run(&["create", "901"]).ok();
    job.node.calls();
    let refusal = || {
        let said = job.run(&["create", "902"]).exits(3).stderr;
        said.lines().next().unwrap().to_owned()
    };
    assert_eq!(
        refusal(),
        "error: container 902 is configured privileged, but its clone source, container 901, is unprivileged"
    );
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901" }));
    job.set("template_snapshot_name", "missing");
    assert_eq!(
        refusal(),
        "error: container 902 is to be cloned from the snapshot `missing` of container 901, which has no such snapshot"
    );
    job.node.edit(901, |text| format!("mp0: /srv/share,mp=/share\n{text}"));
    assert_eq!(
        refusal(),
        "error: container 902: its source cannot be cloned, because `mp0` is a directory of the host"
    );
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn what_somebody_else_has_made_in_the_same_moment_is_theirs() {
    let job = Job::new();
    let (list, theirs) = (job.node.pve(".vmlist"), job.world.scratch("theirs"));
    job.node.set_name("vm");
    job.node.set_guests(&json!({ "901": { "node": "vm", "type": "lxc" } }));
    fs_err::copy(&list, &theirs).unwrap();
    job.node.set_guests(&json!({}));
    // Between our look and our call.
    let (conf, pct) = (job.node.pve("lxc/901.conf"), fs_err::read_to_string(job.node.pct()).unwrap());
    let made = format!("cp {} {}; echo lock: create > {}", theirs.display(), list.display(), conf.display());
    fs_err::write(job.node.pct(), pct.replacen('\n', &format!("\n{made}\n"), 1)).unwrap();
    assert!(job.refusal(3).contains("container 901: it exists already on node `vm`"));
    let calls = job.node.calls();
    assert!(calls.len() == 1 && calls[0].starts_with("pct create 901 "), "{calls:?}");
    assert_eq!(job.node.conf(901), "lock: create\n");
    assert_eq!(job.node.left(), [conf.display().to_string()]);
}

#[test]
fn a_ctid_of_a_machine_or_a_source_that_is_none_of_this_nodes_is_refused_by_every_verb() {
    let job = Job::new();
    job.set("features", json!(["nvidia"]));
    job.node.set_name("vm");
    job.node.set_guests(&json!({ "901": { "node": "vm", "type": "qemu" }, "950": { "node": "pve2", "type": "lxc" } }));
    for verb in [&["create"][..], &["create", "--dry-run"], &["install"], &["uninstall"], &["destroy", "--yes"]] {
        let said = job.run(&[verb, &["901"]].concat()).exits(3).stderr;
        assert!(said.contains("901 is a virtual machine, not a container\n"), "{verb:?}: {said}");
    }
    let source = |ctid: &str| {
        job.add(902, json!({ "name": "copy", "clone_from_ctid": ctid }));
        job.run(&["create", "902"]).exits(3).stderr.lines().next().unwrap().to_owned()
    };
    assert_eq!(source("950"), "error: container 950 is on node `pve2` of this cluster, and this is `vm`");
    assert_eq!(source("901"), "error: 901 is a virtual machine, not a container");
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_node_without_pct_says_so_before_anything_is_begun() {
    let job = Job::new();
    fs_err::remove_file(job.node.pct()).unwrap();
    assert_eq!(
        job.refusal(10),
        "`pct` is not on this host, or in no directory of `PATH` | \
         run this on a node of Proxmox VE, or use `--backend lxc` for containers of plain LXC"
    );
    assert_eq!(job.node.left(), Vec::<String>::new());
}

#[test]
fn a_file_system_of_the_cluster_that_takes_no_changes_is_named_with_what_to_look_at() {
    let (job, host) = (Job::new(), two_gpus());
    job.run_on(Some(&host), &["create", "901"]).ok();
    job.set("lxc_options", json!(["lxc.cap.drop=sys_time"]));
    let (before, lxc) = (job.node.conf(901), job.node.pve("lxc").display().to_string());
    host.sh(&format!("mount --bind {lxc} {lxc} && mount -o remount,bind,ro {lxc}")).ok();
    let said = job.run_on(Some(&host), &["create", "901"]).exits(10).stderr;
    let told = "error: container 901: its settings could not be written to the cluster's file system\n";
    assert!(said.contains(told) && said.contains("Read-only file system"), "{said}");
    assert!(said.contains("hint: check `systemctl status pve-cluster`"), "{said}");
    assert_eq!(job.node.conf(901), before);
}

#[test]
fn a_running_source_in_a_pool_without_snapshots_is_refused_before_anything_is_done() {
    let job = Job::new();
    job.set("storage_pool", "local");
    job.set("storage_size_gb", 1);
    job.add(902, json!({ "name": "copy", "clone_from_ctid": "901" }));
    job.run(&["create", "901"]).ok();
    job.node.calls();
    let refusal = "container 902: its clone source, container 901, runs, and its storage pool `local` (dir) cannot clone a running container";
    let planned = job.run(&["plan", "902"]).exits(3).stdout;
    assert!(planned.contains(refusal) && planned.contains("\n  hint: stop it with `pct shutdown 901`"), "{planned}");
    let said = job.run(&["create", "902"]).exits(3).stderr;
    assert!(said.contains(refusal), "{said}");
    assert!(
        said.contains("hint: stop it with `pct shutdown 901`, clone it with `phoenix-nvidia create 902`"),
        "{said}"
    );
    assert_eq!(job.node.calls(), Vec::<String>::new());
    // What the hint says works, and leaves the source as it was.
    job.with_proxmox(|proxmox| proxmox.stop(id(901)).unwrap());
    job.run(&["create", "902"]).ok();
    job.with_proxmox(|proxmox| assert_eq!(proxmox.state(id(901)).unwrap(), State::Stopped));
    assert_eq!(job.inside(902, "cat /etc/hostname"), "copy\n");
}

#[test]
fn a_container_that_another_pct_is_at_work_on_is_waited_for_as_long_as_the_operator_says() {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    job.node.calls();
    fs_err::write(job.world.scratch("lock-milliseconds"), "100").unwrap();
    job.set("memory_mb", 300);
    let lock = fs_err::File::create(job.world.scratch("locks/pve-config-901.lock")).unwrap();
    lock.file().lock().unwrap();
    let said = job.run(&["create", "901"]).exits(9).stderr;
    assert!(said.contains("waiting: another `pct` works on container 901\n"), "{said}");
    assert!(said.contains("container 901: its configuration is in use\n"), "{said}");
    let attempts = job.node.calls();
    assert!(attempts.len() > 2 && attempts.iter().all(|call| call == "pct set 901 --memory 300"), "{attempts:?}");
    // It goes on as soon as the other one has ended.
    let calls = job.world.scratch("calls");
    let other = std::thread::spawn(move || {
        while fs_err::read_to_string(&calls).unwrap_or_default().lines().count() < 2 {
            std::thread::yield_now();
        }
        drop(lock);
    });
    job.run_patiently(&["create", "901"]).ok();
    other.join().unwrap();
    assert!(job.node.conf(901).contains("memory: 300\n"));
}

#[test]
fn a_pool_that_has_run_full_is_named_and_the_container_goes_that_lost_its_data() {
    let job = Job::new();
    let pool = job.world.scratch("volumes/small");
    fs_err::create_dir_all(&pool).unwrap();
    let _mount = SmallFileSystem::mount(&pool);
    let storage = fs_err::read_to_string(job.node.pve("storage.cfg")).unwrap();
    let small = format!("dir: small\n\tpath {}\n\tcontent rootdir\n", pool.display());
    job.node.write("storage.cfg", &format!("{storage}\n{small}"));
    job.set("storage_pool", "small");
    let refusal = job.refusal(10);
    assert!(refusal.contains("its storage pool `small` (dir) is full, so writes into it were lost"), "{refusal}");
    assert!(refusal.contains(&format!("make room in `{}`", pool.display())), "{refusal}");
    job.with_proxmox(|proxmox| assert_eq!(proxmox.state(id(901)).unwrap(), State::Absent));
    assert_eq!(fs_err::read_dir(pool.join("images")).unwrap().count(), 0);
    // Without any room `pct` does not even come to the template.
    let fill = format!("of={}", pool.join("fill").display());
    Ran::of("dd", &["if=/dev/zero", &fill, "bs=64k"], &[]).exits(1);
    let refusal = job.refusal(10);
    assert!(refusal.contains("its storage pool `small` (dir) is full"), "{refusal}");
}

/// A file system with room for 20 MB, until this is dropped.
struct SmallFileSystem(std::path::PathBuf);

impl SmallFileSystem {
    fn mount(place: &std::path::Path) -> Self {
        let (kind, none) = (c"size=20m", rustix::mount::MountFlags::empty());
        rustix::mount::mount("tmpfs", place, "tmpfs", none, Some(kind)).unwrap();
        Self(place.to_owned())
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_way_that_needs_an_image_is_refused_before_a_container_is_made_where_none_can_be_made() {
    let job = Job::new();
    TestDriver::new(VERSION).write_into(&job.world.cache());
    job.set("features", json!(["nvidia"]));
    // Of the host's programs, those alone that the test and the stand-ins need.
    let programs = job.world.scratch("programs");
    fs_err::create_dir(&programs).unwrap();
    for program in ["cat", "timeout"] {
        fs_err::os::unix::fs::symlink(format!("/usr/bin/{program}"), programs.join(program)).unwrap();
    }
    let path = std::env::join_paths([job.node.pct().parent().unwrap(), &programs]).unwrap();
    let [pve, _] = job.node.environment();
    for method in ["installer", "shared"] {
        job.set("nvidia_install_method", method);
        let words = ["create", "901", "--backend", "proxmox"];
        let said = job.world.run_with(None, &words, &[pve.clone(), ("PATH", path.clone())]).exits(10).stderr;
        assert!(said.contains("error: container 901: `mkfs.erofs`, which makes images, is not on this host"), "{said}");
        assert_eq!(job.node.calls(), Vec::<String>::new());
    }
}
