//! Planning: from how a container is and should be to the steps between. Pure; reads nothing, changes nothing.

use std::collections::BTreeSet;

use crate::cache::Presence as Cached;
use crate::config::{Container, WantedDriver, Way};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::install::presence::Presence;

use super::Fleet;
use super::observe::Observation;
use super::report::Overall;
use super::rollback::{RollbackPoint, SNAPSHOT};
use super::step::Step;

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
    /// It runs with former settings or device nodes, and nobody has asked for the restart that brings the new ones in.
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
    /// What to do next, if anything can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.message().to_owned(), hint: error.hint_text().map(str::to_owned) }
    }
}

impl ContainerPlan {
    /// Whether anything would change.
    pub fn changes_anything(&self) -> bool {
        self.steps.iter().any(Step::is_change)
    }
}

impl Plan {
    /// The one failure that stands for all containers for which nothing could be planned.
    ///
    /// # Errors
    /// There is one.
    pub fn overall(&self) -> Result<(), Overall> {
        let failures = self.containers.iter().filter_map(|plan| Some(plan.problem.as_ref()?.kind));
        Overall::of(&failures.collect::<Vec<_>>(), self.containers.len())
    }

    /// Whether anything would change.
    pub fn changes_anything(&self) -> bool {
        self.containers.iter().any(ContainerPlan::changes_anything)
    }
}

impl Fleet<'_> {
    /// What `create` would do for these containers and what they depend on; changes nothing.
    ///
    /// # Errors
    /// One of them is not configured, or cannot be had on this host.
    pub fn plan(&self, ids: &[ContainerId]) -> Result<Plan> {
        let mut containers = Vec::new();
        for id in self.needed_for(ids)? {
            let container = self.configuration.container(id)?;
            let dependency = !ids.contains(&id);
            if dependency && self.hypervisor.state(id)? != State::Absent {
                continue;
            }
            self.require_source(container)?;
            containers.push(plan_container(container, &self.observe(container)?, dependency));
        }
        Ok(Plan { containers })
    }

    /// The containers in the order of their dependencies, with those that they need: what they depend on, and the
    /// sources of those that do not exist. The source of one that exists is nothing to it, and stays as it is, or gone.
    ///
    /// # Errors
    /// One of them is not configured, or they wait for each other.
    pub(super) fn needed_for(&self, ids: &[ContainerId]) -> Result<Vec<ContainerId>> {
        let mut order = self.configuration.in_dependency_order(ids)?;
        let mut needed: BTreeSet<ContainerId> = ids.iter().copied().collect();
        for id in order.iter().rev() {
            if !needed.contains(id) {
                continue;
            }
            // What is wrong with one of them is said where its turn comes.
            let Ok(container) = self.configuration.container(*id) else { continue };
            needed.extend(&container.dependencies);
            let source = container.clone_from.filter(|_| matches!(self.hypervisor.state(*id), Ok(State::Absent)));
            needed.extend(source);
        }
        order.retain(|id| needed.contains(id));
        Ok(order)
    }

    /// A source that is configured comes first in the order; any other must exist already.
    fn require_source(&self, container: &Container) -> Result<()> {
        let Some(source) = container.clone_from else { return Ok(()) };
        let configured = self.configuration.containers().any(|(id, _)| id == source);
        if configured
            || self.hypervisor.state(source)? != State::Absent
            || self.hypervisor.state(container.id)? != State::Absent
        {
            return Ok(());
        }
        let file = self.configuration.containers_file().display();
        Err(Error::new(
            Kind::Configuration,
            format!(
                "container {}: its source, container {source}, does not exist and is not defined in `{file}`",
                container.id
            ),
        )
        .hint("set `clone_from_ctid` to a container that exists, or define it"))
    }

    /// What `install` would do for these containers; changes nothing.
    ///
    /// # Errors
    /// One of them is not configured, asks for no driver, or does not exist.
    pub fn plan_installation(&self, ids: &[ContainerId]) -> Result<Plan> {
        let mut containers = Vec::new();
        for id in ids {
            let container = self.configuration.container(*id)?;
            let driver = super::wanted_driver(container)?;
            let observation = self.observe(container)?;
            let mut steps = driver_steps(driver, &observation, false);
            if observation.state != State::Stopped {
                self.site(*id).require_running()?;
            } else if driver.needs_a_running_container() {
                steps.insert(0, Step::Start);
                steps.push(Step::StopAgain);
            }
            let notes = driver.notes.clone();
            containers.push(ContainerPlan {
                id: *id,
                name: container.name.clone(),
                dependency: false,
                steps,
                notes,
                problem: None,
                waits_for_restart: false,
            });
        }
        Ok(Plan { containers })
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
            "an interrupted run has left the snapshot `{SNAPSHOT}` of {taken_at}; `phoenix-nvidia apply {id}` finishes that"
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
pub(super) fn driver_steps(driver: &WantedDriver, observation: &Observation, is_copy: bool) -> Vec<Step> {
    let version = driver.version.clone();
    let verify = Step::Verify { version: version.clone() };
    let mut steps = Vec::new();
    let is_there = observation.presence.satisfies(driver);
    if is_there {
        // An installation begins with that by itself.
        if !observation.leftovers.is_empty() {
            steps.push(Step::ClearAway { paths: observation.leftovers.clone() });
        }
        steps.push(verify);
        return steps;
    }
    let cached = matches!(observation.cached, Some(Cached::Trusted { .. } | Cached::Unchecked { .. }));
    // What is there or a copy brings along need not be fetched; the installation fetches what turns out to be missing.
    if !cached && !observation.extracted && !is_copy && !observation.unseen {
        steps.push(Step::FetchRunFile { version: version.clone() });
    }
    if driver.way() != Way::Runfile && !observation.extracted && !is_copy && !observation.unseen {
        steps.push(Step::ExtractDriver { version: version.clone() });
    }
    let mut why = reason(driver, observation, is_copy);
    if let Some(bytes) = observation.needed_bytes {
        why.push_str(&format!("; it takes {} MB", bytes.div_ceil(1_000_000)));
    }
    steps.push(Step::InstallDriver { version, way: driver.way(), profile: driver.profile(), why });
    steps.push(verify);
    steps
}

fn reason(driver: &WantedDriver, observation: &Observation, is_copy: bool) -> String {
    match &observation.presence {
        Presence::Absent if is_copy => "unless its source has brought it along".to_owned(),
        Presence::Absent if observation.unseen => "unless it is there already".to_owned(),
        Presence::Absent => "none is there".to_owned(),
        Presence::Complete { version, .. } if *version != driver.version => format!("replaces {version}"),
        Presence::Complete { way, profile, .. } => format!(
            "replaces what the way `{}` has put there, profile `{}`",
            way.unwrap_or_default().word(),
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
    let (way, chosen) = (driver.way().word(), chosen.word());
    Some(format!("the way `{way}` installs everything; the profile `{chosen}` needs the way `native` or `shared`"))
}

pub(super) fn notes(container: &Container, observation: &Observation) -> Vec<String> {
    let mut notes: Vec<String> = container.driver.iter().flat_map(|driver| driver.notes.clone()).collect();
    notes.extend(container.driver.as_ref().and_then(profile_without_effect));
    notes.extend(observation.passthrough.withheld.clone());
    notes.extend(observation.passthrough.waiting.clone());
    notes.extend(observation.moved_cards.clone());
    notes.extend(observation.dropped_gpus.clone());
    notes.extend(observation.left_out.clone());
    for (feature, script) in &observation.feature_scripts {
        if script.is_none() {
            notes.push(format!("feature `{feature}` is not ours and has no script here, so it is left out"));
        }
    }
    if !container.external_dependencies.is_empty() {
        let ids = container.external_dependencies.join(", ");
        notes.push(format!(
            "it depends on {ids}, which this configuration does not define; nothing was done about that"
        ));
    }
    notes
}
