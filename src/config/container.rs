//! One container as the configuration describes it.

use std::path::PathBuf;

use super::finding::{Finding, Severity, quoted};
use super::gpu::GpuAssignment;
use super::gpu_access::GpuAccess;
use super::json_value::Node;
use super::lookup::Lookup;
use super::lxc_option::LxcOption;
use super::mismatch::OnMismatch;
use super::network::{MacAddress, Network};
use super::storage::{self, Mount, Volume};
use super::surroundings::Surroundings;
use super::wanted::{FEATURE, WantedDriver};
use crate::container_id::ContainerId;
use crate::driver::placement::Profile;

/// A container's entry in `lxc_configs`, after the look-up rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Container {
    /// Its CTID.
    pub id: ContainerId,
    /// Its host name.
    pub name: String,
    /// Nobody has configured it: it was found on this host.
    #[serde(skip)]
    pub is_found: bool,
    /// Its settings are its operator's and stay as they are, with the GPUs that they pass; only its driver is ours.
    pub keeps_settings: bool,
    /// Memory in MiB, as `pct` counts it.
    pub memory_mb: Option<u64>,
    /// Swap in MiB.
    pub swap_mb: Option<u64>,
    /// How many processors.
    pub cores: Option<u32>,
    /// The archive of the root file system that it is created from.
    pub template: Option<PathBuf>,
    /// The container that it is cloned from; wins over `template`.
    pub clone_from: Option<ContainerId>,
    /// The snapshot that its own clones are made from.
    pub template_snapshot_name: Option<String>,
    /// The snapshot of its source that it is cloned from: what that one calls `template_snapshot_name`.
    pub clone_snapshot: Option<String>,
    /// The storage pool of its root file system.
    pub storage_pool: Option<String>,
    /// The size of its root file system in GiB.
    pub storage_size_gb: Option<u64>,
    /// Its network interface.
    pub network: Option<Network>,
    /// The hardware address of that interface.
    pub mac_address: Option<MacAddress>,
    /// Whether its root is nobody on the host. Nothing said: created privileged; a clone keeps its source's.
    pub unprivileged: Option<bool>,
    /// The features to install, in the order of the file.
    pub features: Vec<String>,
    /// Its GPUs.
    pub gpus: GpuAssignment,
    /// Its entry says which, be it none.
    #[serde(skip)]
    pub says_gpus: bool,
    /// Who may use their device nodes.
    pub gpu_access: GpuAccess,
    /// Whether it gets the nodes below `/dev/dri` of its GPUs, where the configuration says it; see
    /// [`Container::wants_dri`].
    pub dri: Option<bool>,
    /// What is joined into `--features` of `pct`: `nesting=1`.
    pub pct_options: Vec<String>,
    /// Raw lines for LXC.
    pub lxc_options: Vec<LxcOption>,
    /// Whether the map `u 0 100000 65536`, `g 0 100000 65536` is set: any entry in `id_maps` means that.
    pub id_map: bool,
    /// The AppArmor profile. `unconfined` means for the operators' scripts: no line for a profile.
    pub apparmor_profile: Option<String>,
    /// The profile is what allows nesting, so `nesting=1` is not set for it.
    pub apparmor_manages_nesting: bool,
    /// Whether the hypervisor starts it when it starts itself. Nothing said: as it is, and a new one is not started.
    pub start_at_boot: Option<bool>,
    /// Its place among those, the lowest first.
    pub boot_order: Option<u32>,
    /// The seconds until the next one is started.
    pub boot_delay: Option<u32>,
    /// Whether the snapshots `pre-configured` and `final-form` are taken.
    pub lifecycle_snapshots: bool,
    /// Directories of the host.
    pub mounts: Vec<Mount>,
    /// Volumes of storage pools: `volumes`, then `zfs_volumes`.
    pub volumes: Vec<Volume>,
    /// The containers of this file that come first.
    pub dependencies: Vec<ContainerId>,
    /// Whether engines in it find a specification of its driver and GPUs, where the configuration says it; else where its
    /// features have an engine, or one is in it.
    pub cdi: Option<bool>,
    /// What else comes first and this file does not define, such as virtual machines.
    pub external_dependencies: Vec<String>,
    /// The driver to install, if its features have `nvidia`.
    pub driver: Option<WantedDriver>,
    /// What is done when it is about to start with another driver than the host's.
    pub on_mismatch: OnMismatch,
}

const NAME: &str = "a host name: letters, digits, `-` and `.`";
const FEATURE_NAME: &str = "the name of a feature: letters, digits, `_` and `-`";
const PCT_OPTION: &str = "`key=value`, such as `nesting=1`";
const DEPENDENCY: &str = "a CTID or a name in quotes, such as `\"900\"`";

impl Container {
    /// Reads the entry of a CTID. What is wrong goes into `findings`; what is readable is read all the same.
    pub(super) fn read(
        id: ContainerId,
        lookup: &Lookup<'_>,
        surroundings: &Surroundings<'_, '_>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut reader = Reader { lookup, findings };
        let mut container = Self {
            id,
            name: reader.name(),
            is_found: false,
            keeps_settings: !reader.boolean("manage_settings").unwrap_or(true),
            memory_mb: reader.number("memory_mb", 16..=1 << 30, " of MiB"),
            swap_mb: reader.number("swap_mb", 0..=1 << 30, " of MiB"),
            cores: reader.small_number("cores", 1..=8192, ""),
            template: reader.template(),
            clone_from: reader.scalar("clone_from_ctid").and_then(|node| ctid(&node, reader.findings)),
            template_snapshot_name: reader.text("template_snapshot_name", "the name of a snapshot"),
            clone_snapshot: None,
            storage_pool: reader.scalar("storage_pool").and_then(|node| storage::pool(&node, reader.findings)),
            storage_size_gb: reader.number("storage_size_gb", 1..=1 << 20, " of GiB"),
            network: reader.composed("network_config").and_then(|node| Network::read(&node, reader.findings)),
            mac_address: reader.scalar("mac_address").and_then(|node| MacAddress::read(&node, reader.findings)),
            unprivileged: reader.boolean("unprivileged"),
            features: Vec::new(),
            gpus: reader.scalar("gpu_assignment").map_or(GpuAssignment::None, |node| {
                let host = surroundings.host.map(|host| host.for_container(id));
                GpuAssignment::read(&node, host, reader.findings)
            }),
            says_gpus: reader.scalar("gpu_assignment").is_some(),
            gpu_access: reader.gpu_access(),
            dri: reader.boolean("nvidia_dri"),
            cdi: reader.boolean("nvidia_cdi"),
            pct_options: reader.pct_options("pct_options"),
            lxc_options: reader
                .composed("lxc_options")
                .map(|node| LxcOption::read_all(&node, reader.findings))
                .unwrap_or_default(),
            id_map: reader.composed("id_maps").is_some_and(|node| node.is_not_empty()),
            apparmor_profile: reader.text("apparmor_profile", "the name of a profile, or `unconfined`"),
            apparmor_manages_nesting: reader.boolean("apparmor_manages_nesting").unwrap_or_default(),
            start_at_boot: reader.boolean("start_at_boot"),
            boot_order: reader.small_number("boot_order", 0..=1 << 30, ""),
            boot_delay: reader.small_number("boot_delay", 0..=1 << 30, " of seconds"),
            lifecycle_snapshots: reader.boolean("enable_lifecycle_snapshots").unwrap_or_default(),
            mounts: reader
                .composed("mount_points")
                .map(|node| Mount::read_all(&node, reader.findings))
                .unwrap_or_default(),
            volumes: reader.volumes(),
            dependencies: Vec::new(),
            external_dependencies: Vec::new(),
            driver: None,
            on_mismatch: reader.on_mismatch(),
        };
        reader.features(&mut container, surroundings);
        reader.dependencies(&mut container, surroundings.defined);
        container
    }

    /// Whether it gets the nodes below `/dev/dri` of its GPUs: as the configuration says, and else where the profile is
    /// the one for programs that draw. With `full`, which everybody has who says nothing, most compute.
    pub fn wants_dri(&self) -> bool {
        let draws = |driver: &WantedDriver| {
            matches!(driver.chosen_profile, Some(Profile::Graphics | Profile::GraphicsCompat32))
        };
        !self.gpus.is_none()
            && !self.keeps_settings
            && self.dri.unwrap_or_else(|| self.driver.as_ref().is_some_and(draws))
    }
}

/// The typed look-ups of one container.
struct Reader<'r, 'd> {
    lookup: &'r Lookup<'d>,
    findings: &'r mut Vec<Finding>,
}

impl<'d> Reader<'_, 'd> {
    fn scalar(&self, key: &str) -> Option<Node<'d>> {
        self.lookup.scalar(key)
    }

    fn composed(&self, key: &str) -> Option<Node<'d>> {
        self.lookup.composed(key)
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<u64>, unit: &str) -> Option<u64> {
        self.scalar(key)?.whole_number(range, unit, self.findings)
    }

    fn small_number(&mut self, key: &str, range: std::ops::RangeInclusive<u32>, unit: &str) -> Option<u32> {
        let number = self.number(key, u64::from(*range.start())..=u64::from(*range.end()), unit)?;
        u32::try_from(number).ok()
    }

    fn boolean(&mut self, key: &str) -> Option<bool> {
        self.scalar(key)?.boolean(self.findings)
    }

    fn text(&mut self, key: &str, expected: &str) -> Option<String> {
        let node = self.scalar(key)?;
        let text = node.text(expected, self.findings)?;
        if text.contains(char::is_control) {
            self.findings.push(node.wrong_value(expected));
            return None;
        }
        Some(text.to_owned())
    }

    fn name(&mut self) -> String {
        let Some(node) = self.scalar("name") else {
            let message = "the container has no `name`";
            self.findings.push(
                self.lookup.container.finding_at_key(Severity::Error, message).expected(format!("`name`: {NAME}")),
            );
            return String::new();
        };
        let Some(text) = node.text(NAME, self.findings) else { return String::new() };
        let characters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !characters || !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || text.len() > 253 {
            self.findings.push(node.wrong_value(NAME));
        }
        text.to_owned()
    }

    fn template(&mut self) -> Option<PathBuf> {
        self.text("template", "the path of an archive, or a volume of the hypervisor").map(PathBuf::from)
    }

    fn gpu_access(&mut self) -> GpuAccess {
        let mode = self.scalar("gpu_mode").and_then(|node| GpuAccess::read_mode(&node, self.findings));
        let range = || 0..=GpuAccess::HIGHEST_ID;
        GpuAccess {
            mode,
            uid: self.small_number("gpu_uid", range(), ""),
            gid: self.small_number("gpu_gid", range(), ""),
        }
    }

    fn volumes(&mut self) -> Vec<Volume> {
        ["volumes", "zfs_volumes"]
            .into_iter()
            .filter_map(|key| self.lookup.composed(key))
            .flat_map(|node| Volume::read_all(&node, self.findings))
            .collect()
    }

    fn on_mismatch(&mut self) -> OnMismatch {
        let node = self.scalar("nvidia_on_mismatch");
        node.and_then(|node| node.parsed("`warn`, `refuse` or `update`", self.findings)).unwrap_or_default()
    }

    /// The options of a list, or of one text with commas.
    fn pct_options(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.composed(key) else { return Vec::new() };
        let texts = match node.as_text() {
            Some(text) => text.split(',').map(|part| (node.clone(), part.trim())).collect(),
            None => node.texts(PCT_OPTION, self.findings),
        };
        let mut options = Vec::new();
        for (place, text) in texts {
            if is_pct_option(text) {
                options.push(text.to_owned());
            } else {
                let message = format!("{} is not an option of `pct`", quoted(text));
                self.findings.push(place.finding(Severity::Error, message).expected(PCT_OPTION));
            }
        }
        options
    }

    fn features(&mut self, container: &mut Container, surroundings: &Surroundings<'_, '_>) {
        let Some(node) = self.composed("features") else { return };
        if let Some(text) = node.as_text() {
            let message = format!("`features` is a string, so {} is read as `pct_options`", quoted(text));
            let hint = "name the features in a list, and what is for `pct` in `pct_options`";
            self.findings.push(node.finding(Severity::Warning, message).hint(hint));
            container.pct_options.extend(self.pct_options("features"));
            return;
        }
        let mut place_of_driver = None;
        for (place, text) in node.texts(FEATURE_NAME, self.findings) {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
                // The name becomes part of the path of a script that runs on the host.
                self.findings.push(place.wrong_value(FEATURE_NAME));
            } else if container.features.iter().any(|feature| feature == text) {
                self.findings
                    .push(place.finding(Severity::Warning, format!("the feature {} is named twice", quoted(text))));
            } else {
                container.features.push(text.to_owned());
                if text == FEATURE {
                    place_of_driver = Some(place);
                }
            }
        }
        container.driver =
            place_of_driver.and_then(|place| WantedDriver::read(self.lookup, &place, surroundings, self.findings));
    }

    fn dependencies(&mut self, container: &mut Container, defined: &dyn Fn(ContainerId) -> bool) {
        let Some(node) = self.composed("dependencies") else { return };
        if !node.is_list() {
            self.findings.push(node.wrong_type("a list of CTIDs or names"));
        }
        for element in node.elements() {
            let Some(id) = ctid(&element, self.findings) else { continue };
            if container.dependencies.contains(&id) || container.external_dependencies.contains(&id.to_string()) {
                self.findings.push(element.finding(Severity::Warning, format!("the dependency {id} is named twice")));
            } else if defined(id) {
                container.dependencies.push(id);
            } else {
                container.external_dependencies.push(id.to_string());
            }
        }
    }
}

/// A CTID in quotes; one without quotes is taken, with a note.
fn ctid(node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<ContainerId> {
    let Some(text) = node.as_text_or_number() else {
        findings.push(node.wrong_type(DEPENDENCY));
        return None;
    };
    match text.parse() {
        Ok(id) => {
            if node.is_number() {
                let message = format!("the CTID {id} is a number");
                findings.push(
                    node.finding(Severity::Note, message).hint(format!("write \"{id}\", as the other tools expect")),
                );
            }
            Some(id)
        }
        Err(_) => {
            let message = format!("{} is neither a CTID nor a name", quoted(text));
            findings.push(node.finding(Severity::Error, message).expected(DEPENDENCY));
            None
        }
    }
}

/// What cannot become another option of `pct` when it is joined with commas.
fn is_pct_option(text: &str) -> bool {
    let (key, value) = text.split_once('=').unwrap_or((text, "1"));
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    word(key, b"_-") && word(value, b"_.;/-")
}
