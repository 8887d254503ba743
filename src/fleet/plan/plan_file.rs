//! A plan in a file: looked at, approved, and carried out only while the world is what it was.

use serde::{Deserialize, Serialize};

use crate::config::Method;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::placement::Profile;
use crate::error::{Error, Kind, Result};

use crate::fleet::plan::permissions::Permissions;
use crate::fleet::plan::step::Step;
use crate::fleet::plan::{ContainerPlan, Plan};

// 1: `method` was called `way`.
const FORMAT: u32 = 2;

/// What a plan was made for; carrying it out makes it again for the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// The containers that were asked for.
    pub containers: Vec<ContainerId>,
    /// What may be done to them.
    pub rules: Permissions,
    /// The host's driver that they follow; absent where the configuration decides.
    pub follow: Option<DriverVersion>,
    /// The method that the command line has chosen.
    #[serde(default, alias = "way")]
    pub method: Option<Method>,
    /// The profile that the command line has chosen.
    pub profile: Option<Profile>,
    /// Packages in the containers that have installed a driver are purged.
    #[serde(default)]
    pub replace_packages: bool,
}

/// A plan in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// The number of this format.
    pub format: u32,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// Which release of this program made it.
    pub written_by: String,
    /// What it was made for.
    pub purpose: Purpose,
    /// What is to do.
    pub containers: Vec<ContainerPlan>,
}

impl SavedPlan {
    /// A plan of now.
    pub fn new(purpose: Purpose, plan: Plan) -> Self {
        Self {
            format: FORMAT,
            made_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            written_by: concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION")).to_owned(),
            purpose,
            containers: plan.containers,
        }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// It is none, or one of a later release.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let remake = "make a new one with `phoenix-nvidia plan … --save FILE`";
        let plan: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::new(Kind::Usage, "this is not a saved plan").caused_by(error).hint(remake))?;
        if plan.format > FORMAT {
            let message = format!("the plan was saved by {}, which is newer than this release", plan.written_by);
            return Err(Error::new(Kind::Usage, message).hint(remake));
        }
        Ok(plan)
    }

    /// Whether the same is to do now.
    ///
    /// # Errors
    /// The world has changed: each container for which something else is to do, with what.
    pub fn require_same(&self, now: &Plan) -> Result<()> {
        let steps = |plans: &[ContainerPlan], id| {
            plans.iter().find(|plan| plan.id == id).map(|plan| plan.steps.clone()).unwrap_or_default()
        };
        let mut ids: Vec<ContainerId> = self.containers.iter().chain(&now.containers).map(|plan| plan.id).collect();
        ids.sort();
        ids.dedup();
        let changed: Vec<String> = ids
            .into_iter()
            .filter_map(|id| difference(id, &steps(&self.containers, id), &steps(&now.containers, id)))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::Configuration, format!("the plan of {} is out of date", self.made_at))
            .output(changed.join("\n"))
            .hint("check what has changed, then make a new plan with `phoenix-nvidia plan … --save FILE`"))
    }
}

fn difference(id: ContainerId, before: &[Step], now: &[Step]) -> Option<String> {
    if before == now {
        return None;
    }
    let reported = |steps: &[Step]| {
        let phrases = steps.iter().map(|step| {
            let details = step.details();
            if details.is_empty() { step.phrase() } else { format!("{} ({})", step.phrase(), details.join("; ")) }
        });
        let phrases = phrases.collect::<Vec<_>>().join(", ");
        if phrases.is_empty() { "nothing".to_owned() } else { phrases }
    };
    Some(format!("container {id}: planned {}; now needed {}", reported(before), reported(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: Vec<Step>) -> Plan {
        let id = "901".parse().unwrap();
        let name = "gpu".to_owned();
        Plan {
            containers: vec![ContainerPlan {
                id,
                name,
                dependency: false,
                steps,
                notes: Vec::new(),
                problem: None,
                waits_for_restart: false,
            }],
        }
    }

    fn fetch() -> Step {
        Step::FetchRunFile { version: "580.76.05".parse().unwrap() }
    }

    #[test]
    fn a_plan_is_read_back_as_it_was_saved() {
        let saved = SavedPlan::new(Purpose::default(), plan(vec![Step::Restart, fetch()]));
        let json = serde_json::to_vec(&saved).unwrap();
        assert_eq!(SavedPlan::parse(&json).unwrap(), saved);
    }

    #[test]
    fn what_is_no_plan_or_a_later_one_is_refused() {
        assert_eq!(SavedPlan::parse(b"{}").unwrap_err().kind(), Kind::Usage);
        let saved = SavedPlan { format: 3, ..SavedPlan::new(Purpose::default(), plan(Vec::new())) };
        assert!(SavedPlan::parse(&serde_json::to_vec(&saved).unwrap()).is_err());
    }

    #[test]
    fn a_world_that_has_changed_is_reported_with_both_plans() {
        let saved = SavedPlan::new(Purpose::default(), plan(vec![fetch()]));
        saved.require_same(&plan(vec![fetch()])).unwrap();
        let error = saved.require_same(&plan(Vec::new())).unwrap_err();
        let reported = "container 901: planned fetch run file 580.76.05; now needed nothing";
        assert_eq!(error.output_text(), Some(reported));
    }
}
