//! Keys that stand twice or where nobody reads them, and keys and features that are slips of the fingers.

use super::super::finding::{Finding, Severity, quoted};
use super::super::json_value::Node;
use super::super::keys;
use super::super::wanted::FEATURE;
use super::{Subject, Subjects};

/// What stands more than once at the root of a file or in a section that is read.
pub(in crate::config) fn duplicate_keys(root: &Node<'_>, hypervisor_root: Option<&Node<'_>>) -> Vec<Finding> {
    let mut findings = duplicates_within(root, |key| keys::SCALARS.contains(&key) || keys::ROOT.contains(&key));
    let Some(root) = hypervisor_root else { return findings };
    findings.extend(duplicates_within(root, |key| keys::HYPERVISOR_ROOT.contains(&key)));
    for section in root.members().filter(|member| keys::HYPERVISOR_ROOT.contains(&member.key())) {
        findings.extend(duplicates_within(&section, |key| keys::HYPERVISOR_DRIVER.contains(&key)));
    }
    findings
}

/// The keys that an object has twice: wrong where the key is read, doubtful where it is another tool's.
pub(in crate::config) fn duplicates_within(node: &Node<'_>, is_read: impl Fn(&str) -> bool) -> Vec<Finding> {
    node.duplicates()
        .into_iter()
        .map(|duplicate| {
            let severity = if is_read(duplicate.key()) { Severity::Error } else { Severity::Warning };
            duplicate
                .finding_at_key(severity, format!("the key {} occurs more than once", quoted(duplicate.key())))
                .hint("keep one of them: other tools silently use the last one")
        })
        .collect()
}

/// Keys that are almost one of those that are read.
pub(super) fn unknown_keys(
    root: &Node<'_>,
    hypervisor_root: Option<&Node<'_>>,
    subjects: &Subjects<'_, '_>,
) -> Vec<Finding> {
    let mut findings = slips(root, &[keys::SCALARS, keys::ROOT]);
    findings.extend(root.members().filter(|member| keys::COMPOSED.contains(&member.key())).map(|member| {
        member
            .finding_at_key(Severity::Warning, format!("`{}` is not read at the root of the file", member.key()))
            .hint("lists and objects are read in the container's own entry only")
    }));
    for subject in subjects.values() {
        let container = &subject.lookup.container;
        findings.extend(slips(container, &[keys::SCALARS, keys::COMPOSED]));
        findings.extend(features(subject));
        for member in container.members() {
            match member.key() {
                "network_config" => findings.extend(slips(&member, &[keys::NETWORK])),
                "mount_points" => findings.extend(member.elements().flat_map(|entry| slips(&entry, &[keys::MOUNT]))),
                "volumes" | "zfs_volumes" => {
                    findings.extend(member.elements().flat_map(|entry| slips(&entry, &[keys::VOLUME])));
                }
                _ => {}
            }
        }
    }
    if let Some(root) = hypervisor_root {
        findings.extend(slips(root, &[keys::HYPERVISOR_ROOT]));
        findings.extend(root.member("nvidia_driver").iter().flat_map(|node| slips(node, &[keys::HYPERVISOR_DRIVER])));
    }
    findings
}

/// Features that mean something here. Others are scripts of the operators, with any name.
const FEATURES: [&str; 3] = [FEATURE, "docker", "podman"];

/// The feature that an unknown one was probably meant to be.
pub(super) fn feature_probably_meant(feature: &str) -> Option<&'static str> {
    keys::probably_meant(feature, FEATURES.into_iter())
}

fn features(subject: &Subject<'_, '_>) -> Vec<Finding> {
    let named = subject.lookup.composed("features");
    let slip = |place: Node<'_>| {
        let feature = place.as_text()?;
        let meant = feature_probably_meant(feature)?;
        let message = format!("unknown feature {}", quoted(feature));
        Some(place.finding(Severity::Warning, message).hint(format!("did you mean `{meant}`?")))
    };
    named.iter().flat_map(Node::elements).filter_map(slip).collect()
}

fn slips(node: &Node<'_>, known: &[&[&'static str]]) -> Vec<Finding> {
    node.members()
        .filter_map(|member| {
            let meant = keys::probably_meant(member.key(), known.iter().copied().flatten().copied())?;
            let message = format!("unknown key {}", quoted(member.key()));
            Some(member.finding_at_key(Severity::Warning, message).hint(format!("did you mean `{meant}`?")))
        })
        .collect()
}
