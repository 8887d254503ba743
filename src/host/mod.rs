//! The NVIDIA driver of this host: the loaded kernel module, its GPUs and its device nodes, read from `/proc` and `/dev`.

mod cdi;
mod dri;
mod mig;
mod module;
mod next_boot;
mod prepare;
mod survey;

use std::path::{Path, PathBuf};

use crate::driver::DriverVersion;
use crate::driver::device::{Companion, DeviceNode, MAJOR};
use crate::driver::proc_files::{self, Gpu};
use crate::error::{Error, Kind, Result};
use crate::sys::cancel::Cancel;
use crate::sys::device_node::{self, Found};

pub use next_boot::{Boot, PciGpu, device_id};
pub use prepare::{Change, Prepared, modules_to_load, prepare, rehearse};
pub use survey::{Node, directory};

/// What this host has of NVIDIA's driver.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NvidiaHost {
    /// The version of the loaded kernel module.
    pub loaded: Option<DriverVersion>,
    /// The GPUs that the module drives, by device minor.
    pub gpus: Vec<Gpu>,
    /// The first line of `/proc/driver/nvidia/version` where it names no version: a module is loaded, and nobody knows which.
    #[serde(skip)]
    unread: Option<String>,
    /// The text of `/proc/devices`.
    #[serde(skip)]
    devices: String,
}

impl NvidiaHost {
    /// Reads `/proc`. A host without the module is an answer, not an error.
    ///
    /// # Errors
    /// `/proc` is there and cannot be read.
    pub fn read() -> Result<Self> {
        let version = read_if_there(Path::new("/proc/driver/nvidia/version"))?;
        let devices = read_if_there(Path::new("/proc/devices"))?.unwrap_or_default();
        let loaded = version.as_deref().and_then(proc_files::module_version);
        let first_line = |text: &str| text.lines().next().unwrap_or_default().chars().take(200).collect();
        let unread = version.as_deref().filter(|_| loaded.is_none()).map(first_line);
        Ok(Self { loaded, gpus: read_gpus()?, unread, devices })
    }

    /// Why no version is known.
    pub fn no_module(&self) -> String {
        match &self.unread {
            Some(line) => format!("`/proc/driver/nvidia/version` names no version that is understood: `{line}`"),
            None => "no NVIDIA kernel module is loaded on this host".to_owned(),
        }
    }

    /// A host with this module and these GPUs.
    #[cfg(test)]
    pub(crate) fn of(loaded: DriverVersion, gpus: Vec<Gpu>) -> Self {
        Self { loaded: Some(loaded), gpus, unread: None, devices: String::new() }
    }

    /// The version of the kernel module on disk, which the next boot would load.
    pub fn on_disk(&self, cancel: &Cancel) -> Option<DriverVersion> {
        module::field(None, "version", cancel)?.trim().parse().ok()
    }

    /// The node of a GPU (N of `/dev/nvidiaN`); `None` where it is missing.
    ///
    /// # Errors
    /// It has the wrong number, or is no device node.
    pub fn gpu_node(&self, minor: u32) -> Result<Option<DeviceNode>> {
        match device_node(&PathBuf::from(format!("/dev/nvidia{minor}")))? {
            Some(node) if (node.major, node.minor) != (MAJOR, minor) => Err(wrong_numbers(&node, MAJOR, minor)),
            found => Ok(found),
        }
    }

    /// A node that goes with every GPU; `None` where it is missing.
    ///
    /// # Errors
    /// It has the wrong number, or is no device node.
    pub fn companion_node(&self, companion: &Companion) -> Result<Option<DeviceNode>> {
        let major = match companion.numbers.0 {
            None => Some(MAJOR),
            Some(name) => proc_files::character_major(&self.devices, name),
        };
        match (device_node(&Path::new("/dev").join(companion.name))?, major) {
            (Some(node), Some(major)) if (node.major, node.minor) != (major, companion.numbers.1) => {
                Err(wrong_numbers(&node, major, companion.numbers.1))
            }
            (found, _) => Ok(found),
        }
    }

    /// Why there is no node of this GPU: the host has no such GPU, or has lost its node.
    pub fn no_gpu_node(&self, minor: u32) -> Error {
        let path = PathBuf::from(format!("/dev/nvidia{minor}"));
        if self.gpus.iter().any(|gpu| gpu.minor == minor) {
            return missing_node(&path);
        }
        Error::new(Kind::Configuration, format!("this host has no GPU {minor}: `{}` does not exist", path.display()))
            .hint(format!("set `gpu_assignment` to available GPUs: {}", self.describe_gpus()))
    }

    fn describe_gpus(&self) -> String {
        if self.gpus.is_empty() {
            return "none".to_owned();
        }
        let describe = |gpu: &Gpu| format!("{} ({}, {})", gpu.minor, gpu.model, gpu.pci_address);
        self.gpus.iter().map(describe).collect::<Vec<_>>().join(", ")
    }
}

/// A node that the module answers at and that is not there.
pub(crate) fn missing_node(path: &Path) -> Error {
    Error::new(Kind::Host, format!("the device node `{}` is missing on this host", path.display()))
        .hint("make it with `phoenix-nvidia host prepare`")
}

fn wrong_numbers(node: &DeviceNode, major: u32, minor: u32) -> Error {
    let path = node.path.display();
    Error::new(
        Kind::Host,
        format!("the device node `{path}` is {}:{}, but the driver uses {major}:{minor}", node.major, node.minor),
    )
    .hint("replace it with `phoenix-nvidia host prepare`")
}

/// The device node at this path of the host, if one is there.
fn device_node(path: &Path) -> Result<Option<DeviceNode>> {
    match device_node::look(path)? {
        None => Ok(None),
        Some(Found::Device(device_node::CharacterDevice { major, minor, mode, group, .. })) => {
            Ok(Some(DeviceNode { path: path.to_owned(), major, minor, mode, group }))
        }
        Some(_) => Err(Error::new(Kind::Host, format!("`{}` is not a device node", path.display()))
            .hint("repair it with `phoenix-nvidia host prepare`; a bind mount onto a missing node leaves a file")),
    }
}

/// The GPUs that the loaded module drives, by device minor.
fn read_gpus() -> Result<Vec<Gpu>> {
    let directory = match fs_err::read_dir("/proc/driver/nvidia/gpus") {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut addresses = directory.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    addresses.sort();
    let mut gpus = Vec::new();
    for (place, path) in (0..).zip(&addresses) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = read_if_there(&path.join("information"))?;
        gpus.extend(text.map(|text| proc_files::gpu(&name, place, &text)));
    }
    gpus.sort_by_key(|gpu| gpu.minor);
    Ok(gpus)
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
