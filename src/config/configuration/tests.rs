//! What the files of real operators say, and what an operator is told of each mistake.

use super::*;
use crate::config::{GpuSelector, Method, Profile};

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
fn told(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    if let Some(output) = error.output_text() {
        text += &format!("\n{output}\n");
    }
    if let Some(hint) = error.hint_text() {
        text += &format!("\nhint: {hint}\n");
    }
    text
}

/// What is told when container 901 is asked for.
fn told_of_901(containers: &str, hypervisor: Option<&str>) -> String {
    told(
        &Configuration::of_texts(containers, hypervisor).and_then(|all| all.container(id("901")).cloned()).unwrap_err(),
    )
}

fn container(members: &str, root: &str, hypervisor: Option<&str>) -> Container {
    let configuration = Configuration::of_texts(&one(members, root), hypervisor).unwrap();
    configuration.container(id("901")).map_err(|error| told(&error)).unwrap().clone()
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
    assert!(cuda.lifecycle_snapshots && cuda.apparmor_manages_nesting && !cuda.start_at_boot);
    let driver = cuda.driver.as_ref().unwrap();
    assert_eq!(driver.version.as_str(), "580.76.05");
    assert_eq!((driver.method, driver.profile), (Method::Runfile, Profile::Full));
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
    let text = r#"{ "lxc_configs": { "901": { "name": 5 }, "902": { "name": "good" }, "903": [], "bad": {} } }"#;
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
    assert_eq!(driver.method, Method::Native);
    assert!(!container.start_at_boot);
    assert_eq!(container.memory_mb, Some(512));
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
fn a_url_of_another_version_is_changed_and_told() {
    let members = r#", "features": ["nvidia"], "nvidia_driver_version": "570.133.20""#;
    let driver = container(members, "", Some(HYPERVISOR)).driver.unwrap();
    assert!(driver.urls[0].ends_with("/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run"), "{:?}", driver.urls);
    assert_eq!(
        driver.notes,
        ["`nvidia_driver.runfile_url` in `etc/phoenix_hypervisor_config.json` the URL names version 580.76.05; \
          570.133.20 is fetched, as `lxc_configs.901.nvidia_driver_version` in `etc/phoenix_lxc_configs.json` wants"]
    );
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

mod messages {
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
        insta::assert_snapshot!(told(&configuration.container(id("991")).unwrap_err()));
    }

    #[test]
    fn of_an_unknown_ctid_among_many() {
        let entries: Vec<String> = (100..200).map(|n| format!("\"{n}\": {{ \"name\": \"c{n}\" }}")).collect();
        let text = format!("{{ \"lxc_configs\": {{ {} }} }}", entries.join(", "));
        let configuration = Configuration::of_texts(&text, None).unwrap();
        insta::assert_snapshot!(told(&configuration.container(id("1550")).unwrap_err()));
    }

    #[test]
    fn of_a_circle() {
        let text = r#"{ "lxc_configs": {
            "900": { "name": "a", "dependencies": ["901"] },
            "901": { "name": "b", "clone_from_ctid": "902" },
            "902": { "name": "c", "clone_from_ctid": "901" } } }"#;
        let configuration = Configuration::of_texts(text, None).unwrap();
        insta::assert_snapshot!(told(&configuration.in_dependency_order(&[id("900")]).unwrap_err()));
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
}

mod files {
    use super::*;

    fn layout(containers: Option<&str>, hypervisor: Option<&str>) -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        for (path, text) in [(layout.containers_file(), containers), (layout.hypervisor_file(), hypervisor)] {
            if let Some(text) = text {
                crate::sys::atomic::write(&path, text.as_bytes(), 0o644).unwrap();
            }
        }
        (directory, layout)
    }

    #[test]
    fn a_missing_containers_file_is_told_with_its_path() {
        let (_directory, layout) = layout(None, Some("{}"));
        let error = Configuration::load(&layout).unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.message().contains(&layout.containers_file().display().to_string()), "{error}");
        assert!(error.hint_text().unwrap().contains("`--config`"));
    }

    #[test]
    fn a_missing_hypervisor_file_is_a_note() {
        let (_directory, layout) = layout(Some(&one("", "")), None);
        let configuration = Configuration::load(&layout).unwrap();
        assert_eq!(configuration.hypervisor(), &HypervisorSettings::default());
        let finding = configuration.findings().iter().find(|finding| finding.file == layout.hypervisor_file()).unwrap();
        assert_eq!(finding.severity, Severity::Note);
    }

    #[test]
    fn the_hypervisors_file_may_name_the_containers_file() {
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        crate::sys::atomic::write(elsewhere.path(), one(", \"cores\": 7", "").as_bytes(), 0o644).unwrap();
        let hypervisor = format!(r#"{{ "core_paths": {{ "lxc_config_file": "{}" }} }}"#, elsewhere.path().display());
        let (_directory, layout) = layout(Some(&one(", \"cores\": 1", "")), Some(&hypervisor));
        let cores = |layout: &Layout| Configuration::load(layout).unwrap().container(id("901")).unwrap().cores;
        assert_eq!(cores(&layout), Some(7));
        let given = layout.clone().with_files(Some(layout.containers_file()), None);
        assert_eq!(cores(&given), Some(1), "the operator's word for this run counts more");
    }

    #[test]
    fn a_copy_of_the_shipped_files_is_used_below_another_base() {
        let (_directory, layout) = layout(Some(REAL), Some(HYPERVISOR));
        let configuration = Configuration::load(&layout).unwrap();
        assert_eq!(configuration.containers_file(), layout.containers_file());
    }

    #[test]
    fn a_malformed_file_is_one_finding_for_lint() {
        let (_directory, layout) = layout(Some("{"), None);
        assert!(Configuration::load(&layout).unwrap_err().message().contains("cannot be used: malformed JSON"));
        let findings = Configuration::lint(&layout).unwrap();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Error);
    }
}

mod anything {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|boolean| boolean.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            Just("1e999".to_owned()),
            "[ -~é]{0,20}".prop_map(|text| format!("{text:?}").replace("\\'", "'")),
            prop::sample::select(vec![
                "\"901\"",
                "\"580.76.05\"",
                "\"nvidia\"",
                "\"0,1\"",
                "\"https://h/570.133.20\"",
                "\"{version\""
            ])
            .prop_map(str::to_owned),
        ];
        let key = prop::sample::select(
            [keys::SCALARS, keys::COMPOSED, keys::ROOT, keys::NETWORK, keys::MOUNT, keys::VOLUME, &["901", "902", "x"]]
                .concat(),
        );
        scalar.prop_recursive(5, 60, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(","))),
                prop::collection::vec((key.clone(), inner), 0..8).prop_map(|members| {
                    let members: Vec<String> =
                        members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                    format!("{{{}}}", members.join(",\n"))
                }),
            ]
        })
    }

    fn use_all(containers: &str, hypervisor: &str) {
        let Ok(configuration) = Configuration::of_texts(containers, Some(hypervisor)) else { return };
        let ids: Vec<ContainerId> = configuration.containers().map(|(id, _)| id).collect();
        let _ = configuration.in_dependency_order(&ids);
        for finding in configuration.findings() {
            assert!(!finding.render().is_empty());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn of_the_right_shape_is_read_or_refused(entries in prop::collection::vec(value(), 1..4), root in value(), driver in value()) {
            let entries: Vec<String> = entries.iter().enumerate().map(|(n, entry)| format!("\"{}\": {entry}", 901 + n % 2)).collect();
            let text = format!("{{\"lxc_configs\": {{{}}}, \"nvidia_driver_version\": {root}}}", entries.join(","));
            use_all(&text, &format!("{{\"nvidia_driver\": {driver}, \"core_paths\": {driver}}}"));
        }

        #[test]
        fn of_any_shape_is_read_or_refused(text in "[ \\[\\]{}:,\"'/*a0.é\\\\\n-]{0,80}", other in value()) {
            use_all(&text, &other);
            use_all(&other, &text);
        }

        #[test]
        fn cut_or_changed_somewhere_is_read_or_refused(at in 0..REAL.len(), byte in prop::char::range(' ', '~')) {
            if REAL.is_char_boundary(at) && REAL.is_char_boundary(at + 1) {
                use_all(&REAL[..at], HYPERVISOR);
                use_all(&format!("{}{byte}{}", &REAL[..at], &REAL[at + 1..]), HYPERVISOR);
            }
        }
    }
}
