//! Containers that wait for each other, for what is not defined, or for what starts later.

use super::super::finding::{Finding, Severity};
use super::super::order;
use super::Subjects;

/// Everything doubtful about the order of the containers.
pub(super) fn doubts(subjects: &Subjects<'_, '_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ids: Vec<_> = subjects.keys().copied().collect();
    if let Err(circle) = order::in_order(&ids, |id| subjects.get(&id).map(|subject| subject.container.predecessors()))
        && let Some(subject) = circle.0.first().and_then(|id| subjects.get(id))
    {
        let next = circle.0.get(1);
        let key = if subject.container.clone_from.as_ref() == next { "clone_from_ctid" } else { "dependencies" };
        let message = format!("circular dependency between containers: {circle}");
        findings.push(subject.place(key).finding(Severity::Error, message));
    }
    for subject in subjects.values() {
        let container = subject.container;
        if let Some(source) = container.clone_from.filter(|source| !subjects.contains_key(source)) {
            let message = format!("the clone source {source} is not defined in this file");
            findings.push(
                subject.place("clone_from_ctid").finding(Severity::Warning, message).hint("it must exist on the host"),
            );
        }
        for id in &container.external_dependencies {
            let message = format!("the dependency {id} is not defined in this file");
            findings.push(
                dependency(subject, id, Severity::Note, message).hint("a virtual machine is fine: it is ignored"),
            );
        }
        for id in &container.dependencies {
            let later = subjects.get(id).filter(|other| starts_before(container, other.container));
            if let Some(other) = later {
                let message = format!(
                    "container {} starts at boot with order {}, before {id}, which it depends on",
                    container.id,
                    container.boot_order.unwrap_or_default()
                );
                let hint = match other.container.boot_order {
                    Some(order) if other.container.start_at_boot == Some(true) => {
                        format!("{id} has `boot_order` {order}")
                    }
                    _ => format!("{id} does not start at boot"),
                };
                findings.push(dependency(subject, &id.to_string(), Severity::Warning, message).hint(hint));
            }
        }
    }
    findings
}

fn starts_before(container: &super::Container, dependency: &super::Container) -> bool {
    if container.start_at_boot != Some(true) {
        return false;
    }
    match (container.boot_order, dependency.boot_order) {
        _ if dependency.start_at_boot != Some(true) => true,
        (Some(own), Some(other)) => own < other,
        // Proxmox VE starts guests without an order after all that have one.
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn dependency(subject: &super::Subject<'_, '_>, id: &str, severity: Severity, message: String) -> Finding {
    let list = subject.lookup.container.member("dependencies");
    let element = list.and_then(|list| list.elements().find(|element| element.as_text_or_number() == Some(id)));
    match element {
        Some(element) => element.finding(severity, message),
        None => subject.place("dependencies").finding(severity, message),
    }
}
