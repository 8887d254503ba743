//! The nodes of the kernel's graphics interface (DRM) below `/dev/dri`, by the card that they are of. The kernel makes them
//! when `nvidia-drm` takes the card, and numbers them across all cards of the host, whoever made those.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{NvidiaHost, device_node};
use crate::driver::device::{DRI, DeviceNode, is_dri};
use crate::driver::proc_files::Gpu;
use crate::error::Result;

const PCI_DEVICES: &str = "/sys/bus/pci/devices";

impl NvidiaHost {
    /// The nodes of a card: `/dev/dri/card1`, `/dev/dri/renderD128`; none where `nvidia-drm` does not drive it.
    ///
    /// # Errors
    /// `/sys` or `/dev` cannot be read.
    pub fn dri_nodes(&self, gpu: &Gpu) -> Result<Vec<DeviceNode>> {
        let card = Path::new(PCI_DEVICES).join(gpu.pci_address.to_ascii_lowercase());
        let mut nodes = Vec::new();
        for (path, numbers) in of_card(&card) {
            // The number that sysfs tells is the driver's; a node of another one is somebody else's.
            let node = device_node(&path).ok().flatten().filter(|node| Some((node.major, node.minor)) == numbers);
            nodes.extend(node);
        }
        Ok(nodes)
    }

    /// The address of the card that each node below `/dev/dri` is of, as sysfs tells it.
    pub fn dri_cards(&self) -> BTreeMap<PathBuf, String> {
        let Ok(cards) = fs_err::read_dir(PCI_DEVICES) else { return BTreeMap::new() };
        let paths = cards.filter_map(|entry| Some(entry.ok()?.path()));
        let of_card = |card: PathBuf| {
            let address = card.file_name().unwrap_or_default().to_string_lossy().into_owned();
            of_card(&card).into_iter().map(move |(path, _)| (path, address.clone()))
        };
        paths.flat_map(of_card).collect()
    }
}

/// The nodes that a card has, each with the number that sysfs tells.
fn of_card(card: &Path) -> Vec<(PathBuf, Option<(u32, u32)>)> {
    let Ok(entries) = fs_err::read_dir(card.join("drm")) else { return Vec::new() };
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
