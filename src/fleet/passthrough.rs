//! Which device nodes a container gets: from its `gpu_assignment` and what this host has.

use std::collections::BTreeSet;

use crate::config::{Container, GpuSelector};
use crate::driver::device::DeviceNode;
use crate::error::{Error, Kind, Result};
use crate::host::NvidiaHost;

/// The device nodes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passthrough {
    /// Exactly those that it must have.
    pub devices: Vec<DeviceNode>,
    /// How many GPUs are assigned to it.
    pub gpus: usize,
    /// Why it gets none although GPUs are assigned.
    pub withheld: Option<String>,
}

/// Works out the device nodes.
///
/// # Errors
/// It asks for a GPU that this host does not have, or a node is missing.
pub fn passthrough(container: &Container, host: &NvidiaHost) -> Result<Passthrough> {
    let gpus = container.gpus.iter().count();
    if gpus == 0 {
        return Ok(Passthrough::default());
    }
    if host.loaded.is_none() {
        let withheld = Some("no NVIDIA kernel module on this host, so its GPUs are not passed through".to_owned());
        return Ok(Passthrough { devices: Vec::new(), gpus, withheld });
    }
    let minors: Result<BTreeSet<u32>> = container.gpus.iter().map(|gpu| minor_of(gpu, host)).collect();
    let devices = minors.and_then(|minors| host.nodes_for(&minors));
    let devices = devices.map_err(|error| error.about(format_args!("container {}", container.id)))?;
    Ok(Passthrough { devices, gpus, withheld: None })
}

fn minor_of(selector: &GpuSelector, host: &NvidiaHost) -> Result<u32> {
    let found = match selector {
        GpuSelector::Minor(minor) => return Ok(*minor),
        GpuSelector::Pci(address) => host.gpus.iter().find(|gpu| gpu.pci_address.eq_ignore_ascii_case(address)),
        GpuSelector::Uuid(uuid) => {
            host.gpus.iter().find(|gpu| gpu.uuid.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(uuid)))
        }
    };
    found.map(|gpu| gpu.minor).ok_or_else(|| {
        Error::new(Kind::Configuration, format!("this host has no GPU `{selector}`"))
            .hint("`nvidia-smi -L` and `ls /proc/driver/nvidia/gpus` on the host list those that are there")
    })
}
