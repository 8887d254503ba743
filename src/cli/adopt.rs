//! `adopt`: the containers' file that describes existing containers as they are, printed or written.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::fleet::adoption::Adoption;
use phoenix_nvidia::sys::atomic;

use super::arguments::Adopt;
use super::session::Session;
use super::{Ended, terminal};

pub(crate) fn run(session: &Session<'_>, options: &Adopt) -> Result<Ended> {
    if options.write && session.configuration.has_file() {
        return Err(there_is_one(session));
    }
    let adoption = describe(session, &options.containers)?;
    if adoption.is_empty() {
        session.none_selected(true);
        return Ok(Ended::Well);
    }
    let text = terminal::as_json(&adoption)?;
    if !options.write {
        terminal::data(&text)?;
        return Ok(Ended::Well);
    }
    let file = session.configuration.containers_file();
    atomic::write_new(file, text.as_bytes(), 0o644)?;
    terminal::tell(&format!("wrote `{}`; `phoenix-nvidia plan --all` shows what it means", file.display()));
    Ok(Ended::Well)
}

/// Those that are named, or all that have GPUs and are not described yet.
fn describe(session: &Session<'_>, named: &[ContainerId]) -> Result<Adoption> {
    if let Some(id) = named.iter().find(|id| session.configuration.knows(**id)) {
        let file = session.configuration.containers_file().display();
        return Err(Error::new(Kind::Usage, format!("`{file}` describes container {id} already"))
            .hint("name only containers that it does not describe, or none for all of these"));
    }
    session.with_fleet_as_root(|fleet| {
        let found = if named.is_empty() { fleet.unconfigured()? } else { fleet.unconfigured_among(named)? };
        if let Some(id) = named.iter().find(|id| !found.iter().any(|(found, _)| found == *id)) {
            return Err(Error::new(Kind::Configuration, format!("container {id} does not exist on this host"))
                .hint("`phoenix-nvidia status` shows those that have GPUs"));
        }
        Ok(fleet.adoption(found))
    })
}

fn there_is_one(session: &Session<'_>) -> Error {
    let file = session.configuration.containers_file().display();
    Error::new(Kind::Configuration, format!("`{file}` exists, and `adopt` never changes one"))
        .hint("leave out `--write`, and copy the entries that are printed")
}
