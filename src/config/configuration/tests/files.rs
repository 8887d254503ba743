//! Which files are read, and what is reported when they are missing.

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
fn a_missing_containers_file_is_reported_with_its_path() {
    let (_directory, layout) = layout(None, Some("{}"));
    let configuration = Configuration::load(&layout).unwrap();
    assert!(!configuration.has_file() && configuration.containers().next().is_none());
    let named = layout.clone().with_files(Some(layout.containers_file()), None);
    let lint = Configuration::lint(&layout, None, None).unwrap_err();
    for error in [configuration.require_file().unwrap_err(), lint, Configuration::load(&named).unwrap_err()] {
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.message().contains(&layout.containers_file().display().to_string()), "{error}");
        assert!(error.hint_text().unwrap().contains("have an example, `etc/phoenix_lxc_configs.json`"));
    }
}

#[test]
fn a_container_that_was_found_is_known_and_never_replaces_an_entry() {
    let (_directory, layout) = layout(Some(&one("", "")), None);
    let mut configuration = Configuration::load(&layout).unwrap();
    let found = |text: &str| Container::found(id(text), "found".to_owned(), &["/dev/nvidia1".into()], None);
    configuration.add_found(vec![found("901"), found("jellyfin")]);
    assert!(!configuration.keeps_settings(id("901")) && configuration.keeps_settings(id("jellyfin")));
    assert_ne!(configuration.container(id("901")).unwrap().name, "found");
    let gpus: Vec<String> =
        configuration.container(id("jellyfin")).unwrap().gpus.iter().map(ToString::to_string).collect();
    assert_eq!(gpus, ["1"]);
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
fn lint_asks_the_host_which_containers_exist() {
    let text = r#"{ "lxc_configs": { "901": { "name": "a" }, "902": { "name": "b", "template": "/t" } } }"#;
    let (_directory, layout) = layout(Some(text), Some("{}"));
    let found = |exists: Option<bool>| -> Vec<(Severity, String)> {
        let wrong = |_: &Container| Err(Error::new(Kind::Configuration, "the template `/t` does not exist"));
        let answers = HostAnswers { exists: &|_| exists, check_template: &wrong, limits: &|_| Vec::new() };
        let findings = Configuration::lint(&layout, None, Some(answers)).unwrap();
        findings.into_iter().map(|finding| (finding.severity, finding.message)).collect()
    };
    assert_eq!(found(Some(true)), []);
    let privileged = || (Severity::Note, "`unprivileged` is not set: the container will be privileged".to_owned());
    let from_nowhere = |so: &str| format!("neither `template` nor `clone_from_ctid` is set, so the container {so}");
    assert_eq!(found(None), [(Severity::Note, from_nowhere("must exist already")), privileged()]);
    assert_eq!(
        found(Some(false)),
        [
            (Severity::Warning, from_nowhere("does not exist and cannot be created")),
            privileged(),
            (Severity::Warning, "the template `/t` does not exist".to_owned()),
        ]
    );
}

#[test]
fn a_malformed_file_is_one_finding_for_lint() {
    let (_directory, layout) = layout(Some("{"), None);
    assert!(Configuration::load(&layout).unwrap_err().message().contains("cannot be used: malformed JSON"));
    let findings = Configuration::lint(&layout, None, None).unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Error);
}
