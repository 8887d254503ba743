//! A container whose new driver has failed: back to the snapshot, or else the previous driver put back by its own
//! method.
//!
//! Only a failure of the driver is undone, and only by a driver that fits the loaded module: a GPU that is lost is lost with
//! every driver, and one of another version than the module's cannot work at all.

use crate::cache::Presence as Cached;
use crate::config::{Container, WantedDriver};
use crate::driver::{DriverVersion, Variant};
use crate::error::{Error, Kind};
use crate::install::presence::Presence;
use crate::install::verify::Verdict;

use crate::fleet::plan::observation::Observation;
use crate::fleet::plan::rollback_point::{RollbackPoint, SNAPSHOT};
use crate::fleet::report::ContainerReport;
use crate::fleet::{Fleet, request};

impl Fleet<'_> {
    /// Brings the container back to what it was; the failure, and what became of it, is what is reported.
    pub(crate) fn undo(
        &self,
        container: &Container,
        observation: &Observation,
        error: Error,
        report: &mut ContainerReport,
    ) -> Error {
        if report.is_secured {
            return self.undo_by_snapshot(container, observation, error, report);
        }
        if let Some(previous) = self.previous_driver(observation, &error, report) {
            match self.unfit(Some(&previous.version)) {
                Some(why) => {
                    self.tell(container, format!("driver {} is not restored: {why}", previous.version), report)
                }
                None => self.put_back(container, &previous, report),
            }
        }
        if matches!(observation.rollback_point, RollbackPoint::Left { .. }) {
            let id = container.id;
            let note = format!(
                "the snapshot `{SNAPSHOT}` of an interrupted run is still there; `phoenix-nvidia apply {id} \
                 --snapshot` continues with it"
            );
            self.context.listener.note(Some(id), &note);
            report.notes.push(note);
        }
        error
    }

    fn undo_by_snapshot(
        &self,
        container: &Container,
        observation: &Observation,
        error: Error,
        report: &mut ContainerReport,
    ) -> Error {
        let id = container.id;
        // What an interrupted run left was taken before that run began to install.
        let was_left = matches!(observation.rollback_point, RollbackPoint::Left { .. });
        let began = was_left || report.began_installation;
        if error.kind() == Kind::Interrupted && began {
            let note = format!("the snapshot `{SNAPSHOT}` stays, and the next run continues with it");
            self.context.listener.note(Some(id), &note);
            report.notes.push(note);
            return error;
        }
        let is_right = began && !is_of_driver(report);
        if !began || is_right || (!was_left && self.is_as_before(container, observation)) {
            let phrase = format!("remove the snapshot `{SNAPSHOT}`");
            let removed =
                self.as_step(id, &phrase, || self.context.cancel.finishing(|| self.remove_rollback_point(id)));
            match removed {
                Ok(_) => report.done.push(phrase),
                Err(left) => self.tell_of_left_snapshot(container, "could not be removed", &left, report),
            }
            return error;
        }
        // A record that cannot be read is reported by the rollback.
        let previous = self.driver_in_snapshot(id).unwrap_or_default();
        if let Some(why) = self.unfit(previous.as_ref()) {
            let note = format!("the snapshot `{SNAPSHOT}` is kept and not rolled back to: {why}");
            self.tell(container, note, report);
            return error;
        }
        let phrase = format!("roll back to the snapshot `{SNAPSHOT}`");
        match self.as_step(id, &phrase, || self.context.cancel.finishing(|| self.go_back(container))) {
            Ok(()) => {
                report.done.push(phrase);
                error.within(format!("container {id}: failed, rolled back to the snapshot `{SNAPSHOT}`"))
            }
            Err(left) => {
                self.tell_of_left_snapshot(container, "could not be rolled back to", &left, report);
                error
            }
        }
    }

    /// Whether the driver that was there is there still, or none was and none is: going back stops a container, and is
    /// not done for nothing.
    fn is_as_before(&self, container: &Container, observation: &Observation) -> bool {
        let same = |found: Option<Presence>| found.is_some_and(|found| found == observation.presence);
        !matches!(observation.presence, Presence::Incomplete { .. })
            && !observation.unseen
            && self.presence(container).is_ok_and(same)
    }

    fn tell_of_left_snapshot(&self, container: &Container, what: &str, why: &Error, report: &mut ContainerReport) {
        let note = format!("the snapshot `{SNAPSHOT}` {what}, and the next `apply` retries it: {}", why.message());
        self.context.listener.warn(Some(container.id), &note);
        report.notes.push(note);
    }

    /// Why what was there before would not work: the loaded module is of another version. Nothing is known against it
    /// where no module is loaded.
    fn unfit(&self, previous: Option<&DriverVersion>) -> Option<String> {
        let (host, previous) = (self.host.loaded.as_ref()?, previous?);
        (previous != host)
            .then(|| format!("the host's kernel module is {host}, with which driver {previous} does not work"))
    }

    fn tell(&self, container: &Container, note: String, report: &mut ContainerReport) {
        self.context.listener.warn(Some(container.id), &note);
        report.notes.push(note);
    }

    /// The driver that was there and may have to come back: when the installation had begun, and nobody interrupted.
    fn previous_driver(
        &self,
        observation: &Observation,
        error: &Error,
        report: &ContainerReport,
    ) -> Option<WantedDriver> {
        let Presence::Complete { version, method, profile } = &observation.presence else { return None };
        if error.kind() == Kind::Interrupted || !report.began_installation || !is_of_driver(report) {
            return None;
        }
        // What does in its place is used where its own variant was another.
        let mut previous = self.configuration.driver_of(version, Some(Variant::Full));
        previous.chosen_method = Some(method.unwrap_or_default());
        previous.chosen_profile = Some(*profile);
        Some(previous)
    }

    /// Puts the previous driver back from what is on this host; reported, whether it worked or not.
    fn put_back(&self, container: &Container, previous: &WantedDriver, report: &mut ContainerReport) {
        let id = container.id;
        // It may have failed before anything was touched.
        if self.presence(container).is_ok_and(|found| found.is_some_and(|found| found.satisfies(previous))) {
            return;
        }
        let phrase = format!("restore driver {}", previous.version);
        let at_hand = self.is_extracted(previous).unwrap_or(false)
            || matches!(self.cache.look(&request(previous)), Ok(Cached::Trusted { .. } | Cached::Unchecked { .. }));
        let done = if at_hand {
            self.as_step(id, &phrase, || self.context.cancel.finishing(|| self.bring_in(container, previous)))
                .map(|_| ())
        } else {
            Err(Error::new(Kind::Host, "it is neither extracted nor in the cache"))
        };
        match done {
            Ok(()) => {
                report.notes.push(format!("driver {}, which was installed before, is restored", previous.version));
                report.done.push(phrase);
            }
            Err(error) => {
                let note = format!("driver {} could not be restored: {}", previous.version, error.message());
                self.context.listener.warn(Some(id), &note);
                report.notes.push(note);
            }
        }
    }
}

/// Whether what has failed is the driver: its installation, or its verdict. A container that could not be asked, or not
/// stopped afterwards, says nothing against it.
fn is_of_driver(report: &ContainerReport) -> bool {
    match &report.verification {
        Some(verification) => matches!(verification.verdict, Verdict::Wrong { .. }),
        None => !report.is_installed,
    }
}
