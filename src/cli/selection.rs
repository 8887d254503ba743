//! Which containers a subcommand is about: those that are named, all, or all with GPUs.

use phoenix_nvidia::config::Container;
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::Result;
use phoenix_nvidia::hypervisor::State;

use super::choices::{Choice, Selection};
use super::session::Session;

/// What must be so of a container that is selected without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suits {
    /// The containers' file describes it; it may be absent.
    Creation,
    /// It is there, and a driver is wanted in it.
    Installation,
    /// It runs, and a driver is wanted in it.
    Verification,
    /// It is there.
    Removal,
}

impl Suits {
    fn is_met_by(self, container: &Container, state: State) -> bool {
        let is_there = state != State::Absent;
        match self {
            Self::Creation => !container.is_found,
            Self::Installation => is_there && container.driver.is_some(),
            Self::Verification => matches!(state, State::Running { .. }) && container.driver.is_some(),
            Self::Removal => is_there,
        }
    }
}

/// The containers that are selected. Where there are none, that is reported, and is no error.
pub(crate) fn resolve(session: &Session<'_>, selection: &Selection, suits: Suits) -> Result<Vec<ContainerId>> {
    if !selection.containers.is_empty() {
        return Ok(selection.containers.clone());
    }
    let candidates = known(session, selection.gpu);
    let selected = session.with_fleet_as_root(|fleet| {
        let states = fleet.hypervisor.states(&candidates);
        let is_met = |(id, state): &(ContainerId, Result<State>)| match (session.configuration.container(*id), state) {
            (Ok(container), Ok(state)) => suits.is_met_by(container, *state),
            // What is wrong with it is said where its turn comes.
            _ => true,
        };
        Ok(candidates.into_iter().zip(states).filter(is_met).map(|(id, _)| id).collect::<Vec<_>>())
    })?;
    if selected.is_empty() {
        session.none_selected(selection.gpu);
    }
    Ok(selected)
}

/// The same, where the command line also decides how the driver gets in.
pub(crate) fn resolve_with_choice(
    session: &mut Session<'_>,
    selection: &Selection,
    choice: &Choice,
    suits: Suits,
) -> Result<Vec<ContainerId>> {
    let selected = resolve(session, selection, suits)?;
    choice.apply_to(&mut session.configuration, &selected);
    Ok(selected)
}

/// All containers that are configured or were found, or those of them that have GPUs.
pub(crate) fn known(session: &Session<'_>, with_gpus: bool) -> Vec<ContainerId> {
    let containers = session.configuration.containers();
    // One that is at fault is asked for all the same, so that its error is reported.
    let chosen = containers.filter(|(_, it)| !with_gpus || it.as_ref().map_or(true, |it| !it.gpus.is_none()));
    chosen.map(|(id, _)| id).collect()
}
