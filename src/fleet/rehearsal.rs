//! What `uninstall` and `destroy` would take away. Changes nothing.

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::fleet::Fleet;
use crate::fleet::report::ContainerReport;
use crate::hypervisor::State;
use crate::install::presence::Presence;
use crate::install::uninstall;

impl Fleet<'_> {
    /// The driver that [`Fleet::uninstall`] would remove, as what is done; and why it would fail.
    pub fn rehearse_uninstall(&self, ids: &[ContainerId]) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            self.require_no_mount(container)?;
            report.done.extend(self.removable_driver(container)?);
            Ok(())
        })
    }

    /// What [`Fleet::destroy`] would destroy, as what is done: the container's state and its driver.
    pub fn rehearse_destroy(&self, ids: &[ContainerId]) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            let state = self.hypervisor.state(container.id)?;
            if state == State::Absent {
                return Ok(());
            }
            // What is wrong inside keeps nobody from destroying it.
            let presence = self.presence(container).ok().flatten();
            let driver = presence.as_ref().and_then(Presence::version).map(|version| format!(", driver {version}"));
            report.done.push(format!("{}{}", state.word(), driver.unwrap_or_default()));
            Ok(())
        })
    }

    fn removable_driver(&self, container: &Container) -> Result<Option<String>> {
        let guest = self.guest(container.id);
        if guest.state()? != State::Stopped {
            guest.require_running()?;
        }
        let presence = self.look_into(container.id, |root| uninstall::removable(&guest, root))?;
        Ok(presence.map_or_else(|| Some("the driver, if there is one,".to_owned()), |presence| phrase(&presence)))
    }
}

fn phrase(presence: &Presence) -> Option<String> {
    match (presence, presence.version()) {
        (Presence::Absent, _) => None,
        (Presence::Complete { .. }, Some(version)) => Some(format!("driver {version}")),
        (_, Some(version)) => Some(format!("what there is of driver {version}")),
        (_, None) => Some("what there is of a driver".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::driver::placement::Profile;

    #[test]
    fn a_driver_that_is_not_whole_is_named_as_such() {
        let version = || "580.76.05".parse().unwrap();
        let whole = Presence::Complete { version: version(), method: None, profile: Profile::Full };
        assert_eq!(phrase(&whole).unwrap(), "driver 580.76.05");
        let part = |versions| Presence::Incomplete { versions, why: String::new() };
        assert_eq!(phrase(&part(BTreeSet::from([version()]))).unwrap(), "what there is of driver 580.76.05");
        assert_eq!(phrase(&part(BTreeSet::new())).unwrap(), "what there is of a driver");
        assert_eq!(phrase(&Presence::Absent), None);
    }
}
