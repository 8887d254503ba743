//! `doctor`: what is wrong or suspicious on this host and in containers, each with its remedy; changes nothing.

use std::collections::BTreeSet;

use phoenix_nvidia::cache::{Cache, Settings};
use phoenix_nvidia::config::{Context, Layout, Severity};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::doctor::{self, Finding, HostState, Wishes, examine_host};
use phoenix_nvidia::error::{Kind, Result};
use phoenix_nvidia::event::Listener;
use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::store::Store;
use phoenix_nvidia::sys::cancel::Cancel;

use super::arguments::{Global, Output};
use super::session::{Session, interruptible};
use super::{Ended, progress, selection, session, terminal};

/// The exit code of findings that want something done.
const FINDINGS: u8 = 4;

pub(crate) fn run(global: &Global, containers: &[ContainerId], all: bool) -> Result<Ended> {
    let mut findings = Vec::new();
    match Session::new(global, true) {
        Ok(mut session) => {
            if all || !containers.is_empty() {
                session.find(containers)?;
            }
            findings.extend(host(&session.layout, &wishes(&session), &*session.listener, &session.cancel)?);
            let asked = if all { selection::known(&session, false) } else { containers.to_vec() };
            if !asked.is_empty() {
                findings.extend(inside(&session, &asked)?);
            }
        }
        // The host can be looked at without a configuration, and containers cannot be named in one.
        Err(error) if error.kind() == Kind::Configuration && containers.is_empty() => {
            findings.push(Finding::of_error(&error, None));
            let listener = progress::listener(global);
            findings.extend(host(&session::layout(global), &Wishes::default(), &*listener, &*interruptible()?)?);
        }
        Err(error) => return Err(error),
    }
    show(global, &findings)?;
    Ok(if findings.iter().any(Finding::matters) { Ended::With(FINDINGS) } else { Ended::Well })
}

fn host(layout: &Layout, wishes: &Wishes, listener: &dyn Listener, cancel: &Cancel) -> Result<Vec<Finding>> {
    let cache = Cache::new(Context::new(layout, listener, cancel), Settings::default());
    let store = Store::new(Context::new(layout, listener, cancel));
    Ok(examine_host(&HostState::observe(&NvidiaHost::read()?, layout, &cache, &store, wishes, cancel)?))
}

/// What containers ask for; what one asks for that is at fault is reported for that container.
fn wishes(session: &Session<'_>) -> Wishes {
    let containers: Vec<_> = session.configuration.containers().filter_map(|(_, container)| container.ok()).collect();
    let drivers = containers.iter().filter_map(|container| container.driver.as_ref());
    let versions: BTreeSet<_> = drivers.map(|driver| driver.version.clone()).collect();
    let with_gpus = containers.iter().filter(|container| !container.gpus.is_none());
    Wishes { versions: versions.into_iter().collect(), with_gpus: with_gpus.map(|container| container.id).collect() }
}

fn inside(session: &Session<'_>, containers: &[ContainerId]) -> Result<Vec<Finding>> {
    session.with_fleet_as_root(|fleet| {
        let mut findings = Vec::new();
        for id in containers {
            findings.extend(doctor::examine(fleet, *id)?);
        }
        Ok(findings)
    })
}

fn show(global: &Global, findings: &[Finding]) -> Result<()> {
    if global.output == Output::Json {
        return terminal::json(&findings);
    }
    let text: String = findings.iter().map(as_text).collect();
    let count = |severity: Severity, word: &str| {
        let count = findings.iter().filter(|finding| finding.severity == severity).count();
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    terminal::data(&format!("{text}{errors}, {warnings}, {}\n", count(Severity::Note, "note")))
}

fn as_text(finding: &Finding) -> String {
    let whom = finding.container.map_or_else(|| "host".to_owned(), |id| id.to_string());
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let details: String =
        finding.details.iter().map(|line| format!("    {}\n", terminal::one_printable_line(line))).collect();
    let (cause, remedy) = (terminal::one_printable_line(&finding.cause), terminal::one_printable_line(&finding.remedy));
    format!("{whom}: {severity}: {cause} [{}]\n{details}  remedy: {remedy}\n", finding.rule.name())
}
