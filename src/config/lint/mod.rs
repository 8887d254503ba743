//! What is doubtful in files that can be read: every check looks at one thing and says nothing of a correct file.

mod containers;
mod driver;
mod host;
mod names;
mod network;
mod order;

use std::collections::BTreeMap;

use super::container::Container;
use super::finding::Finding;
use super::hypervisor::HypervisorSettings;
use super::json_value::Node;
use super::lookup::Lookup;
use crate::container_id::ContainerId;

pub use host::HostAnswers;
pub(super) use names::{duplicate_keys, duplicates_within};

/// A container and where it is described.
pub(super) struct Subject<'s, 'd> {
    pub(super) container: &'s Container,
    pub(super) lookup: &'s Lookup<'d>,
}

impl<'d> Subject<'_, 'd> {
    /// Where a key is set for this container; its entry where it is not.
    fn place(&self, key: &str) -> Place<'d> {
        let own = self.lookup.container.member(key).filter(Node::is_set);
        match own.or_else(|| self.lookup.root.member(key).filter(Node::is_set)) {
            Some(value) => Place::Value(value),
            None => Place::Entry(self.lookup.container.clone()),
        }
    }
}

/// What a finding points at.
enum Place<'d> {
    Value(Node<'d>),
    Entry(Node<'d>),
}

impl Place<'_> {
    fn finding(&self, severity: super::Severity, message: impl Into<String>) -> Finding {
        match self {
            // An object or a list runs over many lines; its key is enough.
            Self::Value(node) if node.is_composed() => node.finding_at_key(severity, message),
            Self::Value(node) => node.finding(severity, message),
            Self::Entry(node) => node.finding_at_key(severity, message),
        }
    }
}

/// All containers that can be read, by CTID.
pub(super) type Subjects<'s, 'd> = BTreeMap<ContainerId, Subject<'s, 'd>>;

/// The containers that this one is cloned from, nearest first, as far as they are defined.
fn clone_sources<'s, 'd>(subjects: &'s Subjects<'s, 'd>, id: ContainerId) -> Vec<&'s Subject<'s, 'd>> {
    // Nobody clones that often; a circle ends here, too.
    const FARTHEST: usize = 32;
    let source_of = |subject: &&Subject<'_, '_>| subject.container.clone_from.and_then(|source| subjects.get(&source));
    let first = subjects.get(&id).and_then(|subject| source_of(&subject));
    std::iter::successors(first, source_of).take(FARTHEST).collect()
}

/// Everything doubtful in both files.
pub(super) fn all(
    root: &Node<'_>,
    hypervisor_root: Option<&Node<'_>>,
    settings: &HypervisorSettings,
    subjects: &Subjects<'_, '_>,
    host: Option<HostAnswers<'_>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(names::unknown_keys(root, hypervisor_root, subjects));
    findings.extend(network::doubts(subjects));
    findings.extend(order::doubts(subjects));
    for subject in subjects.values() {
        findings.extend(containers::doubts(subject, subjects, settings, host));
        findings.extend(driver::doubts(subject, subjects));
        findings.extend(host::doubts(subject, host));
    }
    findings
}

#[cfg(test)]
mod tests;
