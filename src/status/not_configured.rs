//! Rows of containers of this host that have GPUs and that the configuration does not describe.

use crate::container_id::ContainerId;
use crate::error::Result;
use crate::fleet::Fleet;
use crate::hypervisor::AsItIs;
use crate::install::presence::{self, Presence};

use super::judgement::Judgement;
use super::{ContainerStatus, Verdict};

/// How they are: what their settings and files say. Nothing is wanted of them, so nothing is wrong.
///
/// # Errors
/// The hypervisor's containers cannot be listed.
pub fn status_of_unconfigured(fleet: &Fleet<'_>) -> Result<Vec<ContainerStatus>> {
    Ok(fleet.unconfigured()?.into_iter().map(|(id, as_it_is)| row(fleet, id, as_it_is)).collect())
}

fn row(fleet: &Fleet<'_>, id: ContainerId, as_it_is: AsItIs) -> ContainerStatus {
    let mut row = ContainerStatus::empty(id, fleet.host.loaded.clone());
    row.name = as_it_is.name;
    row.gpus = as_it_is.nodes.iter().map(|path| path.display().to_string()).collect();
    let seen = fleet.hypervisor.state(id).and_then(|state| {
        row.state = state.word();
        fleet.look_into(id, |root| presence::observe(&fleet.guest(id), root))
    });
    match seen {
        Ok(presence) => {
            row.take(presence.as_ref());
            row.judge(not_configured(fleet, id));
        }
        Err(error) => row.judge(Judgement { in_sync: None, ..Judgement::failed(&error) }),
    }
    row
}

/// The verdict on a container that the configuration does not describe.
pub(super) fn not_configured(fleet: &Fleet<'_>, id: ContainerId) -> Judgement {
    let file = fleet.configuration.containers_file().display();
    let hint = format!("install the host's driver with `phoenix-nvidia install {id}`, or describe it there");
    Judgement {
        reason: Some(format!("`{file}` does not describe it")),
        hint: Some(hint),
        ..Judgement::of(Verdict::NotConfigured, None)
    }
}

impl ContainerStatus {
    /// What driver lies in the container.
    pub(super) fn take(&mut self, presence: Option<&Presence>) {
        self.installed = presence.and_then(Presence::version).cloned();
        if let Some(Presence::Complete { method, profile, .. }) = presence {
            (self.method, self.profile) = (*method, Some(*profile));
        }
    }
}
