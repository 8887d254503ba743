//! `uninstall`: the driver out of containers.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::Result;

use super::arguments::Removal;
use super::selection::{self, Suits};
use super::session::Session;
use super::{Ended, report, status};

pub(crate) fn run(session: &Session<'_>, options: &Removal) -> Result<Ended> {
    let containers = selection::resolve(session, &options.selection, Suits::Removal)?;
    if options.dry_run {
        return rehearse(session, &containers);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.uninstall(&containers)))?;
    report::show(session, &reports)
}

/// One line a container: what would be removed from it.
fn rehearse(session: &Session<'_>, containers: &[ContainerId]) -> Result<Ended> {
    if session.wants_json() {
        return status::show_json(session, containers);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.rehearse_uninstall(containers)))?;
    report::show_rehearsal(&reports, |id, name, what| format!("would remove {what} from {id} {name}"))
}
