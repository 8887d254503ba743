//! How a container is: read from the hypervisor, its files and the cache. Changes nothing.

pub mod container_record;
pub mod dri;
pub mod driver;
pub mod host_limits;
pub mod known_gpus;
pub mod nodes_inside;
pub mod passthrough;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::device::minor_of;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Drift, HostsDriver, State};
use crate::install::leftovers;
use crate::install::methods::shared;
use crate::install::presence::{self, Presence};
use crate::sys::held_locks;
use crate::sys::readable::Readable;

use crate::fleet::Fleet;
use crate::fleet::observe::container_record::ContainerRecord;
use crate::fleet::observe::host_limits::dropped_gpus;
use crate::fleet::observe::passthrough::divided;
use crate::fleet::plan::observation::Observation;

/// How often a container is looked into that is written to meanwhile.
const LOOKS: usize = 3;

/// What was seen in a container's root.
struct Seen {
    presence: Presence,
    leftovers: Vec<String>,
    /// What is wrong with its CDI specification, where its driver is the wanted one.
    specification: Option<String>,
    /// The packages that are purged before its driver is installed.
    packages: Vec<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { presence: Presence::Absent, leftovers: Vec::new(), specification: None, packages: Vec::new() }
    }
}

fn host_driver_bound(bound: &HostsDriver) -> String {
    let HostsDriver { file, key, value } = bound;
    let file = file.display();
    format!("its settings mount the host's driver over the installed one at every start: `{key}: {value}` in `{file}`")
}

impl Fleet<'_> {
    /// Observes one container.
    ///
    /// # Errors
    /// It cannot be examined, or what its configuration asks for cannot be had on this host.
    pub fn observe(&self, container: &Container) -> Result<Observation> {
        let state = self.hypervisor.state(container.id)?;
        let passthrough = self.passthrough(container)?;
        if state != State::Absent {
            self.require_said_gpus(container)?;
        }
        if !container.keeps_settings || state == State::Absent {
            self.hypervisor.check(&self.desired(container)?)?;
        }
        let (mut drift, seen) = match state {
            State::Absent => (Drift::default(), Some(Seen::default())),
            _ => (self.drift(container)?, self.look(container)?),
        };
        drift.restart |= self.has_former_nodes(container.id, state, &passthrough.devices)?;
        let unseen = seen.is_none();
        let Seen { presence, leftovers, specification, packages } = seen.unwrap_or_default();
        // A copy brings its source's driver along.
        if !unseen && (state != State::Absent || container.clone_from.is_none()) {
            self.require_image(container, &presence)?;
            self.require_no_settings(container, &presence)?;
        }
        let (mut cached, mut extracted, mut needed_bytes) = (None, false, None);
        if let Some(driver) = &container.driver {
            cached = Some(self.cache.look(&crate::fleet::request(driver))?);
            extracted = self.is_extracted(driver)?;
            needed_bytes = self.needed_bytes(driver)?;
        }
        let wants_snapshots = container.lifecycle_snapshots || container.template_snapshot_name.is_some();
        let snapshots = if wants_snapshots { self.snapshot_names(container)? } else { None };
        let record = if state == State::Absent {
            ContainerRecord::default()
        } else {
            ContainerRecord::load(self.context.layout, container.id)?
        };
        let moved_gpus = match state {
            State::Absent => Vec::new(),
            _ => known_gpus::moved_since(self.context.layout, container, self.host)?,
        };
        let others = container.features.iter().filter(|feature| *feature != "nvidia");
        let script = |feature: &String| {
            let script = self.context.layout.feature_script(feature);
            (feature.clone(), script.is_file().then_some(script))
        };
        let feature_scripts = others.map(script).collect();
        let mut left_out = self.hypervisor.left_out(container)?;
        left_out.extend(divided(container, self.host)?);
        left_out.extend(passthrough.without_dri());
        if state != State::Absent && container.driver.is_some() {
            left_out.extend(self.hypervisor.hosts_driver(container.id)?.first().map(host_driver_bound));
        }
        Ok(Observation {
            state,
            passthrough,
            drift,
            unseen,
            presence,
            leftovers,
            specification,
            packages,
            growth: self.growth(container)?,
            snapshots,
            rollback_point: self.rollback_point(container.id, state)?,
            cached,
            extracted,
            needed_bytes,
            moved_gpus,
            dropped_gpus: dropped_gpus(container, self.host, self.store)?,
            left_out,
            features_done: record.features,
            feature_scripts,
        })
    }

    /// That a container loses no GPUs because its entry says nothing of them: those that its operator has passed, before this
    /// program has given it any.
    fn require_said_gpus(&self, container: &Container) -> Result<()> {
        let id = container.id;
        if container.says_gpus || container.keeps_settings {
            return Ok(());
        }
        let nodes = self.hypervisor.as_it_is(id)?.nodes;
        let Some(node) = nodes.iter().find(|node| minor_of(node).is_some()) else { return Ok(()) };
        if !ContainerRecord::load(self.context.layout, id)?.gpus.is_empty() {
            return Ok(());
        }
        let minors: Vec<String> =
            nodes.iter().filter_map(|node| minor_of(node)).map(|minor| minor.to_string()).collect();
        let message =
            format!("container {id}: its settings pass `{}`, and its entry says nothing of GPUs", node.display());
        Err(Error::new(Kind::Configuration, message).hint(format!(
            "set `gpu_assignment` to \"{}\" to keep them or to \"none\" to take them away, or `manage_settings` to false",
            minors.join(",")
        )))
    }

    /// The size in GiB that a container's root has to be grown to.
    pub(crate) fn growth(&self, container: &Container) -> Result<Option<u64>> {
        if container.keeps_settings {
            return Ok(None);
        }
        self.hypervisor.root_sizes().map_or(Ok(None), |sizes| sizes.growth(container))
    }

    /// The names of a container's snapshots; `None` where it can have none.
    pub(crate) fn snapshot_names(&self, container: &Container) -> Result<Option<Vec<String>>> {
        self.hypervisor.snapshots().map_or(Ok(None), |snapshots| snapshots.names(container))
    }

    /// What there is in a container, where that can be looked at without changing anything; and that its driver can be
    /// installed by what there is.
    fn look(&self, container: &Container) -> Result<Option<Seen>> {
        self.look_into(container.id, |root| self.seen(container, root))
    }

    /// The same, where the container's root has to be mounted for that.
    pub(crate) fn look_by_mounting(&self, container: &Container, observation: &mut Observation) -> Result<()> {
        let Seen { presence, leftovers, specification, packages } =
            self.seen(container, &self.hypervisor.rootfs(container.id)?)?;
        (observation.presence, observation.leftovers, observation.unseen) = (presence, leftovers, false);
        (observation.specification, observation.packages) = (specification, packages);
        Ok(())
    }

    fn seen(&self, container: &Container, root: &dyn Readable) -> Result<Seen> {
        let presence = presence::observe(&self.guest(container.id), root)?;
        self.require_shell(container, &presence, root)?;
        let mut left = Vec::new();
        if container.driver.is_some() {
            left = leftovers(root)?;
            left.extend(shared::left(root, self.image_of(container.id)?.as_ref())?);
        }
        let is_installed = container.driver.as_ref().is_some_and(|driver| presence.satisfies(driver));
        let packages = match &container.driver {
            Some(driver) if !is_installed => self.packages_to_purge(container, driver, root)?,
            _ => Vec::new(),
        };
        let specification = if is_installed { self.specification_fault(container, root)? } else { None };
        Ok(Seen { presence, leftovers: left, specification, packages })
    }

    /// Reads in a container's root without changing anything; `None` where that cannot be.
    ///
    /// # Errors
    /// What `look` says, of a root that was as it is.
    pub(crate) fn look_into<T>(&self, id: ContainerId, look: impl Fn(&dyn Readable) -> Result<T>) -> Result<Option<T>> {
        for _ in 0..LOOKS {
            let Some(root) = self.hypervisor.rootfs_at_hand(id)? else { return Ok(None) };
            let seen = look(&*root);
            // Somebody may have started it meanwhile; what was read then, errors too, means nothing.
            if root.may_be_believed() {
                return seen.map(Some);
            }
        }
        Ok(None)
    }

    /// Whether somebody works on a container just now: what lies in it then is no leftover.
    pub(crate) fn is_worked_on(&self, id: ContainerId) -> Result<bool> {
        let lock = self.context.layout.container_lock(id);
        Ok(held_locks::held_in(&self.context.layout.locks())?.iter().any(|held| held.path == lock))
    }

    /// What an interrupted run left in a container, in one phrase; nothing while somebody is at work in it.
    pub(crate) fn left_in(&self, id: ContainerId, rootfs: &dyn Readable) -> Result<Option<String>> {
        let left = leftovers(rootfs)?;
        let Some(first) = left.first() else { return Ok(None) };
        let phrase = format!("an interrupted run left `{first}`");
        Ok((!self.is_worked_on(id)?).then_some(phrase))
    }

    pub(crate) fn presence(&self, container: &Container) -> Result<Option<Presence>> {
        self.look_into(container.id, |root| presence::observe(&self.guest(container.id), root))
    }
}
