//! `store`: the extracted drivers on this host: list, extract, verify, prune.

use phoenix_nvidia::cache::Cache;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::install::receipt::Receipt;
use phoenix_nvidia::store::{Entry, Sort, Store, Tree};

use super::arguments::StoreVerb;
use super::cache::{configured_versions, requests};
use super::context::Context;
use super::{Ended, terminal};

pub(crate) fn run(context: &Context<'_>, verb: &StoreVerb) -> Result<Ended> {
    let store = context.store();
    match verb {
        StoreVerb::List => list(context, &store),
        StoreVerb::Extract { versions, dry_run } => extract(context, &store, versions, *dry_run),
        StoreVerb::Verify { versions } => verify(context, &store, versions),
        StoreVerb::Prune { dry_run } => prune(context, &store, *dry_run),
    }
}

fn list(context: &Context<'_>, store: &Store<'_>) -> Result<Ended> {
    show_entries(context, &store.list()?)?;
    Ok(Ended::Well)
}

fn extract(context: &Context<'_>, store: &Store<'_>, versions: &[DriverVersion], dry_run: bool) -> Result<Ended> {
    if dry_run {
        let mut lines = String::new();
        for version in versions {
            if store.open(version)?.is_none() {
                lines.push_str(&format!("would extract {version}\n"));
            }
        }
        terminal::data(&lines)?;
        return Ok(Ended::Well);
    }
    let cache: Cache<'_> = context.cache();
    let mut trees = Vec::new();
    for request in requests(context, versions)? {
        trees.push(store.extract(&cache.ensure(&request)?)?);
    }
    show_trees(context, &trees, "extracted")?;
    Ok(Ended::Well)
}

fn verify(context: &Context<'_>, store: &Store<'_>, versions: &[DriverVersion]) -> Result<Ended> {
    let extracted = store.list()?.into_iter().filter(|entry| entry.sort != Sort::Temporary);
    let versions = match versions {
        [] => extracted.map(|entry| entry.version).collect(),
        named => named.to_vec(),
    };
    let mut sound = Vec::new();
    let mut failed = None;
    for version in &versions {
        match store.verify(version) {
            Ok(tree) => sound.push(tree),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                terminal::error(&error);
                failed.get_or_insert(error.kind().exit_code());
            }
        }
    }
    show_trees(context, &sound, "verified")?;
    Ok(failed.map_or(Ended::Well, Ended::With))
}

fn prune(context: &Context<'_>, store: &Store<'_>, dry_run: bool) -> Result<Ended> {
    let mut keep = configured_versions(context)?;
    keep.extend(installed_versions(context)?);
    let entries = if dry_run { store.prunable(&keep)? } else { store.prune(&keep)? };
    show_entries(context, &entries)?;
    Ok(Ended::Well)
}

/// The versions that containers have, according to the host's receipts.
fn installed_versions(context: &Context<'_>) -> Result<Vec<DriverVersion>> {
    let directory = match fs_err::read_dir(context.layout.receipts()) {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut versions = Vec::new();
    for entry in directory {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // A receipt that cannot be read might be of any version, and its container might still need the tree.
        let receipt = Receipt::parse(&fs_err::read(&path)?).ok_or_else(|| {
            Error::new(Kind::Host, format!("`{}` is damaged, or of a later release", path.display()))
                .hint("remove it if its container is gone, or install the container's driver again")
        })?;
        versions.push(receipt.version);
    }
    Ok(versions)
}

fn show_entries(context: &Context<'_>, entries: &[Entry]) -> Result<()> {
    if context.wants_json() {
        return terminal::json(&entries);
    }
    if entries.is_empty() {
        return Ok(());
    }
    let row = |entry: &Entry| {
        let (state, files, bytes) = match &entry.sort {
            Sort::Sound { files, bytes, .. } => ("sound".to_owned(), files.to_string(), bytes.to_string()),
            Sort::Damaged { reason } => (format!("damaged: {reason}"), "-".to_owned(), "-".to_owned()),
            Sort::Temporary => ("left over".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        vec![entry.version.to_string(), files, bytes, state, entry.path.display().to_string()]
    };
    terminal::data(&terminal::table(&["VERSION", "FILES", "BYTES", "STATE", "DIRECTORY"], entries.iter().map(row)))
}

fn show_trees(context: &Context<'_>, trees: &[Tree], done: &str) -> Result<()> {
    if context.wants_json() {
        let value = |tree: &Tree| {
            serde_json::json!({
                "version": tree.version(),
                "architecture": tree.architecture(),
                "path": tree.path(),
                "files": tree.files().count(),
                "bytes": tree.bytes(),
                "run_file_sha256": tree.run_file_sha256(),
            })
        };
        return terminal::json(&trees.iter().map(value).collect::<Vec<_>>());
    }
    let line = |tree: &Tree| {
        let (version, files, bytes) = (tree.version(), tree.files().count(), tree.bytes());
        format!("{version} {done}: {files} files, {bytes} bytes, in {}\n", tree.path().display())
    };
    terminal::data(&trees.iter().map(line).collect::<String>())
}
