//! What makes a node, and that a container of Proxmox VE is none of plain LXC's.

use std::ffi::OsString;

use super::Job;
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::tree;

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

#[test]
fn a_node_is_known_by_pct_on_the_path_and_in_usr_sbin() {
    let job = Job::new();
    job.world.run_with(None, &["create", "901"], &job.node.environment()).ok();
    assert_eq!(job.node.calls()[1..], ["pct start 901"]);
    // cron's path; the real `pct` lies in `/usr/sbin`.
    let [root, _] = job.node.environment();
    let environment = [&job.world.environment()[..], &[root, ("PATH", "/usr/bin:/bin".into())]].concat();
    let tools = job.node.pct();
    let script = format!(
        "mount -t tmpfs tmpfs /usr/sbin && cp {}/* /usr/sbin && exec {PROGRAM} \"$@\"",
        tools.parent().unwrap().display()
    );
    let words = ["--mount", "sh", "-c", &script, "sh", "destroy", "901", "--yes"];
    Ran::of("unshare", &words, &environment).ok();
    assert_eq!(job.node.calls(), ["pct destroy 901 --force 1"]);
}

/// Everything of container 901 that the tools of plain LXC could change.
fn state_of(job: &Job) -> String {
    let init = job.world.lxc("lxc-info", 901, &["-p", "-s"]).ok().stdout;
    let files = [job.world.lxcpath(), job.node.root("tank", 901).join("etc")].map(|place| tree::tree(&place));
    format!("{init}\n{}\n{}", job.node.conf(901), files.join("\n"))
}

/// That every verb which could change container 901 is refused, and changes nothing.
fn assert_never_touched(job: &Job, environment: &[(&'static str, OsString)], says: &str) {
    let before = state_of(job);
    job.node.calls();
    let verbs: [&[&str]; 9] = [
        &["create", "901"],
        &["create", "902"],
        &["apply", "--all"],
        &["install", "901"],
        &["verify", "901"],
        &["uninstall", "901"],
        &["destroy", "901", "--yes"],
        &["docker", "901"],
        &["hook", "901", "lxc", "pre-start"],
    ];
    for verb in verbs {
        let said = job.world.run_with(None, &[verb, &["--backend", "lxc"]].concat(), environment);
        let told = format!("{}{}", said.stdout, said.stderr);
        if verb[0] != "hook" {
            assert_ne!(said.code, 0, "{verb:?}: {told}");
            assert!(told.contains(says), "{verb:?}: {told}");
        }
        assert_eq!(state_of(job), before, "{verb:?}");
    }
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_container_of_proxmox_ve_is_never_touched_by_the_tools_of_plain_lxc() {
    let job = Job::new();
    TestDriver::new(super::VERSION).write_into(&job.world.cache());
    job.set("features", serde_json::json!(["nvidia"]));
    job.run(&["create", "901"]).ok();
    job.add(902, serde_json::json!({ "name": "copy", "clone_from_ctid": 901 }));
    let owner = "container 901 belongs to Proxmox VE, as `";
    assert_never_touched(&job, &job.node.environment(), owner);
    // Without the cluster's file system, liblxc's own file says whose it is.
    assert_never_touched(&job, &[], owner);
    // With it, a container says so that has never been started, of which liblxc knows nothing.
    job.node.set_guests(&serde_json::json!({ "903": { "node": "pve2", "type": "lxc" } }));
    job.add(903, serde_json::json!({ "name": "other", "template": job.world.template(), "unprivileged": false }));
    let words = ["create", "903", "--backend", "lxc"];
    let said = job.world.run_with(None, &words, &job.node.environment()).exits(3).stderr;
    assert!(said.contains("container 903 belongs to Proxmox VE, as `"), "{said}");
    assert!(!job.world.lxcpath().join("903").exists());
}

#[test]
fn on_a_node_without_its_cluster_file_system_plain_lxc_touches_nothing() {
    let job = Job::new();
    fs_err::remove_file(job.node.pve(".vmlist")).unwrap();
    job.add(903, serde_json::json!({ "name": "other", "template": job.world.template(), "unprivileged": false }));
    let words = ["create", "903", "--backend", "lxc"];
    let said = job.world.run_with(None, &words, &job.node.environment()).exits(10).stderr;
    assert!(
        said.contains("container 903: its owner cannot be determined: this host is a node of Proxmox VE"),
        "{said}"
    );
    assert!(!job.world.lxcpath().join("903").exists());
}
