//! `lint`: everything wrong or suspicious in the two configuration files.

use phoenix_nvidia::config::{Configuration, Container, Finding, HostAnswers, Severity};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::{Kind, Result};
use phoenix_nvidia::fleet::host_limits;
use phoenix_nvidia::hypervisor::Hypervisor;

use super::arguments::{Global, Output};
use super::session::Session;
use super::{Ended, session, terminal};

/// On a host, what that host knows besides: anywhere else the files speak for themselves.
fn findings(global: &Global) -> Result<Vec<Finding>> {
    // Files that nothing can be done with are what it has to report.
    let Ok(session) = Session::new(global, true) else {
        return Configuration::lint(&session::layout(global), None, None);
    };
    let hypervisor = session.hypervisor().ok();
    let hypervisor = hypervisor.as_deref();
    let existing = hypervisor.and_then(|it| it.ids().ok());
    let exists = |id| Some(existing.as_ref()?.contains(&id) || is_elsewhere(hypervisor?, id)?);
    let check_template =
        |container: &Container| hypervisor.map_or(Ok(()), |hypervisor| hypervisor.check_template(container));
    let (host, store) = (session.host(), session.store());
    let has_module = host.loaded.is_some();
    let limits = |container: &Container| match has_module {
        true => host_limits(container, host, &store),
        false => Vec::new(),
    };
    let answers = HostAnswers { exists: &exists, check_template: &check_template, limits: &limits };
    if !has_module {
        return Configuration::lint(&session.layout, None, Some(answers));
    }
    session::on_host(host, &session.cancel, |host| Configuration::lint(&session.layout, Some(host), Some(answers)))
}

fn is_elsewhere(hypervisor: &dyn Hypervisor, id: ContainerId) -> Option<bool> {
    hypervisor.elsewhere(id).ok().map(|node| node.is_some())
}

pub(crate) fn run(global: &Global) -> Result<Ended> {
    let findings = findings(global)?;
    if global.output == Output::Json {
        terminal::json(&findings)?;
    } else {
        let text: String = findings.iter().map(|finding| finding.render_styled() + "\n\n").collect();
        let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
        let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        terminal::data(&format!("{text}{errors}, {warnings}, {}\n", counted(notes, "note")))?;
    }
    let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if wrong { Ended::With(Kind::Configuration.exit_code()) } else { Ended::Well })
}
