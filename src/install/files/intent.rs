//! The intent: what is about to change in a container, kept on the host until it has changed.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::driver::DriverVersion;
use crate::driver::backup_log::BackedUp;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

use crate::install::Guest;

// 1 knew nothing of what an installer moves away by itself.
pub(super) const FORMAT: u32 = 2;

/// What is about to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) format: u32,
    /// The versions whose files may be there in part.
    pub(super) versions: BTreeSet<DriverVersion>,
    /// What may have been made.
    pub(super) paths: BTreeSet<String>,
    /// Directories that may have been made.
    pub(super) directories: BTreeSet<String>,
    /// Originals that may have been backed up.
    pub(super) backed_up: Vec<BackedUp>,
    /// What lay in the way of NVIDIA's own installer, which moves it away by itself, under numbers of its own; none where
    /// the host places the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Vec<BackedUp>>,
}

impl Intent {
    /// The intent that an interrupted run left.
    ///
    /// # Errors
    /// It cannot be read, or is of a later release: what was changed then is not known here.
    pub(super) fn load(guest: &Guest<'_>) -> Result<Option<Self>> {
        let path = guest.context.layout.intent(guest.id);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let intent = serde_json::from_slice::<Self>(&bytes).ok().filter(|intent| (1..=FORMAT).contains(&intent.format));
        intent.map(Some).ok_or_else(|| unreadable(guest, &path))
    }

    pub(super) fn save(&self, guest: &Guest<'_>) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "an intent could not be written as JSON").caused_by(error))?;
        atomic::write_under_lock(&guest.context.layout.intent(guest.id), &json, 0o644)
    }

    pub(super) fn remove(guest: &Guest<'_>) -> Result<()> {
        atomic::remove_if_there(&guest.context.layout.intent(guest.id))
    }
}

fn unreadable(guest: &Guest<'_>, path: &Path) -> Error {
    Error::new(
        Kind::Host,
        format!("container {}: `{}` is damaged, or was written by a later release", guest.id, path.display()),
    )
    .hint("finish with the release that began it; or remove the file, and the driver by the means that installed it")
}

/// Whether an interrupted change waits to be made again.
///
/// # Errors
/// The host's file system refused.
pub fn is_interrupted(guest: &Guest<'_>) -> Result<bool> {
    Ok(Intent::load(guest)?.is_some())
}
