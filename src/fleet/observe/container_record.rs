//! The host's record of a container beside the receipt: which feature scripts have run, and which GPUs it has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Layout;
use crate::container_id::ContainerId;
use crate::driver::mig::MigInstance;
use crate::driver::proc_files::Gpu;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

/// A GPU, by all of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownGpu {
    /// N of `/dev/nvidiaN`.
    pub(crate) minor: u32,
    /// `0000:01:00.0`.
    pub(crate) pci_address: String,
    /// NVIDIA's UUID; absent until the GPU was first used.
    #[serde(default)]
    pub(crate) uuid: Option<String>,
    /// Which part of it the container has, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<MigInstance>,
}

impl KnownGpu {
    pub(crate) fn of(gpu: &Gpu, instance: Option<MigInstance>) -> Self {
        Self { minor: gpu.minor, pci_address: gpu.pci_address.clone(), uuid: gpu.uuid.clone(), instance }
    }

    /// Whether it is this GPU of the host.
    pub(crate) fn is_gpu(&self, gpu: &Gpu) -> bool {
        self.is(&Self::of(gpu, None))
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.uuid, &other.uuid) {
            (Some(uuid), Some(others)) => uuid == others,
            _ => self.pci_address == other.pci_address,
        }
    }
}

/// Known GPUs by their names in `gpu_assignment`.
pub(crate) type KnownGpus = BTreeMap<String, KnownGpu>;

/// The record of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// Features whose script ended well.
    #[serde(default)]
    pub(crate) features: BTreeSet<String>,
    /// The GPUs that it had when it was configured, by their names in `gpu_assignment`; called `cards` until 0.1.
    #[serde(default, alias = "cards")]
    pub(crate) gpus: KnownGpus,
}

impl ContainerRecord {
    pub(crate) fn load(layout: &Layout, id: ContainerId) -> Result<Self> {
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

    pub(crate) fn save(&self, layout: &Layout, id: ContainerId) -> Result<()> {
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
        // 0.1.0 recorded no GPUs.
        let first: ContainerRecord = serde_json::from_str(r#"{ "features": ["docker"] }"#).unwrap();
        assert!(first.features.contains("docker") && first.gpus.is_empty());
        let second =
            r#"{ "features": [], "cards": { "0": { "minor": 0, "pci_address": "0000:07:00.0", "uuid": null } } }"#;
        let second: ContainerRecord = serde_json::from_str(second).unwrap();
        assert_eq!(second.gpus["0"].pci_address, "0000:07:00.0");
        let of_later = r#"{ "features": [], "gpus": {}, "unknown": 1 }"#;
        assert_eq!(serde_json::from_str::<ContainerRecord>(of_later).unwrap(), ContainerRecord::default());
    }
}
