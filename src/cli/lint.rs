//! `lint`: everything wrong or suspicious in the two configuration files.

use phoenix_nvidia::config::{Configuration, Container, Context, Finding, Severity};
use phoenix_nvidia::error::{Kind, Result};
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::fleet::host_limits;
use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::store::Store;

use super::arguments::{Global, Output};
use super::{Ended, session, terminal};

/// On a host with NVIDIA's module, what that host knows besides: anywhere else the files speak for themselves.
fn findings(global: &Global) -> Result<Vec<Finding>> {
    let layout = session::layout(global);
    let Some(host) = NvidiaHost::read().ok().filter(|host| host.loaded.is_some()) else {
        return Configuration::lint(&layout, None, None);
    };
    let cancel = session::interruptible()?;
    let store = Store::new(Context::new(&layout, &NoListener, &cancel));
    let limits = |container: &Container| host_limits(container, &host, &store);
    session::on_host(&host, &cancel, |host| Configuration::lint(&layout, Some(host), Some(&limits)))
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
