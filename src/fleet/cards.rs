//! Which card each of a container's GPUs is: remembered when the container is configured, compared ever after.
//!
//! N of `/dev/nvidiaN` is given out anew at every boot. A card that is added or dies moves the others, and a container
//! with GPU 0 then works on another one, without a word of anybody.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::{Container, GpuSelector, Layout};
use crate::driver::mig::MigInstance;
use crate::driver::proc_files::Gpu;
use crate::error::Result;
use crate::host::NvidiaHost;

use super::passthrough::find_gpu;
use super::record::Record;

/// A card, by all of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Card {
    /// N of `/dev/nvidiaN`.
    pub(super) minor: u32,
    /// `0000:01:00.0`.
    pub(super) pci_address: String,
    /// NVIDIA's UUID; absent until the GPU was first used.
    #[serde(default)]
    pub(super) uuid: Option<String>,
    /// Which part of it the container has, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<MigInstance>,
}

impl Card {
    fn of(gpu: &Gpu, instance: Option<MigInstance>) -> Self {
        Self { minor: gpu.minor, pci_address: gpu.pci_address.clone(), uuid: gpu.uuid.clone(), instance }
    }

    /// Whether it is this GPU of the host.
    pub(super) fn is_gpu(&self, gpu: &Gpu) -> bool {
        self.is(&Self::of(gpu, None))
    }

    fn is(&self, other: &Self) -> bool {
        match (&self.uuid, &other.uuid) {
            (Some(uuid), Some(others)) => uuid == others,
            _ => self.pci_address == other.pci_address,
        }
    }
}

/// Cards by what `gpu_assignment` calls them.
pub(super) type Cards = BTreeMap<String, Card>;

/// The cards that a container's GPUs are on this host now; a GPU that is not there is left out.
pub(super) fn cards_of(container: &Container, host: &NvidiaHost) -> Cards {
    let card =
        |selector: &GpuSelector| Some((selector.to_string(), Card::of(find_gpu(selector, host)?, selector.instance())));
    container.gpus.iter().filter_map(card).collect()
}

/// What has changed, one sentence a GPU that is another card now.
fn moved(before: &Cards, now: &Cards) -> Vec<String> {
    let changed = |(name, card): (&String, &Card)| {
        let old = before.get(name).filter(|old| !old.is(card))?;
        let by_uuid = old.pci_address == card.pci_address;
        let (was, is) = match (by_uuid, &old.uuid, &card.uuid) {
            (true, Some(was), Some(is)) => (was, is),
            _ => (&old.pci_address, &card.pci_address),
        };
        Some(format!("GPU {name} was {was} and is {is} now"))
    };
    now.iter().filter_map(changed).collect()
}

/// Which GPUs of a container are other cards than when it was configured, one sentence each.
///
/// # Errors
/// What the host remembers of the container cannot be read.
pub(super) fn moved_since(layout: &Layout, container: &Container, host: &NvidiaHost) -> Result<Vec<String>> {
    if container.gpus.is_none() {
        return Ok(Vec::new());
    }
    Ok(moved(&Record::load(layout, container.id)?.cards, &cards_of(container, host)))
}

/// Remembers which cards a container's GPUs are. One that the host lacks for the moment is not forgotten.
///
/// # Errors
/// What the host remembers of the container cannot be read or written.
pub(super) fn remember(layout: &Layout, container: &Container, host: &NvidiaHost) -> Result<()> {
    let mut record = Record::load(layout, container.id)?;
    let mut cards = cards_of(container, host);
    let assigned: BTreeSet<String> = container.gpus.iter().map(ToString::to_string).collect();
    // All are called by their numbers.
    let is_of_all = |name: &str| container.gpus.is_all() && name.parse::<u32>().is_ok();
    for (name, card) in record.cards.iter().filter(|(name, _)| assigned.contains(*name) || is_of_all(name)) {
        cards.entry(name.clone()).or_insert_with(|| card.clone());
    }
    if host.loaded.is_none() || record.cards == cards {
        return Ok(());
    }
    record.cards = cards;
    record.save(layout, container.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(pci_address: &str, uuid: Option<&str>) -> Card {
        Card { minor: 0, pci_address: pci_address.to_owned(), uuid: uuid.map(str::to_owned), instance: None }
    }

    fn said(before: Card, now: Card) -> Vec<String> {
        let named = |card| Cards::from([("0".to_owned(), card)]);
        moved(&named(before), &named(now))
    }

    #[test]
    fn an_index_that_is_another_card_is_told_by_the_name_that_differs() {
        assert_eq!(
            said(card("0000:07:00.0", None), card("0000:81:00.0", Some("GPU-b"))),
            ["GPU 0 was 0000:07:00.0 and is 0000:81:00.0 now"]
        );
        assert_eq!(
            said(card("0000:07:00.0", Some("GPU-a")), card("0000:07:00.0", Some("GPU-b"))),
            ["GPU 0 was GPU-a and is GPU-b now"]
        );
    }

    #[test]
    fn the_same_card_in_another_slot_or_without_a_uuid_yet_has_not_changed() {
        let known = card("0000:07:00.0", Some("GPU-a"));
        assert_eq!(said(known.clone(), card("0000:81:00.0", Some("GPU-a"))), Vec::<String>::new());
        assert_eq!(said(known.clone(), card("0000:07:00.0", None)), Vec::<String>::new());
        assert_eq!(moved(&Cards::new(), &Cards::from([("0".to_owned(), known)])), Vec::<String>::new());
    }
}
