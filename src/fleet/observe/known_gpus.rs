//! Which GPU each entry of a container's `gpu_assignment` is: recorded when the container is configured, compared later.
//!
//! The kernel module numbers `/dev/nvidiaN` again at every boot. A GPU that is added or fails moves the others, and a
//! container with GPU 0 then silently works on another one.

use std::collections::BTreeSet;

use crate::config::{Container, GpuSelector, Layout};
use crate::driver::proc_files::Gpu;
use crate::error::Result;
use crate::host::NvidiaHost;

use crate::fleet::observe::container_record::{ContainerRecord, KnownGpu, KnownGpus};

/// The GPUs of this host that a container's `gpu_assignment` names now, without those that are missing.
pub(crate) fn known_gpus_of(container: &Container, host: &NvidiaHost) -> KnownGpus {
    let gpu = |selector: &GpuSelector| {
        Some((selector.to_string(), KnownGpu::of(find_gpu(selector, host)?, selector.instance())))
    };
    container.gpus.iter().filter_map(gpu).collect()
}

/// What has changed, one sentence per entry that is another GPU now.
fn moved(before: &KnownGpus, now: &KnownGpus) -> Vec<String> {
    let changed = |(name, gpu): (&String, &KnownGpu)| {
        let old = before.get(name).filter(|old| !old.is(gpu))?;
        let by_uuid = old.pci_address == gpu.pci_address;
        let (was, is) = match (by_uuid, &old.uuid, &gpu.uuid) {
            (true, Some(was), Some(is)) => (was, is),
            _ => (&old.pci_address, &gpu.pci_address),
        };
        Some(format!("GPU {name} was {was} and is {is} now"))
    };
    now.iter().filter_map(changed).collect()
}

/// Which entries of a container are other GPUs than when it was configured, one sentence each.
///
/// # Errors
/// The host's record of the container cannot be read.
pub(crate) fn moved_since(layout: &Layout, container: &Container, host: &NvidiaHost) -> Result<Vec<String>> {
    if container.gpus.is_none() {
        return Ok(Vec::new());
    }
    Ok(moved(&ContainerRecord::load(layout, container.id)?.gpus, &known_gpus_of(container, host)))
}

/// Records which GPUs a container has. One that the host lacks at the moment is kept.
///
/// # Errors
/// The host's record of the container cannot be read or written.
pub(crate) fn remember(layout: &Layout, container: &Container, host: &NvidiaHost) -> Result<()> {
    let mut record = ContainerRecord::load(layout, container.id)?;
    let mut gpus = known_gpus_of(container, host);
    let assigned: BTreeSet<String> = container.gpus.iter().map(ToString::to_string).collect();
    // All are called by their numbers.
    let is_of_all = |name: &str| container.gpus.is_all() && name.parse::<u32>().is_ok();
    for (name, gpu) in record.gpus.iter().filter(|(name, _)| assigned.contains(*name) || is_of_all(name)) {
        gpus.entry(name.clone()).or_insert_with(|| gpu.clone());
    }
    if host.loaded.is_none() || record.gpus == gpus {
        return Ok(());
    }
    record.gpus = gpus;
    record.save(layout, container.id)
}

/// The GPU of this host that a name means.
pub(crate) fn find_gpu<'h>(selector: &GpuSelector, host: &'h NvidiaHost) -> Option<&'h Gpu> {
    host.gpus.iter().find(|gpu| match selector.gpu() {
        GpuSelector::Minor(minor) => gpu.minor == *minor,
        GpuSelector::Pci(address) => gpu.pci_address.eq_ignore_ascii_case(address),
        GpuSelector::Uuid(uuid) => gpu.uuid.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(uuid)),
        GpuSelector::Instance(..) | GpuSelector::Named(..) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(pci_address: &str, uuid: Option<&str>) -> KnownGpu {
        KnownGpu { minor: 0, pci_address: pci_address.to_owned(), uuid: uuid.map(str::to_owned), instance: None }
    }

    fn said(before: KnownGpu, now: KnownGpu) -> Vec<String> {
        let named = |gpu| KnownGpus::from([("0".to_owned(), gpu)]);
        moved(&named(before), &named(now))
    }

    #[test]
    fn an_index_that_is_another_card_is_reported_by_the_name_that_differs() {
        assert_eq!(
            said(gpu("0000:07:00.0", None), gpu("0000:81:00.0", Some("GPU-b"))),
            ["GPU 0 was 0000:07:00.0 and is 0000:81:00.0 now"]
        );
        assert_eq!(
            said(gpu("0000:07:00.0", Some("GPU-a")), gpu("0000:07:00.0", Some("GPU-b"))),
            ["GPU 0 was GPU-a and is GPU-b now"]
        );
    }

    #[test]
    fn the_same_gpu_in_another_slot_or_without_a_uuid_yet_has_not_changed() {
        let known = gpu("0000:07:00.0", Some("GPU-a"));
        assert_eq!(said(known.clone(), gpu("0000:81:00.0", Some("GPU-a"))), Vec::<String>::new());
        assert_eq!(said(known.clone(), gpu("0000:07:00.0", None)), Vec::<String>::new());
        assert_eq!(moved(&KnownGpus::new(), &KnownGpus::from([("0".to_owned(), known)])), Vec::<String>::new());
    }
}
