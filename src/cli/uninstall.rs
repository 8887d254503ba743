//! `uninstall`: the driver out of containers.

use phoenix_nvidia::error::Result;

use super::arguments::Removal;
use super::session::Session;
use super::{Ended, report, status};

pub(crate) fn run(session: &Session<'_>, options: &Removal) -> Result<Ended> {
    if options.dry_run {
        return status::show(session, &options.containers);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.uninstall(&options.containers)))?;
    report::show(session, &reports)
}
