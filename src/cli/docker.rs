//! `docker`: letting Docker inside containers use their GPUs.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::Result;

use super::session::Session;
use super::{Ended, report};

pub(crate) fn run(session: &Session<'_>, containers: &[ContainerId], dry_run: bool) -> Result<Ended> {
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.docker(containers, dry_run)))?;
    report::show(session, &reports)
}
