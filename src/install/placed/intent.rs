//! The intent: what is about to change in a container, kept on the host until it has changed.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::driver::DriverVersion;
use crate::driver::backup_log::BackedUp;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

use super::former::Former;
use super::{Installation, Obstacles};
use crate::install::Site;

// 1 knew nothing of what an installer moves away by itself.
const FORMAT: u32 = 2;

/// What is about to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    format: u32,
    /// The versions whose files may be there in part.
    pub(super) versions: BTreeSet<DriverVersion>,
    /// What may have been made.
    pub(super) paths: BTreeSet<String>,
    /// Directories that may have been made.
    pub(super) directories: BTreeSet<String>,
    /// Originals that may have been set aside.
    pub(super) backed_up: Vec<BackedUp>,
    /// What lay in the way of NVIDIA's own installer, which moves it away by itself, under numbers of its own; none where
    /// the host places the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Vec<BackedUp>>,
}

impl Intent {
    /// The intent of an installation; what an earlier interrupted one has made stays in it.
    pub(super) fn new(
        former: &Former,
        wanted: &Installation<'_>,
        directories: &[String],
        obstacles: &Obstacles,
    ) -> Self {
        let mut intent = Self::of_removal(former);
        intent.versions.insert(wanted.version.clone());
        intent.paths.extend(wanted.items.iter().map(|item| item.destination.clone()));
        intent.directories.extend(directories.iter().cloned());
        intent.backed_up.extend(obstacles.iter().map(|obstacle| obstacle.original.clone()));
        intent
    }

    /// The intent of an installation by NVIDIA's own installer.
    pub(super) fn of_installer(
        former: &Former,
        wanted: &Installation<'_>,
        directories: Vec<String>,
        before: Obstacles,
    ) -> Self {
        let mut intent = Self::of_removal(former);
        intent.versions.insert(wanted.version.clone());
        intent.paths.extend(wanted.items.iter().map(|item| item.destination.clone()));
        intent.paths.extend(before.iter().map(|obstacle| obstacle.path.clone()));
        intent.directories.extend(directories);
        intent.before = Some(before.into_iter().map(|obstacle| obstacle.original).collect());
        intent
    }

    /// The intent to have nothing there any more.
    pub(super) fn of_removal(former: &Former) -> Self {
        former.intent.clone().unwrap_or(Self {
            format: FORMAT,
            versions: BTreeSet::new(),
            paths: BTreeSet::new(),
            directories: BTreeSet::new(),
            backed_up: Vec::new(),
            before: None,
        })
    }

    /// The intent that an interrupted run has left.
    ///
    /// # Errors
    /// It cannot be read, or is of a later release: what was changed then is not known here.
    pub(super) fn load(site: &Site<'_>) -> Result<Option<Self>> {
        let path = site.layout.intent(site.id);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let intent = serde_json::from_slice::<Self>(&bytes).ok().filter(|intent| (1..=FORMAT).contains(&intent.format));
        intent.map(Some).ok_or_else(|| unreadable(site, &path))
    }

    pub(super) fn save(&self, site: &Site<'_>) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "an intent could not be written as JSON").caused_by(error))?;
        atomic::write_under_lock(&site.layout.intent(site.id), &json, 0o644)
    }

    pub(super) fn remove(site: &Site<'_>) -> Result<()> {
        atomic::remove_if_there(&site.layout.intent(site.id))
    }
}

fn unreadable(site: &Site<'_>, path: &Path) -> Error {
    Error::new(Kind::Host, format!("container {}: `{}` is damaged, or of a later release", site.id, path.display()))
        .hint("finish with the release that began; or remove the file, and the driver as it came")
}
