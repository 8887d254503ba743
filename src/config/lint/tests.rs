//! What `lint` reports on the files of real operators and on each mistake, and that it accepts a correct file.

use super::super::{Configuration, Severity};

const REAL: &str = include_str!("../../../tests/fixtures/configuration/phoenix_lxc_configs.json");
const OLDER: &str = include_str!("../../../tests/fixtures/configuration/older_phoenix_lxc_configs.json");
const HYPERVISOR: &str = include_str!("../../../tests/fixtures/configuration/phoenix_hypervisor_config.json");
const EXAMPLE: &str = include_str!("../../../etc/phoenix_lxc_configs.json");
const EXAMPLE_HYPERVISOR: &str = include_str!("../../../etc/phoenix_hypervisor_config.json");

fn rendered(containers: &str, hypervisor: &str) -> String {
    let configuration = Configuration::of_texts(containers, Some(hypervisor)).unwrap();
    let findings: Vec<String> = configuration.findings().iter().map(|finding| finding.render()).collect();
    findings.join("\n\n")
}

/// The findings of some containers besides what a correct one has, as `severity: message`.
fn doubts(containers: &str) -> Vec<String> {
    doubts_with(containers, "", "{}")
}

fn doubts_with(containers: &str, root: &str, hypervisor: &str) -> Vec<String> {
    let text = format!(r#"{{ {root} "lxc_configs": {{ {containers} }} }}"#);
    let configuration = Configuration::of_texts(&text, Some(hypervisor)).unwrap();
    configuration
        .findings()
        .iter()
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            format!("{severity}: {}", finding.message)
        })
        .collect()
}

/// A correct container with these members added.
fn entry(id: &str, members: &str) -> String {
    format!(r#""{id}": {{ "name": "c{id}", "template": "/t.tar.zst", "unprivileged": true {members} }}"#)
}

/// A correct clone of 900 with these members added.
fn clone(id: &str, members: &str) -> String {
    format!(r#""{id}": {{ "name": "c{id}", "clone_from_ctid": "900", "unprivileged": true {members} }}"#)
}

#[test]
fn the_real_files() {
    insta::assert_snapshot!(rendered(REAL, HYPERVISOR));
}

#[test]
fn the_older_file() {
    insta::assert_snapshot!(rendered(OLDER, HYPERVISOR));
}

#[test]
fn nothing_is_reported_of_the_examples() {
    assert_eq!(rendered(EXAMPLE, EXAMPLE_HYPERVISOR), "");
    let configuration = Configuration::of_texts(EXAMPLE, Some(EXAMPLE_HYPERVISOR)).unwrap();
    let containers: Vec<_> = configuration.containers().map(|(_, container)| container.unwrap()).collect();
    assert_eq!(containers.len(), 3);
    assert!(containers.iter().any(|container| container.clone_from.is_some() && !container.gpus.is_none()));
    assert!(containers.iter().any(|container| container.template.is_some() && container.driver.is_some()));
}

#[test]
fn nothing_is_reported_of_a_correct_container() {
    assert_eq!(doubts(&entry("901", "")), Vec::<String>::new());
    let base = entry("900", r#", "template_snapshot_name": "final-form""#);
    assert_eq!(doubts(&format!("{base}, {}", clone("901", ""))), Vec::<String>::new());
}

#[test]
fn slips_of_the_fingers_are_reported_wherever_keys_are_read() {
    let members = r#", "gpu_asignment": "0", "network_config": { "name": "eth0", "bridge": "b", "ip": "dhcp", "nameserver": "1" },
        "mount_points": [ { "host_path": "/a", "container_path": "/b", "owner_iud": 1 } ]"#;
    let found = doubts_with(
        &entry("901", members),
        r#""nvidia_driver_verison": "580.76.05","#,
        r#"{ "nvidia_drivers": {}, "nvidia_driver": { "mirors": [] } }"#,
    );
    for key in ["gpu_asignment", "nameserver", "owner_iud", "nvidia_driver_verison", "nvidia_drivers", "mirors"] {
        assert!(found.contains(&format!("warning: unknown key `{key}`")), "{key}: {found:?}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
}

#[test]
fn a_feature_that_is_a_slip_of_the_fingers_is_reported_once() {
    let of = |feature: &str| doubts(&entry("901", &format!(r#", "gpu_assignment": "0", "features": ["{feature}"]"#)));
    for feature in ["nvidea", "nvida", "NVIDIA", "nvidia_"] {
        assert_eq!(of(feature), [format!("warning: unknown feature `{feature}`")]);
    }
    assert_eq!(of("vllm"), ["warning: GPU 0 is assigned, but no driver is wanted"]);
    let text = format!(r#"{{ "lxc_configs": {{ {} }} }}"#, entry("901", r#", "features": ["nvidea"]"#));
    let hint = Configuration::of_texts(&text, None).unwrap().findings().iter().find_map(|it| it.hint.clone());
    assert_eq!(hint.as_deref(), Some("did you mean `nvidia`?"));
}

#[test]
fn lists_at_the_root_are_read_by_nobody() {
    let found = doubts_with(&entry("901", ""), r#""features": ["nvidia"],"#, "{}");
    assert_eq!(found, ["warning: `features` is not read at the root of the file"]);
}

#[test]
fn another_tools_key_that_stands_twice_is_only_doubtful() {
    let found = doubts(&entry("901", r#", "ports": [], "ports": ["80:80"]"#));
    assert_eq!(found, ["warning: the key `ports` occurs more than once"]);
}

#[test]
fn comments_are_reported() {
    let found = doubts(&format!("/* mine */ {}", entry("901", "")));
    assert_eq!(found, ["warning: not strict JSON, so other tools cannot read this file: comments are not allowed"]);
}

#[test]
fn addresses_and_names_that_two_containers_share_are_reported() {
    let network = |ip: &str| {
        format!(
            r#", "mac_address": "52:54:00:00:00:01", "network_config": {{ "name": "eth0", "bridge": "b", "ip": "{ip}" }}"#
        )
    };
    let second = entry("902", &network("10.0.0.1/16")).replace("c902", "C901");
    let found = doubts(&format!("{}, {second}", entry("901", &network("10.0.0.1/24"))));
    assert_eq!(
        found,
        [
            "warning: the name `C901` is container 901's, too",
            "warning: the hardware address 52:54:00:00:00:01 is container 901's, too",
            "warning: the address 10.0.0.1 is container 901's, too",
        ]
    );
}

#[test]
fn a_router_that_cannot_be_reached_is_reported() {
    let network = |ip: &str, gw: &str| {
        entry("901", &format!(r#", "network_config": {{ "name": "eth0", "bridge": "b", "ip": "{ip}", "gw": "{gw}" }}"#))
    };
    assert_eq!(doubts(&network("10.0.0.5/24", "10.0.0.1")), Vec::<String>::new());
    assert_eq!(
        doubts(&network("10.0.0.5/24", "10.0.1.1")),
        ["warning: the gateway 10.0.1.1 is not in the network of 10.0.0.5/24"]
    );
    assert_eq!(
        doubts(&network("10.0.0.5/24", "10.0.0.5")),
        ["warning: the gateway 10.0.0.5 is the container's own address"]
    );
    assert_eq!(doubts(&network("dhcp", "10.0.0.5")), ["warning: a gateway is set, but the address comes from DHCP"]);
}

#[test]
fn a_container_from_nowhere_is_reported() {
    let found = doubts(r#""901": { "name": "a", "unprivileged": true }"#);
    assert_eq!(found, ["note: neither `template` nor `clone_from_ctid` is set, so the container must exist already"]);
    let base = entry("900", r#", "template_snapshot_name": "final-form""#);
    let both = format!("{base}, {}", clone("901", r#", "template": "/t""#));
    assert_eq!(doubts(&both), ["note: `template` is not used: the container is cloned from 900"]);
}

#[test]
fn a_clone_source_without_snapshot_or_entry_is_reported() {
    let found = doubts(&format!("{}, {}", entry("900", ""), clone("901", "")));
    assert_eq!(found, ["warning: the clone source 900 has no `template_snapshot_name`"]);
    assert_eq!(doubts(&clone("901", "")), ["warning: the clone source 900 is not defined in this file"]);
}

#[test]
fn a_privilege_that_is_not_said_is_reported() {
    let found = doubts(r#""901": { "name": "a", "template": "/t" }"#);
    assert_eq!(found, ["note: `unprivileged` is not set: the container will be privileged"]);
    assert_eq!(
        doubts_with(r#""901": { "name": "a", "template": "/t" }"#, r#""unprivileged": true,"#, "{}"),
        Vec::<String>::new()
    );
    let base = entry("900", r#", "template_snapshot_name": "final-form""#);
    let copy = clone("901", "").replace(r#", "unprivileged": true"#, "");
    assert_eq!(doubts(&format!("{base}, {copy}")), Vec::<String>::new());
}

#[test]
fn names_that_are_no_host_names_are_reported() {
    let named = |name: &str| doubts(&entry("901", "").replace("c901", name));
    assert_eq!(named("my_box"), ["warning: `my_box` is not a valid host name"]);
    assert_eq!(named("box-"), ["warning: `box-` is not a valid host name"]);
    assert_eq!(
        named("cuda-12.8"),
        ["note: the container's host name is `cuda-12`, because a dot begins a domain, here `8`"]
    );
}

#[test]
fn memory_in_the_wrong_unit_is_reported() {
    assert_eq!(doubts(&entry("901", r#", "memory_mb": 32"#)), ["warning: `memory_mb` is 32 MiB"]);
    assert_eq!(doubts(&entry("901", r#", "memory_mb": 34359738"#)), ["warning: `memory_mb` is 34359738 MiB"]);
    assert_eq!(doubts(&entry("901", r#", "memory_mb": 131072"#)), Vec::<String>::new());
}

#[test]
fn a_map_of_users_that_is_not_the_fixed_one_is_reported() {
    let map = |host: &str| {
        let members =
            format!(r#", "id_maps": [ {{ "type": "uid", "container_id": 0, "host_id": {host}, "size": 65536 }} ]"#);
        doubts(&entry("901", &members))
    };
    assert_eq!(map("100000"), Vec::<String>::new());
    assert_eq!(map("33"), ["warning: the entries of `id_maps` are not read"]);
}

#[test]
fn settings_that_contradict_each_other_are_reported() {
    let nesting = r#", "apparmor_manages_nesting": true, "pct_options": ["nesting=1"]"#;
    assert_eq!(
        doubts(&entry("901", nesting)),
        ["warning: `nesting=1` is set, but `apparmor_manages_nesting` leaves nesting to the profile"]
    );
    let profile = |raw: &str| {
        let members = format!(r#", "apparmor_profile": "unconfined", "lxc_options": ["lxc.apparmor.profile={raw}"]"#);
        doubts(&entry("901", &members))
    };
    assert_eq!(profile("unconfined"), Vec::<String>::new());
    assert_eq!(profile("generated"), ["warning: the profile is `unconfined` here and `generated` in `lxc_options`"]);
}

#[test]
fn characters_that_a_shell_would_act_upon_are_reported() {
    let members = r#", "mount_points": [ { "host_path": "/data/$HOME", "container_path": "/b" } ], "lxc_options": ["lxc.hook.start=/x;y"]"#;
    assert_eq!(
        doubts(&entry("901", members)),
        [
            "warning: `host_path` holds the character `$`, which is special to a shell",
            "warning: `lxc_options` holds the character `;`, which is special to a shell",
        ]
    );
}

#[test]
fn a_colon_that_only_proxmox_understands_is_reported() {
    let found = doubts(&entry("901", r#", "lxc_options": ["lxc.mount.auto:sys:rw", "lxc.cap.drop: mknod"]"#));
    assert_eq!(found, ["warning: `lxc.mount.auto:sys:rw` has a colon where LXC itself only knows `=`"]);
}

#[test]
fn bind_mounts_that_proxmox_can_neither_snapshot_nor_clone_are_reported() {
    let base = entry(
        "900",
        r#", "template_snapshot_name": "s", "enable_lifecycle_snapshots": true, "mount_points": [ { "host_path": "/a", "container_path": "/b" } ]"#,
    );
    let both = format!("{base}, {}", clone("901", ""));
    assert_eq!(
        doubts(&both),
        [
            "warning: Proxmox VE cannot snapshot a container with `mount_points`",
            "warning: Proxmox VE cannot clone a container with `mount_points`, which 900 has",
        ]
    );
    assert_eq!(doubts_with(&both, "", r#"{ "hypervisor": { "backend": "incus" } }"#), Vec::<String>::new());
}

#[test]
fn a_gpu_without_a_driver_is_reported_unless_the_clone_source_has_one() {
    let found = doubts(&entry("901", r#", "gpu_assignment": "0,1""#));
    assert_eq!(found, ["warning: GPU 0,1 is assigned, but no driver is wanted"]);
    let base = entry(
        "900",
        r#", "template_snapshot_name": "s", "features": ["nvidia"], "nvidia_driver_version": "580.76.05""#,
    );
    assert_eq!(doubts(&format!("{base}, {}", clone("901", r#", "gpu_assignment": "0""#))), Vec::<String>::new());
}

#[test]
fn nodes_to_draw_with_belong_to_a_whole_gpu() {
    let of = |more: &str| {
        doubts(&entry("901", &format!(r#", "features": ["nvidia"], "nvidia_driver_version": "580.76.05"{more}"#)))
    };
    let found = ["warning: `nvidia_dri` gives the nodes of whole GPUs, and none is assigned"];
    assert_eq!(of(r#", "nvidia_dri": true"#), found);
    assert_eq!(of(r#", "nvidia_dri": true, "gpu_assignment": "0:1:0""#), found);
    for right in [r#", "nvidia_dri": true, "gpu_assignment": "all""#, r#", "nvidia_dri": false"#] {
        assert_eq!(of(right), Vec::<String>::new(), "{right}");
    }
}

#[test]
fn a_driver_in_a_container_without_glibc_is_reported() {
    let members = r#", "features": ["nvidia"], "nvidia_driver_version": "580.76.05""#;
    let found = doubts(&entry("901", members).replace("/t.tar.zst", "/alpine-3.20-default_amd64.tar.xz"));
    assert_eq!(found, ["warning: NVIDIA's driver needs glibc, which `alpine-3.20-default_amd64.tar.xz` does not have"]);
}

#[test]
fn a_repository_for_another_distribution_is_reported() {
    let root = r#""nvidia_driver_version": "580.76.05", "nvidia_repo_url": "https://h/cuda/repos/ubuntu2404/x86_64/","#;
    let of = |template: &str| {
        doubts_with(&entry("901", r#", "features": ["nvidia"]"#).replace("/t.tar.zst", template), root, "{}")
    };
    assert_eq!(of("/ubuntu-24.04-standard_24.04-2_amd64.tar.zst"), Vec::<String>::new());
    assert_eq!(
        of("/debian-12-standard_12.7-1_amd64.tar.zst"),
        ["warning: the repository is for ubuntu2404, but container 901 is debian12"]
    );
}

#[test]
fn a_host_that_wants_another_driver_is_reported() {
    let members = r#", "features": ["nvidia"], "nvidia_driver_version": "580.76.05""#;
    let found = doubts_with(&entry("901", members), "", r#"{ "nvidia_driver": { "version": "570.133.20" } }"#);
    assert_eq!(
        found,
        [
            "warning: `nvidia_driver_version` is 580.76.05, but `nvidia_driver.version` in `etc/phoenix_hypervisor_config.json` is 570.133.20"
        ]
    );
}

#[test]
fn containers_that_wait_for_each_other_are_reported() {
    let found = doubts(&format!(
        "{}, {}",
        entry("901", r#", "dependencies": ["902"]"#),
        entry("902", r#", "dependencies": ["901"]"#)
    ));
    assert_eq!(found, ["error: circular dependency between containers: 901 → 902 → 901"]);
}

#[test]
fn a_dependency_that_starts_later_is_reported() {
    let boot = |order: u32| format!(r#", "start_at_boot": true, "boot_order": {order}"#);
    let of = |first: &str, second: &str| {
        doubts(&format!("{}, {}", entry("901", &format!(r#"{first}, "dependencies": ["902"]"#)), entry("902", second)))
    };
    assert_eq!(of(&boot(2), &boot(1)), Vec::<String>::new());
    assert_eq!(of("", &boot(1)), Vec::<String>::new());
    assert_eq!(
        of(&boot(1), &boot(2)),
        ["warning: container 901 starts at boot with order 1, before 902, which it depends on"]
    );
    assert_eq!(of(&boot(1), "").len(), 1);
}

#[test]
fn a_dependency_outside_the_file_is_worth_a_note() {
    let found = doubts(&entry("901", r#", "dependencies": ["1002"]"#));
    assert_eq!(found, ["note: the dependency 1002 is not defined in this file"]);
}

#[test]
fn an_update_that_no_start_can_wait_for_is_reported() {
    let update = r#", "nvidia_on_mismatch": "update", "features": ["nvidia"], "nvidia_driver_version": "580.76.05""#;
    let found = ["warning: `update` needs the method `native`"];
    assert_eq!(doubts(&entry("901", &format!(r#"{update}, "gpu_assignment": "0""#))), found);
    let native = format!(r#"{update}, "gpu_assignment": "0", "nvidia_install_method": "native""#);
    assert_eq!(doubts(&entry("901", &native)), Vec::<String>::new());
    assert_eq!(doubts(&entry("901", update)), Vec::<String>::new(), "without GPUs nothing is checked");
    let wrong = doubts(&entry("901", r#", "nvidia_on_mismatch": "panic""#));
    assert!(wrong.len() == 1 && wrong[0].starts_with("error: "), "{wrong:?}");
}
