//! This host's record of a container of Proxmox VE: what we gave it, so that only that is ever taken away again,
//! and what we were about when we may have been killed.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

use super::config_file::RawLine;

/// The record of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// We have begun to make it, and have not come to the end.
    pub(super) making: Option<Making>,
    /// We have let `pct` mount its root, and have not let it unmount that.
    pub(super) mounted: bool,
    /// Raw lines that we have written.
    pub(super) raw: BTreeSet<RawLine>,
    /// Paths of the devices that we have given it.
    pub(super) devices: BTreeSet<String>,
    /// Where in it we have mounted directories of the host.
    pub(super) mounts: BTreeSet<String>,
}

/// How a container was being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Making {
    /// From its template.
    Created,
    /// As a copy of another one.
    Cloned {
        /// The other one's CTID.
        source: ContainerId,
    },
}

impl Record {
    /// The record in a file; an empty one when there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn load(path: &Path) -> Result<Self> {
        match fs_err::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::new(Kind::Host, format!("`{}` is damaged", path.display()))
                    .caused_by(error)
                    .hint("remove it; its devices and lines in `ID.conf` are then no longer recognised as managed")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes it, or removes the file when there is nothing to remember.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        if *self == Self::default() {
            return if path.exists() { atomic::remove_if_there(path) } else { Ok(()) };
        }
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "a record could not be written as JSON").caused_by(error))?;
        atomic::write(path, &json, 0o644)
    }

    /// What a copy of this container begins with: everything that we gave its source, which it has inherited.
    pub(super) fn inherited(&self, making: Making) -> Self {
        Self { making: Some(making), mounted: false, ..self.clone() }
    }

    /// The container that a copy was being made of.
    pub(super) fn source(&self) -> Option<ContainerId> {
        match self.making {
            Some(Making::Cloned { source }) => Some(source),
            _ => None,
        }
    }
}
