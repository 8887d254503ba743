//! What was done, shown: one line a container on standard output or JSON, and the failures on standard error.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::fleet::report::{ContainerReport, overall};
use phoenix_nvidia::install::verify::{Verdict, Verification};
use serde_json::json;

use super::session::Session;
use super::{Ended, terminal};

/// Shows what was done, and the failures.
pub(crate) fn show(session: &Session<'_>, reports: &[ContainerReport]) -> Result<Ended> {
    if session.wants_json() {
        terminal::json(&reports.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        let lines: String = reports.iter().filter(|report| report.error.is_none()).map(as_line).collect();
        terminal::data(&lines)?;
    }
    failures(reports)
}

/// Shows what would be done, one line a container as `would` makes it of id, name and phrase; and the failures.
pub(crate) fn show_rehearsal(
    reports: &[ContainerReport],
    would: impl Fn(ContainerId, &str, &str) -> String,
) -> Result<Ended> {
    let line = |report: &ContainerReport| match report.done.first() {
        Some(what) => would(report.id, &report.name, what) + "\n",
        None => as_line(report),
    };
    terminal::data(&reports.iter().filter(|report| report.error.is_none()).map(line).collect::<String>())?;
    failures(reports)
}

/// Shows the failures, and says which exit code they make. That the operator interrupted is said once, whatever it has kept
/// from its end.
pub(crate) fn failures(reports: &[ContainerReport]) -> Result<Ended> {
    let errors = reports.iter().filter_map(|report| report.error.as_ref());
    let (interrupted, failed): (Vec<&Error>, Vec<&Error>) = errors.partition(|error| error.kind() == Kind::Interrupted);
    let summary = (interrupted.len() > 1).then(|| interruption(reports));
    let shown = failed.into_iter().chain(summary.as_ref().map_or(interrupted, |summary| vec![summary]));
    for (index, error) in shown.enumerate() {
        if index > 0 {
            terminal::tell("");
        }
        terminal::error(error);
    }
    Ok(match overall(reports) {
        Ok(()) => Ended::Well,
        Err(overall) => Ended::With(overall.exit_code()),
    })
}

/// What an interruption has left: which containers are done, and which are not.
fn interruption(reports: &[ContainerReport]) -> Error {
    let ids = |is_in: &dyn Fn(&ContainerReport) -> bool| {
        let ids: Vec<String> =
            reports.iter().filter(|report| is_in(report)).map(|report| report.id.to_string()).collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    };
    let is_interrupted =
        |report: &ContainerReport| report.error.as_ref().is_some_and(|error| error.kind() == Kind::Interrupted);
    let (finished, open) = (ids(&|report| report.error.is_none()), ids(&is_interrupted));
    Error::new(Kind::Interrupted, format!("interrupted; finished: {finished}; not finished: {open}"))
        .hint("run the same command again: it continues where this one ended")
}

/// One entry per GPU, said once when all agree.
pub(crate) fn reported(versions: &[DriverVersion]) -> String {
    match versions {
        [] => "-".to_owned(),
        [first, rest @ ..] if rest.iter().all(|version| version == first) => first.to_string(),
        versions => versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

/// What is there, or a dash.
pub(crate) fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn as_line(report: &ContainerReport) -> String {
    let done = if report.done.is_empty() { "nothing to do".to_owned() } else { report.done.join(", ") };
    let verdict =
        report.verification.as_ref().map(|verification| format!("; {}", verdict(verification))).unwrap_or_default();
    format!("{} {}: {done}{verdict}\n", report.id, report.name)
}

fn verdict(verification: &Verification) -> String {
    match &verification.verdict {
        Verdict::Verified => format!("driver {} verified", verification.wanted),
        Verdict::NotVerifiedLive { reason } => {
            format!("driver {} installed, not verified live: {reason}", verification.wanted)
        }
        Verdict::Wrong { reason, .. } | Verdict::GpuUnavailable { reason, .. } => reason.clone(),
    }
}

fn as_json(report: &ContainerReport) -> serde_json::Value {
    json!({
        "id": report.id,
        "name": report.name,
        "done": report.done,
        "notes": report.notes,
        "verification": report.verification,
        "error": report.error.as_ref().map(error_as_json),
    })
}

fn error_as_json(error: &Error) -> serde_json::Value {
    json!({
        "kind": error.kind().name(),
        "exit_code": error.kind().exit_code(),
        "message": error.message(),
        "causes": error.causes(),
        "output": error.output_text(),
        "hint": error.hint_text(),
    })
}

#[cfg(test)]
mod tests {
    use phoenix_nvidia::fleet::report::ContainerReport;

    use super::*;

    #[test]
    fn an_interruption_names_what_is_done_and_what_is_not() {
        let report = |id: &str, error: Option<Error>| ContainerReport {
            error,
            ..ContainerReport::empty(id.parse().unwrap(), "")
        };
        let interrupted = || Some(Error::new(Kind::Interrupted, "interrupted"));
        let reports = [report("901", None), report("902", interrupted()), report("jellyfin", interrupted())];
        assert_eq!(interruption(&reports).message(), "interrupted; finished: 901; not finished: 902, jellyfin");
    }
}
