//! What of the host people's own words mean: `"nvidia_driver_version": "host"`, `"gpu_assignment": "all"`, and UUIDs
//! of instances.

use std::collections::BTreeSet;

use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::mig::NamedInstance;

/// What those words stand for on the host that the configuration is read on.
#[derive(Clone, Copy)]
pub struct OnHost<'a> {
    /// The driver of the loaded module, or else of the one that the host would load; asked only where somebody says `host`.
    pub driver: &'a dyn Fn() -> Option<DriverVersion>,
    /// N of `/dev/nvidiaN` of every GPU that the module drives; none while it is not loaded.
    pub gpus: &'a BTreeSet<u32>,
    /// The only container whose instances are asked for, where the others are of no interest.
    pub only: Option<ContainerId>,
    /// The instance of a divided GPU (MIG) that has this UUID; asked only where somebody writes one.
    pub instance: &'a dyn Fn(&str) -> Option<NamedInstance>,
}

impl<'a> OnHost<'a> {
    /// The same for the entry of this container.
    pub(super) fn for_container(self, id: ContainerId) -> Self {
        match self.only {
            Some(only) if only != id => Self { instance: &|_| None, ..self },
            _ => self,
        }
    }
}

/// The word for the host's driver.
pub(super) const HOSTS_DRIVER: &str = "host";

/// The word for all GPUs of the host.
pub(super) const ALL_GPUS: &str = "all";
