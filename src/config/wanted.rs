//! The driver that a container shall have: version, way to install it, and where its run file comes from.

use super::candidates::Candidates;
use super::finding::{Finding, Severity};
use super::hypervisor::Hypervisor;
use super::lookup::Lookup;
use super::node::Node;
use super::url::Target;
use crate::driver::{DriverVersion, Sha256};

/// The driver that the configuration wants in a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WantedDriver {
    /// Its version.
    pub version: DriverVersion,
    /// How it is installed.
    pub method: Method,
    /// Which part of it.
    pub profile: Profile,
    /// The sum that the operator has said its run file has.
    pub sha256: Option<ConfiguredSum>,
    /// Where its run file may be fetched from, in the order to try: the mirrors of the hypervisor's file, the URL of
    /// the configuration, and the places where NVIDIA publishes run files.
    pub urls: Vec<String>,
    /// What the operator should know about how this was decided, one sentence each.
    pub notes: Vec<String>,
}

/// A sum that an operator wrote down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfiguredSum {
    /// The sum of the whole run file.
    pub sum: Sha256,
    /// The key and the file that say so.
    pub origin: String,
}

/// How a driver gets into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The run file is put into the container and NVIDIA's installer runs there.
    #[default]
    Runfile,
    /// NVIDIA's installer runs in the container from a tree that is extracted once on the host.
    Installer,
    /// The host places the files of the driver into the container.
    Native,
    /// The container mounts the host's read-only image of the driver.
    Shared,
}

impl std::str::FromStr for Method {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "runfile" => Ok(Self::Runfile),
            "installer" => Ok(Self::Installer),
            "native" => Ok(Self::Native),
            "shared" => Ok(Self::Shared),
            _ => Err(()),
        }
    }
}

/// Which part of the driver a container gets, where the way to install it leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// CUDA, NVML, video coding and their tools.
    Compute,
    /// That, and OpenGL, Vulkan and EGL.
    Graphics,
    /// All that NVIDIA's installer installs.
    #[default]
    Full,
}

impl std::str::FromStr for Profile {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "compute" => Ok(Self::Compute),
            "graphics" => Ok(Self::Graphics),
            "full" => Ok(Self::Full),
            _ => Err(()),
        }
    }
}

/// The feature that means: install the driver.
pub(super) const FEATURE: &str = "nvidia";

const VERSION: &str = "two or three numbers with dots, in quotes, such as `\"580.76.05\"`";

impl WantedDriver {
    /// Reads what a container with the feature `nvidia` wants. `features` is the place of that feature.
    pub(super) fn read(
        lookup: &Lookup<'_>,
        features: &Node<'_>,
        hypervisor: &Hypervisor<'_>,
        architecture: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let method = lookup
            .scalar("nvidia_install_method")
            .and_then(|node| node.parsed("`runfile`, `installer`, `native` or `shared`", findings));
        let profile = lookup
            .scalar("nvidia_driver_profile")
            .and_then(|node| node.parsed("`compute`, `graphics` or `full`", findings));
        let Some(version_node) = lookup.scalar("nvidia_driver_version") else {
            findings.push(without_version(lookup, features));
            return None;
        };
        let version: DriverVersion = version_node.parsed(VERSION, findings)?;
        compare_with_host(&version, &version_node, hypervisor, findings);
        let sha256 = sum(lookup, &version, &version_node, findings);
        let target = Target { version: &version, architecture };
        let mut candidates = Candidates::new(target, &version_node, &hypervisor.settings);
        candidates.collect(lookup.scalar("nvidia_runfile_url").or_else(|| hypervisor.runfile_url.clone()), findings);
        let Candidates { urls, notes, .. } = candidates;
        Some(Self {
            method: method.unwrap_or_default(),
            profile: profile.unwrap_or_default(),
            sha256,
            urls,
            notes,
            version,
        })
    }
}

impl WantedDriver {
    /// The driver of a version that no container wants: from the mirrors, and where NVIDIA publishes run files.
    pub(super) fn of_version(version: &DriverVersion, mirrors: &[String]) -> Self {
        let target = Target { version, architecture: std::env::consts::ARCH };
        let mirrored = mirrors.iter().map(|mirror| target.below_mirror(mirror));
        let urls = mirrored.chain(target.published()).collect();
        let (method, profile) = (Method::default(), Profile::default());
        Self { version: version.clone(), method, profile, sha256: None, urls, notes: Vec::new() }
    }
}

fn without_version(lookup: &Lookup<'_>, features: &Node<'_>) -> Finding {
    let container = lookup.container.path();
    features.finding(Severity::Error, "the feature `nvidia` is wanted, but no `nvidia_driver_version` is set").hint(
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
                .hint("the kernel module of the host decides: a container's driver works with the same version only"),
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
        let message = format!("version {version} is this container's own, but the sum of its run file is set for all");
        findings.push(version_node.finding(Severity::Error, message).hint(format!(
            "set `nvidia_runfile_sha256` of {version} in `{}` beside the version",
            lookup.container.path()
        )));
        return None;
    }
    Some(ConfiguredSum { sum, origin: node.origin() })
}
