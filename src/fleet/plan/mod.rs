//! Planning: from how a container is and should be to the steps between. Pure; reads nothing, changes nothing.

pub mod observation;
pub mod permissions;
pub mod plan_file;
pub mod rollback_point;
pub mod step;
pub mod update;

use crate::cache::Presence as Cached;
use crate::config::{Container, Method, WantedDriver};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::install::presence::Presence;

use crate::fleet::plan::observation::Observation;
use crate::fleet::plan::rollback_point::{RollbackPoint, SNAPSHOT};
use crate::fleet::plan::step::Step;
use crate::fleet::report::Overall;

/// The names of the lifecycle's snapshots, as the operators' scripts know them.
const PRE_CONFIGURED: &str = "pre-configured";
const FINAL_FORM: &str = "final-form";

/// What is to do for several containers, in this order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// One plan a container.
    pub containers: Vec<ContainerPlan>,
}

/// What is to do for one container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContainerPlan {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// It was not asked for by itself: another one needs it.
    pub dependency: bool,
    /// What is to do, in this order.
    pub steps: Vec<Step>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Why nothing could be planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// It runs with previous settings or device nodes, and nobody has asked for the restart that applies the new ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_restart: bool,
}

/// Why nothing could be planned for a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// What sort of failure it is.
    pub kind: Kind,
    /// What failed, in one line.
    pub message: String,
    /// The messages of the causes below it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The last lines of a command, or the places in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What to do next, if anything can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            causes: error.causes(),
            output: error.output_text().map(str::to_owned),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

impl ContainerPlan {
    /// Whether anything would change.
    pub fn changes_anything(&self) -> bool {
        self.steps.iter().any(Step::is_change)
    }
}

impl Plan {
    /// The one failure that stands for all containers for which nothing could be planned. Where one container is asked
    /// for, it is the first, its own or that of one that it needs: as its creation would end.
    ///
    /// # Errors
    /// There is one.
    pub fn overall(&self) -> Result<(), Overall> {
        let failures = self.containers.iter().filter_map(|plan| Some(plan.problem.as_ref()?.kind));
        let failures: Vec<Kind> = failures.collect();
        let asked_for = self.containers.iter().filter(|plan| !plan.dependency).count();
        match (asked_for, failures.first()) {
            (1, Some(first)) => Err(Overall::Alike(*first)),
            _ => Overall::of(&failures, self.containers.len()),
        }
    }

    /// Whether anything would change.
    pub fn changes_anything(&self) -> bool {
        self.containers.iter().any(ContainerPlan::changes_anything)
    }
}

/// The plan of one container.
pub fn plan_container(container: &Container, observation: &Observation, dependency: bool) -> ContainerPlan {
    let mut steps = Vec::new();
    steps.extend(making(container, observation));
    steps.extend(observation.growth.map(|gib| Step::Grow { gib }));
    steps.extend(bringing_up(observation));
    steps.extend(first_snapshot(container, observation));
    let mut driver = container.driver.as_ref();
    for feature in &container.features {
        if feature == "nvidia" {
            let is_copy = observation.state == State::Absent && container.clone_from.is_some();
            steps.extend(driver.take().map(|driver| driver_steps(driver, observation, is_copy)).unwrap_or_default());
        } else {
            steps.extend(feature_step(feature, observation));
        }
    }
    steps.extend(last_snapshots(container, observation));
    let mut notes = notes(container, observation);
    if let RollbackPoint::Left { taken_at, .. } = &observation.rollback_point {
        let id = container.id;
        notes.push(format!(
            "an interrupted run left the snapshot `{SNAPSHOT}` of {taken_at}; `phoenix-nvidia apply {id}` finishes that"
        ));
    }
    ContainerPlan {
        id: container.id,
        name: container.name.clone(),
        dependency,
        steps,
        notes,
        problem: None,
        waits_for_restart: false,
    }
}

fn making(container: &Container, observation: &Observation) -> Option<Step> {
    match (observation.state, container.clone_from, &container.template) {
        (State::Absent, Some(source), _) => Some(Step::Clone { source }),
        (State::Absent, None, template) => Some(Step::Create { template: template.clone().unwrap_or_default() }),
        _ if observation.drift.changes.is_empty() => None,
        _ => Some(Step::Configure { changes: observation.drift.changes.clone() }),
    }
}

fn bringing_up(observation: &Observation) -> Option<Step> {
    match observation.state {
        State::Running { .. } => observation.drift.restart.then_some(Step::Restart),
        State::Absent | State::Stopped | State::Frozen => Some(Step::Start),
    }
}

/// The snapshot of a container that has its settings, and nothing installed yet.
fn first_snapshot(container: &Container, observation: &Observation) -> Option<Step> {
    let untouched = observation.presence == Presence::Absent && observation.features_done.is_empty();
    let is_new = observation.state == State::Absent || (untouched && !observation.unseen);
    (container.lifecycle_snapshots && is_new).then(|| snapshot(PRE_CONFIGURED, observation))?
}

/// The snapshots of a container that is as it should be: the one that its clones are made from, and the last one.
fn last_snapshots(container: &Container, observation: &Observation) -> Vec<Step> {
    let template = container.template_snapshot_name.as_deref();
    let last = container.lifecycle_snapshots.then_some(FINAL_FORM).filter(|last| template != Some(last));
    template.into_iter().chain(last).filter_map(|name| snapshot(name, observation)).collect()
}

/// A snapshot that is not there yet, by its whole name.
fn snapshot(name: &str, observation: &Observation) -> Option<Step> {
    let there = observation.snapshots.as_ref()?;
    (!there.iter().any(|there| there == name)).then(|| Step::Snapshot { name: name.to_owned() })
}

/// `is_copy` says that the container does not exist yet and will be a copy of another.
pub(crate) fn driver_steps(driver: &WantedDriver, observation: &Observation, is_copy: bool) -> Vec<Step> {
    let version = driver.version.clone();
    let verify = Step::Verify { version: version.clone() };
    let mut steps = Vec::new();
    let is_there = observation.presence.satisfies(driver);
    if is_there {
        // An installation begins with that by itself.
        if !observation.leftovers.is_empty() {
            steps.push(Step::ClearAway { paths: observation.leftovers.clone() });
        }
        steps.extend(observation.specification.clone().map(|why| Step::WriteSpecification { why }));
        steps.push(verify);
        return steps;
    }
    let cached = matches!(observation.cached, Some(Cached::Trusted { .. } | Cached::Unchecked { .. }));
    // What is there or a copy brings along need not be fetched; the installation fetches what turns out to be missing.
    if !cached && !observation.extracted && !is_copy && !observation.unseen {
        steps.push(Step::FetchRunFile { version: version.clone() });
    }
    if driver.method() != Method::Runfile && !observation.extracted && !is_copy && !observation.unseen {
        steps.push(Step::ExtractDriver { version: version.clone() });
    }
    let mut why = reason(driver, observation, is_copy);
    if !observation.packages.is_empty() {
        why.push_str(&format!("; purges the packages {}", observation.packages.join(", ")));
    }
    if let Some(bytes) = observation.needed_bytes {
        why.push_str(&format!("; it takes {} MB", bytes.div_ceil(1_000_000)));
    }
    steps.push(Step::InstallDriver { version, method: driver.method(), profile: driver.profile(), why });
    steps.push(verify);
    steps
}

fn reason(driver: &WantedDriver, observation: &Observation, is_copy: bool) -> String {
    match &observation.presence {
        Presence::Absent if is_copy => "unless the clone source already has it".to_owned(),
        Presence::Absent if observation.unseen => "unless it is already installed".to_owned(),
        Presence::Absent => "none is installed".to_owned(),
        Presence::Complete { version, .. } if *version != driver.version => format!("replaces {version}"),
        Presence::Complete { method, profile, .. } => format!(
            "replaces an installation by method `{}`, profile `{}`",
            method.unwrap_or_default().word(),
            profile.word()
        ),
        Presence::Incomplete { why, .. } => match observation.presence.version() {
            Some(version) if *version != driver.version => format!("replaces {version}: {why}"),
            _ => why.clone(),
        },
    }
}

fn feature_step(feature: &str, observation: &Observation) -> Option<Step> {
    if observation.features_done.contains(feature) {
        return None;
    }
    let (_, script) = observation.feature_scripts.iter().find(|(name, _)| name == feature)?;
    Some(Step::RunFeature { feature: feature.to_owned(), script: script.clone()? })
}

fn profile_without_effect(driver: &WantedDriver) -> Option<String> {
    let chosen = driver.chosen_profile.filter(|chosen| *chosen != driver.profile())?;
    let (method, chosen) = (driver.method().word(), chosen.word());
    Some(format!(
        "the method `{method}` installs everything; the profile `{chosen}` needs the method `native` or `shared`"
    ))
}

pub(crate) fn notes(container: &Container, observation: &Observation) -> Vec<String> {
    let mut notes: Vec<String> = container.driver.iter().flat_map(|driver| driver.notes.clone()).collect();
    notes.extend(container.driver.as_ref().and_then(profile_without_effect));
    notes.extend(observation.passthrough.withheld.clone());
    notes.extend(observation.passthrough.waiting.clone());
    notes.extend(observation.moved_gpus.clone());
    notes.extend(observation.dropped_gpus.clone());
    notes.extend(observation.left_out.clone());
    for (feature, script) in &observation.feature_scripts {
        if script.is_none() {
            notes.push(format!("feature `{feature}` has no installation script on this host, so it is skipped"));
        }
    }
    if !container.external_dependencies.is_empty() {
        let ids = container.external_dependencies.join(", ");
        notes.push(format!("it depends on {ids}, which this configuration does not define; they are ignored"));
    }
    notes
}
