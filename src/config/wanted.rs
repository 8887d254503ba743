//! The driver that a container shall have: version, method to install it, and where its run file comes from.

use super::candidates::{Candidates, Places, WrittenUrl};
use super::finding::{Finding, Severity};
use super::hypervisor::Hypervisor;
use super::json_value::Node;
use super::lookup::Lookup;
use super::method::Method;
use super::on_host::{HOSTS_DRIVER, OnHost};
use super::surroundings::Surroundings;
use super::url::Target;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256, Variant};

/// The driver that the configuration wants in a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WantedDriver {
    /// Its version.
    pub version: DriverVersion,
    /// For whom NVIDIA has packed it, as the name of its run file says.
    pub variant: Variant,
    /// How it is installed, where the operator has said so; see [`WantedDriver::method`].
    pub chosen_method: Option<Method>,
    /// Which part of it, where the operator has said so; see [`WantedDriver::profile`].
    pub chosen_profile: Option<Profile>,
    /// How it is installed where nobody has said how.
    #[serde(skip)]
    pub default_method: Method,
    /// Which part of it is installed where nobody has said which.
    #[serde(skip)]
    pub default_profile: Profile,
    /// Whether packages in the container that have installed a driver are purged for it.
    #[serde(skip)]
    pub replaces_packages: bool,
    /// Whether `runfile` may be used where the chosen method cannot mount anything.
    pub allow_fallback: bool,
    /// The sum that the operator has said its run file has.
    pub sha256: Option<ConfiguredSum>,
    /// Where its run file may be fetched from, in the order to try: the mirrors of the hypervisor's file, the URL of
    /// the configuration, and the places where NVIDIA publishes run files.
    pub urls: Vec<String>,
    /// What the operator should know about how this was decided, one sentence each.
    pub notes: Vec<String>,
    /// The configured URL, for other versions in the same container.
    #[serde(skip)]
    pub(super) url: Option<WrittenUrl>,
}

/// A sum that an operator wrote down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfiguredSum {
    /// The sum of the whole run file.
    pub sum: Sha256,
    /// The key and the file that say so.
    pub origin: String,
}

/// The feature that means: install the driver.
pub(super) const FEATURE: &str = "nvidia";

const VERSION: &str = "`host`, or two or three numbers with dots, in quotes, such as `\"580.76.05\"`";

impl WantedDriver {
    /// Reads what a container with the feature `nvidia` wants. `features` is the place of that feature.
    pub(super) fn read(
        lookup: &Lookup<'_>,
        features: &Node<'_>,
        surroundings: &Surroundings<'_, '_>,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let Surroundings { hypervisor, architecture, host, .. } = surroundings;
        let method = lookup
            .scalar("nvidia_install_method")
            .and_then(|node| node.parsed("`runfile`, `installer`, `native` or `shared`", findings));
        let profile = lookup.scalar("nvidia_driver_profile").and_then(|node| node.parsed(Profile::WORDS, findings));
        let fallback = lookup.scalar("nvidia_allow_fallback").and_then(|node| node.boolean(findings));
        let allow_fallback = fallback.unwrap_or_default();
        let Some(version_node) = lookup.scalar("nvidia_driver_version") else {
            findings.push(without_version(lookup, features));
            return None;
        };
        let (version, sha256) = if version_node.as_text() == Some(HOSTS_DRIVER) {
            (hosts_driver(lookup, &version_node, *host, findings)?, None)
        } else {
            let version: DriverVersion = version_node.parsed(VERSION, findings)?;
            compare_with_host(&version, &version_node, hypervisor, findings);
            let sha256 = sum(lookup, &version, &version_node, findings);
            (version, sha256)
        };
        let url = lookup.scalar("nvidia_runfile_url").or_else(|| hypervisor.runfile_url.clone());
        let target = Target { version: &version, architecture, variant: Variant::Full };
        let variant = url.as_ref().and_then(|url| url.as_text()).map_or(Variant::Full, |url| target.variant_of(url));
        findings.extend(
            url.as_ref().filter(|_| variant == Variant::NoCompat32).and_then(|url| without_compat32(url, profile)),
        );
        let written = url.as_ref().and_then(WrittenUrl::of);
        let mut candidates = Candidates::new(Target { variant, ..target }, &version_node, &hypervisor.settings);
        candidates.collect(url, findings);
        let Candidates { urls, notes, .. } = candidates;
        Some(Self {
            chosen_method: method,
            chosen_profile: profile,
            default_method: Method::default(),
            default_profile: Profile::default(),
            replaces_packages: false,
            allow_fallback,
            sha256,
            urls,
            notes,
            variant,
            version,
            url: written,
        })
    }
}

impl WantedDriver {
    /// How it is installed when it must be.
    pub fn method(&self) -> Method {
        self.chosen_method.unwrap_or(self.default_method)
    }

    /// Which part of it is installed; NVIDIA's installer leaves a choice of 32 bits alone.
    pub fn profile(&self) -> Profile {
        let chosen = self.chosen_profile.unwrap_or(self.default_profile);
        match self.method() {
            Method::Runfile | Method::Installer => chosen.of_installer(),
            Method::Native | Method::Shared => chosen,
        }
    }

    /// The same, where nobody chooses, by this method and profile.
    #[must_use]
    pub fn by_default(self, method: Method, profile: Profile) -> Self {
        Self { default_method: method, default_profile: profile, ..self }
    }

    /// Whether a stopped container must be started for it, and stopped again: for NVIDIA's installer, which may have to
    /// do for the method `shared`.
    pub fn needs_a_running_container(&self) -> bool {
        self.method().needs_processes() || (self.method() == Method::Shared && self.allow_fallback)
    }

    /// The driver of a version that no container's entry names, in this variant or the one that the URL means.
    pub(super) fn of_version(version: &DriverVersion, variant: Option<Variant>, places: &Places<'_>) -> Self {
        let architecture = std::env::consts::ARCH;
        let variant = variant.unwrap_or_else(|| places.variant(version, architecture));
        let (urls, notes) = places.urls(Target { version, architecture, variant });
        Self {
            version: version.clone(),
            variant,
            chosen_method: None,
            chosen_profile: None,
            default_method: Method::default(),
            default_profile: Profile::default(),
            replaces_packages: false,
            allow_fallback: false,
            sha256: None,
            urls,
            notes,
            url: places.url.cloned(),
        }
    }
}

/// The host's driver. Where nobody has looked at the host, nothing is known of it, and nothing is wrong.
fn hosts_driver(
    lookup: &Lookup<'_>,
    version: &Node<'_>,
    host: Option<OnHost<'_>>,
    findings: &mut Vec<Finding>,
) -> Option<DriverVersion> {
    if let Some(sum) = lookup.scalar("nvidia_runfile_sha256") {
        let message = "a sum belongs to one version, but `nvidia_driver_version` is `host`";
        findings.push(sum.finding(Severity::Error, message).hint("remove `nvidia_runfile_sha256`, or name a version"));
        return None;
    }
    let driver = (host?.driver)();
    if driver.is_none() {
        let message = "`nvidia_driver_version` is `host`, and this host has no NVIDIA kernel module";
        let hint = "load it with `modprobe nvidia`; `phoenix-nvidia doctor` says why it is missing";
        findings.push(version.finding(Severity::Error, message).hint(hint));
    }
    driver
}

/// A run file without what the profile asks for.
fn without_compat32(url: &Node<'_>, profile: Option<Profile>) -> Option<Finding> {
    let profile = profile.filter(|profile| profile.has_compat32())?;
    let word = profile.word();
    let message = format!("the URL's file has no 32-bit libraries, which the profile `{word}` asks for");
    let hint = "let its name end in the version and `.run`, or choose a profile without `+compat32`";
    Some(url.finding(Severity::Error, message).hint(hint))
}

fn without_version(lookup: &Lookup<'_>, features: &Node<'_>) -> Finding {
    let container = lookup.container.path();
    features.finding(Severity::Error, "the feature `nvidia` needs `nvidia_driver_version`, which is not set").hint(
        format!(
            "set `nvidia_driver_version` in `{container}`, or at the root of the file for all, such as \"580.76.05\""
        ),
    )
}

fn compare_with_host(
    version: &DriverVersion,
    node: &Node<'_>,
    hypervisor: &Hypervisor<'_>,
    findings: &mut Vec<Finding>,
) {
    let (Some(hosts), Some(place)) = (&hypervisor.settings.driver_version, &hypervisor.version) else { return };
    if hosts != version {
        let message = format!("`nvidia_driver_version` is {version}, but {} is {hosts}", place.origin());
        findings.push(
            node.finding(Severity::Warning, message)
                .hint("the user-space driver must have the version of the host's kernel module"),
        );
    }
}

fn sum(
    lookup: &Lookup<'_>,
    version: &DriverVersion,
    version_node: &Node<'_>,
    findings: &mut Vec<Finding>,
) -> Option<ConfiguredSum> {
    let node = lookup.scalar("nvidia_runfile_sha256")?;
    let sum = node.parsed("64 hexadecimal digits, the SHA-256 of the run file", findings)?;
    let is_own = |node: &Node<'_>| node.path().starts_with(lookup.container.path());
    let roots = lookup.root.member("nvidia_driver_version").and_then(|node| node.as_text());
    if is_own(version_node) && !is_own(&node) && roots != Some(version.as_str()) {
        let message =
            format!("version {version} is this container's own, but the sum of its run file is set for all containers");
        findings.push(version_node.finding(Severity::Error, message).hint(format!(
            "set `nvidia_runfile_sha256` of {version} in `{}` beside the version",
            lookup.container.path()
        )));
        return None;
    }
    Some(ConfiguredSum { sum, origin: node.origin() })
}
