//! `destroy`: containers that the configuration names, with everything in them; asks before.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::{Error, Kind, Result};

use super::arguments::Destroy;
use super::session::Session;
use super::{Ended, report, status, terminal};

pub(crate) fn run(session: &Session<'_>, options: &Destroy) -> Result<Ended> {
    session.configuration.require_file()?;
    // Only what the configuration names, and all of it before the first is touched.
    let mut names = Vec::new();
    for id in &options.containers {
        names.push(format!("{id} ({})", session.configuration.container(*id)?.name));
    }
    if options.dry_run {
        return rehearse(session, &options.containers);
    }
    let question = format!("This destroys {} with all their data.", names.join(", "));
    if !options.yes && !terminal::confirm(&question)? {
        return Err(Error::new(Kind::Interrupted, "nothing was destroyed"));
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.destroy(&options.containers)))?;
    report::show(session, &reports)
}

/// One line a container: what it would lose.
fn rehearse(session: &Session<'_>, containers: &[ContainerId]) -> Result<Ended> {
    if session.wants_json() {
        return status::show_json(session, containers);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.rehearse_destroy(containers)))?;
    report::show_rehearsal(&reports, |id, name, what| format!("would destroy {id} {name}: {what}"))
}
