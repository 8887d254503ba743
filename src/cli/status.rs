//! `status`: how containers are, as a table, JSON, a page or metrics, once or again and again; changes nothing.

#[cfg(test)]
mod made_up;
mod metrics;
mod page;
mod table;
mod tone;
mod watch;

use std::path::Path;

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::status::{self, Asking, ContainerStatus};
use phoenix_nvidia::sys::atomic;

use super::arguments::Status;
use super::session::Session;
use super::{Ended, terminal, update_check};

// The documented exit code for "differences exist".
const DIFFERENCES: u8 = 4;

/// Containers and host at one moment.
struct Fleet<'a> {
    rows: Vec<ContainerStatus>,
    host: &'a NvidiaHost,
    /// The version of the host's kernel module on disk.
    on_disk: Option<DriverVersion>,
    /// The newest version of the loaded module's branch, where `update-check` has found one.
    newest: Option<DriverVersion>,
    host_name: String,
    /// Whether the drivers were asked.
    asked: bool,
    at: jiff::Timestamp,
    /// After how many seconds the page loads itself again.
    refresh: Option<u32>,
}

pub(crate) fn run(session: &mut Session<'_>, options: &Status) -> Result<Ended> {
    for id in &options.containers {
        session.configuration.container(*id)?;
    }
    refuse_two_on_standard_output(options)?;
    let files = [&options.html, &options.prometheus].into_iter().flatten();
    files.filter(|file| !is_standard_output(file)).try_for_each(|file| atomic::require_directory(file))?;
    session.jobs = options.jobs.unwrap_or(session.jobs);
    if let Some(seconds) = options.watch {
        return watch::run(session, options, seconds);
    }
    let rows = look(session, options)?;
    let differs = rows.iter().any(|row| row.in_sync == Some(false));
    terminal::data(&shown(session, options, rows)?)?;
    // Files are for those who read metrics; a timer that writes them has nobody to read a line.
    if options.html.is_none() && options.prometheus.is_none() {
        update_check::tell_remembered(session);
    }
    Ok(if options.exit_code && differs { Ended::With(DIFFERENCES) } else { Ended::Well })
}

fn refuse_two_on_standard_output(options: &Status) -> Result<()> {
    if options.html.as_deref().is_some_and(is_standard_output)
        && options.prometheus.as_deref().is_some_and(is_standard_output)
    {
        return Err(Error::new(Kind::Usage, "page and metrics cannot both go to standard output")
            .hint("give one of them the name of a file"));
    }
    Ok(())
}

/// Shows machines how these containers are, for those who only rehearse changing them.
pub(crate) fn show_json(session: &Session<'_>, containers: &[ContainerId]) -> Result<Ended> {
    for id in containers {
        session.configuration.container(*id)?;
    }
    let rows = session.with_fleet_as_root(|fleet| status::status(fleet, containers, Asking::Nobody))?;
    terminal::json(&rows)?;
    Ok(Ended::Well)
}

/// Looks at the containers that were asked for, or at all.
fn look(session: &Session<'_>, options: &Status) -> Result<Vec<ContainerStatus>> {
    let all: Vec<ContainerId> = session.configuration.containers().map(|(id, _)| id).collect();
    let asked = if options.containers.is_empty() { &all } else { &options.containers };
    let asking = if options.live { Asking::Drivers } else { Asking::Nobody };
    let rows = session.with_fleet_as_root(|fleet| {
        if options.all_nodes {
            return status::status_of_all_nodes(fleet, asked, asking);
        }
        let mut rows = status::status(fleet, asked, asking)?;
        if options.containers.is_empty() {
            rows.extend(status::status_of_unconfigured(fleet)?);
            rows.sort_by_key(|row| row.id);
        }
        Ok(rows)
    })?;
    if rows.is_empty() {
        session.none_selected(false);
    }
    Ok(rows)
}

fn as_data(session: &Session<'_>, rows: &[ContainerStatus], is_wide: bool) -> Result<String> {
    if session.wants_json() {
        return terminal::as_json(&rows);
    }
    Ok(if is_wide { table::wide(rows) } else { table::of(rows, session.host().loaded.as_ref()) })
}

/// Writes the files that were asked for; what belongs on standard output is given back.
fn shown(session: &Session<'_>, options: &Status, rows: Vec<ContainerStatus>) -> Result<String> {
    if options.html.is_none() && options.prometheus.is_none() {
        return as_data(session, &rows, options.wide);
    }
    let host = session.host();
    let fleet = Fleet {
        rows,
        host,
        on_disk: host.on_disk(&session.cancel),
        newest: update_check::remembered(session).map(|(_, newest, _)| newest),
        host_name: fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        asked: options.live,
        refresh: options.refresh,
        at: jiff::Timestamp::now(),
    };
    let mut standard_output = String::new();
    if let Some(file) = &options.html {
        put(file, page::of(&fleet), &mut standard_output)?;
    }
    if let Some(file) = &options.prometheus {
        put(file, metrics::of(&fleet), &mut standard_output)?;
    }
    Ok(standard_output)
}

fn put(file: &Path, text: String, standard_output: &mut String) -> Result<()> {
    if is_standard_output(file) {
        *standard_output = text;
        return Ok(());
    }
    // Readable for a web server and for the collector, which are nobody on this host.
    atomic::write_named(file, text.as_bytes(), 0o644)
}

fn is_standard_output(file: &Path) -> bool {
    file == Path::new("-")
}
