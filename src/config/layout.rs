//! Every path that is ours on the hypervisor, in one type.

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::driver::{DriverVersion, Variant, run_file};

/// Where things lie below the base directory, `/usr/local/phoenix_hypervisor` unless the operator says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    base: PathBuf,
    containers_file: Option<PathBuf>,
    hypervisor_file: Option<PathBuf>,
}

impl Layout {
    /// The base directory of the operators' scripts.
    pub const DEFAULT_BASE: &'static str = "/usr/local/phoenix_hypervisor";

    /// Everything below `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), containers_file: None, hypervisor_file: None }
    }

    /// The same layout with the configuration files elsewhere, where given.
    #[must_use]
    pub fn with_files(mut self, containers: Option<PathBuf>, hypervisor: Option<PathBuf>) -> Self {
        self.containers_file = containers.or(self.containers_file);
        self.hypervisor_file = hypervisor.or(self.hypervisor_file);
        self
    }

    /// The base directory.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// `phoenix_lxc_configs.json`, the authority for containers, unless the hypervisor's file names another one.
    pub fn containers_file(&self) -> PathBuf {
        self.containers_file.clone().unwrap_or_else(|| self.base.join("etc/phoenix_lxc_configs.json"))
    }

    /// Whether the operator has named the containers' file for this run, so that nothing else decides it.
    pub fn names_containers_file(&self) -> bool {
        self.containers_file.is_some()
    }

    /// `phoenix_hypervisor_config.json`.
    pub fn hypervisor_file(&self) -> PathBuf {
        self.hypervisor_file.clone().unwrap_or_else(|| self.base.join("etc/phoenix_hypervisor_config.json"))
    }

    /// Where the run files lie.
    pub fn cache(&self) -> PathBuf {
        self.base.join("cache")
    }

    /// The run file of a version for a machine's architecture (`x86_64`, `aarch64`), named as NVIDIA names it.
    pub fn run_file(&self, version: &DriverVersion, architecture: &str, variant: Variant) -> PathBuf {
        self.cache().join(run_file::file_name(architecture, version, variant))
    }

    /// The sums of the run files in the cache, in the format of `sha256sum`.
    pub fn cache_sums(&self) -> PathBuf {
        self.cache().join("SHA256SUMS")
    }

    /// What the run files in the cache looked like when they were verified (size, times, inode), as JSON.
    pub fn cache_stamps(&self) -> PathBuf {
        self.cache().join("stamps.json")
    }

    /// The lock that the run files of a version are downloaded, imported and removed under, whatever their variant.
    pub fn run_file_lock(&self, version: &DriverVersion, architecture: &str) -> PathBuf {
        self.base.join(format!("lib/locks/NVIDIA-Linux-{architecture}-{version}.lock"))
    }

    /// The lock that the sums and stamps of the cache are changed under.
    pub fn cache_record_lock(&self) -> PathBuf {
        self.base.join("lib/locks/cache-record.lock")
    }

    /// Where the extracted drivers lie, one directory a version.
    pub fn store(&self) -> PathBuf {
        self.base.join("lib/nvidia")
    }

    /// The extracted driver of a version: its tree and what is known of it.
    pub fn stored_driver(&self, version: &DriverVersion) -> PathBuf {
        self.store().join(version.as_str())
    }

    /// The lock that a driver is extracted, checked and removed under.
    pub fn store_lock(&self, version: &DriverVersion) -> PathBuf {
        self.base.join(format!("lib/locks/store-{version}.lock"))
    }

    /// Where the images of extracted drivers lie, one directory an image.
    pub fn images(&self) -> PathBuf {
        self.base.join("lib/images")
    }

    /// Where images are mounted on this host, one directory an image.
    pub fn mounts(&self) -> PathBuf {
        self.base.join("lib/mounts")
    }

    /// What NVIDIA's lists of releases said when they were asked last, as JSON.
    pub fn known_releases(&self) -> PathBuf {
        self.base.join("lib/known-releases.json")
    }

    /// Where the receipts of all containers lie.
    pub fn receipts(&self) -> PathBuf {
        self.base.join("lib/receipts")
    }

    /// What we have put into a container, as the host's record says.
    pub fn receipt(&self, container: ContainerId) -> PathBuf {
        self.receipts().join(format!("{container}.json"))
    }

    /// What is being changed in a container right now; it stays when that is interrupted.
    pub fn intent(&self, container: ContainerId) -> PathBuf {
        self.base.join(format!("lib/intents/{container}.json"))
    }

    /// The host's record of the snapshot that a container goes back to when its new driver fails.
    pub fn rollback(&self, container: ContainerId) -> PathBuf {
        self.base.join(format!("lib/rollbacks/{container}.json"))
    }

    /// The host's record of a container beside the receipt.
    pub fn container_record(&self, container: ContainerId) -> PathBuf {
        self.base.join(format!("lib/containers/{container}.json"))
    }

    /// The host's record of a container of Proxmox VE: what we gave it, and what we were about.
    pub fn proxmox_record(&self, container: ContainerId) -> PathBuf {
        self.base.join(format!("lib/proxmox/{container}.json"))
    }

    /// The last log of NVIDIA's installer in a container, fetched to the host.
    pub fn installer_log(&self, container: ContainerId) -> PathBuf {
        self.base.join(format!("lib/logs/{container}-nvidia-installer.log"))
    }

    /// Where the locks lie.
    pub fn locks(&self) -> PathBuf {
        self.base.join("lib/locks")
    }

    /// The lock that one container's work is done under.
    pub fn container_lock(&self, container: ContainerId) -> PathBuf {
        self.base.join(format!("lib/locks/{container}.lock"))
    }

    /// The operators' own script for a feature that is not ours.
    pub fn feature_script(&self, feature: &str) -> PathBuf {
        self.base.join(format!("bin/lxc_setup/phoenix_hypervisor_feature_install_{feature}.sh"))
    }
}
