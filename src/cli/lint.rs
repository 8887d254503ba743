//! `lint`: everything wrong or doubtful in the two configuration files.

use phoenix_nvidia::config::{Configuration, Severity};
use phoenix_nvidia::error::{Kind, Result};

use super::arguments::{Global, Output};
use super::{Ended, context, terminal};

pub(crate) fn run(global: &Global) -> Result<Ended> {
    let findings = Configuration::lint(&context::layout(global))?;
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
