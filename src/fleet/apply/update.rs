//! Bringing many containers in sync: in parallel workers, each a transaction of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::{Container, WantedDriver};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::install::verify::WAITING_HINT;

use crate::fleet::Fleet;
use crate::fleet::apply::refuse_if_dependency_failed;
use crate::fleet::plan::observation::Observation;
use crate::fleet::plan::permissions::{Permissions, require_own};
use crate::fleet::plan::rollback_point::{RollbackPoint, SNAPSHOT};
use crate::fleet::plan::step::Step;
use crate::fleet::plan::update::plan_update;
use crate::fleet::report::ContainerReport;
use crate::fleet::workers;

/// How an update is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// What may be done.
    pub rules: Permissions,
    /// After a failure, no further container is begun.
    pub fail_fast: bool,
    /// A driver that could not be asked because the host's module is not loaded is a failure.
    pub require_live: bool,
}

impl Fleet<'_> {
    /// Brings these containers in sync. One that fails stops none but those that depend on it.
    ///
    /// What is being installed when the operator interrupts is brought to its end; nothing further begins.
    ///
    /// # Errors
    /// The order cannot be found.
    pub fn update(&self, ids: &[ContainerId], manner: Manner) -> Result<Vec<ContainerReport>> {
        self.make_nodes(ids);
        let failed = Mutex::new(BTreeSet::new());
        let stopped = AtomicBool::new(false);
        let needs = |id| self.configuration.container(id).map(Container::predecessors).unwrap_or_default();
        Ok(workers::run(&self.update_order(ids, manner.rules)?, needs, self.jobs, |id| {
            let container = match self.configuration.container(id) {
                Ok(container) => container,
                Err(error) => return ContainerReport { error: Some(error), ..ContainerReport::empty(id, "") },
            };
            let report = self.report(container, |report| {
                if stopped.load(Ordering::SeqCst) {
                    return Err(not_begun(id));
                }
                refuse_if_dependency_failed(container, &failed.lock().unwrap_or_else(PoisonError::into_inner))?;
                self.bring_in_sync(container, manner, report)
            });
            if report.error.is_some() {
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                stopped.fetch_or(manner.fail_fast, Ordering::SeqCst);
            }
            report
        }))
    }

    fn bring_in_sync(&self, container: &Container, manner: Manner, report: &mut ContainerReport) -> Result<()> {
        if let Some(note) = self.left_alone(container.id, manner.rules)? {
            self.context.listener.note(Some(container.id), &note);
            report.notes.push(note);
            return Ok(());
        }
        let _lock = self.lock(container.id)?;
        let mut observation = self.observe(container)?;
        if let RollbackPoint::Left { going_back: true, .. } = observation.rollback_point {
            self.one_step(container, &Step::FinishRollback { name: SNAPSHOT.to_owned() }, manner, report)?;
            observation = self.observe(container)?;
        }
        require_own(container.id, &observation.rollback_point, manner.rules)?;
        if !matches!(observation.rollback_point, RollbackPoint::Left { .. }) {
            self.forget_untaken_rollback_point(container.id)?;
        }
        // It would be started to be looked at, and only then turn out to have its driver.
        let is_started = container.driver.as_ref().is_some_and(WantedDriver::needs_a_running_container);
        if observation.unseen && observation.state == State::Stopped && is_started {
            self.look_by_mounting(container, &mut observation)?;
        }
        let mut plan = plan_update(container, &observation, manner.rules, false);
        for note in &plan.notes {
            self.context.listener.note(Some(container.id), note);
        }
        report.notes.append(&mut plan.notes);
        report.waits_for_restart = plan.waits_for_restart;
        // Not undone with the rest: the new driver is verified before it.
        let last = plan.steps.pop_if(|step| matches!(step, Step::RemoveSnapshot { .. }));
        let ended = self.carry_out(container, &plan.steps, manner, report);
        let ended = ended.and_then(|()| require_gpus(container.id, &observation, report));
        match (ended, last) {
            (Ok(()), Some(last)) => self.context.cancel.finishing(|| self.step(container, &last, report)),
            (Ok(()), None) => Ok(()),
            (Err(error), _) => Err(self.undo(container, &observation, error, report)),
        }
    }

    /// Does the steps; a container that was started for them is stopped again whatever happens.
    fn carry_out(
        &self,
        container: &Container,
        steps: &[Step],
        manner: Manner,
        report: &mut ContainerReport,
    ) -> Result<()> {
        let mut ended = Ok(());
        for step in steps {
            if ended.is_ok() {
                ended = self.context.cancel.check().and_then(|()| self.one_step(container, step, manner, report));
            } else if *step == Step::StopAgain && report.has_done(&Step::Start) {
                // The first failure is reported.
                if let Err(error) = self.context.cancel.finishing(|| self.step(container, step, report)) {
                    self.context.listener.warn(Some(container.id), error.message());
                }
            }
        }
        ended
    }

    fn one_step(&self, container: &Container, step: &Step, manner: Manner, report: &mut ContainerReport) -> Result<()> {
        match step {
            Step::Verify { .. } => self.verify_into(container, manner.require_live, report),
            // A download can be interrupted and goes on later; what changes a container is finished.
            Step::FetchRunFile { .. } | Step::ExtractDriver { .. } => self.step(container, step, report),
            step => self.context.cancel.finishing(|| self.step(container, step, report)),
        }
    }
}

/// GPUs that wait for the host are a failure where no verification has said so.
fn require_gpus(id: ContainerId, observation: &Observation, report: &ContainerReport) -> Result<()> {
    match observation.passthrough.waiting.first() {
        Some(waiting) if report.verification.is_none() => {
            Err(Error::new(Kind::Verification, format!("container {id}: {waiting}")).hint(WAITING_HINT))
        }
        _ => Ok(()),
    }
}

fn not_begun(id: ContainerId) -> Error {
    Error::new(Kind::Command, format!("container {id} was not started, because another one failed"))
        .hint("fix what failed, then run the same command again; or leave out `--fail-fast`")
}
