//! The whole cluster, as one node knows it from its own copy of the files: nothing is asked, called or changed.

use std::io::Write;

use phoenix_nvidia::hypervisor::{LifeCycle, State};
use serde_json::{Value, json};

use super::{Job, id, two_gpus};
use crate::ran::Ran;
use crate::shown::assert_shown;
use crate::tree;

/// A cluster of three nodes of which the third is offline; 901 runs here, 902 is nobody's, 950 to 952 are elsewhere.
fn cluster() -> Job {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    job.node.write("lxc/902.conf", "hostname: mail\ndev0: /dev/nvidia1,mode=0666\nunprivileged: 1\n");
    job.node.set_guests(&json!({
        "901": { "node": "vm", "type": "lxc" }, "902": { "node": "vm", "type": "lxc" },
        "105": { "node": "pve2", "type": "qemu" },
        "950": { "node": "pve2", "type": "lxc" }, "951": { "node": "pve3", "type": "lxc" },
        "952": { "node": "pve3", "type": "lxc" },
    }));
    members(&job, 1);
    let far = "hostname: far\ndev0: /dev/nvidia0,mode=0666\ndev1: /dev/nvidiactl\n\n[old]\ndev0: /dev/nvidia3\n";
    let raw = "hostname: raw\nlxc.mount.entry: /dev/nvidia2 dev/nvidia2 none bind,optional,create=file\n";
    for (node, ctid, text) in [("pve2", 950, far), ("pve3", 951, raw)] {
        fs_err::create_dir_all(job.node.pve(&format!("nodes/{node}/lxc"))).unwrap();
        job.node.write(&format!("nodes/{node}/lxc/{ctid}.conf"), text);
    }
    job.add(950, json!({ "name": "wanted", "template": "local:vztmpl/t.tar", "features": ["nvidia"] }));
    job
}

fn members(job: &Job, quorate: u8) {
    let node = |online: u8| json!({ "id": 1, "online": online, "ip": "10.0.0.1" });
    let members = json!({
        "nodename": "vm", "version": 4, "cluster": { "name": "c", "version": 3, "nodes": 3, "quorate": quorate },
        "nodelist": { "vm": node(1), "pve2": node(1), "pve3": node(0) },
    });
    job.node.write(".members", &members.to_string());
}

fn rows(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

#[test]
fn all_nodes_are_shown_from_this_ones_files_and_nothing_is_called_or_changed() {
    let (job, host) = (cluster(), two_gpus());
    job.node.calls();
    let before = tree::with_times_of(&job.node.pve(""));
    let status = |words: &[&str]| job.run_on(Some(&host), &[&["status", "--all-nodes"], words].concat());
    assert_shown("status_of_all_nodes", &job.world, &["status", "--all-nodes"], &status(&["--exit-code"]).ok());
    let shown = status(&["--output", "json"]).ok();
    let rows = rows(&shown);
    let facts = |row: &Value| json!([row["id"], row["name"], row["cluster_node"], row["gpus"], row["verdict"]]);
    let node = |name: &str, online: bool| json!({ "name": name, "online": online });
    assert_eq!(
        rows.iter().map(facts).collect::<Vec<_>>(),
        [
            json!([901, "gpu1", node("vm", true), [], "no driver wanted"]),
            json!([902, "mail", node("vm", true), ["/dev/nvidia1"], "not configured"]),
            json!([950, "far", node("pve2", true), ["/dev/nvidia0"], "not known from here"]),
            json!([951, "raw", node("pve3", false), ["/dev/nvidia2"], "not known from here"]),
            json!([952, "", node("pve3", false), [], "not known from here"]),
        ]
    );
    assert_eq!(
        (&rows[2]["wanted"], &rows[2]["host"], &rows[2]["in_sync"]),
        (&json!("580.76.05"), &json!(null), &json!(null))
    );
    crate::status::assert_fits_the_schema(&shown);
    let page = status(&["--html", "-"]).ok().stdout;
    assert!(page.contains("pve3 (offline)") && page.contains("not known from here"), "{page}");
    let metrics = status(&["--prometheus", "-"]).ok().stdout;
    assert!(metrics.contains("phoenix_nvidia_cluster_node_online{node=\"pve3\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("phoenix_nvidia_container_in_sync{ctid=\"950\""), "{metrics}");
    let environment = [&job.world.environment()[..], &job.node.environment()].concat();
    let words = ["--backend", "proxmox", "status", "--all-nodes"];
    let started = crate::status::programs_started_in(&job.world, &host, &words, &environment);
    assert_eq!(started, [env!("CARGO_BIN_EXE_phoenix-nvidia")]);
    assert_eq!(tree::differences(&before, &tree::with_times_of(&job.node.pve(""))), "");
    assert_eq!(job.node.calls(), Vec::<String>::new());
}

#[test]
fn a_configured_container_of_another_node_is_not_known_from_here_and_no_fault() {
    let job = cluster();
    let row = &rows(&job.run(&["status", "950", "--output", "json", "--exit-code"]).ok())[0];
    assert_eq!((&row["verdict"], &row["reason"]), (&json!("not known from here"), &json!("it is on node `pve2`")));
    assert_eq!(row["hint"], "run `phoenix-nvidia status 950` on `pve2`");
    assert!(!job.run(&["status", "901"]).ok().stdout.contains("ON NODE"));
    job.run(&["status", "901", "--all-nodes"]).exits(2);
}

#[test]
fn a_node_without_quorum_says_so_and_shows_what_it_knows() {
    let job = cluster();
    members(&job, 0);
    let shown = job.run(&["status", "--all-nodes", "--output", "json"]).ok();
    assert!(shown.stderr.contains("node `vm` has no quorum in its cluster: its view of other nodes may be outdated\n"));
    let rows = rows(&shown);
    assert_eq!(rows[0]["state"], "running");
    assert_eq!(rows[2]["reason"], "it is on node `pve2`; this node has no quorum, so this may be outdated");
}

#[test]
fn plain_lxc_has_no_nodes_and_says_so() {
    let world = crate::world::World::new();
    crate::resting_fleet::configure(&world, 1);
    let shown = world.run(&["status", "--all-nodes", "--backend", "lxc"]).ok();
    assert!(
        shown.stderr.contains("note: `lxc` has no nodes: these are the containers of this host\n"),
        "{}",
        shown.stderr
    );
    assert!(shown.stdout.contains("1000  gpu-1000  absent") && !shown.stdout.contains("ON NODE"), "{}", shown.stdout);
}

#[test]
fn a_container_whose_file_is_just_being_replaced_is_still_there() {
    let job = Job::new();
    job.run(&["create", "901"]).ok();
    let (conf, list, away) = (job.node.pve("lxc/901.conf"), job.node.pve(".vmlist"), job.node.pve("away"));
    let listed = fs_err::read(&list).unwrap();
    fs_err::rename(&conf, &away).unwrap();
    fs_err::remove_file(&list).unwrap();
    Ran::of("mkfifo", &[&list], &[]).ok();
    let state = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Somebody reads the list: the file has been looked for, and was not there.
            let mut pipe = fs_err::OpenOptions::new().write(true).open(&list).unwrap();
            fs_err::rename(&away, &conf).unwrap();
            job.node.write("list", std::str::from_utf8(&listed).unwrap());
            fs_err::rename(job.node.pve("list"), &list).unwrap();
            pipe.write_all(&listed).unwrap();
        });
        job.with_proxmox(|proxmox| proxmox.state(id(901))).unwrap()
    });
    assert!(matches!(state, State::Running { .. }), "{state:?}");
}
