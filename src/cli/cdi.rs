//! `cdi`: the specification by which Podman and Docker in containers give their GPUs on.

use std::path::Path;

use phoenix_nvidia::driver::cdi::{FILE, is_ours};
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::sys::atomic;

use super::arguments::Cdi;
use super::session::Session;
use super::{Ended, report, terminal};

pub(crate) fn run(session: &Session<'_>, options: &Cdi) -> Result<Ended> {
    if options.host {
        return of_host(session, options.print);
    }
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

/// For engines on this host.
fn of_host(session: &Session<'_>, is_printed: bool) -> Result<Ended> {
    let text = session.host().specification()?;
    if is_printed {
        terminal::data(&text)?;
        return Ok(Ended::Well);
    }
    let file = Path::new(FILE);
    match fs_err::read(file) {
        Ok(there) if there == text.as_bytes() => terminal::data("nothing to do\n")?,
        Ok(there) if !is_ours(&there) => {
            return Err(Error::new(
                Kind::Configuration,
                format!("`{FILE}` is there and not written by phoenix-nvidia, so it is kept"),
            )
            .hint("remove it, or keep it and leave out this command"));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {
            atomic::write(file, text.as_bytes(), 0o644)?;
            terminal::data(&format!("wrote `{FILE}`\n"))?;
        }
    }
    Ok(Ended::Well)
}
