//! `install`: Installing the driver in containers that exist.

use phoenix_nvidia::error::Result;

use super::arguments::Change;
use super::session::Session;
use super::{Ended, plan, report};

pub(crate) fn run(session: &Session<'_>, options: &Change) -> Result<Ended> {
    if options.dry_run {
        return plan::show(session, |fleet| fleet.plan_installation(&options.containers)).map(|_| Ended::Well);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.install(&options.containers, options.require_live)))?;
    report::show(session, &reports)
}
