//! `uninstall`: the driver out of containers.

use phoenix_nvidia::error::Result;

use super::arguments::Removal;
use super::context::Context;
use super::{Ended, report, status};

pub(crate) fn run(context: &Context<'_>, options: &Removal) -> Result<Ended> {
    if options.dry_run {
        return status::show(context, &options.containers);
    }
    let reports = context.with_fleet_as_root(|fleet| Ok(fleet.uninstall(&options.containers)))?;
    report::show(context, &reports)
}
