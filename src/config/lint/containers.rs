//! What is doubtful in one container's entry, or between it and the container that it is cloned from.

use super::super::finding::{Finding, Severity, quoted};
use super::super::hypervisor::{Backend, HypervisorSettings};
use super::super::json_value::Node;
use super::{HostAnswers, Subject, Subjects, clone_sources};

/// Everything doubtful about a container but its network and its driver.
pub(super) fn doubts(
    subject: &Subject<'_, '_>,
    subjects: &Subjects<'_, '_>,
    settings: &HypervisorSettings,
    host: Option<HostAnswers<'_>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let exists = host.and_then(|host| (host.exists)(subject.container.id));
    findings.extend(origin(subject, subjects, exists));
    findings.extend(privilege(subject, exists));
    findings.extend(host_name(subject));
    findings.extend(memory(subject));
    findings.extend(id_maps(subject));
    findings.extend(nesting(subject));
    findings.extend(profile(subject));
    findings.extend(shell_characters(subject));
    if !matches!(settings.backend, Some(Backend::Lxc | Backend::Incus)) {
        findings.extend(bind_mounts(subject, subjects));
    }
    findings
}

fn origin(subject: &Subject<'_, '_>, subjects: &Subjects<'_, '_>, exists: Option<bool>) -> Option<Finding> {
    let container = subject.container;
    match (&container.template, container.clone_from) {
        (None, None) if !subject.lookup.scalar("clone_from_ctid").is_some_and(|node| node.is_set()) => {
            from_nowhere(subject, exists)
        }
        (Some(_), Some(source)) => Some(
            subject
                .place("template")
                .finding(Severity::Note, format!("`template` is not used: the container is cloned from {source}")),
        ),
        (None, Some(source)) => {
            let source = subjects.get(&source).filter(|source| source.container.template_snapshot_name.is_none())?;
            let id = source.container.id;
            Some(
                subject
                    .place("clone_from_ctid")
                    .finding(Severity::Warning, format!("the clone source {id} has no `template_snapshot_name`"))
                    .hint(format!("without a snapshot, {id} must be stopped whenever it is cloned")),
            )
        }
        _ => None,
    }
}

/// Only a container that exists needs none.
fn from_nowhere(subject: &Subject<'_, '_>, exists: Option<bool>) -> Option<Finding> {
    let (severity, so) = match exists {
        Some(true) => return None,
        Some(false) => (Severity::Warning, "the container does not exist and cannot be created"),
        None => (Severity::Note, "the container must exist already"),
    };
    let message = format!("neither `template` nor `clone_from_ctid` is set, so {so}");
    Some(subject.place("template").finding(severity, message))
}

/// It decides only what a container becomes that is made from a template: what exists stays as it is, and a copy is as its
/// source.
fn privilege(subject: &Subject<'_, '_>, exists: Option<bool>) -> Option<Finding> {
    let container = subject.container;
    let is_said = container.unprivileged.is_some() || subject.lookup.scalar("unprivileged").is_some();
    let is_made = container.template.is_some() && container.clone_from.is_none() && exists != Some(true);
    if is_said || !is_made {
        return None;
    }
    let message = "`unprivileged` is not set: the container will be privileged";
    let hint = "set `unprivileged` to true, or to false if its root user may be the host's root user";
    Some(subject.place("unprivileged").finding(Severity::Note, message).hint(hint))
}

fn host_name(subject: &Subject<'_, '_>) -> Option<Finding> {
    let name = &subject.container.name;
    if name.is_empty() {
        return None;
    }
    let label = |part: &str| {
        let characters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&part.len()) && characters && !part.starts_with('-') && !part.ends_with('-')
    };
    let place = subject.place("name");
    if !name.split('.').all(label) {
        return Some(
            place
                .finding(Severity::Warning, format!("{} is not a valid host name", quoted(name)))
                .hint("Proxmox VE accepts only letters, digits and `-`, at most 63 characters per label"),
        );
    }
    let (host, domain) = name.split_once('.')?;
    let message = format!("the container's host name is `{host}`, because a dot begins a domain, here `{domain}`");
    Some(place.finding(Severity::Note, message))
}

fn memory(subject: &Subject<'_, '_>) -> Option<Finding> {
    const SMALLEST: u64 = 64;
    const LARGEST: u64 = 4 << 20;
    let memory = subject.container.memory_mb?;
    if (SMALLEST..=LARGEST).contains(&memory) {
        return None;
    }
    let message = format!("`memory_mb` is {memory} MiB");
    Some(subject.place("memory_mb").finding(Severity::Warning, message).hint("the unit is MiB"))
}

fn id_maps(subject: &Subject<'_, '_>) -> Option<Finding> {
    let maps = subject.lookup.composed("id_maps")?;
    let number =
        |entry: &Node<'_>, key: &str| entry.member(key).and_then(|node| node.as_text_or_number()).map(str::to_owned);
    let is_the_map = |entry: Node<'_>| {
        let values = ["container_id", "host_id", "size"].map(|key| number(&entry, key));
        values == [Some("0".to_owned()), Some("100000".to_owned()), Some("65536".to_owned())]
    };
    if maps.elements().all(is_the_map) {
        return None;
    }
    let finding = maps.finding_at_key(Severity::Warning, "the entries of `id_maps` are not read");
    Some(
        finding
            .hint("any entry means the map of 65536 users and groups from 100000; put another map into `lxc_options`"),
    )
}

fn nesting(subject: &Subject<'_, '_>) -> Option<Finding> {
    let container = subject.container;
    if !container.apparmor_manages_nesting || !container.pct_options.iter().any(|option| option == "nesting=1") {
        return None;
    }
    let message = "`nesting=1` is set, but `apparmor_manages_nesting` leaves nesting to the profile";
    Some(subject.place("pct_options").finding(Severity::Warning, message).hint("keep one of the two"))
}

fn profile(subject: &Subject<'_, '_>) -> Option<Finding> {
    let container = subject.container;
    let profile = container.apparmor_profile.as_ref()?;
    let raw = container.lxc_options.iter().find(|option| option.key == "lxc.apparmor.profile")?;
    if raw.value == *profile {
        return None;
    }
    let message = format!("the profile is {} here and {} in `lxc_options`", quoted(profile), quoted(&raw.value));
    Some(subject.place("apparmor_profile").finding(Severity::Warning, message).hint("keep one of the two"))
}

fn shell_characters(subject: &Subject<'_, '_>) -> Vec<Finding> {
    let lookup = subject.lookup;
    let mut places: Vec<Node<'_>> = ["template", "template_snapshot_name", "apparmor_profile"]
        .into_iter()
        .filter_map(|key| lookup.scalar(key))
        .collect();
    for list in ["mount_points", "volumes", "zfs_volumes"].into_iter().filter_map(|key| lookup.composed(key)) {
        places.extend(list.elements().flat_map(|entry| entry.members()));
    }
    places.extend(lookup.composed("lxc_options").iter().flat_map(Node::elements));
    places
        .into_iter()
        .filter_map(|place| {
            let found = place.as_text()?.chars().find(|c| "`$;|&<>\\\"'".contains(*c))?;
            let message = format!(
                "`{}` holds the character {}, which is special to a shell",
                place.key(),
                quoted(&found.to_string())
            );
            Some(
                place
                    .finding(Severity::Warning, message)
                    .hint("this program takes it literally, but scripts that read this file may not"),
            )
        })
        .collect()
}

/// Proxmox VE makes no snapshots of, and no clones from, a container with a bind mount (pve-container 6.1.10).
fn bind_mounts(subject: &Subject<'_, '_>, subjects: &Subjects<'_, '_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let container = subject.container;
    if container.lifecycle_snapshots && !container.mounts.is_empty() {
        findings.push(
            subject
                .place("enable_lifecycle_snapshots")
                .finding(Severity::Warning, "Proxmox VE cannot snapshot a container with `mount_points`")
                .hint("the snapshot `pre-configured` fails when host directories are mounted"),
        );
    }
    let source = clone_sources(subjects, container.id).into_iter().next();
    if let Some(source) = source.filter(|source| !source.container.mounts.is_empty()) {
        let message =
            format!("Proxmox VE cannot clone a container with `mount_points`, which {} has", source.container.id);
        findings.push(subject.place("clone_from_ctid").finding(Severity::Warning, message));
    }
    findings
}
