//! `cdi`: the specification by which Podman and Docker in containers give their GPUs on.

use phoenix_nvidia::error::Result;

use super::arguments::Cdi;
use super::session::Session;
use super::{Ended, report, terminal};

pub(crate) fn run(session: &Session<'_>, options: &Cdi) -> Result<Ended> {
    if options.print {
        let texts = session.with_fleet_as_root(|fleet| {
            options.containers.iter().map(|id| fleet.specification_of(*id)).collect::<Result<Vec<_>>>()
        })?;
        terminal::data(&texts.concat())?;
        return Ok(Ended::Well);
    }
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.write_specifications(&options.containers)))?;
    report::show(session, &reports)
}
