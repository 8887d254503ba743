//! Planning for containers that exist: brought in step, neither started nor restarted without being asked. Pure.

use serde::{Deserialize, Serialize};

use crate::config::{Container, WantedDriver};
use crate::hypervisor::State;

use super::observe::Observation;
use super::plan::{ContainerPlan, driver_steps, notes, plan_container};
use super::step::Step;

/// What may be done to containers beside bringing their driver in step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// A container that does not exist is created, with what it depends on.
    pub create: bool,
    /// A running container whose settings or device nodes come in with a restart alone is restarted.
    pub restart: bool,
}

/// The plan that brings one container in step.
pub fn plan_update(container: &Container, observation: &Observation, rules: Rules, dependency: bool) -> ContainerPlan {
    let mut plan = ContainerPlan {
        id: container.id,
        name: container.name.clone(),
        dependency,
        steps: Vec::new(),
        notes: notes(container, observation),
        problem: None,
    };
    let id = container.id;
    match observation.state {
        State::Absent if rules.create => return plan_container(container, observation, dependency),
        State::Absent => {
            plan.notes = vec![format!("it does not exist; `phoenix-nvidia create {id}` makes it")];
        }
        State::Frozen => {
            plan.notes = vec!["it is frozen, so nothing is done until it is thawed".to_owned()];
        }
        State::Running { .. } => {
            plan.steps.extend(configuring(observation));
            if observation.drift.restart && rules.restart {
                plan.steps.push(Step::Restart);
            } else if observation.drift.restart {
                plan.notes.push("its settings come in with its next start; `--restart` restarts it now".to_owned());
            }
            plan.steps.extend(container.driver.iter().flat_map(|driver| driver_steps(driver, observation, false)));
        }
        State::Stopped => {
            plan.steps.extend(configuring(observation));
            plan.steps.extend(container.driver.iter().flat_map(|driver| steps_while_stopped(driver, observation)));
        }
    }
    plan
}

fn configuring(observation: &Observation) -> impl Iterator<Item = Step> {
    let changes = &observation.drift.changes;
    let configure = (!changes.is_empty()).then(|| Step::Configure { changes: changes.clone() });
    configure.into_iter().chain(observation.growth.map(|gib| Step::Grow { gib }))
}

/// NVIDIA's installer needs a container that runs; what we place ourselves does not.
fn steps_while_stopped(driver: &WantedDriver, observation: &Observation) -> Vec<Step> {
    let mut steps = driver_steps(driver, observation, false);
    let Some(install) = steps.iter().position(|step| matches!(step, Step::InstallDriver { .. })) else {
        // A container that does not run has no answer to a verification.
        steps.retain(|step| !matches!(step, Step::Verify { .. }));
        return steps;
    };
    if driver.way().needs_a_running_container() {
        steps.insert(install, Step::Start);
        steps.push(Step::StopAgain);
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cache::Presence as Cached;
    use crate::config::{Configuration, Layout, Way};
    use crate::driver::placement::Profile;
    use crate::fleet::passthrough::Passthrough;
    use crate::hypervisor::Drift;
    use crate::install::presence::Presence;

    fn container(method: &str) -> Container {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        fs_err::create_dir_all(directory.path().join("etc")).unwrap();
        let text = serde_json::json!({
            "nvidia_driver_version": "580.76.05",
            "nvidia_install_method": method,
            "lxc_configs": { "901": {
                "name": "gpu", "template": "t.tar.zst", "unprivileged": true, "features": ["nvidia"],
                "gpu_assignment": "0"
            } }
        });
        fs_err::write(layout.containers_file(), text.to_string()).unwrap();
        Configuration::load(&layout).unwrap().container("901".parse().unwrap()).unwrap().clone()
    }

    fn observed(state: State, presence: Presence, drift: Drift) -> Observation {
        Observation {
            state,
            passthrough: Passthrough::default(),
            drift,
            presence,
            cached: Some(Cached::Absent),
            extracted: true,
            needed_bytes: Some(632_000_001),
            moved_cards: Vec::new(),
            unseen: false,
            growth: None,
            leftovers: Vec::new(),
            snapshots: None,
            left_out: Vec::new(),
            features_done: BTreeSet::new(),
            feature_scripts: Vec::new(),
        }
    }

    fn old() -> Presence {
        Presence::Complete {
            version: "570.133.20".parse().unwrap(),
            way: Some(Way::Native),
            profile: Profile::default(),
        }
    }

    fn phrases(method: &str, state: State, drift: Drift, rules: Rules) -> Vec<String> {
        let plan = plan_update(&container(method), &observed(state, old(), drift), rules, false);
        plan.steps.iter().map(Step::phrase).collect()
    }

    const RUNNING: State = State::Running { init: 1 };

    #[test]
    fn a_running_container_gets_its_driver_and_no_restart_that_nobody_asked_for() {
        let drift = || Drift { changes: vec!["+ a line".to_owned()], restart: true };
        let install = "install driver 580.76.05 by way `native`";
        let verify = "verify driver 580.76.05";
        assert_eq!(phrases("native", RUNNING, drift(), Rules::default()), ["configure", install, verify]);
        let restart = Rules { restart: true, ..Rules::default() };
        assert_eq!(phrases("native", RUNNING, drift(), restart), ["configure", "restart", install, verify]);
    }

    #[test]
    fn a_stopped_container_is_started_for_nvidias_installer_alone_and_stopped_again() {
        let stopped = |method| phrases(method, State::Stopped, Drift::default(), Rules::default());
        let (install, verify) = ("install driver 580.76.05 by way `native`", "verify driver 580.76.05");
        assert_eq!(stopped("native"), [install, verify]);
        assert_eq!(
            stopped("installer"),
            ["start", "install driver 580.76.05 by way `installer`", "verify driver 580.76.05", "stop again"]
        );
    }

    #[test]
    fn what_it_will_take_is_told_before() {
        let observation = observed(RUNNING, old(), Drift::default());
        let plan = plan_update(&container("native"), &observation, Rules::default(), false);
        assert_eq!(plan.steps[0].details(), ["replaces 570.133.20; it takes 633 MB"]);
    }

    #[test]
    fn what_an_interrupted_run_has_left_goes_though_the_driver_is_there() {
        let right = Presence::Complete { version: "580.76.05".parse().unwrap(), way: None, profile: Profile::Full };
        let paths = vec!["/var/tmp/phoenix-nvidia-run-0123456789abcdef".to_owned()];
        for state in [RUNNING, State::Stopped] {
            let mut observation = observed(state, right.clone(), Drift::default());
            observation.leftovers.clone_from(&paths);
            let plan = plan_update(&container("runfile"), &observation, Rules::default(), false);
            assert_eq!(plan.steps[0], Step::ClearAway { paths: paths.clone() });
        }
    }

    #[test]
    fn what_is_in_step_is_left_alone() {
        let driver = container("native");
        let right = Presence::Complete {
            version: "580.76.05".parse().unwrap(),
            way: Some(Way::Native),
            profile: Profile::default(),
        };
        let plan = plan_update(&driver, &observed(State::Stopped, right, Drift::default()), Rules::default(), false);
        assert_eq!(plan.steps, []);
    }

    #[test]
    fn a_container_that_is_absent_or_frozen_is_told_and_not_touched() {
        for (state, word) in [(State::Absent, "create 901"), (State::Frozen, "frozen")] {
            let observation = observed(state, old(), Drift::default());
            let plan = plan_update(&container("native"), &observation, Rules::default(), false);
            assert_eq!(plan.steps, []);
            assert!(plan.notes[0].contains(word), "{:?}", plan.notes);
        }
    }

    #[test]
    fn an_absent_container_is_created_where_that_is_allowed() {
        let create = Rules { create: true, ..Rules::default() };
        let steps = phrases("native", State::Absent, Drift::default(), create);
        assert_eq!(steps[0], "create from `t.tar.zst`");
    }
}
