//! A container that no file describes: as it is, with the host's driver.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::container::Container;
use super::containers_file::example;
use super::gpu::{GpuAssignment, GpuSelector};
use super::gpu_access::GpuAccess;
use super::mismatch::OnMismatch;
use super::wanted::WantedDriver;
use crate::container_id::ContainerId;
use crate::driver::device::minor_of;
use crate::error::{Error, Kind};

impl Container {
    /// A container of this host that nobody has configured, with the GPUs whose nodes its settings pass. It says nothing of
    /// anything else, so all of that stays as it is.
    pub fn found(id: ContainerId, name: String, nodes: &[PathBuf], driver: Option<WantedDriver>) -> Self {
        let gpus: BTreeSet<_> = nodes.iter().filter_map(|path| minor_of(path)).map(GpuSelector::Minor).collect();
        let gpus = if gpus.is_empty() { GpuAssignment::None } else { GpuAssignment::Of(gpus) };
        Self {
            id,
            name,
            is_found: true,
            keeps_settings: true,
            memory_mb: None,
            swap_mb: None,
            cores: None,
            template: None,
            clone_from: None,
            template_snapshot_name: None,
            clone_snapshot: None,
            storage_pool: None,
            storage_size_gb: None,
            network: None,
            mac_address: None,
            unprivileged: None,
            features: driver.iter().map(|_| super::wanted::FEATURE.to_owned()).collect(),
            gpus,
            says_gpus: true,
            gpu_access: GpuAccess::default(),
            dri: Some(false),
            cdi: None,
            pct_options: Vec::new(),
            lxc_options: Vec::new(),
            id_map: false,
            apparmor_profile: None,
            apparmor_manages_nesting: false,
            start_at_boot: None,
            boot_order: None,
            boot_delay: None,
            lifecycle_snapshots: false,
            mounts: Vec::new(),
            volumes: Vec::new(),
            dependencies: Vec::new(),
            external_dependencies: Vec::new(),
            driver,
            on_mismatch: OnMismatch::default(),
        }
    }
}

/// What brings device nodes into a container, after "pass it with": this program, or the operator of one whose settings
/// are not ours.
pub fn what_passes_nodes(id: ContainerId, keeps_settings: bool) -> String {
    match keeps_settings {
        true => "a line of the container's own settings, then restart the container".to_owned(),
        false => format!("`phoenix-nvidia create {id}`, which restarts the container if needed"),
    }
}

/// The error about a container that is neither described, for there is no file, nor on this host.
pub(super) fn unknown<'i>(id: ContainerId, file: &Path, found: impl Iterator<Item = &'i ContainerId>) -> Error {
    let message =
        format!("container {id} does not exist on this host, and there is no `{}` that describes it", file.display());
    let found: Vec<String> = found.map(ContainerId::to_string).collect();
    let error = Error::new(Kind::Configuration, message);
    match found.as_slice() {
        [] => error
            .hint(format!("`phoenix-nvidia status` shows the containers of this host; to create one, {}", example())),
        found => error.hint(format!("this host has {}", found.join(", "))),
    }
}
