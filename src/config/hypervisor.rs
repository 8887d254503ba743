//! What matters here of `phoenix_hypervisor_config.json`.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity, quoted};
use super::json_value::Node;
use super::url;
use crate::driver::DriverVersion;

/// The tools that containers are driven with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Proxmox VE's `pct`.
    Proxmox,
    /// LXC's own `lxc-*` tools.
    Lxc,
    /// Incus.
    Incus,
}

impl std::str::FromStr for Backend {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "proxmox" => Ok(Self::Proxmox),
            "lxc" => Ok(Self::Lxc),
            "incus" => Ok(Self::Incus),
            _ => Err(()),
        }
    }
}

/// The settings of the hypervisor; all have a value without the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct HypervisorSettings {
    /// The driver that the host itself shall have, `nvidia_driver.version`; only compared, never installed.
    pub driver_version: Option<DriverVersion>,
    /// The URL of a run file, used where the containers' file names none; as it is written.
    pub runfile_url: Option<String>,
    /// The tools that containers are driven with; found out where nothing is said.
    pub backend: Option<Backend>,
    /// Base URLs that are asked before all others.
    pub mirrors: Vec<String>,
    /// Never use the network.
    pub offline: bool,
    /// Hosts, `host` or `host:port`, that may be spoken to without TLS.
    pub allow_http: Vec<String>,
    /// The containers' file, `core_paths.lxc_config_file`.
    pub lxc_config_file: Option<PathBuf>,
    /// What the operators' scripts do when a creation fails; for those who ask.
    pub rollback_on_failure: bool,
    /// Where the pools of the host are mounted.
    pub mount_point_base: Option<PathBuf>,
}

/// The settings together with where they were said.
pub(super) struct Hypervisor<'d> {
    pub(super) settings: HypervisorSettings,
    /// `nvidia_driver.version`, if it is one.
    pub(super) version: Option<Node<'d>>,
    /// `nvidia_driver.runfile_url`.
    pub(super) runfile_url: Option<Node<'d>>,
}

const VERSION: &str = "two or three numbers with dots, such as `580.76.05`";

impl Hypervisor<'static> {
    /// What holds without the file.
    pub(super) fn without_file() -> Self {
        Self { settings: HypervisorSettings::default(), version: None, runfile_url: None }
    }
}

impl<'d> Hypervisor<'d> {
    /// Reads the file's root.
    pub(super) fn read(root: &Node<'d>, findings: &mut Vec<Finding>) -> Self {
        let mut settings = HypervisorSettings::default();
        if let Some(backend) = section(root, "hypervisor", findings).and_then(|node| set(&node, "backend")) {
            settings.backend = backend.parsed("`proxmox`, `lxc` or `incus`", findings);
        }
        if let Some(file) = section(root, "core_paths", findings).and_then(|node| set(&node, "lxc_config_file")) {
            settings.lxc_config_file = path(&file, findings);
        }
        if let Some(node) = section(root, "behavior", findings).and_then(|node| set(&node, "rollback_on_failure")) {
            settings.rollback_on_failure = node.boolean(findings).unwrap_or_default();
        }
        if let Some(base) = set(root, "mount_point_base") {
            settings.mount_point_base = path(&base, findings);
        }
        let (mut version, mut runfile_url) = (None, None);
        if let Some(driver) = section(root, "nvidia_driver", findings) {
            read_driver(&driver, &mut settings, findings);
            version = set(&driver, "version").filter(|_| settings.driver_version.is_some());
            runfile_url = set(&driver, "runfile_url").filter(|_| settings.runfile_url.is_some());
        }
        Self { settings, version, runfile_url }
    }
}

fn read_driver(driver: &Node<'_>, settings: &mut HypervisorSettings, findings: &mut Vec<Finding>) {
    if let Some(version) = set(driver, "version") {
        settings.driver_version = version.parsed(VERSION, findings);
    }
    if let Some(url) = set(driver, "runfile_url") {
        settings.runfile_url = url.text("a URL, such as `https://host/path`", findings).map(str::to_owned);
    }
    if let Some(offline) = set(driver, "offline") {
        settings.offline = offline.boolean(findings).unwrap_or_default();
    }
    if let Some(allowed) = set(driver, "allow_http") {
        for (place, text) in allowed.texts("`host` or `host:port`", findings) {
            if url::is_authority(text) {
                settings.allow_http.push(text.to_owned());
            } else {
                findings.push(place.wrong_value("`host` or `host:port`, without `http://`"));
            }
        }
    }
    if let Some(mirrors) = set(driver, "mirrors") {
        for (place, text) in mirrors.texts("base URLs", findings) {
            let Err(fault) = url::check(text, &settings.allow_http) else {
                settings.mirrors.push(text.to_owned());
                continue;
            };
            findings.push(if text.contains('@') {
                // What could hold a password is not shown: messages end in logs.
                place.finding(Severity::Error, format!("a mirror's URL {fault}")).without_line()
            } else {
                place.finding(Severity::Error, format!("the mirror {} {fault}", quoted(text)))
            });
        }
    }
}

fn set<'d>(node: &Node<'d>, key: &str) -> Option<Node<'d>> {
    node.member(key).filter(Node::is_set)
}

fn section<'d>(root: &Node<'d>, key: &str, findings: &mut Vec<Finding>) -> Option<Node<'d>> {
    let node = set(root, key)?;
    if !node.is_object() {
        findings.push(node.wrong_type("an object"));
        return None;
    }
    Some(node)
}

fn path(node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<PathBuf> {
    const EXPECTED: &str = "an absolute path";
    let text = node.text(EXPECTED, findings)?;
    if !Path::new(text).is_absolute() || text.contains(char::is_control) {
        findings.push(node.wrong_value(EXPECTED));
        return None;
    }
    Some(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::source::Source;

    fn read(text: &str) -> (HypervisorSettings, Vec<String>) {
        let document = Document::parse(Source::new("x", text)).map_err(|finding| finding.render()).unwrap();
        let mut findings = Vec::new();
        let settings = Hypervisor::read(&document.root(), &mut findings).settings;
        (settings, findings.into_iter().map(|finding| finding.message).collect())
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert_eq!(read("{}"), (HypervisorSettings::default(), vec![]));
    }

    #[test]
    fn every_key_is_read() {
        let (settings, findings) = read(
            r#"{ "hypervisor": { "backend": "lxc" }, "behavior": { "rollback_on_failure": true }, "mount_point_base": "/mnt/pve",
                 "core_paths": { "lxc_config_file": "/etc/x.json" },
                 "nvidia_driver": { "version": "580.76.05", "runfile_url": "https://h/x.run", "offline": true,
                                    "mirrors": ["http://mirror.lan/nvidia", "https://b/"], "allow_http": ["mirror.lan"] } }"#,
        );
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(settings.backend, Some(Backend::Lxc));
        assert_eq!(settings.mirrors.len(), 2);
        assert!(settings.offline && settings.rollback_on_failure);
        assert_eq!(settings.lxc_config_file.as_deref(), Some(Path::new("/etc/x.json")));
    }

    #[test]
    fn what_cannot_be_is_reported_and_left_out() {
        let (settings, findings) = read(
            r#"{ "hypervisor": { "backend": "docker" }, "behavior": [], "mount_point_base": "mnt",
                 "nvidia_driver": { "version": 580, "offline": "maybe", "mirrors": ["http://h/"], "allow_http": ["http://h"] } }"#,
        );
        assert_eq!(settings, HypervisorSettings::default());
        assert_eq!(findings.len(), 7, "{findings:?}");
    }
}
