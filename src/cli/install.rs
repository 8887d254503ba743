//! `install`: Installing the driver in containers that exist.

use phoenix_nvidia::error::Result;

use super::arguments::Change;
use super::selection::{self, Suits};
use super::session::Session;
use super::{Ended, plan, report};

pub(crate) fn run(session: &mut Session<'_>, options: &Change) -> Result<Ended> {
    let containers = selection::resolve_with_choice(session, &options.selection, &options.choice, Suits::Installation)?;
    if options.dry_run {
        return plan::show(session, |fleet| fleet.plan_installation(&containers)).map(|_| Ended::Well);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.install(&containers, options.require_live)))?;
    report::show(session, &reports)
}
