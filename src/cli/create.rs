//! `create`: Creating containers with their driver, or bringing them to where they should be.

use std::time::Duration;

use phoenix_nvidia::error::Result;

use super::arguments::Create;
use super::selection::{self, Suits};
use super::session::Session;
use super::{Ended, plan, report};

pub(crate) fn run(session: &mut Session<'_>, options: &Create) -> Result<Ended> {
    session.boot_patience = Duration::from_secs(options.boot_timeout);
    let options = &options.change;
    session.configuration.require_file()?;
    let containers = selection::resolve_with_choice(session, &options.selection, &options.choice, Suits::Creation)?;
    if options.dry_run {
        return plan::show(session, |fleet| fleet.plan(&containers)).map(|_| Ended::Well);
    }
    let reports = session.with_fleet_as_root(|fleet| fleet.create(&containers, options.require_live))?;
    report::show(session, &reports)
}
