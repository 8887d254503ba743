//! What the files of real operators say, and how the rules of both files play together.

mod anything;
mod files;
mod messages;

use super::*;
use crate::config::{GpuSelector, Method, OnMismatch};
use crate::driver::placement::Profile;

const REAL: &str = include_str!("../../../tests/fixtures/configuration/phoenix_lxc_configs.json");
const OLDER: &str = include_str!("../../../tests/fixtures/configuration/older_phoenix_lxc_configs.json");
const HYPERVISOR: &str = include_str!("../../../tests/fixtures/configuration/phoenix_hypervisor_config.json");

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

/// Container 901 with these members, `name` apart, and these at the root.
fn one(members: &str, root: &str) -> String {
    format!("{{\n  \"lxc_configs\": {{\n    \"901\": {{\n      \"name\": \"gpu\"{members}\n    }}\n  }}{root}\n}}\n")
}

/// An error as it is shown.
fn message_of(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    if let Some(output) = error.output_text() {
        text += &format!("\n{output}\n");
    }
    if let Some(hint) = error.hint_text() {
        text += &format!("\nhint: {hint}\n");
    }
    text
}

/// The message when container 901 is asked for.
fn told_of_901(containers: &str, hypervisor: Option<&str>) -> String {
    message_of(
        &Configuration::of_texts(containers, hypervisor).and_then(|all| all.container(id("901")).cloned()).unwrap_err(),
    )
}

fn container(members: &str, root: &str, hypervisor: Option<&str>) -> Container {
    let configuration = Configuration::of_texts(&one(members, root), hypervisor).unwrap();
    configuration.container(id("901")).map_err(|error| message_of(&error)).unwrap().clone()
}

#[test]
fn the_real_files_are_read_unchanged() {
    let configuration = Configuration::of_texts(REAL, Some(HYPERVISOR)).unwrap();
    assert_eq!(configuration.containers().count(), 12);
    for (id, container) in configuration.containers() {
        assert!(container.is_ok(), "{id}");
    }
    let cuda = configuration.container(id("901")).unwrap();
    assert_eq!(cuda.name, "Copy-Cuda12.8");
    assert_eq!(cuda.clone_from, Some(id("900")));
    assert_eq!(cuda.gpus.iter().collect::<Vec<_>>(), [&GpuSelector::Minor(0), &GpuSelector::Minor(1)]);
    assert_eq!(cuda.external_dependencies, ["1002"]);
    assert!(cuda.lifecycle_snapshots && cuda.apparmor_manages_nesting && cuda.start_at_boot != Some(true));
    let driver = cuda.driver.as_ref().unwrap();
    assert_eq!(driver.version.as_str(), "580.76.05");
    assert_eq!((driver.method(), driver.profile()), (Method::Runfile, Profile::Full));
    assert_eq!(driver.urls.len(), 3, "the configured URL is NVIDIA's first: {:?}", driver.urls);
    assert_eq!(driver.notes, Vec::<String>::new());

    let embedding = configuration.container(id("801")).unwrap();
    assert!(embedding.driver.is_none(), "a GPU is wanted, a driver comes with the clone");
    assert!(!embedding.gpus.is_none());
    assert_eq!(embedding.volumes.len(), 1);
    let proxy = configuration.container(id("101")).unwrap();
    assert!(proxy.id_map);
    assert_eq!(proxy.mounts[0].owner_uid, Some(33));
    assert_eq!(proxy.swap_mb, Some(512));
    assert_eq!(proxy.pct_options, ["nesting=1"]);
    assert_eq!(configuration.container(id("911")).unwrap().unprivileged, None);
}

#[test]
fn the_older_file_is_read_unchanged() {
    let configuration = Configuration::of_texts(OLDER, Some(HYPERVISOR)).unwrap();
    let container = configuration.container(id("902")).unwrap();
    assert_eq!(container.pct_options, ["nesting=1", "keyctl=1"]);
    assert_eq!(container.features, Vec::<String>::new());
    assert_eq!(container.gpus.to_string(), "0,1");
    assert!(container.driver.is_none());
    assert_eq!(configuration.containers().filter(|(_, container)| container.is_ok()).count(), 4);
}

#[test]
fn what_comes_first_comes_first() {
    let configuration = Configuration::of_texts(REAL, Some(HYPERVISOR)).unwrap();
    let order = |ids: &[&str]| -> Vec<String> {
        let ids: Vec<ContainerId> = ids.iter().map(|text| id(text)).collect();
        configuration.in_dependency_order(&ids).unwrap().iter().map(ContainerId::to_string).collect()
    };
    assert_eq!(order(&["801"]), ["900", "901", "911", "801"]);
    assert_eq!(order(&["102"]), ["900", "103", "102"]);
    assert_eq!(order(&["801", "901", "102", "801"]), ["900", "901", "911", "801", "103", "102"]);
    assert_eq!(order(&[]), Vec::<String>::new());
}

#[test]
fn ctids_written_as_numbers_and_as_strings_are_the_same_container() {
    let text = r#"{ "lxc_configs": {
        "900": { "name": "base", "template": "t" },
        "901": { "name": "a", "clone_from_ctid": 900 },
        "902": { "name": "b", "clone_from_ctid": "900", "dependencies": [901, "1002", 1003] },
        "903": { "name": "c", "clone_from_ctid": "900", "dependencies": ["901"] } } }"#;
    let configuration = Configuration::of_texts(text, None).unwrap();
    assert_eq!(configuration.container(id("901")).unwrap().clone_from, Some(id("900")));
    let (b, c) = (configuration.container(id("902")).unwrap(), configuration.container(id("903")).unwrap());
    assert_eq!(b.dependencies, c.dependencies);
    assert_eq!(b.external_dependencies, ["1002", "1003"]);
    let notes = configuration.findings().iter().filter(|finding| finding.message.ends_with("is a number")).count();
    assert_eq!(notes, 3, "{:?}", configuration.findings());
}

#[test]
fn one_bad_entry_does_not_stop_the_others() {
    let text = r#"{ "lxc_configs": { "901": { "name": 5 }, "902": { "name": "good" }, "903": [], "-bad": {} } }"#;
    let configuration = Configuration::of_texts(text, None).unwrap();
    assert!(configuration.container(id("901")).is_err());
    assert_eq!(configuration.container(id("902")).unwrap().name, "good");
    assert!(configuration.container(id("903")).is_err());
    let usable: Vec<bool> = configuration.containers().map(|(_, container)| container.is_ok()).collect();
    assert_eq!(usable, [false, true, false]);
}

#[test]
fn the_container_decides_before_the_root_for_every_scalar() {
    let members =
        r#", "features": ["nvidia"], "nvidia_driver_version": "570.133.20", "start_at_boot": false, "memory_mb": null"#;
    let root = r#", "nvidia_driver_version": "580.76.05", "start_at_boot": true, "memory_mb": 512, "nvidia_install_method": "native""#;
    let container = container(members, root, None);
    let driver = container.driver.unwrap();
    assert_eq!(driver.version.as_str(), "570.133.20");
    assert_eq!(driver.chosen_method, Some(Method::Native));
    assert_eq!(container.start_at_boot, Some(false));
    assert_eq!(container.memory_mb, Some(512));
}

#[test]
fn what_is_done_on_a_mismatch_is_a_warning_unless_somebody_says_otherwise() {
    let said = |members: &str, root: &str| container(members, root, None).on_mismatch;
    assert_eq!(said("", ""), OnMismatch::Warn);
    assert_eq!(said("", r#", "nvidia_on_mismatch": "refuse""#), OnMismatch::Refuse);
    assert_eq!(said(r#", "nvidia_on_mismatch": "update""#, r#", "nvidia_on_mismatch": "refuse""#), OnMismatch::Update);
}

#[test]
fn mirrors_come_first_then_the_configured_url_then_nvidia() {
    let members = r#", "features": ["nvidia"], "nvidia_driver_version": "570.133.20",
        "nvidia_runfile_url": "https://own.example/{arch}/{version}/driver.run""#;
    let hypervisor = r#"{ "nvidia_driver": { "mirrors": ["https://mirror.lan/nvidia/", "http://10.0.0.13:8080/{arch}"],
        "allow_http": ["10.0.0.13:8080"], "runfile_url": "https://unused.example/580.76.05" } }"#;
    let driver = container(members, "", Some(hypervisor)).driver.unwrap();
    assert_eq!(
        driver.urls,
        [
            "https://mirror.lan/nvidia/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run",
            "http://10.0.0.13:8080/x86_64/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run",
            "https://own.example/x86_64/570.133.20/driver.run",
            "https://us.download.nvidia.com/XFree86/Linux-x86_64/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run",
            "https://download.nvidia.com/XFree86/Linux-x86_64/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run",
            "https://us.download.nvidia.com/tesla/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run",
        ]
    );
}

#[test]
fn a_url_of_another_version_is_changed_and_reported() {
    let members = r#", "features": ["nvidia"], "nvidia_driver_version": "570.133.20""#;
    let driver = container(members, "", Some(HYPERVISOR)).driver.unwrap();
    assert!(driver.urls[0].ends_with("/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run"), "{:?}", driver.urls);
    assert_eq!(
        driver.notes,
        ["the URL of `nvidia_driver.runfile_url` in `etc/phoenix_hypervisor_config.json` names version 580.76.05; \
             570.133.20 is fetched, as configured in `lxc_configs.901.nvidia_driver_version` in \
             `etc/phoenix_lxc_configs.json`"]
    );
}

#[test]
fn a_version_that_no_container_wants_comes_from_the_same_places() {
    let hypervisor = r#"{ "nvidia_driver": { "mirrors": ["https://mirror.lan/"],
        "runfile_url": "https://h.lan/{version}/x.run" } }"#;
    let version: DriverVersion = "570.133.20".parse().unwrap();
    let of = |root: &str, hypervisor: &str| {
        let configuration = Configuration::of_texts(&one("", root), Some(hypervisor)).unwrap();
        configuration.driver_of(&version, None)
    };
    let (urls, notes) = {
        let driver = of("", hypervisor);
        (driver.urls, driver.notes)
    };
    assert_eq!(
        urls[..2],
        ["https://mirror.lan/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run", "https://h.lan/570.133.20/x.run",]
    );
    assert!(urls[2].starts_with("https://us.download.nvidia.com/"), "{urls:?}");
    assert_eq!(notes, Vec::<String>::new());
    // The containers' file speaks before the hypervisor's, and a URL's file name means a variant.
    let root = r#", "nvidia_runfile_url": "https://c.lan/NVIDIA-Linux-x86_64-580.76.05-grid.run""#;
    let driver = of(root, hypervisor);
    assert_eq!(driver.variant, Variant::Grid);
    assert_eq!(driver.urls[1..], ["https://c.lan/NVIDIA-Linux-x86_64-570.133.20-grid.run"]);
    // What another variant's URL names is none of this one.
    let configuration = Configuration::of_texts(&one("", root), None).unwrap();
    assert!(configuration.driver_of(&version, Some(Variant::Full)).urls.iter().all(|url| !url.contains("c.lan")));
    let driver = of(r#", "nvidia_runfile_url": "https://c.lan/580.76.05/x.run""#, "{}");
    assert_eq!(driver.urls.len(), 3);
    assert_eq!(
        driver.notes,
        ["the URL of `nvidia_runfile_url` in `etc/phoenix_lxc_configs.json` names version 580.76.05, but 570.133.20 \
             is wanted: it is not used"]
    );
}

#[test]
fn who_follows_the_host_gets_its_driver_from_its_own_url() {
    let members = r#", "features": ["nvidia"], "nvidia_runfile_url": "https://own.lan/{version}.run""#;
    let text = one(members, r#", "nvidia_driver_version": "580.76.05""#);
    let mut configuration = Configuration::of_texts(&text, Some(HYPERVISOR)).unwrap();
    configuration.follow(&[id("901")], &"570.133.20".parse().unwrap());
    let driver = configuration.container(id("901")).unwrap().driver.clone().unwrap();
    assert_eq!(driver.urls[0], "https://own.lan/570.133.20.run");
    assert!(driver.notes[0].starts_with("the configuration says 580.76.05"), "{:?}", driver.notes);
}

#[test]
fn a_sum_says_where_it_was_said() {
    let sum = "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd";
    let root = format!(r#", "nvidia_driver_version": "580.76.05", "nvidia_runfile_sha256": "{sum}""#);
    let driver = container(r#", "features": ["nvidia"]"#, &root, None).driver.unwrap();
    let configured = driver.sha256.unwrap();
    assert_eq!(configured.sum.to_string(), sum);
    assert_eq!(configured.origin, "`nvidia_runfile_sha256` in `etc/phoenix_lxc_configs.json`");
}
