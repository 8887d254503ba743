//! The containers' file that describes containers as they are, so that nothing changes when it is used.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Method;
use crate::container_id::ContainerId;
use crate::driver::device::minor_of;
use crate::driver::placement::Profile;
use crate::fleet::Fleet;
use crate::hypervisor::AsItIs;
use crate::install::presence::Presence;

/// A containers' file: all follow the host's driver.
#[derive(Debug, Serialize)]
pub struct Adoption {
    nvidia_driver_version: &'static str,
    lxc_configs: BTreeMap<String, Entry>,
}

/// What the file says of one container.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    /// Without this line, what is described here would be brought in, and what is not described would stay.
    manage_settings: bool,
    unprivileged: bool,
    start_at_boot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_mb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cores: Option<u32>,
    features: [&'static str; 1],
    gpu_assignment: String,
    nvidia_install_method: Method,
    nvidia_driver_profile: &'static str,
}

impl Adoption {
    /// Whether it describes no container.
    pub fn is_empty(&self) -> bool {
        self.lxc_configs.is_empty()
    }
}

impl Fleet<'_> {
    /// Describes these containers of this host.
    pub fn adoption(&self, containers: Vec<(ContainerId, AsItIs)>) -> Adoption {
        let entries = containers.into_iter().map(|(id, as_it_is)| (id.to_string(), self.entry(id, as_it_is)));
        Adoption { nvidia_driver_version: "host", lxc_configs: entries.collect() }
    }

    fn entry(&self, id: ContainerId, as_it_is: AsItIs) -> Entry {
        let (presence, profile) = self.installed_in(id);
        let gpus: BTreeSet<String> =
            as_it_is.nodes.iter().filter_map(|path| minor_of(path)).map(|minor| minor.to_string()).collect();
        Entry {
            // A container of plain LXC need not have a host name of its own.
            name: if as_it_is.name.is_empty() { id.to_string() } else { as_it_is.name },
            manage_settings: false,
            unprivileged: as_it_is.is_unprivileged,
            start_at_boot: as_it_is.starts_at_boot,
            memory_mb: as_it_is.memory_mb,
            swap_mb: as_it_is.swap_mb,
            cores: as_it_is.cores,
            features: ["nvidia"],
            gpu_assignment: match gpus.is_empty() {
                true => "none".to_owned(),
                false => gpus.into_iter().collect::<Vec<_>>().join(","),
            },
            nvidia_install_method: method_of(presence.as_ref()),
            nvidia_driver_profile: profile.word(),
        }
    }

    /// Of one that cannot be looked into, its settings can be described all the same.
    fn installed_in(&self, id: ContainerId) -> (Option<Presence>, Profile) {
        let seen = self.look_into(id, |root| self.presence_and_profile(id, root)).unwrap_or_else(|error| {
            self.context.listener.warn(Some(id), format!("its driver was not looked at: {error}"));
            None
        });
        seen.map_or((None, Profile::default()), |(presence, profile)| (Some(presence), profile))
    }
}

/// How a whole driver got there; any other is replaced by the host's own hand.
fn method_of(presence: Option<&Presence>) -> Method {
    match presence {
        Some(Presence::Complete { method, .. }) => method.unwrap_or(Method::Runfile),
        _ => Method::Native,
    }
}
