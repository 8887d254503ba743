//! What `lint` knows besides the files: which containers this host has, and which templates.

use serde_json::json;

use crate::world::{Privilege, World};

/// The messages of all findings, with their severity.
fn found(world: &World) -> Vec<String> {
    let findings = world.run(&["lint", "--output", "json"]).stdout;
    let findings: Vec<serde_json::Value> = serde_json::from_str(&findings).unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings.iter().map(|finding| format!("{}: {}", text(finding, "severity"), text(finding, "message"))).collect()
}

#[test]
fn a_container_that_exists_needs_neither_template_nor_privilege() {
    let world = World::new();
    world.write_hypervisor(&json!({}));
    world.write_containers(&json!({ "lxc_configs": { "900": { "name": "mine" } } }));
    let absent = "the container does not exist and cannot be created";
    assert_eq!(found(&world), [format!("warning: neither `template` nor `clone_from_ctid` is set, so {absent}")]);
    world.create_by_hand(900, Privilege::Unprivileged, &[]);
    assert_eq!(found(&world), Vec::<String>::new());
    world.write_containers(&json!({ "lxc_configs": { "900": { "name": "mine", "template": "/gone.tar.zst" } } }));
    assert_eq!(found(&world), Vec::<String>::new());
}

#[test]
fn a_template_that_is_missing_is_reported_with_its_path() {
    let world = World::new();
    world.write_hypervisor(&json!({}));
    let of = |template: &std::path::Path| {
        let entry = json!({ "name": "new", "template": template, "unprivileged": true });
        world.write_containers(&json!({ "lxc_configs": { "901": entry } }));
        found(&world)
    };
    assert_eq!(of(&world.template()), Vec::<String>::new());
    let missing = ["warning: container 901: the template `/gone.tar.zst` does not exist"];
    assert_eq!(of("/gone.tar.zst".as_ref()), missing);
}

#[test]
fn a_mistake_in_the_json_is_said_once_and_where_it_is() {
    let world = World::new();
    let text = "{\n  \"lxc_configs\": {\n    \"901\": {\n      \"name\": \"a\"\n  }\n}\n";
    fs_err::write(world.base().join("etc/phoenix_lxc_configs.json"), text).unwrap();
    for arguments in [&["lint"][..], &["create", "901"], &["status"]] {
        let ran = world.run(arguments).exits(3);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(said.matches("malformed JSON: unterminated object").count(), 1, "{said}");
        assert!(said.contains("phoenix_lxc_configs.json:3:12\n"), "{said}");
    }
}
