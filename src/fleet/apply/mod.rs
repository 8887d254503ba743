//! Doing what a plan says, container by container: under its lock, observed afresh, step by step.

pub mod after_failure;
pub mod bring_up;
pub mod docker;
pub mod driver;
pub mod network;
pub mod snapshot;
pub mod update;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::hypervisor::State;
use crate::install::cdi;
use crate::install::clear_away;
use crate::install::presence::Presence;
use crate::install::uninstall::{self, Outcome};
use crate::install::verify::{self, Expectation, Verdict, Verification};
use crate::sys::atomic;
use crate::sys::command::Command;

use crate::fleet::observe::container_record::ContainerRecord;
use crate::fleet::observe::known_gpus;
use crate::fleet::observe::passthrough::Passthrough;
use crate::fleet::plan::plan_container;
use crate::fleet::plan::step::Step;
use crate::fleet::report::ContainerReport;
use crate::fleet::{Fleet, request, wanted_driver};

const FEATURE_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);

impl Fleet<'_> {
    /// Creates these containers and what they depend on, or brings them to where they should be.
    ///
    /// A container that fails does not stop the others, except those that depend on it.
    ///
    /// # Errors
    /// The order cannot be found: an unknown CTID, a circle.
    pub fn create(&self, ids: &[ContainerId], require_live: bool) -> Result<Vec<ContainerReport>> {
        let order = self.needed_for(ids)?;
        self.make_nodes(&order);
        // What cannot be had on this host is said before the first container is touched.
        self.plan(ids)?;
        let mut failed = BTreeSet::new();
        let mut reports = Vec::new();
        for id in order {
            let container = self.configuration.container(id)?;
            if !ids.contains(&id) && self.hypervisor.state(id)? != State::Absent {
                continue;
            }
            let report = self.report(container, |report| {
                refuse_if_dependency_failed(container, &failed)?;
                self.converge(container, require_live, report)
            });
            if report.error.is_some() {
                failed.insert(id);
            }
            reports.push(report);
        }
        Ok(reports)
    }

    /// Installs the driver alone, in containers that exist; one that is stopped is started for it and stopped again
    /// where the method or the verification needs that.
    pub fn install(&self, ids: &[ContainerId], require_live: bool) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            let driver = wanted_driver(container)?;
            let _lock = self.lock(container.id)?;
            let install = Step::InstallDriver {
                version: driver.version.clone(),
                method: driver.method(),
                profile: driver.profile(),
                why: String::new(),
            };
            let install_and_verify = |report: &mut ContainerReport| {
                self.step(container, &install, report)?;
                self.verify_into(container, require_live, report)
            };
            let is_stopped = self.hypervisor.state(container.id)? == State::Stopped;
            if !is_stopped {
                self.guest(container.id).require_running()?;
            }
            self.look_into(container.id, |root| self.require_shell(container, &Presence::Absent, root))?;
            if !is_stopped {
                return install_and_verify(report);
            }
            if !driver.needs_a_running_container() && !require_live {
                return install_and_verify(report);
            }
            let installed = self.step(container, &Step::Start, report).and_then(|()| install_and_verify(report));
            let stopped = self.step(container, &Step::StopAgain, report);
            installed.and(stopped)
        })
    }

    /// Verifies the driver of running containers.
    pub fn verify(&self, ids: &[ContainerId], require_live: bool) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            self.guest(container.id).require_running()?;
            if let Some(left) = self.left_in(container.id, &self.hypervisor.rootfs(container.id)?)? {
                let remedy = format!("{left}; `phoenix-nvidia apply {}` removes it", container.id);
                self.context.listener.warn(Some(container.id), remedy);
            }
            self.verify_into(container, require_live, report)
        })
    }

    /// Takes the driver out of containers.
    pub fn uninstall(&self, ids: &[ContainerId]) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            let _lock = self.lock(container.id)?;
            self.require_no_mount(container)?;
            let outcome = self.as_step(container.id, "uninstall the driver", || {
                let outcome = uninstall::uninstall(&self.guest(container.id))?;
                self.settle_images(container)?;
                cdi::remove(&self.hypervisor.rootfs(container.id)?)?;
                Ok(outcome)
            });
            match outcome? {
                Outcome::NothingThere => {}
                Outcome::Removed { version: Some(version) } => report.done.push(format!("uninstall driver {version}")),
                Outcome::Removed { version: None } => report.done.push("uninstall the driver".to_owned()),
            }
            Ok(())
        })
    }

    /// Destroys containers, with the host's record of them.
    pub fn destroy(&self, ids: &[ContainerId]) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            let id = container.id;
            let _lock = self.lock(id)?;
            if self.hypervisor.state(id)? != State::Absent {
                report.done.push("destroy".to_owned());
            }
            self.as_step(id, "destroy", || self.hypervisor.destroy(id).and_then(|()| self.forget(id)))?;
            self.release_images();
            Ok(())
        })
    }

    pub(crate) fn each(
        &self,
        ids: &[ContainerId],
        work: impl Fn(&Container, &mut ContainerReport) -> Result<()>,
    ) -> Vec<ContainerReport> {
        let report = |id: &ContainerId| match self.configuration.container(*id) {
            Ok(container) => self.report(container, |report| work(container, report)),
            Err(error) => ContainerReport { error: Some(error), ..ContainerReport::empty(*id, "") },
        };
        ids.iter().map(report).collect()
    }

    pub(crate) fn report(
        &self,
        container: &Container,
        work: impl FnOnce(&mut ContainerReport) -> Result<()>,
    ) -> ContainerReport {
        let mut report = ContainerReport::empty(container.id, &container.name);
        let ended = self.context.cancel.check().and_then(|()| work(&mut report));
        report.error = ended.err();
        report
    }

    fn converge(&self, container: &Container, require_live: bool, report: &mut ContainerReport) -> Result<()> {
        let _lock = self.lock(container.id)?;
        let observation = self.observe(container)?;
        let plan = plan_container(container, &observation, false);
        for note in &plan.notes {
            self.context.listener.note(Some(container.id), note);
        }
        report.notes = plan.notes;
        if observation.state != State::Absent {
            // What was reported just now is what the configuration means from here on.
            known_gpus::remember(self.context.layout, container, self.host)?;
        }
        for step in &plan.steps {
            self.context.cancel.check()?;
            match step {
                Step::Verify { .. } => self.verify_into(container, require_live, report)?,
                step => self.step(container, step, report)?,
            }
            if matches!(step, Step::Start | Step::Restart) {
                self.wait_for_systemd(container.id)?;
            }
        }
        self.require_network(container)
    }

    pub(crate) fn step(&self, container: &Container, step: &Step, report: &mut ContainerReport) -> Result<()> {
        let phrase = step.phrase();
        report.began_installation |= matches!(step, Step::InstallDriver { .. });
        let is_done = self.as_step(container.id, &phrase, || self.perform(container, step))?;
        report.is_installed |= matches!(step, Step::InstallDriver { .. });
        if is_done {
            report.is_secured |= matches!(step, Step::SecureBySnapshot { .. });
            report.done.push(phrase);
        }
        Ok(())
    }

    /// Does something, and reports its beginning and its good end.
    pub(crate) fn as_step<T>(&self, id: ContainerId, phrase: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        self.context.listener.hear(&Event::StepStarted { container: Some(id), step: phrase.to_owned() });
        let done = work()?;
        let milliseconds = started.elapsed().as_millis() as u64;
        let step = phrase.to_owned();
        self.context.listener.hear(&Event::StepFinished { container: Some(id), step, milliseconds });
        Ok(done)
    }

    /// Does one step; false when there turned out to be nothing to do.
    fn perform(&self, container: &Container, step: &Step) -> Result<bool> {
        let id = container.id;
        match step {
            Step::Create { .. } => {
                self.forget(id)?;
                self.hypervisor.create(&self.desired(container)?)?;
                known_gpus::remember(self.context.layout, container, self.host)?;
            }
            Step::Clone { source } => {
                // Held still while it is copied, by one at a time; sources form no circle, so neither do the locks.
                let _source = self.lock(*source)?;
                self.forget(id)?;
                self.hypervisor.clone_from(*source, &self.desired(container)?)?;
                known_gpus::remember(self.context.layout, container, self.host)?;
            }
            Step::Configure { .. } => self.hypervisor.configure(&self.desired(container)?)?,
            Step::Grow { .. } => return self.grow(container),
            Step::Restart => {
                self.require_nodes(container)?;
                // What prevents its start is found while it still runs.
                self.mount_images(id)?;
                self.hypervisor.stop(id).and_then(|()| self.start(id))?;
                // It has other nodes now.
                self.follow_with_specification(container);
            }
            Step::Start => {
                self.require_nodes(container).and_then(|()| self.start(id))?;
                self.follow_with_specification(container);
            }
            Step::StopAgain => self.hypervisor.stop(id)?,
            Step::RunFeature { feature, script } => self.run_feature(id, feature, script)?,
            Step::Snapshot { name } => return self.take_snapshot(container, name),
            Step::SecureBySnapshot { .. } => return self.take_rollback_point(container),
            Step::RemoveSnapshot { .. } => return self.remove_rollback_point(id),
            Step::FinishRollback { .. } => self.go_back(container)?,
            Step::ClearAway { .. } => clear_away(&self.guest(id)).and_then(|()| self.settle_images(container))?,
            Step::FetchRunFile { .. } => self.cache.ensure(&request(wanted_driver(container)?)).map(|_| ())?,
            Step::ExtractDriver { .. } => self.extracted(wanted_driver(container)?).map(|_| ())?,
            Step::InstallDriver { .. } => return self.install_driver(container),
            Step::WriteSpecification { .. } => self.settle_specification(container)?,
            Step::Verify { .. } => {}
        }
        Ok(true)
    }

    fn grow(&self, container: &Container) -> Result<bool> {
        // A copy may have inherited the size already.
        let (Some(gib), Some(sizes)) = (self.growth(container)?, self.hypervisor.root_sizes()) else {
            return Ok(false);
        };
        sizes.grow(container.id, gib).map(|()| true)
    }

    fn take_snapshot(&self, container: &Container, name: &str) -> Result<bool> {
        let there = self.snapshot_names(container)?;
        if there.is_none_or(|names| names.iter().any(|there| there == name)) {
            return Ok(false);
        }
        self.snapshots(container.id)?.take(container.id, name, "").map(|()| true)
    }

    pub(crate) fn verify_into(
        &self,
        container: &Container,
        require_live: bool,
        report: &mut ContainerReport,
    ) -> Result<()> {
        let verification = self.verification(container, report.waits_for_restart)?;
        match &verification.verdict {
            Verdict::Verified => tracing::info!("{}: driver {} verified", container.id, verification.wanted),
            Verdict::NotVerifiedLive { reason } => {
                self.context.listener.warn(Some(container.id), format!("installed, not verified live: {reason}"));
            }
            // Reported as the failure that it becomes.
            Verdict::Wrong { .. } | Verdict::GpuUnavailable { .. } => {}
        }
        for warning in &verification.warnings {
            self.context.listener.warn(Some(container.id), format!("`nvidia-smi` says: {warning}"));
        }
        report.verification = Some(verification.clone());
        verification.into_result(&self.guest(container.id), require_live).map(|_| ())
    }

    /// The verification of a container; of one that is stopped, the files alone. What comes in with a restart that it
    /// waits for is no fault then.
    pub(crate) fn verification(&self, container: &Container, waits_for_restart: bool) -> Result<Verification> {
        let wanted = &wanted_driver(container)?.version;
        let Passthrough { devices, gpus, waiting, .. } = self.passthrough(container)?;
        let host = self.host.loaded.as_ref();
        let on_disk = host.filter(|host| *host != wanted).and_then(|_| self.host.on_disk(self.context.cancel));
        let seen_by_cuda = container.gpus.seen_by_cuda();
        let expected = Expectation {
            wanted,
            host,
            on_disk,
            devices: &devices,
            gpus,
            seen_by_cuda,
            waiting: &waiting,
            waits_for_restart,
        };
        let guest = self.guest(container.id);
        match self.hypervisor.state(container.id)? {
            State::Stopped => verify::verify_files(&guest, &expected),
            _ => verify::verify(&guest, &expected),
        }
    }

    fn run_feature(&self, id: ContainerId, feature: &str, script: &Path) -> Result<()> {
        let command = Command::new(script).arg(id.to_string()).deadline(FEATURE_DEADLINE).output_limit(16 << 20);
        command.run_ok(self.context.cancel).map_err(|error| {
            error
                .within(format!("container {id}: the feature script of `{feature}` failed"))
                .hint(format!("it is `{}`", script.display()))
        })?;
        let mut record = ContainerRecord::load(self.context.layout, id)?;
        record.features.insert(feature.to_owned());
        record.save(self.context.layout, id)
    }

    /// A new container of an old number must not inherit the host's record of the old one.
    fn forget(&self, id: ContainerId) -> Result<()> {
        let paths = [
            self.context.layout.receipt(id),
            self.context.layout.intent(id),
            self.context.layout.rollback(id),
            self.context.layout.container_record(id),
            self.context.layout.installer_log(id),
        ];
        for path in paths {
            if path.exists() {
                atomic::remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn refuse_if_dependency_failed(container: &Container, failed: &BTreeSet<ContainerId>) -> Result<()> {
    let needed = container.clone_from.iter().chain(&container.dependencies);
    match needed.into_iter().find(|id| failed.contains(id)) {
        None => Ok(()),
        Some(id) => {
            Err(Error::new(Kind::Command, format!("container {} needs container {id}, which failed", container.id))
                .hint(format!("fix container {id} first, then run the same command again")))
        }
    }
}
