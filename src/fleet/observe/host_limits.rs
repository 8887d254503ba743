//! What of a container's GPUs this host knows better than the configuration, a sentence each. Changes nothing.

use crate::config::{Container, GpuSelector};
use crate::driver::supported_gpus::Support;
use crate::error::Result;
use crate::host::{NvidiaHost, device_id};
use crate::store::Store;

use crate::fleet::observe::known_gpus::find_gpu;
use crate::fleet::observe::passthrough::divided;

/// All that is known before anybody looks at the container: for whoever looks at the configuration alone. What cannot be
/// read is not known.
pub fn host_limits(container: &Container, host: &NvidiaHost, store: &Store<'_>) -> Vec<String> {
    let mut sentences = dropped_gpus(container, host, store).unwrap_or_default();
    sentences.extend(divided(container, host).unwrap_or_default());
    sentences
}

/// The GPUs that the wanted driver no longer drives, by its list, which is there where that driver is extracted. The
/// loaded module drives what it drives.
pub(crate) fn dropped_gpus(container: &Container, host: &NvidiaHost, store: &Store<'_>) -> Result<Vec<String>> {
    let Some(driver) = &container.driver else { return Ok(Vec::new()) };
    if container.gpus.is_none() || host.loaded.as_ref() == Some(&driver.version) {
        return Ok(Vec::new());
    }
    let Some(list) = store.supported_gpus(&driver.version)? else { return Ok(Vec::new()) };
    let sentence = |selector: &GpuSelector| {
        let device = device_id(&find_gpu(selector, host)?.pci_address)?;
        let Support::Dropped { name, last_branch } = list.of(&device) else { return None };
        let version = &driver.version;
        Some(format!("{version} no longer supports GPU {selector} ({name}): its last branch is {last_branch}"))
    };
    Ok(container.gpus.iter().filter_map(sentence).collect())
}
