//! What the host remembers of a container beside the receipt: which of the operators' feature scripts have run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::Layout;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

/// The record of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Features whose script ended well.
    #[serde(default)]
    pub(super) features: BTreeSet<String>,
}

impl Record {
    pub(super) fn load(layout: &Layout, id: ContainerId) -> Result<Self> {
        match fs_err::read(layout.container_record(id)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let path = layout.container_record(id);
                Error::new(Kind::Host, format!("`{}` is damaged", path.display()))
                    .caused_by(error)
                    .hint("remove it; the feature scripts of this container will then run once more")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn save(&self, layout: &Layout, id: ContainerId) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "a record could not be written as JSON").caused_by(error))?;
        atomic::write(&layout.container_record(id), &json, 0o644)
    }
}
