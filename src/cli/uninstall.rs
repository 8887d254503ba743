//! `uninstall`: the driver out of containers.

use phoenix_nvidia::error::Result;

use super::arguments::Removal;
use super::selection::{self, Suits};
use super::session::Session;
use super::{Ended, report, status};

pub(crate) fn run(session: &Session<'_>, options: &Removal) -> Result<Ended> {
    let containers = selection::resolve(session, &options.selection, Suits::Removal)?;
    if options.dry_run {
        return status::show(session, &containers);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.uninstall(&containers)))?;
    report::show(session, &reports)
}
