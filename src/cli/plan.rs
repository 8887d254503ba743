//! `plan`: the steps that `create` would do; changes nothing.

use phoenix_nvidia::error::Result;
use phoenix_nvidia::fleet::Fleet;
use phoenix_nvidia::fleet::plan::{ContainerPlan, Plan};

use super::context::Context;
use super::{Ended, arguments, terminal};

// The documented exit code for "differences exist".
const DIFFERENCES: u8 = 4;

pub(crate) fn run(context: &Context<'_>, options: &arguments::Plan) -> Result<Ended> {
    let plan = show(context, |fleet| fleet.plan(&options.containers))?;
    Ok(if options.exit_code && plan.changes_anything() { Ended::With(DIFFERENCES) } else { Ended::Well })
}

/// Shows a plan.
pub(crate) fn show(context: &Context<'_>, make: impl FnOnce(&Fleet<'_>) -> Result<Plan>) -> Result<Plan> {
    let plan = context.with_fleet_as_root(make)?;
    if context.wants_json() {
        terminal::json(&plan)?;
    } else {
        let text: String = plan.containers.iter().map(as_text).collect();
        terminal::data(&text)?;
    }
    Ok(plan)
}

fn as_text(plan: &ContainerPlan) -> String {
    let because = if plan.dependency { " (needed by another)" } else { "" };
    let mut text = format!("{} {}{because}:", plan.id, plan.name);
    if !plan.changes_anything() {
        text.push_str(" nothing to do");
    }
    text.push('\n');
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
