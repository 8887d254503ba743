//! `cache replace`: another run file in the place of the recorded one, and what that means for what came from the
//! previous.

use std::path::{Path, PathBuf};

use phoenix_nvidia::cache::{Cache, Replacement};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::{DriverVersion, Sha256};
use phoenix_nvidia::error::Result;
use phoenix_nvidia::install::receipt;
use phoenix_nvidia::store::Sort;

use super::{Ended, Session, as_json, as_line, terminal};

/// What there is of a file that another one replaces.
struct Previous {
    sum: Sha256,
    /// Extracted drivers.
    extracted: Vec<PathBuf>,
    /// Containers whose driver came from it, and whether they see an image of it.
    containers: Vec<(ContainerId, bool)>,
    /// Containers whose configuration asks for this very sum, and where it does.
    wanted_by: Vec<(ContainerId, String)>,
}

pub(super) fn run(
    session: &Session<'_>,
    cache: &Cache<'_>,
    file: &Path,
    version: Option<&DriverVersion>,
    dry_run: bool,
) -> Result<Ended> {
    let replacement = if dry_run { cache.replaceable(file, version)? } else { cache.replace(file, version)? };
    let previous = replacement.replaced().map(|sum| Previous::of(session, sum)).transpose()?;
    if session.wants_json() {
        terminal::json(&shown(&replacement, previous.as_ref()))?;
        return Ok(Ended::Well);
    }
    let mut text = as_line(&replacement.run_file);
    match (&previous, replacement.previous) {
        (Some(previous), _) => text.push_str(&previous.sentences(&replacement, dry_run)),
        (None, Some(_)) => text.push_str("the file is already recorded\n"),
        (None, None) => text.push_str("no sum was recorded before\n"),
    }
    terminal::data(&text)?;
    Ok(Ended::Well)
}

impl Previous {
    fn of(session: &Session<'_>, sum: Sha256) -> Result<Self> {
        let stored = session.store().list()?.into_iter();
        let is_of = |sort: &Sort| matches!(sort, Sort::Sound { run_file_sha256, .. } if *run_file_sha256 == sum);
        let extracted = stored.filter(|entry| is_of(&entry.sort)).map(|entry| entry.path).collect();
        let receipts = receipt::of_containers(&session.layout)?.into_iter();
        let containers = receipts
            .filter(|(_, receipt)| receipt.run_file_sha256 == sum)
            .map(|(id, receipt)| (id, receipt.image().is_some()))
            .collect();
        let mut wanted_by = Vec::new();
        for (id, container) in session.configuration.containers() {
            // One that cannot be read is reported by every other subcommand.
            let pinned = container.ok().and_then(|it| it.driver.as_ref()?.sha256.as_ref());
            wanted_by.extend(pinned.filter(|pinned| pinned.sum == sum).map(|pinned| (id, pinned.origin.clone())));
        }
        Ok(Self { sum, extracted, containers, wanted_by })
    }

    fn sentences(&self, replacement: &Replacement, dry_run: bool) -> String {
        let replaces = if dry_run { "it would replace" } else { "it replaces" };
        let unused = if dry_run { "would no longer be used" } else { "is no longer used" };
        let version = replacement.run_file.version();
        let mut text = format!("{replaces} the file with the SHA-256 sum {}\n", self.sum);
        for path in &self.extracted {
            text += &format!(
                "`{}` was extracted from the previous file and {unused}; the next installation, or `phoenix-nvidia \
                 store extract {version}`, extracts the new file\n",
                path.display()
            );
        }
        for (id, sees_image) in &self.containers {
            let keeps = if *sees_image {
                "still uses the image of the previous file"
            } else {
                "keeps the driver from the previous file"
            };
            text += &format!(
                "container {id} {keeps}; `phoenix-nvidia uninstall {id}`, then `phoenix-nvidia install {id}`, installs \
                 the new one\n"
            );
        }
        for (id, origin) in &self.wanted_by {
            text += &format!("container {id} still asks for the previous file: change {origin}\n");
        }
        text
    }
}

fn shown(replacement: &Replacement, previous: Option<&Previous>) -> serde_json::Value {
    let previous = previous.map(|previous| {
        let containers: Vec<_> = previous.containers.iter().map(|(id, _)| id).collect();
        let wanted_by: Vec<_> = previous.wanted_by.iter().map(|(id, _)| id).collect();
        serde_json::json!({
            "sha256": previous.sum,
            "extracted": previous.extracted,
            "containers": containers,
            "wanted_by": wanted_by,
        })
    });
    serde_json::json!({ "run_file": as_json(&replacement.run_file), "previous": previous })
}
