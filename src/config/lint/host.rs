//! What a host knows of the containers that the files describe, and what of it contradicts them.

use super::super::container::Container;
use super::super::finding::{Finding, Severity};
use super::Subject;
use crate::container_id::ContainerId;
use crate::error::Result;

/// Whom a check may ask about this host. What cannot be found out is not known.
#[derive(Clone, Copy)]
pub struct HostAnswers<'a> {
    /// Whether a container exists, on this host or elsewhere in its cluster.
    pub exists: &'a dyn Fn(ContainerId) -> Option<bool>,
    /// That the template which a container would be created from is there.
    pub check_template: &'a dyn Fn(&Container) -> Result<()>,
    /// What the host cannot give to a container's GPUs, one sentence each.
    pub limits: &'a dyn Fn(&Container) -> Vec<String>,
}

/// What this host cannot give to the container.
pub(super) fn doubts(subject: &Subject<'_, '_>, host: Option<HostAnswers<'_>>) -> Vec<Finding> {
    let Some(host) = host else { return Vec::new() };
    let limit = |sentence| {
        let finding = subject.place("gpu_assignment").finding(Severity::Warning, sentence);
        finding.hint("found on this host; `phoenix-nvidia host show` shows its GPUs and its driver")
    };
    let limits = (host.limits)(subject.container).into_iter().map(limit);
    limits.chain(missing_template(subject, host)).collect()
}

/// One that exists needs its template no more.
fn missing_template(subject: &Subject<'_, '_>, host: HostAnswers<'_>) -> Option<Finding> {
    let container = subject.container;
    let needs_it = container.template.is_some() && container.clone_from.is_none();
    if !needs_it || (host.exists)(container.id) != Some(false) {
        return None;
    }
    let error = (host.check_template)(container).err()?;
    let finding = subject.place("template").finding(Severity::Warning, error.message());
    Some(match error.hint_text() {
        Some(hint) => finding.hint(hint),
        None => finding,
    })
}
