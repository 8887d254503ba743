//! `plan`: what `apply` would do, shown and saved; changes nothing.

use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::fleet::Fleet;
use phoenix_nvidia::fleet::plan::plan_file::SavedPlan;
use phoenix_nvidia::fleet::plan::{ContainerPlan, Plan, Problem};
use phoenix_nvidia::sys::atomic;

use super::session::Session;
use super::{Ended, apply, choices, terminal};

// The documented exit code for "differences exist".
const DIFFERENCES: u8 = 4;

pub(crate) fn run(session: &mut Session<'_>, options: &choices::Plan) -> Result<Ended> {
    options.save.as_deref().map_or(Ok(()), atomic::require_directory)?;
    let purpose = apply::purpose(session, &options.containers, &options.update)?;
    session.jobs = options.update.jobs.unwrap_or(session.jobs);
    let plan = show(session, |fleet| fleet.plan_update(&purpose.containers, purpose.rules))?;
    let ended = ended(&plan, options.exit_code);
    if let Some(file) = &options.save {
        let saved = SavedPlan::new(purpose, plan);
        let json = serde_json::to_vec_pretty(&saved)
            .map_err(|error| Error::new(Kind::Bug, "a plan could not be written as JSON").caused_by(error))?;
        atomic::write_named(file, &json, 0o644)?;
    }
    Ok(ended)
}

fn ended(plan: &Plan, exit_code: bool) -> Ended {
    if let Err(overall) = plan.overall() {
        return Ended::With(overall.exit_code());
    }
    let is_in_sync = !plan.changes_anything() && !plan.containers.iter().any(|plan| plan.waits_for_restart);
    if exit_code && !is_in_sync { Ended::With(DIFFERENCES) } else { Ended::Well }
}

/// Shows a plan.
pub(crate) fn show(session: &Session<'_>, make: impl FnOnce(&Fleet<'_>) -> Result<Plan>) -> Result<Plan> {
    let plan = session.with_fleet_as_root(make)?;
    if session.wants_json() {
        terminal::json(&plan)?;
    } else {
        let text: String = plan.containers.iter().map(as_text).collect();
        terminal::data(&text)?;
    }
    Ok(plan)
}

fn as_text(plan: &ContainerPlan) -> String {
    let because = if plan.dependency { " (dependency)" } else { "" };
    // Of one whose entry cannot be read, nobody knows the name.
    let name = if plan.name.is_empty() { String::new() } else { format!(" {}", plan.name) };
    let mut text = format!("{}{name}{because}:", plan.id);
    match &plan.problem {
        Some(problem) => text.push_str(&format!(" cannot be planned: {}", problem.message)),
        None if !plan.changes_anything() && plan.waits_for_restart => text.push_str(" a restart is pending"),
        None if !plan.changes_anything() => text.push_str(" nothing to do"),
        None => {}
    }
    text.push('\n');
    text.extend(plan.problem.iter().map(below_message));
    for step in &plan.steps {
        text.push_str(&format!("  {}\n", step.phrase()));
        for detail in step.details() {
            text.push_str(&format!("      {detail}\n"));
        }
    }
    for note in &plan.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}

/// What belongs to a failure beside its message.
fn below_message(problem: &Problem) -> String {
    let causes = problem.causes.iter().map(|cause| format!("  caused by: {cause}\n"));
    let output = problem.output.iter().flat_map(|output| output.lines()).map(|line| format!("  | {line}\n"));
    let hint = problem.hint.iter().map(|hint| format!("  hint: {hint}\n"));
    causes.chain(output).chain(hint).map(|line| terminal::printable(&line)).collect()
}
