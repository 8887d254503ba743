//! Which raw lines a container gets for the nodes that CUDA does not need.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::config::{Configuration, Layout};

const UNPRIVILEGED: &str = "unprivileged: 1\n";

fn card(mode: u32) -> DeviceNode {
    DeviceNode { path: "/dev/dri/card1".into(), major: 226, minor: 1, mode, group: 44 }
}

/// The lines for a container of this file, as text.
fn lines_of(file: &str, more: &Value, devices: Vec<DeviceNode>, kept: &[&str], ours: &[&str]) -> Vec<String> {
    let mut entry = json!({ "name": "gpu1", "gpu_assignment": "0", "nvidia_dri": true });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path());
    let containers = json!({ "lxc_configs": { "901": entry } }).to_string();
    crate::sys::atomic::write(&layout.containers_file(), containers.as_bytes(), 0o644).unwrap();
    let configuration = Configuration::load(&layout).unwrap();
    let container = configuration.container("901".parse().unwrap()).unwrap();
    let kept = kept.iter().map(PathBuf::from).collect();
    let desired = Desired { container, devices, kept, mounts: Vec::new() };
    let devices: BTreeSet<String> = ours.iter().map(ToString::to_string).collect();
    let record = Record { devices, ..Record::default() };
    lines(&ConfigFile::new(file), &desired, &record, ALLOW[0]).iter().map(ToString::to_string).collect()
}

fn expected(source: &str) -> Vec<String> {
    vec![
        format!("lxc.mount.entry: {source} dev/dri/card1 none bind,optional,create=file"),
        "lxc.cgroup2.devices.allow: c 226:1 rwm".to_owned(),
    ]
}

#[test]
fn a_privileged_container_sees_the_hosts_node_and_an_unprivileged_one_a_node_that_it_may_open() {
    let none = json!({});
    let of = |file: &str, more: &Value, mode| lines_of(file, more, vec![card(mode)], &[], &[]);
    assert_eq!(of("", &none, 0o660), expected("/dev/dri/card1"));
    assert_eq!(of(UNPRIVILEGED, &none, 0o666), expected("/dev/dri/card1"), "whose ever it is, all may open it");
    assert_eq!(of(UNPRIVILEGED, &none, 0o660), expected("/dev/phoenix-nvidia/100000-100044-0660/dri/card1"));
    let own = format!("{UNPRIVILEGED}lxc.idmap: u 0 200000 65536\nlxc.idmap: g 0 300000 65536\n");
    assert_eq!(of(&own, &none, 0o660), expected("/dev/phoenix-nvidia/200000-300044-0660/dri/card1"));
    let access = json!({ "gpu_mode": "0600", "gpu_uid": 1000, "gpu_gid": 104 });
    assert_eq!(of(UNPRIVILEGED, &access, 0o666), expected("/dev/phoenix-nvidia/101000-100104-0600/dri/card1"));
    assert_eq!(of("", &access, 0o660), expected("/dev/phoenix-nvidia/1000-104-0600/dri/card1"));
}

#[test]
fn an_entry_of_ours_becomes_lines_also_while_the_host_lacks_the_node_and_an_operators_stays() {
    let (none, ours) = (json!({}), ["/dev/dri/card1"]);
    let file = format!("dev3: /dev/dri/card1,gid=44,mode=0660\n{UNPRIVILEGED}");
    let second = expected("/dev/phoenix-nvidia/100000-100044-0660/dri/card1");
    assert_eq!(lines_of(&file, &none, vec![card(0o660)], &[], &ours), second);
    assert_eq!(lines_of(&file, &none, Vec::new(), &ours, &ours), second);
    assert_eq!(lines_of(&file, &none, vec![card(0o660)], &[], &[]), [""; 0]);
    // Lines that are there stay as they are.
    let lines = format!("{UNPRIVILEGED}{}\n", second.join("\n"));
    assert_eq!(lines_of(&lines, &none, Vec::new(), &ours, &ours), [""; 0]);
    // What nobody else writes is ours, whoever has lost the record.
    assert_eq!(lines_of(&lines, &none, vec![card(0o660)], &[], &[]), second);
}

#[test]
fn nothing_but_what_this_program_writes_is_taken_for_a_second_node() {
    let node = |path: &str| second(Path::new(path)).map(|(node, seen)| (node.display().to_string(), seen.mode));
    let right = "/dev/phoenix-nvidia/100000-100044-0660/dri/renderD128";
    assert_eq!(node(right), Some(("/dev/dri/renderD128".to_owned(), 0o660)));
    let modeset = "/dev/phoenix-nvidia/100000-100044-0660/nvidia-modeset";
    assert_eq!(node(modeset), Some((MODESET.to_owned(), 0o660)));
    for other in [
        "/dev/dri/card1",
        "/dev/phoenix-nvidia/100000-100044-0660/nvidia0",
        "/dev/phoenix-nvidia/100000-100044-0660/sda",
        "/dev/phoenix-nvidia/100000-100044-0660/dri/../sda",
        "/dev/phoenix-nvidia/100000-100044-6660/dri/card1",
        "/dev/phoenix-nvidia/+1-100044-0660/dri/card1",
        "/dev/phoenix-nvidia/100000-0660/dri/card1",
        "/dev/phoenix-nvidia/../100000-100044-0660/dri/card1",
    ] {
        assert_eq!(node(other), None, "{other}");
    }
}
