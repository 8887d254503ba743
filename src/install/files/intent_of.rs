//! What the host notes before a change: the intent of an installation, of NVIDIA's installer, of a removal.

use std::collections::BTreeSet;

use super::change::Installation;
use super::conflicts::Conflicts;
use super::intent::{FORMAT, Intent};
use super::previous::Previous;

/// The intent of an installation; what an earlier interrupted one has made stays in it.
pub(super) fn of_installation(
    previous: &Previous,
    wanted: &Installation<'_>,
    directories: &[String],
    conflicts: &Conflicts,
) -> Intent {
    let mut intent = of_removal(previous);
    intent.versions.insert(wanted.version.clone());
    intent.paths.extend(wanted.items.iter().map(|item| item.destination.clone()));
    intent.directories.extend(directories.iter().cloned());
    intent.backed_up.extend(conflicts.iter().map(|conflict| conflict.original.clone()));
    intent
}

/// The intent of an installation by NVIDIA's own installer.
pub(super) fn of_installer(
    previous: &Previous,
    wanted: &Installation<'_>,
    directories: Vec<String>,
    before: Conflicts,
) -> Intent {
    let mut intent = of_removal(previous);
    intent.versions.insert(wanted.version.clone());
    intent.paths.extend(wanted.items.iter().map(|item| item.destination.clone()));
    intent.paths.extend(before.iter().map(|conflict| conflict.path.clone()));
    intent.directories.extend(directories);
    intent.before = Some(before.into_iter().map(|conflict| conflict.original).collect());
    intent
}

/// The intent to have nothing there any more.
pub(super) fn of_removal(previous: &Previous) -> Intent {
    previous.intent.clone().unwrap_or(Intent {
        format: FORMAT,
        versions: BTreeSet::new(),
        paths: BTreeSet::new(),
        directories: BTreeSet::new(),
        backed_up: Vec::new(),
        before: None,
    })
}
