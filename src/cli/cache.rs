//! `cache`: the run files on this host: list, fetch, verify, import, replace, prune.

mod replace;

use std::path::Path;

use phoenix_nvidia::cache::{Cache, Entry, Presence, Request, Sort, VerifiedRunFile};
use phoenix_nvidia::config::WantedDriver;
use phoenix_nvidia::driver::{DriverVersion, Variant};
use phoenix_nvidia::error::{Kind, Result};
use phoenix_nvidia::fleet;
use phoenix_nvidia::install::receipt;

use super::arguments::CacheVerb;
use super::session::Session;
use super::{Ended, report, terminal};

pub(crate) fn run(session: &Session<'_>, verb: &CacheVerb) -> Result<Ended> {
    let cache = session.cache();
    match verb {
        CacheVerb::List => list(session, &cache),
        CacheVerb::Fetch { versions, dry_run } => fetch(session, &cache, versions, *dry_run),
        CacheVerb::Verify => verify(session, &cache),
        CacheVerb::Import { file, version, dry_run } => import(session, &cache, file, version.as_ref(), *dry_run),
        CacheVerb::Replace { file, version, dry_run } => {
            replace::run(session, &cache, file, version.as_ref(), *dry_run)
        }
        CacheVerb::Prune { dry_run } => prune(session, &cache, *dry_run),
    }
}

fn list(session: &Session<'_>, cache: &Cache<'_>) -> Result<Ended> {
    let entries = cache.list()?;
    show_entries(session, &entries)?;
    if entries.is_empty() {
        terminal::tell("the cache is empty");
    }
    Ok(Ended::Well)
}

fn fetch(session: &Session<'_>, cache: &Cache<'_>, versions: &[DriverVersion], dry_run: bool) -> Result<Ended> {
    let requests = requests(session, versions)?;
    if dry_run {
        let missing =
            |request: &&Request| matches!(cache.look(request), Ok(Presence::Absent | Presence::Partial { .. }));
        let lines = requests.iter().filter(missing).map(|request| format!("would fetch {}\n", request.version));
        terminal::data(&lines.collect::<String>())?;
        return Ok(Ended::Well);
    }
    let fetched: Result<Vec<VerifiedRunFile>> = requests.iter().map(|request| cache.ensure(request)).collect();
    show_verified(session, &fetched?)?;
    Ok(Ended::Well)
}

/// The requests for these versions; for every version that a container wants when none is named.
pub(super) fn requests(session: &Session<'_>, versions: &[DriverVersion]) -> Result<Vec<Request>> {
    let containers = session.configuration.containers().filter_map(|(_, container)| container.ok());
    let mut wanted: Vec<Request> =
        containers.filter_map(|container| container.driver.as_ref()).map(fleet::request).collect();
    once_each(&mut wanted);
    if versions.is_empty() {
        return Ok(wanted);
    }
    let requests = |version: &DriverVersion| -> Vec<Request> {
        let configured: Vec<_> = wanted.iter().filter(|request| request.version == *version).cloned().collect();
        let otherwise = || {
            let driver = session.configuration.driver_of(version, None);
            driver.notes.iter().for_each(|note| session.listener.note(None, note));
            vec![fleet::request(&driver)]
        };
        if configured.is_empty() { otherwise() } else { configured }
    };
    Ok(versions.iter().flat_map(requests).collect())
}

/// Requests for the same file become one; who needs 32-bit libraries speaks for those who need none.
fn once_each(requests: &mut Vec<Request>) {
    requests.sort_by(|a, b| (&a.version, a.variant, b.compat32).cmp(&(&b.version, b.variant, a.compat32)));
    requests
        .dedup_by(|a, b| (&a.version, a.variant, &a.urls, &a.sha256) == (&b.version, b.variant, &b.urls, &b.sha256));
}

fn verify(session: &Session<'_>, cache: &Cache<'_>) -> Result<Ended> {
    let mut verified = Vec::new();
    let mut wrong = false;
    for (_, verdict) in cache.verify_all()? {
        match verdict {
            Ok(run_file) => verified.push(run_file),
            Err(error) => {
                terminal::error(&error);
                wrong = true;
            }
        }
    }
    show_verified(session, &verified)?;
    Ok(if wrong { Ended::With(Kind::Verification.exit_code()) } else { Ended::Well })
}

fn import(
    session: &Session<'_>,
    cache: &Cache<'_>,
    file: &Path,
    version: Option<&DriverVersion>,
    dry_run: bool,
) -> Result<Ended> {
    let run_file = if dry_run { cache.examine(file, version)? } else { cache.import(file, version)? };
    show_verified(session, &[run_file])?;
    Ok(Ended::Well)
}

fn prune(session: &Session<'_>, cache: &Cache<'_>, dry_run: bool) -> Result<Ended> {
    let mut keep = configured(session)?.into_iter().map(fleet::request).collect::<Vec<_>>();
    if !session.configuration.has_file() {
        keep.extend(installed_and_loaded(session)?);
    }
    let entries = if dry_run { cache.prunable(&keep)? } else { cache.prune(&keep)? };
    if session.wants_json() {
        show_entries(session, &entries)?;
        return Ok(Ended::Well);
    }
    let done = if dry_run { "would remove" } else { "removed" };
    let line = |entry: &Entry| format!("{done} `{}`, {} bytes\n", entry.path.display(), entry.bytes);
    terminal::data(&entries.iter().map(line).collect::<String>())?;
    if entries.is_empty() {
        terminal::tell("nothing to remove");
    }
    Ok(Ended::Well)
}

/// What this host and its containers have, which is all that is known where no file says what they should have: a file
/// that is only missing for the moment must not cost its run files.
fn installed_and_loaded(session: &Session<'_>) -> Result<Vec<Request>> {
    let mut versions: Vec<DriverVersion> =
        receipt::all(&session.layout)?.into_iter().map(|receipt| receipt.version).collect();
    versions.extend(session.host().loaded.clone());
    versions.extend(session.host().on_disk(&session.cancel));
    Ok(versions.iter().map(|version| fleet::request(&session.configuration.driver_of(version, None))).collect())
}

/// The drivers that containers are configured to have.
pub(super) fn configured<'c>(session: &'c Session<'_>) -> Result<Vec<&'c WantedDriver>> {
    let mut drivers = Vec::new();
    for (_, container) in session.configuration.containers() {
        // What a container wants that cannot be read is not known, and might be any version.
        drivers.extend(container?.driver.as_ref());
    }
    Ok(drivers)
}

fn show_entries(session: &Session<'_>, entries: &[Entry]) -> Result<()> {
    if session.wants_json() {
        return terminal::json(&entries);
    }
    let row = |entry: &Entry| {
        let (state, sum) = match &entry.sort {
            Sort::Trusted { sha256, .. } => ("verified", sha256.to_string()),
            Sort::Unchecked => ("unchecked", "-".to_owned()),
            Sort::Refused { is_sound: true } => ("another", "-".to_owned()),
            Sort::Refused { is_sound: false } => ("damaged", "-".to_owned()),
            Sort::Partial => ("partial", "-".to_owned()),
            Sort::Wrong => ("wrong", "-".to_owned()),
            Sort::Temporary => ("left over", "-".to_owned()),
        };
        let name = entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (version, variant) = (report::or_dash(entry.version.as_ref()), entry.variant.map_or("-", Variant::word));
        vec![version, variant.to_owned(), state.to_owned(), entry.bytes.to_string(), sum, name]
    };
    if entries.is_empty() {
        return Ok(());
    }
    terminal::data(&terminal::table(
        &["VERSION", "VARIANT", "STATE", "BYTES", "SHA-256", "FILE"],
        entries.iter().map(row),
    ))
}

fn show_verified(session: &Session<'_>, files: &[VerifiedRunFile]) -> Result<()> {
    if session.wants_json() {
        return terminal::json(&files.iter().map(as_json).collect::<Vec<_>>());
    }
    terminal::data(&files.iter().map(as_line).collect::<String>())
}

fn as_json(file: &VerifiedRunFile) -> serde_json::Value {
    serde_json::json!({
        "version": file.version(),
        "architecture": file.architecture(),
        "variant": file.variant(),
        "path": file.path(),
        "bytes": file.bytes(),
        "sha256": file.sha256(),
        "sum_from": file.origin(),
    })
}

fn as_line(file: &VerifiedRunFile) -> String {
    let (version, ending, bytes, sum) = (file.version(), file.variant().ending(), file.bytes(), file.sha256());
    format!("{version}{ending} verified: {bytes} bytes, SHA-256 {sum} ({})\n", file.origin())
}
