//! The message of each mistake.

use super::*;

#[test]
fn of_malformed_json() {
    insta::assert_snapshot!(told_of_901(
        "{\n  \"lxc_configs\": {\n    \"901\": { \"name\": \"a\" \"cores\": 2 }\n  }\n}",
        None
    ));
}

#[test]
fn of_a_file_without_containers() {
    insta::assert_snapshot!(told_of_901("{ \"lxc_config\": {} }", None));
}

#[test]
fn of_wrong_types() {
    let members =
        r#", "memory_mb": "lots", "cores": 2.5, "unprivileged": "yes", "features": [1], "network_config": "dhcp""#;
    insta::assert_snapshot!(told_of_901(&one(&members.replace(", ", ",\n      "), ""), None));
}

#[test]
fn of_a_wrong_version() {
    insta::assert_snapshot!(told_of_901(
        &one(",\n      \"features\": [\"nvidia\"]", ",\n  \"nvidia_driver_version\": \"580\""),
        None
    ));
}

#[test]
fn of_a_version_that_is_a_number() {
    insta::assert_snapshot!(told_of_901(
        &one(",\n      \"features\": [\"nvidia\"]", ",\n  \"nvidia_driver_version\": 580.10"),
        None
    ));
}

#[test]
fn of_no_version() {
    insta::assert_snapshot!(told_of_901(&one(",\n      \"features\": [\"base_setup\", \"nvidia\"]", ""), None));
}

#[test]
fn of_a_wrong_list_of_gpus() {
    insta::assert_snapshot!(told_of_901(&one(",\n      \"gpu_assignment\": \"0;1\"", ""), None));
}

#[test]
fn of_an_unknown_ctid() {
    let configuration = Configuration::of_texts(REAL, None).unwrap();
    insta::assert_snapshot!(message_of(&configuration.container(id("991")).unwrap_err()));
}

#[test]
fn of_an_unknown_ctid_among_many() {
    let entries: Vec<String> = (100..200).map(|n| format!("\"{n}\": {{ \"name\": \"c{n}\" }}")).collect();
    let text = format!("{{ \"lxc_configs\": {{ {} }} }}", entries.join(", "));
    let configuration = Configuration::of_texts(&text, None).unwrap();
    insta::assert_snapshot!(message_of(&configuration.container(id("1550")).unwrap_err()));
}

#[test]
fn of_a_circle() {
    let text = r#"{ "lxc_configs": {
        "900": { "name": "a", "dependencies": ["901"] },
        "901": { "name": "b", "clone_from_ctid": "902" },
        "902": { "name": "c", "clone_from_ctid": "901" } } }"#;
    let configuration = Configuration::of_texts(text, None).unwrap();
    insta::assert_snapshot!(message_of(&configuration.in_dependency_order(&[id("900")]).unwrap_err()));
}

#[test]
fn of_a_url_with_another_version() {
    let members = ",\n      \"features\": [\"nvidia\"],\n      \"nvidia_driver_version\": \"570.133.20\"";
    let hypervisor =
        "{\n  \"nvidia_driver\": {\n    \"runfile_url\": \"https://mirror.lan/drivers/580.76.05.bin\"\n  }\n}";
    insta::assert_snapshot!(told_of_901(&one(members, ""), Some(hypervisor)));
}

#[test]
fn of_a_url_without_encryption() {
    let members = ",\n      \"features\": [\"nvidia\"],\n      \"nvidia_driver_version\": \"570.133.20\",\n      \"nvidia_runfile_url\": \"http://mirror.lan/{version}.run\"";
    insta::assert_snapshot!(told_of_901(&one(members, ""), None));
}

/// Container 901 with the driver of this URL.
fn of_url(url: &str, profile: &str) -> String {
    let members = format!(
        ",\n      \"features\": [\"nvidia\"],\n      \"nvidia_driver_version\": \"570.133.20\",\n      \
         \"nvidia_driver_profile\": \"{profile}\",\n      \"nvidia_runfile_url\": \"{url}\""
    );
    told_of_901(&one(&members, ""), None)
}

#[test]
fn of_the_hosts_part_of_a_virtual_gpu() {
    let url = "https://mirror.lan/NVIDIA-Linux-{arch}-{version}-vgpu-kvm.run";
    insta::assert_snapshot!(of_url(url, "full"));
}

#[test]
fn of_32_bits_from_a_file_without_them() {
    let url = "https://mirror.lan/NVIDIA-Linux-{arch}-{version}-no-compat32.run";
    insta::assert_snapshot!(of_url(url, "compute+compat32"));
}

#[test]
fn of_a_password_in_a_url_without_showing_it() {
    let url = "https://user:secret@mirror.lan/{version}.run";
    let members = format!(
        ",\n      \"features\": [\"nvidia\"],\n      \"nvidia_driver_version\": \"570.133.20\",\n      \"nvidia_runfile_url\": \"{url}\""
    );
    let hypervisor = format!(r#"{{ "nvidia_driver": {{ "mirrors": ["{url}"] }} }}"#);
    let text = told_of_901(&one(&members, ""), Some(&hypervisor));
    assert!(!text.contains("secret"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn of_duplicate_keys() {
    let text = "{\n  \"nvidia_driver_version\": \"570.133.20\",\n  \"lxc_configs\": {\n    \"901\": { \"name\": \"a\" },\n    \"901\": { \"name\": \"b\", \"cores\": 1, \"cores\": 2 }\n  },\n  \"nvidia_driver_version\": \"580.76.05\"\n}";
    insta::assert_snapshot!(told_of_901(text, None));
}

#[test]
fn of_a_fault_in_the_hypervisors_file() {
    let hypervisor = "{\n  \"hypervisor\": { \"backend\": \"docker\" }\n}";
    insta::assert_snapshot!(told_of_901(&one("", ""), Some(hypervisor)));
}

#[test]
fn of_a_sum_for_another_version() {
    let sum = "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd";
    let members = ",\n      \"features\": [\"nvidia\"],\n      \"nvidia_driver_version\": \"570.133.20\"";
    let root = format!(",\n  \"nvidia_driver_version\": \"580.76.05\",\n  \"nvidia_runfile_sha256\": \"{sum}\"");
    insta::assert_snapshot!(told_of_901(&one(members, &root), None));
}

#[test]
fn of_a_feature_that_climbs_out_of_its_directory() {
    insta::assert_snapshot!(told_of_901(&one(",\n      \"features\": [\"../../../tmp/x\"]", ""), None));
}

#[test]
fn of_an_option_that_smuggles_in_another() {
    insta::assert_snapshot!(told_of_901(&one(",\n      \"pct_options\": [\"nesting=1,mount=nfs\"]", ""), None));
}
