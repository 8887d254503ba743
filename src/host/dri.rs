//! The nodes of the kernel's graphics interface (DRM) below `/dev/dri`, by the device that they are of. The kernel makes them
//! when `nvidia-drm` takes the device, and numbers them across all devices of the host, whoever made those.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{NvidiaHost, device_node};
use crate::driver::device::{DRI, DeviceNode, is_dri};
use crate::driver::proc_files::Gpu;
use crate::error::Result;

const PCI_DEVICES: &str = "/sys/bus/pci/devices";

impl NvidiaHost {
    /// The nodes of a device: `/dev/dri/card1`, `/dev/dri/renderD128`; none where `nvidia-drm` does not drive it.
    ///
    /// # Errors
    /// `/sys` or `/dev` cannot be read.
    pub fn dri_nodes(&self, gpu: &Gpu) -> Result<Vec<DeviceNode>> {
        let device = Path::new(PCI_DEVICES).join(gpu.pci_address.to_ascii_lowercase());
        let mut nodes = Vec::new();
        for (path, numbers) in of_device(&device) {
            // The number in sysfs is the driver's; a node of another one is somebody else's.
            let node = device_node(&path).ok().flatten().filter(|node| Some((node.major, node.minor)) == numbers);
            nodes.extend(node);
        }
        Ok(nodes)
    }

    /// The address of the device that each node below `/dev/dri` is of, as sysfs says.
    pub fn dri_owners(&self) -> BTreeMap<PathBuf, String> {
        let Ok(devices) = fs_err::read_dir(PCI_DEVICES) else { return BTreeMap::new() };
        let paths = devices.filter_map(|entry| Some(entry.ok()?.path()));
        let of_device = |device: PathBuf| {
            let address = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
            of_device(&device).into_iter().map(move |(path, _)| (path, address.clone()))
        };
        paths.flat_map(of_device).collect()
    }
}

/// The nodes that a device has, each with the number in sysfs.
fn of_device(device: &Path) -> Vec<(PathBuf, Option<(u32, u32)>)> {
    let Ok(entries) = fs_err::read_dir(device.join("drm")) else { return Vec::new() };
    let mut nodes = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let path = Path::new(DRI).join(entry.file_name());
        if is_dri(&path) {
            let numbers = fs_err::read_to_string(entry.path().join("dev")).ok();
            nodes.push((path, numbers.as_deref().and_then(numbers_of)));
        }
    }
    nodes.sort();
    nodes
}

/// `226:128`.
fn numbers_of(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
