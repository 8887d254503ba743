//! The doctor's two questions: what is wrong with the host, what is wrong with a container.

use super::container_state::{ContainerState, container_state};
use super::{
    Finding, HostState, Rule, container_nodes, docker, engines, files, host_nodes, ids, kernel, root_files, units,
    versions,
};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fleet::Fleet;

/// Everything that is wrong or suspicious on a host, by what was observed.
pub fn examine_host(state: &HostState) -> Vec<Finding> {
    let mut findings = kernel::examine(&state.kernel);
    findings.extend(host_nodes::examine(&state.nodes));
    findings.extend(units::examine(&state.units));
    findings.extend(files::examine(&state.files));
    findings
}

impl Finding {
    /// A failure of an examination as a finding: one of the configuration, or of the looking itself.
    pub fn of_error(error: &Error, container: Option<ContainerId>) -> Self {
        let rule = if error.kind() == Kind::Configuration { Rule::Configuration } else { Rule::NotExamined };
        let parts: Vec<String> = std::iter::once(error.message().to_owned()).chain(error.causes()).collect();
        let remedy = error.hint_text().unwrap_or("fix the cause, then run the same command again");
        Self { container, ..Self::new(rule, parts.join(": "), remedy) }
    }
}

/// Everything that is wrong or suspicious in a container. What keeps it from being looked at is a finding, too.
///
/// # Errors
/// [`Kind::Interrupted`] alone.
pub fn examine(fleet: &Fleet<'_>, id: ContainerId) -> Result<Vec<Finding>> {
    fleet.context.cancel.check()?;
    let observed = fleet.configuration.container(id).and_then(|container| container_state(fleet, container));
    // What was interrupted is half an answer.
    fleet.context.cancel.check()?;
    let mut findings = match observed {
        Err(error) => return Ok(vec![Finding::of_error(&error, Some(id))]),
        Ok(None) => vec![absent(id).about(id)],
        Ok(Some(state)) => examine_container(&state).into_iter().map(|finding| finding.about(id)).collect(),
    };
    findings.extend(half_made(fleet, id)?);
    Ok(findings)
}

/// What a run that was killed while it made the container has left, unless one is at that just now.
fn half_made(fleet: &Fleet<'_>, id: ContainerId) -> Result<Option<Finding>> {
    let left = match fleet.hypervisor.left_by_making(id) {
        Ok(left) if !fleet.is_worked_on(id)? => left,
        Ok(_) => None,
        Err(error) => return Ok(Some(Finding::of_error(&error, Some(id)))),
    };
    Ok(left.map(|left| {
        let remedy = match left.by_hand {
            Some(path) => format!("rm -r {}", path.display()),
            None => format!("phoenix-nvidia create {id}, which removes it and creates the container"),
        };
        Finding::new(Rule::LeftOver, left.what, remedy).about(id)
    }))
}

fn absent(id: ContainerId) -> Finding {
    let remedy = format!("phoenix-nvidia create {id}, or remove it from the configuration");
    Finding::new(Rule::Absent, "the container is configured, but does not exist", remedy)
}

fn examine_container(state: &ContainerState) -> Vec<Finding> {
    let mut findings = findings_of(&state.versions, versions::examine);
    findings.extend(findings_of(&state.devices, container_nodes::examine));
    findings.extend(findings_of(&state.root, root_files::examine));
    findings.extend(ids::examine(&state.ids));
    findings.extend(state.engines.iter().flat_map(|it| findings_of(it, |engines| engines::examine(state.id, engines))));
    findings.extend(state.docker.iter().flat_map(|docker| findings_of(docker, docker::examine)));
    if !state.is_running && state.gpus > 0 {
        let cause = "the container does not run, so its devices and its driver were not checked";
        findings.push(Finding::new(Rule::NotRunning, cause, &state.start));
    }
    findings
}

/// What the rules say, or why there is nothing that they could look at.
fn findings_of<State>(observed: &Result<State>, rules: impl Fn(&State) -> Vec<Finding>) -> Vec<Finding> {
    match observed {
        Ok(state) => rules(state),
        Err(error) => vec![Finding::of_error(error, None)],
    }
}
