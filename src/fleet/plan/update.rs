//! Planning for containers that exist: brought in sync, neither started nor restarted without being asked. Pure.

use crate::config::{Container, WantedDriver};
use crate::container_id::ContainerId;
use crate::hypervisor::State;

use crate::fleet::plan::observation::Observation;
use crate::fleet::plan::permissions::Permissions;
use crate::fleet::plan::rollback_point::{RollbackPoint, SNAPSHOT};
use crate::fleet::plan::step::Step;
use crate::fleet::plan::{ContainerPlan, driver_steps, notes, plan_container};

/// The plan that brings one container in sync.
pub fn plan_update(
    container: &Container,
    observation: &Observation,
    rules: Permissions,
    dependency: bool,
) -> ContainerPlan {
    let mut plan = ContainerPlan {
        id: container.id,
        name: container.name.clone(),
        dependency,
        steps: Vec::new(),
        notes: notes(container, observation),
        problem: None,
        waits_for_restart: false,
    };
    match observation.state {
        State::Absent if rules.create => return plan_container(container, observation, dependency),
        State::Absent => {
            plan.notes = vec![absent(container.id)];
        }
        State::Frozen => {
            plan.notes = vec!["it is frozen, so it is skipped".to_owned()];
        }
        _ if matches!(observation.rollback_point, RollbackPoint::Left { going_back: true, .. }) => {
            plan.steps = vec![Step::FinishRollback { name: SNAPSHOT.to_owned() }];
            plan.notes.push("further steps are planned after that".to_owned());
        }
        State::Running { .. } => {
            plan.steps.extend(configuring(observation));
            if observation.drift.restart && rules.restart {
                plan.steps.push(Step::Restart);
            } else if observation.drift.restart {
                plan.waits_for_restart = true;
                let note = "its settings and device nodes take effect at its next start; `--restart` restarts it now";
                plan.notes.push(note.to_owned());
            }
            plan.steps.extend(container.driver.iter().flat_map(|driver| driver_steps(driver, observation, false)));
            secure(&mut plan, observation, rules);
        }
        State::Stopped => {
            plan.steps.extend(configuring(observation));
            plan.steps.extend(container.driver.iter().flat_map(|driver| steps_while_stopped(driver, observation)));
            secure(&mut plan, observation, rules);
        }
    }
    plan
}

/// What is said of a container that nobody has asked to create.
pub(crate) fn absent(id: ContainerId) -> String {
    format!("it does not exist; `phoenix-nvidia create {id}` creates it")
}

/// Puts a snapshot before what changes the driver and its removal at the end, where that is asked for and can be had;
/// the snapshot of an interrupted run goes with the first run that comes to its end.
fn secure(plan: &mut ContainerPlan, observation: &Observation, rules: Permissions) {
    let installs = plan.steps.iter().any(|step| matches!(step, Step::InstallDriver { .. }));
    let left_at = match &observation.rollback_point {
        RollbackPoint::Left { taken_at, .. } => Some(taken_at.clone()),
        RollbackPoint::Possible if rules.snapshot && installs => None,
        RollbackPoint::Impossible(why) if rules.snapshot && installs => {
            plan.notes.push(format!("no snapshot: {why}; if the new driver fails, the previous driver is restored"));
            return;
        }
        RollbackPoint::Possible | RollbackPoint::Impossible(_) | RollbackPoint::Foreign => return,
    };
    let name = SNAPSHOT.to_owned();
    if rules.snapshot {
        let touches = |step: &Step| matches!(step, Step::Start | Step::InstallDriver { .. } | Step::Verify { .. });
        let first = plan.steps.iter().position(touches).unwrap_or(plan.steps.len());
        plan.steps.insert(first, Step::SecureBySnapshot { name: name.clone(), left_at });
    } else if let Some(left_at) = left_at {
        plan.notes.push(format!("an interrupted run left the snapshot `{name}` of {left_at}"));
    }
    plan.steps.push(Step::RemoveSnapshot { name });
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
    if driver.needs_a_running_container() {
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
    use crate::config::{Configuration, Layout, Method};
    use crate::driver::placement::Profile;
    use crate::fleet::observe::passthrough::Passthrough;
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
            moved_gpus: Vec::new(),
            dropped_gpus: Vec::new(),
            unseen: false,
            growth: None,
            specification: None,
            packages: Vec::new(),
            leftovers: Vec::new(),
            snapshots: None,
            rollback_point: RollbackPoint::Possible,
            left_out: Vec::new(),
            features_done: BTreeSet::new(),
            feature_scripts: Vec::new(),
        }
    }

    fn old() -> Presence {
        Presence::Complete {
            version: "570.133.20".parse().unwrap(),
            method: Some(Method::Native),
            profile: Profile::default(),
        }
    }

    fn phrases(method: &str, state: State, drift: Drift, rules: Permissions) -> Vec<String> {
        let plan = plan_update(&container(method), &observed(state, old(), drift), rules, false);
        plan.steps.iter().map(Step::phrase).collect()
    }

    const RUNNING: State = State::Running { init: 1 };

    #[test]
    fn a_running_container_gets_its_driver_and_no_restart_that_nobody_asked_for() {
        let drift = || Drift { changes: vec!["+ a line".to_owned()], restart: true };
        let install = "install driver 580.76.05 by method `native`";
        let verify = "verify driver 580.76.05";
        assert_eq!(phrases("native", RUNNING, drift(), Permissions::default()), ["configure", install, verify]);
        let restart = Permissions { restart: true, ..Permissions::default() };
        assert_eq!(phrases("native", RUNNING, drift(), restart), ["configure", "restart", install, verify]);
    }

    #[test]
    fn a_stopped_container_is_started_for_nvidias_installer_alone_and_stopped_again() {
        let stopped = |method| phrases(method, State::Stopped, Drift::default(), Permissions::default());
        let (install, verify) = ("install driver 580.76.05 by method `native`", "verify driver 580.76.05");
        assert_eq!(stopped("native"), [install, verify]);
        assert_eq!(
            stopped("installer"),
            ["start", "install driver 580.76.05 by method `installer`", "verify driver 580.76.05", "stop again"]
        );
    }

    #[test]
    fn what_it_will_take_is_reported_before() {
        let observation = observed(RUNNING, old(), Drift::default());
        let plan = plan_update(&container("native"), &observation, Permissions::default(), false);
        assert_eq!(plan.steps[0].details(), ["replaces 570.133.20; it takes 633 MB"]);
    }

    #[test]
    fn what_an_interrupted_run_has_left_goes_though_the_driver_is_there() {
        let right = Presence::Complete { version: "580.76.05".parse().unwrap(), method: None, profile: Profile::Full };
        let paths = vec!["/var/tmp/phoenix-nvidia-run-0123456789abcdef".to_owned()];
        for state in [RUNNING, State::Stopped] {
            let mut observation = observed(state, right.clone(), Drift::default());
            observation.leftovers.clone_from(&paths);
            let plan = plan_update(&container("runfile"), &observation, Permissions::default(), false);
            assert_eq!(plan.steps[0], Step::ClearAway { paths: paths.clone() });
        }
    }

    #[test]
    fn a_snapshot_is_taken_as_late_and_removed_as_late_as_can_be() {
        let snapshot = Permissions { snapshot: true, ..Permissions::default() };
        let (take, remove) =
            ("take the snapshot `phoenix-nvidia-apply` for a rollback", "remove the snapshot `phoenix-nvidia-apply`");
        let drift = Drift { changes: vec!["+ a line".to_owned()], restart: false };
        let (install, verify) = ("install driver 580.76.05 by method `native`", "verify driver 580.76.05");
        assert_eq!(phrases("native", RUNNING, drift, snapshot), ["configure", take, install, verify, remove]);
        let install = "install driver 580.76.05 by method `installer`";
        assert_eq!(
            phrases("installer", State::Stopped, Drift::default(), snapshot),
            [take, "start", install, verify, "stop again", remove]
        );
    }

    /// The steps of a running container, and what its plan says last.
    fn with_point(rollback_point: RollbackPoint, presence: Presence, snapshot: bool) -> (Vec<String>, String) {
        let observation = Observation { rollback_point, ..observed(RUNNING, presence, Drift::default()) };
        let rules = Permissions { snapshot, ..Permissions::default() };
        let plan = plan_update(&container("native"), &observation, rules, false);
        (plan.steps.iter().map(Step::phrase).collect(), plan.notes.last().cloned().unwrap_or_default())
    }

    #[test]
    fn where_none_can_be_taken_that_is_reported_and_the_rest_goes_on() {
        let impossible = RollbackPoint::Impossible("`mp0` is in the way".to_owned());
        let (steps, note) = with_point(impossible.clone(), old(), true);
        assert_eq!(steps, ["install driver 580.76.05 by method `native`", "verify driver 580.76.05"]);
        assert_eq!(note, "no snapshot: `mp0` is in the way; if the new driver fails, the previous driver is restored");
        assert_eq!(with_point(impossible, old(), false).1, "", "nobody has asked for one");
    }

    #[test]
    fn a_snapshot_that_was_left_is_used_and_goes_with_the_next_run() {
        let left = |going_back| RollbackPoint::Left { taken_at: "2026-11-25T04:00:00Z".to_owned(), going_back };
        let (verify, remove) = ("verify driver 580.76.05", "remove the snapshot `phoenix-nvidia-apply`");
        let right = || Presence::Complete {
            version: "580.76.05".parse().unwrap(),
            method: Some(Method::Native),
            profile: Profile::default(),
        };
        let go_on = "continue with the snapshot `phoenix-nvidia-apply`";
        assert_eq!(with_point(left(false), right(), true).0, [go_on, verify, remove]);
        let (steps, note) = with_point(left(false), right(), false);
        assert_eq!(steps, [verify, remove]);
        assert!(note.contains("2026-11-25T04:00:00Z"), "{note}");
        assert_eq!(
            with_point(left(true), old(), false).0,
            ["finish the rollback to the snapshot `phoenix-nvidia-apply`"]
        );
    }

    #[test]
    fn what_is_in_sync_is_left_alone() {
        let driver = container("native");
        let right = Presence::Complete {
            version: "580.76.05".parse().unwrap(),
            method: Some(Method::Native),
            profile: Profile::default(),
        };
        let plan =
            plan_update(&driver, &observed(State::Stopped, right, Drift::default()), Permissions::default(), false);
        assert_eq!(plan.steps, []);
    }

    #[test]
    fn a_container_that_is_absent_or_frozen_is_reported_and_not_touched() {
        for (state, word) in [(State::Absent, "create 901"), (State::Frozen, "frozen")] {
            let observation = observed(state, old(), Drift::default());
            let plan = plan_update(&container("native"), &observation, Permissions::default(), false);
            assert_eq!(plan.steps, []);
            assert!(plan.notes[0].contains(word), "{:?}", plan.notes);
        }
    }

    #[test]
    fn an_absent_container_is_created_where_that_is_allowed() {
        let create = Permissions { create: true, ..Permissions::default() };
        let steps = phrases("native", State::Absent, Drift::default(), create);
        assert_eq!(steps[0], "create from `t.tar.zst`");
    }
}
