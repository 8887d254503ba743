//! `create`: Creating containers with their driver, or bringing them to where they should be.

use phoenix_nvidia::error::Result;

use super::arguments::Change;
use super::context::Context;
use super::{Ended, plan, report};

pub(crate) fn run(context: &Context<'_>, options: &Change) -> Result<Ended> {
    if options.dry_run {
        return plan::show(context, |fleet| fleet.plan(&options.containers)).map(|_| Ended::Well);
    }
    let reports = context.with_fleet_as_root(|fleet| fleet.create(&options.containers, options.require_live))?;
    report::show(context, &reports)
}
