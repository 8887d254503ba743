//! `store`: the extracted drivers on this host and the images of them: list, extract, verify, prune.

use phoenix_nvidia::cache::Cache;
use phoenix_nvidia::config::Method;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::install::receipt::{self, Receipt};
use phoenix_nvidia::store::{Contents, Entry, Image, ImageEntry, ImageName, ImageSort, Sort, Store, Tree};

use super::arguments::StoreVerb;
use super::cache::{configured, requests};
use super::session::Session;
use super::{Ended, terminal};

pub(crate) fn run(session: &Session<'_>, verb: &StoreVerb) -> Result<Ended> {
    let store = session.store();
    match verb {
        StoreVerb::List => list(session, &store),
        StoreVerb::Extract { versions, dry_run } => extract(session, &store, versions, *dry_run),
        StoreVerb::Verify { versions } => verify(session, &store, versions),
        StoreVerb::Prune { dry_run } => prune(session, &store, *dry_run),
    }
}

fn list(session: &Session<'_>, store: &Store<'_>) -> Result<Ended> {
    let (entries, images) = (store.list()?, store.images()?);
    show_entries(session, &entries, &images)?;
    if entries.is_empty() && images.is_empty() {
        terminal::tell("the store is empty");
    }
    Ok(Ended::Well)
}

fn extract(session: &Session<'_>, store: &Store<'_>, versions: &[DriverVersion], dry_run: bool) -> Result<Ended> {
    if dry_run {
        let mut lines = String::new();
        let cache: Cache<'_> = session.cache();
        for version in versions {
            let Some(tree) = store.open(version)? else {
                lines.push_str(&format!("would extract {version}\n"));
                continue;
            };
            // A file that was replaced since is extracted anew.
            let recorded = cache.recorded_sum(version, tree.architecture(), tree.variant())?;
            if recorded.is_some_and(|sum| sum != tree.run_file_sha256()) {
                lines.push_str(&format!("would extract {version}\n"));
            }
        }
        terminal::data(&lines)?;
        return Ok(Ended::Well);
    }
    let cache: Cache<'_> = session.cache();
    let mut trees = Vec::new();
    for request in requests(session, versions)? {
        trees.push(store.extract(&cache.ensure(&request)?)?);
    }
    show_trees(session, &trees, "extracted")?;
    Ok(Ended::Well)
}

fn verify(session: &Session<'_>, store: &Store<'_>, versions: &[DriverVersion]) -> Result<Ended> {
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
    let is_asked_for = |image: &ImageName| versions.contains(&image.version);
    let images = store.images()?.into_iter().filter_map(|entry| entry.name).filter(is_asked_for);
    let mut sound_images = Vec::new();
    for name in images {
        match store.verify_image(&name) {
            Ok(image) => sound_images.push(image),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                terminal::error(&error);
                failed.get_or_insert(error.kind().exit_code());
            }
        }
    }
    show_verified(session, &sound, &sound_images)?;
    Ok(failed.map_or(Ended::Well, Ended::With))
}

fn prune(session: &Session<'_>, store: &Store<'_>, dry_run: bool) -> Result<Ended> {
    let receipts = receipt::all(&session.layout)?;
    let mut keep: Vec<DriverVersion> = configured(session)?.iter().map(|driver| driver.version.clone()).collect();
    keep.extend(receipts.iter().map(|receipt| receipt.version.clone()));
    let keep_images = needed_images(session, &receipts)?;
    let (entries, images) = match dry_run {
        true => (store.prunable(&keep)?, store.prunable_images(&keep_images)?),
        false => (store.prune(&keep)?, store.prune_images(&keep_images)?),
    };
    if session.wants_json() {
        show_entries(session, &entries, &images)?;
        return Ok(Ended::Well);
    }
    let done = if dry_run { "would remove" } else { "removed" };
    let lines = entries.iter().map(removed_tree).chain(images.iter().map(removed_image));
    terminal::data(&lines.map(|what| format!("{done} {what}\n")).collect::<String>())?;
    if entries.is_empty() && images.is_empty() {
        terminal::tell("nothing to remove");
    }
    Ok(Ended::Well)
}

fn removed_tree(entry: &Entry) -> String {
    let what = match &entry.sort {
        Sort::Sound { bytes, .. } => format!("{bytes} bytes"),
        Sort::Damaged { reason } => format!("damaged: {reason}"),
        Sort::Temporary => "left over".to_owned(),
    };
    format!("`{}`, {what}", entry.path.display())
}

fn removed_image(entry: &ImageEntry) -> String {
    let what = match &entry.sort {
        ImageSort::Sound { bytes, .. } => format!("{bytes} bytes"),
        ImageSort::Damaged { reason } => format!("damaged: {reason}"),
        ImageSort::Temporary => "left over".to_owned(),
    };
    format!("`{}`, {what}", entry.path.display())
}

/// The images that containers see, according to the host's receipts, and those that the configuration asks for.
fn needed_images(session: &Session<'_>, receipts: &[Receipt]) -> Result<Vec<ImageName>> {
    let mut needed: Vec<ImageName> = receipts.iter().filter_map(Receipt::image).collect();
    for (_, container) in session.configuration.containers() {
        let Some(driver) = &container?.driver else { continue };
        let version = driver.version.clone();
        match driver.method() {
            Method::Installer => needed.push(ImageName { version, contents: Contents::Package, edition: None }),
            Method::Shared => needed.push(ImageName::placed(version, driver.profile())),
            Method::Runfile | Method::Native => {}
        }
    }
    Ok(needed)
}

fn show_entries(session: &Session<'_>, entries: &[Entry], images: &[ImageEntry]) -> Result<()> {
    if session.wants_json() {
        let json = |error| Error::new(Kind::Bug, "the store could not be described as JSON").caused_by(error);
        let drivers = entries.iter().map(serde_json::to_value);
        let values = drivers.chain(images.iter().map(serde_json::to_value)).collect::<Result<Vec<_>, _>>();
        return terminal::json(&values.map_err(json)?);
    }
    if entries.is_empty() && images.is_empty() {
        return Ok(());
    }
    let row = |entry: &Entry| {
        let (state, files, bytes) = match &entry.sort {
            Sort::Sound { files, bytes, .. } => ("ok".to_owned(), files.to_string(), bytes.to_string()),
            Sort::Damaged { reason } => (format!("damaged: {reason}"), "-".to_owned(), "-".to_owned()),
            Sort::Temporary => ("left over".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        vec![entry.version.to_string(), files, bytes, state, entry.path.display().to_string()]
    };
    let rows = entries.iter().map(row).chain(images.iter().map(image_row));
    terminal::data(&terminal::table(&["DRIVER OR IMAGE", "FILES", "BYTES", "STATE", "DIRECTORY"], rows))
}

fn image_row(entry: &ImageEntry) -> Vec<String> {
    let name = entry.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let (state, bytes) = match &entry.sort {
        ImageSort::Sound { bytes, .. } if entry.mounted => ("ok, mounted".to_owned(), bytes.to_string()),
        ImageSort::Sound { bytes, .. } => ("ok".to_owned(), bytes.to_string()),
        ImageSort::Damaged { reason } => (format!("damaged: {reason}"), "-".to_owned()),
        ImageSort::Temporary => ("left over".to_owned(), "-".to_owned()),
    };
    vec![name, "-".to_owned(), bytes, state, entry.path.display().to_string()]
}

fn show_verified(session: &Session<'_>, trees: &[Tree], images: &[Image]) -> Result<()> {
    show_trees(session, trees, "verified")?;
    if session.wants_json() {
        return Ok(());
    }
    let line =
        |image: &Image| format!("{} verified: {} bytes, in {}\n", image.name(), image.bytes(), image.path().display());
    terminal::data(&images.iter().map(line).collect::<String>())
}

fn show_trees(session: &Session<'_>, trees: &[Tree], done: &str) -> Result<()> {
    if session.wants_json() {
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
