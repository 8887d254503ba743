//! Which device nodes a container gets: from its `gpu_assignment` and what this host has.

use std::collections::BTreeSet;

use crate::config::{Container, GpuSelector};
use crate::driver::device::DeviceNode;
use crate::driver::proc_files::Gpu;
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
    let devices = minors_of(container, host).and_then(|minors| host.nodes_for(&minors));
    let devices = devices.map_err(|error| error.about(format_args!("container {}", container.id)))?;
    Ok(Passthrough { devices, gpus, withheld: None })
}

/// The GPUs of a container, as N of `/dev/nvidiaN`.
///
/// # Errors
/// It asks by address or UUID for a GPU that this host does not have.
pub(super) fn minors_of(container: &Container, host: &NvidiaHost) -> Result<BTreeSet<u32>> {
    container.gpus.iter().map(|gpu| minor_of(gpu, host)).collect()
}

fn minor_of(selector: &GpuSelector, host: &NvidiaHost) -> Result<u32> {
    if let GpuSelector::Minor(minor) = selector {
        return Ok(*minor);
    }
    find_gpu(selector, host).map(|gpu| gpu.minor).ok_or_else(|| {
        Error::new(Kind::Configuration, format!("this host has no GPU `{selector}`"))
            .hint("`phoenix-nvidia host show` lists those that are there")
    })
}

/// The GPU of this host that a name means.
pub(super) fn find_gpu<'h>(selector: &GpuSelector, host: &'h NvidiaHost) -> Option<&'h Gpu> {
    host.gpus.iter().find(|gpu| match selector {
        GpuSelector::Minor(minor) => gpu.minor == *minor,
        GpuSelector::Pci(address) => gpu.pci_address.eq_ignore_ascii_case(address),
        GpuSelector::Uuid(uuid) => gpu.uuid.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(uuid)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> NvidiaHost {
        let gpu = |minor, pci: &str, uuid: Option<&str>| Gpu {
            minor,
            pci_address: pci.to_owned(),
            uuid: uuid.map(str::to_owned),
            model: "NVIDIA GeForce RTX 3090".to_owned(),
        };
        let uuid = "GPU-eaf23aa1-4d3d-596c-da66-b86b0e5db584";
        NvidiaHost::of(
            "580.76.05".parse().unwrap(),
            vec![gpu(2, "0000:07:00.0", None), gpu(0, "0000:81:00.0", Some(uuid))],
        )
    }

    fn minor(selector: &str) -> Result<u32> {
        minor_of(&selector.parse().unwrap(), &host())
    }

    #[test]
    fn a_gpu_is_found_by_each_of_its_three_names() {
        assert_eq!(minor("2").unwrap(), 2);
        assert_eq!(minor("0000:07:00.0").unwrap(), 2);
        assert_eq!(minor("GPU-EAF23AA1-4d3d-596c-da66-b86b0e5db584").unwrap(), 0);
    }

    #[test]
    fn a_gpu_that_is_not_there_is_a_fault_of_the_configuration() {
        let error = minor("0000:08:00.0").unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration);
        assert_eq!(error.message(), "this host has no GPU `0000:08:00.0`");
    }
}
