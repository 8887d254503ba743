//! What the host remembers of a container beside the receipt: which feature scripts have run, which cards its GPUs are.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::Layout;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

use super::cards::Cards;

/// The record of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Features whose script ended well.
    #[serde(default)]
    pub(super) features: BTreeSet<String>,
    /// Which card each of its GPUs was when it was configured, by what `gpu_assignment` calls it.
    #[serde(default)]
    pub(super) cards: Cards,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_release_are_read() {
        // 0.1.0 knew no cards.
        let first: Record = serde_json::from_str(r#"{ "features": ["docker"] }"#).unwrap();
        assert!(first.features.contains("docker") && first.cards.is_empty());
        let second =
            r#"{ "features": [], "cards": { "0": { "minor": 0, "pci_address": "0000:07:00.0", "uuid": null } } }"#;
        let second: Record = serde_json::from_str(second).unwrap();
        assert_eq!(second.cards["0"].pci_address, "0000:07:00.0");
        let of_later = r#"{ "features": [], "cards": {}, "unknown": 1 }"#;
        assert_eq!(serde_json::from_str::<Record>(of_later).unwrap(), Record::default());
    }
}
