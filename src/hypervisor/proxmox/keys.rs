//! Numbered keys of a container's configuration: `mp0`, `dev3`.

use std::collections::{BTreeMap, BTreeSet};

/// N of `mpN`.
pub(super) fn index_of(key: &str, word: &str) -> Option<u32> {
    key.strip_prefix(word)?.parse().ok()
}

/// The keys of this kind that are not taken, from the lowest on; Proxmox VE has 256 of each.
pub(super) fn free_keys(word: &'static str, current: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let taken: BTreeSet<u32> = current.keys().filter_map(|key| index_of(key, word)).collect();
    (0..256).filter(move |index| !taken.contains(index)).map(move |index| format!("{word}{index}"))
}
