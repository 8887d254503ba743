//! `status`: what is wanted, on the host, installed, reported and cached; changes nothing.

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::Result;
use phoenix_nvidia::fleet::status::ContainerStatus;

use super::context::Context;
use super::{Ended, report, terminal};

pub(crate) fn run(context: &Context<'_>, containers: &[ContainerId]) -> Result<Ended> {
    let all: Vec<ContainerId> = context.configuration.containers().map(|(id, _)| id).collect();
    for id in containers {
        context.configuration.container(*id)?;
    }
    let asked = if containers.is_empty() { &all } else { containers };
    let rows: Vec<ContainerStatus> =
        context.with_fleet_as_root(|fleet| Ok(asked.iter().map(|id| fleet.status(*id)).collect()))?;
    if context.wants_json() {
        terminal::json(&rows)?;
    } else {
        let header = ["CTID", "NAME", "STATE", "GPUS", "WANTED", "HOST", "INSTALLED", "REPORTED", "CACHED", "VERDICT"];
        terminal::data(&terminal::table(&header, rows.iter().map(as_row)))?;
    }
    Ok(Ended::Well)
}

fn as_row(row: &ContainerStatus) -> Vec<String> {
    let reasons: Vec<&str> = row.reason.iter().chain(&row.moved_cards).map(String::as_str).collect();
    let verdict = match reasons.is_empty() {
        true => row.verdict.to_owned(),
        false => format!("{}: {}", row.verdict, reasons.join("; ")),
    };
    let gpus = if row.gpus.is_empty() { "-".to_owned() } else { row.gpus.join(",") };
    vec![
        row.id.to_string(),
        row.name.clone(),
        row.state.to_owned(),
        gpus,
        report::or_dash(row.wanted.as_ref()),
        report::or_dash(row.host.as_ref()),
        report::or_dash(row.installed.as_ref()),
        report::reported(&row.reported),
        report::or_dash(row.cached.as_ref()),
        verdict,
    ]
}
