//! `docker`: letting Docker inside containers use their GPUs.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::Result;

use super::context::Context;
use super::{Ended, report};

pub(crate) fn run(context: &Context<'_>, containers: &[ContainerId], dry_run: bool) -> Result<Ended> {
    let reports = context.with_fleet_as_root(|fleet| Ok(fleet.docker(containers, dry_run)))?;
    report::show(context, &reports)
}
