//! Plans of containers: each is observed, and the pure rules of `plan` say what is to do.

use std::collections::BTreeSet;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fleet::plan::permissions::{Permissions, require_own};
use crate::fleet::plan::step::Step;
use crate::fleet::plan::update::{absent, plan_update};
use crate::fleet::plan::{ContainerPlan, Plan, Problem, driver_steps, plan_container};
use crate::fleet::{Fleet, wanted_driver, workers};
use crate::hypervisor::State;

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
    pub(crate) fn needed_for(&self, ids: &[ContainerId]) -> Result<Vec<ContainerId>> {
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
                "container {}: its clone source, container {source}, does not exist and is not defined in `{file}`",
                container.id
            ),
        )
        .hint("set `clone_from_ctid` to an existing container, or define the clone source"))
    }

    /// What `install` would do for these containers; changes nothing.
    ///
    /// # Errors
    /// One of them is not configured, asks for no driver, or does not exist.
    pub fn plan_installation(&self, ids: &[ContainerId]) -> Result<Plan> {
        let mut containers = Vec::new();
        for id in ids {
            let container = self.configuration.container(*id)?;
            let driver = wanted_driver(container)?;
            if self.hypervisor.state(*id)? == State::Absent {
                // What would hinder its creation is not what hinders this.
                self.guest(*id).require_running()?;
            }
            let observation = self.observe(container)?;
            let mut steps = driver_steps(driver, &observation, false);
            if observation.state != State::Stopped {
                self.guest(*id).require_running()?;
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

    /// What [`Fleet::update`] would do; changes nothing. A container that cannot be planned says why in its plan.
    ///
    /// # Errors
    /// The order cannot be found, or the operator interrupted.
    pub fn plan_update(&self, ids: &[ContainerId], rules: Permissions) -> Result<Plan> {
        let plans = workers::run(
            &self.update_order(ids, rules)?,
            |_| Vec::new(),
            self.jobs,
            |id| {
                let (container, dependency) = (self.configuration.container(id), !ids.contains(&id));
                let name = container.as_ref().map_or("", |container| container.name.as_str()).to_owned();
                container.and_then(|container| self.plan_one(container, rules, dependency)).unwrap_or_else(|error| {
                    let problem = Some(Problem::from(&error));
                    ContainerPlan { problem, dependency, ..empty_plan(id, &name) }
                })
            },
        );
        self.context.cancel.check()?;
        Ok(Plan { containers: plans })
    }

    fn plan_one(&self, container: &Container, rules: Permissions, dependency: bool) -> Result<ContainerPlan> {
        match self.left_alone(container.id, rules)? {
            Some(note) => Ok(ContainerPlan { notes: vec![note], ..empty_plan(container.id, &container.name) }),
            None => {
                let observation = self.observe(container)?;
                require_own(container.id, &observation.rollback_point, rules)?;
                Ok(plan_update(container, &observation, rules, dependency))
            }
        }
    }

    /// Why a container that nobody has named by its CTID is left alone: it is another node's, or it does not exist. What
    /// would hinder its creation is then of no interest.
    pub(crate) fn left_alone(&self, id: ContainerId, rules: Permissions) -> Result<Option<String>> {
        if rules.create {
            return Ok(None);
        }
        if let Some(node) = self.hypervisor.elsewhere(id)? {
            return Ok(Some(format!("it is on node `{node}`: run the command there")));
        }
        let is_absent = self.hypervisor.state(id)? == State::Absent;
        Ok(is_absent.then(|| absent(id)))
    }

    /// The containers in the order of their dependencies, with those that must be created for them.
    pub(crate) fn update_order(&self, ids: &[ContainerId], rules: Permissions) -> Result<Vec<ContainerId>> {
        let mut order = self.needed_for(ids)?;
        let mut unneeded = BTreeSet::new();
        for id in order.iter().filter(|id| !ids.contains(id)) {
            if !rules.create || self.hypervisor.state(*id)? != State::Absent {
                unneeded.insert(*id);
            }
        }
        order.retain(|id| !unneeded.contains(id));
        Ok(order)
    }
}

fn empty_plan(id: ContainerId, name: &str) -> ContainerPlan {
    let name = name.to_owned();
    ContainerPlan {
        id,
        name,
        dependency: false,
        steps: Vec::new(),
        notes: Vec::new(),
        problem: None,
        waits_for_restart: false,
    }
}
