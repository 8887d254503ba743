//! Both files together: what they say of every container, and all errors and warnings in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::candidates::{Places, WrittenUrl};
use super::container::Container;
use super::containers_file::{self, ContainersFile};
use super::document::Document;
use super::finding::{Finding, Severity, quoted};
use super::found;
use super::hypervisor::{Hypervisor, HypervisorSettings};
use super::json_value::Node;
use super::keys;
use super::layout::Layout;
use super::lint::{self, HostAnswers, Subject};
use super::lookup::Lookup;
use super::method::Method;
use super::on_host::OnHost;
use super::order;
use super::source::Source;
use super::surroundings::Surroundings;
use super::wanted::WantedDriver;
use crate::container_id::ContainerId;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Variant};
use crate::error::{Error, Kind, Result};

/// The operators' two files, read once.
#[derive(Debug)]
pub struct Configuration {
    containers_file: PathBuf,
    has_file: bool,
    entries: BTreeMap<ContainerId, Entry>,
    hypervisor: HypervisorSettings,
    /// The URL of run files for all containers.
    url: Option<WrittenUrl>,
    /// Errors that concern every container.
    faults: Vec<Finding>,
    findings: Vec<Finding>,
}

#[derive(Debug)]
struct Entry {
    /// Absent where the entry is no object.
    container: Option<Container>,
    /// The errors that concern this container.
    faults: Vec<Finding>,
}

/// Why nothing can be said of any container.
enum Refusal {
    /// A document is not what it should be, at a place that can be shown.
    Document(Box<Finding>),
    /// A file cannot be read.
    File(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::File(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::File(error) => error,
            Refusal::Document(finding) => {
                let message = format!("`{}` cannot be used: {}", finding.file.display(), finding.message);
                Self::new(Kind::Configuration, message).output(finding.render_place())
            }
        }
    }
}

impl Configuration {
    /// Reads both files.
    ///
    /// The hypervisor's file may be missing; its settings then have their defaults. The containers' file is, in this
    /// order, the one that the layout was given by name, `core_paths.lxc_config_file` of the hypervisor's file, and
    /// the layout's default. A `core_paths.lxc_config_file` that is the default path of an installation
    /// ([`Layout::DEFAULT_BASE`]) decides nothing, so that a copy of both files can be used below another base. Where
    /// nobody has made or named one, no container is configured; see [`Configuration::has_file`].
    ///
    /// # Errors
    /// A file cannot be read, is malformed, or is no object with `lxc_configs`. What is wrong in one container's entry
    /// is kept until that container is asked for.
    pub fn load(layout: &Layout) -> Result<Self> {
        Ok(Self::read(layout, None, None)?)
    }

    /// The same for work on a host, by which `host` and `all` get their meaning.
    ///
    /// # Errors
    /// As [`Configuration::load`].
    pub fn load_on(layout: &Layout, host: OnHost<'_>) -> Result<Self> {
        Ok(Self::read(layout, Some(host), None)?)
    }

    /// All that is wrong or suspicious in both files, and on a host that is asked; ordered by file and line, also where
    /// [`Configuration::load`] fails because a document is malformed.
    ///
    /// `answers` is what the host knows of the containers.
    ///
    /// # Errors
    /// A file cannot be read, or there is no containers' file.
    pub fn lint(layout: &Layout, host: Option<OnHost<'_>>, answers: Option<HostAnswers<'_>>) -> Result<Vec<Finding>> {
        match Self::read(layout, host, answers) {
            Ok(configuration) => configuration.require_file().map(|()| configuration.findings),
            Err(Refusal::Document(finding)) => Ok(vec![*finding]),
            Err(Refusal::File(error)) => Err(error),
        }
    }

    /// The container of a CTID.
    ///
    /// # Errors
    /// The file does not define it, or something in its entry, or in what holds for all, is wrong: the error's output
    /// shows every such line.
    pub fn container(&self, id: ContainerId) -> Result<&Container> {
        let entry = self.entries.get(&id).ok_or_else(|| self.unknown(id))?;
        let mut faults: Vec<&Finding> = self.faults.iter().chain(&entry.faults).collect();
        faults.sort_by(|a, b| a.identity().cmp(&b.identity()));
        match &entry.container {
            Some(container) if faults.is_empty() => Ok(container),
            _ => Err(faulty(id, &faults)),
        }
    }

    /// Every container that the file defines, by CTID, or why it cannot be used.
    pub fn containers(&self) -> impl Iterator<Item = (ContainerId, Result<&Container>)> {
        self.entries.keys().map(|id| (*id, self.container(*id)))
    }

    /// Whether there is a containers' file; where there is none, the containers are those that were found on this host.
    pub fn has_file(&self) -> bool {
        self.has_file
    }

    /// # Errors
    /// There is no containers' file.
    pub fn require_file(&self) -> Result<()> {
        if self.has_file { Ok(()) } else { Err(containers_file::missing(&self.containers_file)) }
    }

    /// Whether a container is described by the file, rightly or not, or was found on this host.
    pub fn knows(&self, id: ContainerId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Whether the settings of a container stay as they are; see [`Container::keeps_settings`].
    pub fn keeps_settings(&self, id: ContainerId) -> bool {
        let container = self.entries.get(&id).and_then(|entry| entry.container.as_ref());
        container.is_some_and(|container| container.keeps_settings)
    }

    /// Adds containers that were found on this host and that the file does not describe.
    pub fn add_found(&mut self, containers: Vec<Container>) {
        for container in containers {
            self.entries
                .entry(container.id)
                .or_insert_with(|| Entry { container: Some(container), faults: Vec::new() });
        }
    }

    /// Lets the command line decide the method and the profile of these containers' driver, where it says any.
    pub fn choose(&mut self, ids: &[ContainerId], method: Option<Method>, profile: Option<Profile>) {
        for id in ids {
            let entry = self.entries.get_mut(id);
            let driver = entry.and_then(|entry| entry.container.as_mut()).and_then(|it| it.driver.as_mut());
            if let Some(driver) = driver {
                driver.chosen_method = method.or(driver.chosen_method);
                driver.chosen_profile = profile.or(driver.chosen_profile);
            }
        }
    }

    /// Lets the driver of these containers take the place of one that packages in them have installed.
    pub fn replace_packages(&mut self, ids: &[ContainerId]) {
        for id in ids {
            let entry = self.entries.get_mut(id);
            if let Some(driver) = entry.and_then(|entry| entry.container.as_mut()).and_then(|it| it.driver.as_mut()) {
                driver.replaces_packages = true;
            }
        }
    }

    /// Lets these containers follow the host's driver, whatever version their entries name. Those of another version
    /// get it from where that version is published, and a note that says what to write into the configuration.
    pub fn follow(&mut self, ids: &[ContainerId], host: &DriverVersion) {
        for id in ids {
            let entry = self.entries.get_mut(id);
            let driver = entry.and_then(|entry| entry.container.as_mut()).and_then(|it| it.driver.as_mut());
            if let Some(driver) = driver.filter(|driver| driver.version != *host) {
                let note = format!(
                    "the configuration says {}; set `nvidia_driver_version` to \"{host}\" in `{}`",
                    driver.version,
                    self.containers_file.display()
                );
                let places = Places { settings: &self.hypervisor, url: driver.url.as_ref() };
                let mut followed = WantedDriver::of_version(host, Some(driver.variant), &places);
                followed.notes.insert(0, note);
                *driver = WantedDriver {
                    chosen_method: driver.chosen_method,
                    chosen_profile: driver.chosen_profile,
                    default_method: driver.default_method,
                    default_profile: driver.default_profile,
                    ..followed
                };
            }
        }
    }

    /// The driver of any version, also one that no container wants; in this variant, or the one that the URL for all
    /// containers means.
    pub fn driver_of(&self, version: &DriverVersion, variant: Option<Variant>) -> WantedDriver {
        let places = Places { settings: &self.hypervisor, url: self.url.as_ref() };
        WantedDriver::of_version(version, variant, &places)
    }

    /// The settings of the hypervisor's file.
    pub fn hypervisor(&self) -> &HypervisorSettings {
        &self.hypervisor
    }

    /// All that is wrong or suspicious in both files, ordered by file and line.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The file that defines the containers.
    pub fn containers_file(&self) -> &Path {
        &self.containers_file
    }

    /// These containers and all that they need, each once and after what it needs: its clone source first, then its
    /// `dependencies`. What the file does not define is left out; see [`Container::external_dependencies`].
    ///
    /// # Errors
    /// One of `ids` is not defined, or containers wait for each other in a circle.
    pub fn in_dependency_order(&self, ids: &[ContainerId]) -> Result<Vec<ContainerId>> {
        if let Some(unknown) = ids.iter().find(|id| !self.entries.contains_key(id)) {
            return Err(self.unknown(*unknown));
        }
        let needed = |id| {
            self.entries.get(&id).map(|entry| entry.container.as_ref().map(Container::predecessors).unwrap_or_default())
        };
        order::in_order(ids, needed).map_err(|circle| {
            Error::new(Kind::Configuration, format!("circular dependency between containers: {circle}"))
                .hint("remove one of them from `dependencies` or `clone_from_ctid`")
        })
    }

    fn without_file(containers_file: PathBuf, hypervisor: Hypervisor<'_>, findings: Vec<Finding>) -> Self {
        Self {
            containers_file,
            has_file: false,
            entries: BTreeMap::new(),
            url: hypervisor.runfile_url.as_ref().and_then(WrittenUrl::of),
            hypervisor: hypervisor.settings,
            faults: errors(&findings),
            findings,
        }
    }

    fn unknown(&self, id: ContainerId) -> Error {
        let (file, known) = (&self.containers_file, self.entries.keys());
        if self.has_file { containers_file::undefined(id, file, known) } else { found::unknown(id, file, known) }
    }

    fn read(layout: &Layout, host: Option<OnHost<'_>>, answers: Option<HostAnswers<'_>>) -> Result<Self, Refusal> {
        let hypervisor_file = layout.hypervisor_file();
        let mut findings = Vec::new();
        let document = match Source::read(&hypervisor_file)? {
            Some(source) => Some(Document::parse(source).map_err(Refusal::Document)?),
            None => {
                let message = "the file is missing, so the defaults apply";
                findings.push(Finding::about_file(&hypervisor_file, Severity::Note, message));
                None
            }
        };
        let hypervisor = match &document {
            Some(document) => Hypervisor::read(&document.root(), &mut findings),
            None => Hypervisor::without_file(),
        };
        let source = match containers_file::find(layout, &hypervisor.settings)? {
            ContainersFile::There(source) => source,
            ContainersFile::NotMade(path) => return Ok(Self::without_file(path, hypervisor, findings)),
        };
        let containers = Document::parse(source).map_err(Refusal::Document)?;
        Self::build(&containers, document.as_ref(), &hypervisor, (std::env::consts::ARCH, host, answers), findings)
    }

    /// Puts together what was parsed. `findings` holds what is already known.
    fn build(
        containers: &Document,
        hypervisor_document: Option<&Document>,
        hypervisor: &Hypervisor<'_>,
        (architecture, host, answers): (&str, Option<OnHost<'_>>, Option<HostAnswers<'_>>),
        mut findings: Vec<Finding>,
    ) -> Result<Self, Refusal> {
        findings
            .extend([Some(containers), hypervisor_document].into_iter().flatten().filter_map(Document::informality));
        let root = containers.root();
        let configs = containers_file::containers_of(&root).map_err(Refusal::Document)?;
        let hypervisor_root = hypervisor_document.map(Document::root);
        findings.extend(lint::duplicate_keys(&root, hypervisor_root.as_ref()));
        let faults = errors(&findings);

        let (defined, strangers) = by_id(&configs);
        findings.extend(strangers);
        let is_defined = |id: ContainerId| defined.contains_key(&id);
        let surroundings = Surroundings { hypervisor, architecture, host, defined: &is_defined };
        let mut entries = BTreeMap::new();
        let mut lookups = BTreeMap::new();
        for (id, nodes) in &defined {
            let Some(node) = nodes.last() else { continue };
            let lookup = Lookup { container: node.clone(), root: root.clone() };
            let (entry, found) = read_entry(*id, &lookup, nodes, &surroundings);
            findings.extend(found);
            entries.insert(*id, entry);
            lookups.insert(*id, lookup);
        }
        name_clone_snapshots(&mut entries);
        let subjects: BTreeMap<ContainerId, Subject<'_, '_>> = entries
            .iter()
            .filter_map(|(id, entry)| {
                Some((*id, Subject { container: entry.container.as_ref()?, lookup: lookups.get(id)? }))
            })
            .collect();
        findings.extend(lint::all(&root, hypervisor_root.as_ref(), &hypervisor.settings, &subjects, answers));
        Ok(Self {
            containers_file: containers.path().to_owned(),
            has_file: true,
            entries,
            hypervisor: hypervisor.settings.clone(),
            url: root
                .member("nvidia_runfile_url")
                .filter(Node::is_set)
                .or_else(|| hypervisor.runfile_url.clone())
                .and_then(|node| WrittenUrl::of(&node)),
            faults,
            findings: in_file_order(findings),
        })
    }
}

/// Tells every clone which snapshot of its source it is made from.
fn name_clone_snapshots(entries: &mut BTreeMap<ContainerId, Entry>) {
    let containers = entries.iter().filter_map(|(id, entry)| Some((*id, entry.container.as_ref()?)));
    let named = containers.filter_map(|(id, container)| Some((id, container.template_snapshot_name.clone()?)));
    let snapshots: BTreeMap<ContainerId, String> = named.collect();
    for container in entries.values_mut().filter_map(|entry| entry.container.as_mut()) {
        container.clone_snapshot = container.clone_from.and_then(|source| snapshots.get(&source).cloned());
    }
}

type ById<'d> = BTreeMap<ContainerId, Vec<Node<'d>>>;

/// The entries of each CTID, and what is wrong with the keys that are none.
fn by_id<'d>(configs: &Node<'d>) -> (ById<'d>, Vec<Finding>) {
    let (mut defined, mut findings) = (ById::new(), Vec::new());
    for node in configs.members() {
        match node.key().parse::<ContainerId>() {
            Ok(id) => defined.entry(id).or_default().push(node),
            Err(_) => findings.push(
                node.finding_at_key(
                    Severity::Error,
                    format!("{} is neither a CTID nor a name, so its entry is ignored", quoted(node.key())),
                )
                .expected("a number in quotes, \"100\" to \"999999999\", or on plain LXC a name"),
            ),
        }
    }
    (defined, findings)
}

/// The container of an entry; everything found in it.
fn read_entry(
    id: ContainerId,
    lookup: &Lookup<'_>,
    nodes: &[Node<'_>],
    surroundings: &Surroundings<'_, '_>,
) -> (Entry, Vec<Finding>) {
    let mut findings = Vec::new();
    if nodes.len() > 1 {
        let message = format!("container {id} is defined {} times", nodes.len());
        let hint = "keep one of the entries: other tools silently use the last one";
        findings.push(lookup.container.finding_at_key(Severity::Error, message).hint(hint));
    }
    let container = if lookup.container.is_object() {
        findings.extend(lint::duplicates_within(&lookup.container, keys::is_of_container));
        Some(Container::read(id, lookup, surroundings, &mut findings))
    } else {
        findings.push(lookup.container.wrong_type("an object that describes a container"));
        None
    };
    (Entry { container, faults: errors(&findings) }, findings)
}

fn errors(findings: &[Finding]) -> Vec<Finding> {
    findings.iter().filter(|finding| finding.severity == Severity::Error).cloned().collect()
}

fn faulty(id: ContainerId, faults: &[&Finding]) -> Error {
    let errors = if faults.len() == 1 { "1 error".to_owned() } else { format!("{} errors", faults.len()) };
    let rendered: Vec<String> = faults.iter().map(|finding| finding.render()).collect();
    Error::new(Kind::Configuration, format!("the configuration of container {id} has {errors}"))
        .output(rendered.join("\n\n"))
        .hint("fix the errors above; `phoenix-nvidia lint` lists all errors and warnings of both files")
}

/// Ordered by file and place, and each only once: what stands at the root is found again for every container.
fn in_file_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    findings.retain(|finding| {
        let (file, start, end, message) = finding.identity();
        seen.insert((file.clone(), start, end, message.to_owned()))
    });
    findings.sort_by(|a, b| a.identity().cmp(&b.identity()));
    findings
}

#[cfg(any(test, fuzzing))]
impl Configuration {
    /// The configuration of two texts, on an x86_64 machine: for tests and the fuzzer.
    ///
    /// # Errors
    /// As [`Configuration::load`], files apart.
    pub fn of_texts(containers: &str, hypervisor: Option<&str>) -> Result<Self> {
        let containers = Document::parse(Source::new("etc/phoenix_lxc_configs.json", containers));
        let hypervisor =
            hypervisor.map(|text| Document::parse(Source::new("etc/phoenix_hypervisor_config.json", text))).transpose();
        let containers = containers.map_err(Refusal::Document)?;
        let document = hypervisor.map_err(Refusal::Document)?;
        let mut findings = Vec::new();
        let hypervisor = match &document {
            Some(document) => Hypervisor::read(&document.root(), &mut findings),
            None => Hypervisor::without_file(),
        };
        Ok(Self::build(&containers, document.as_ref(), &hypervisor, ("x86_64", None, None), findings)?)
    }
}

#[cfg(test)]
mod tests;
