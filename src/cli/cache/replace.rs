//! `cache replace`: another run file in the place of the recorded one, and what that means for what came from the former.

use std::path::{Path, PathBuf};

use phoenix_nvidia::cache::{Cache, Replacement};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::{DriverVersion, Sha256};
use phoenix_nvidia::error::Result;
use phoenix_nvidia::install::receipt;
use phoenix_nvidia::store::Sort;

use super::{Context, Ended, as_json, as_line, terminal};

/// What there is of a file that another one replaces.
struct Former {
    sum: Sha256,
    /// Extracted drivers.
    extracted: Vec<PathBuf>,
    /// Containers whose driver came from it, and whether they see an image of it.
    containers: Vec<(ContainerId, bool)>,
    /// Containers whose configuration asks for this very sum, and where it does.
    wanted_by: Vec<(ContainerId, String)>,
}

pub(super) fn run(
    context: &Context<'_>,
    cache: &Cache<'_>,
    file: &Path,
    version: Option<&DriverVersion>,
    dry_run: bool,
) -> Result<Ended> {
    let replacement = if dry_run { cache.replaceable(file, version)? } else { cache.replace(file, version)? };
    let former = replacement.replaced().map(|sum| Former::of(context, sum)).transpose()?;
    if context.wants_json() {
        terminal::json(&shown(&replacement, former.as_ref()))?;
        return Ok(Ended::Well);
    }
    let mut text = as_line(&replacement.run_file);
    match (&former, replacement.former) {
        (Some(former), _) => text.push_str(&former.told(&replacement, dry_run)),
        (None, Some(_)) => text.push_str("it is the recorded file already\n"),
        (None, None) => text.push_str("nothing was recorded for it before\n"),
    }
    terminal::data(&text)?;
    Ok(Ended::Well)
}

impl Former {
    fn of(context: &Context<'_>, sum: Sha256) -> Result<Self> {
        let stored = context.store().list()?.into_iter();
        let is_of = |sort: &Sort| matches!(sort, Sort::Sound { run_file_sha256, .. } if *run_file_sha256 == sum);
        let extracted = stored.filter(|entry| is_of(&entry.sort)).map(|entry| entry.path).collect();
        let receipts = receipt::of_containers(&context.layout)?.into_iter();
        let containers = receipts
            .filter(|(_, receipt)| receipt.run_file_sha256 == sum)
            .map(|(id, receipt)| (id, receipt.image().is_some()))
            .collect();
        let mut wanted_by = Vec::new();
        for (id, container) in context.configuration.containers() {
            // One that cannot be read is told by every other subcommand.
            let pinned = container.ok().and_then(|it| it.driver.as_ref()?.sha256.as_ref());
            wanted_by.extend(pinned.filter(|pinned| pinned.sum == sum).map(|pinned| (id, pinned.origin.clone())));
        }
        Ok(Self { sum, extracted, containers, wanted_by })
    }

    fn told(&self, replacement: &Replacement, dry_run: bool) -> String {
        let replaces = if dry_run { "it would replace" } else { "it replaces" };
        let unused = if dry_run { "would not be used any more" } else { "is not used any more" };
        let version = replacement.run_file.version();
        let mut text = format!("{replaces} the file with the SHA-256 sum {}\n", self.sum);
        for path in &self.extracted {
            text += &format!(
                "`{}` was extracted from that one and {unused}; the next installation, or `phoenix-nvidia \
                 store extract {version}`, extracts the new one\n",
                path.display()
            );
        }
        for (id, sees_image) in &self.containers {
            let keeps =
                if *sees_image { "goes on seeing the image of that one" } else { "keeps the driver from that one" };
            text += &format!(
                "container {id} {keeps}; `phoenix-nvidia uninstall {id}`, then `phoenix-nvidia install {id}`, brings the new \
                 one\n"
            );
        }
        for (id, origin) in &self.wanted_by {
            text += &format!("container {id} still asks for that one: change {origin}\n");
        }
        text
    }
}

fn shown(replacement: &Replacement, former: Option<&Former>) -> serde_json::Value {
    let former = former.map(|former| {
        let containers: Vec<_> = former.containers.iter().map(|(id, _)| id).collect();
        let wanted_by: Vec<_> = former.wanted_by.iter().map(|(id, _)| id).collect();
        serde_json::json!({
            "sha256": former.sum,
            "extracted": former.extracted,
            "containers": containers,
            "wanted_by": wanted_by,
        })
    });
    serde_json::json!({ "run_file": as_json(&replacement.run_file), "former": former })
}
