//! Which nodes below `/dev/dri` a container gets beside those of NVIDIA's own driver: those of its GPUs, for programs
//! that draw (Wayland, GBM, VA-API). CUDA needs none of them, so what is missing is reported and keeps nothing from
//! happening.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::{Container, GpuSelector};
use crate::driver::device::is_dri;
use crate::error::Result;
use crate::host::NvidiaHost;

use crate::fleet::observe::known_gpus::find_gpu;
use crate::fleet::observe::passthrough::{Held, Passthrough};

impl Passthrough {
    /// Adds the nodes of a container's whole GPUs, where it is to have them. An instance of a divided GPU draws nothing.
    ///
    /// # Errors
    /// `/sys` or `/dev` cannot be read.
    pub(crate) fn dri(&mut self, container: &Container, host: &NvidiaHost, held: &Held) -> Result<()> {
        self.kept.retain(|path| !is_dri(path));
        if !container.wants_dri() {
            return Ok(());
        }
        let mut is_lost = host.loaded.is_none();
        if container.gpus.is_all() {
            // The host lists only the GPUs that it drives.
            is_lost |= held.gpus.values().any(|known| !host.gpus.iter().any(|gpu| known.is_gpu(gpu)));
        }
        for selector in container.gpus.iter().filter(|selector| !selector.is_part()) {
            let Some(gpu) = find_gpu(selector, host) else {
                is_lost = true;
                continue;
            };
            let nodes = host.dri_nodes(gpu)?;
            if nodes.is_empty() {
                is_lost = true;
                self.without_dri.push(selector.to_string());
            }
            self.devices.extend(nodes);
        }
        if is_lost {
            let stays = staying(container, host, held);
            self.kept.extend(stays.into_iter().filter(|path| !self.devices.iter().any(|node| node.path == *path)));
        }
        Ok(())
    }

    /// The note about GPUs without a node, in one sentence.
    pub(crate) fn without_dri(&self) -> Option<String> {
        let first = self.without_dri.first()?;
        let gpus = match self.without_dri.len() {
            1 => format!("GPU {first} has"),
            _ => format!("the GPUs {} have", self.without_dri.join(", ")),
        };
        Some(format!(
            "{gpus} no node in `/dev/dri` on this host, so the container gets none: the module `nvidia-drm` is not \
             loaded for it"
        ))
    }
}

/// Those that a container has and that nobody else has by now: the numbers are given out anew at every boot.
fn staying(container: &Container, host: &NvidiaHost, held: &Held) -> Vec<PathBuf> {
    let assigned = |selector: &GpuSelector| Some(find_gpu(selector, host)?.pci_address.to_ascii_lowercase());
    let mut known: BTreeSet<String> = container.gpus.iter().filter_map(assigned).collect();
    known.extend(held.gpus.values().map(|known| known.pci_address.to_ascii_lowercase()));
    let owners = host.dri_owners();
    let stays = |path: &&PathBuf| match owners.get(*path) {
        Some(address) => known.contains(address),
        None => !path.exists(),
    };
    held.nodes.iter().filter(|path| is_dri(path)).filter(stays).cloned().collect()
}
