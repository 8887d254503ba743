//! The specification by which engines in a container give its driver and GPUs on: what it should say, whether it does, and
//! writing it.

use std::path::PathBuf;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::cdi::{FILE, Gpu, specification};
use crate::driver::device::minor_of;
use crate::error::{Error, Kind, Result};
use crate::fleet::observe::passthrough::Passthrough;
use crate::fleet::report::ContainerReport;
use crate::fleet::{Fleet, wanted_driver};
use crate::hypervisor::State;
use crate::install::cdi::{self, There};
use crate::install::presence::{self, Presence};
use crate::install::receipt;
use crate::sys::readable::Readable;
use crate::sys::rootfs::{Found, Rootfs};

const UNKNOWN_DRIVER: &str = "its driver was not installed by phoenix-nvidia as it is, so its files are not known";

/// What should lie in a container.
enum Wanted {
    /// This text.
    Text(String),
    /// None of ours.
    Nothing,
    /// Nobody can say for the moment, or it is not ours to say: what is there stays.
    AsItIs(&'static str),
}

impl Fleet<'_> {
    /// Writes the specifications of these containers, whether their configurations ask for one or not.
    pub fn write_specifications(&self, ids: &[ContainerId]) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            let _lock = self.lock(container.id)?;
            let rootfs = self.hypervisor.rootfs(container.id)?;
            let text = self.required_specification(container, &rootfs)?;
            let guest = self.guest(container.id);
            if let Some(path) = cdi::of_others(&rootfs)? {
                return Err(cdi::foreign(&guest, &path));
            }
            if cdi::look(&rootfs)? != There::Ours(text.clone().into_bytes()) {
                cdi::write(&guest, &rootfs, &text)?;
                report.done.push("write the CDI specification".to_owned());
            }
            Ok(())
        })
    }

    /// The specification of a container, whether one is there or not.
    ///
    /// # Errors
    /// It has no driver of ours, or no GPU that could be described.
    pub fn specification_of(&self, id: ContainerId) -> Result<String> {
        let container = self.configuration.container(id)?;
        self.required_specification(container, &self.hypervisor.rootfs(id)?)
    }

    fn required_specification(&self, container: &Container, rootfs: &Rootfs) -> Result<String> {
        let id = container.id;
        wanted_driver(container)?;
        let refused = |why: &str| Error::new(Kind::Configuration, format!("container {id}: {why}"));
        let presence = presence::observe(&self.guest(id), rootfs)?;
        let described = match presence {
            Presence::Complete { method: Some(_), .. } => self.describable(container, rootfs)?,
            Presence::Absent => Wanted::AsItIs("it has no driver"),
            _ => Wanted::AsItIs(UNKNOWN_DRIVER),
        };
        match described {
            Wanted::Text(text) => Ok(text),
            Wanted::Nothing => Err(refused("no GPU is assigned to it, so there is nothing to describe")
                .hint(format!("set `lxc_configs.{id}.gpu_assignment`, then run `phoenix-nvidia create {id}`"))),
            Wanted::AsItIs(why) => {
                Err(refused(why).hint(format!("run `phoenix-nvidia install {id}`, then the same command again")))
            }
        }
    }

    /// What is wrong with the specification in a container whose driver is the wanted one, in one phrase.
    pub(crate) fn specification_fault(&self, container: &Container, rootfs: &dyn Readable) -> Result<Option<String>> {
        let (wanted, there) = (self.wanted_specification(container, rootfs)?, cdi::look(rootfs)?);
        if matches!(wanted, Wanted::Text(_)) && cdi::of_others(rootfs)?.is_some() {
            return Ok(None);
        }
        Ok(match (wanted, there) {
            (Wanted::Text(_), There::Nothing) => Some("its CDI specification is missing".to_owned()),
            (Wanted::Text(text), There::Ours(there)) if there != text.as_bytes() => {
                Some("its CDI specification describes another driver or other GPUs".to_owned())
            }
            (Wanted::Nothing, There::Ours(_)) => Some("it has a CDI specification and should have none".to_owned()),
            _ => None,
        })
    }

    /// The same after another change of a container, which has succeeded: where it cannot be written, that is reported, and
    /// no driver goes back for it.
    pub(crate) fn follow_with_specification(&self, container: &Container) {
        if let Err(error) = self.settle_specification(container) {
            let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            let text = format!("its CDI specification could not be updated: {}{hint}", error.message());
            self.context.listener.warn(Some(container.id), text);
        }
    }

    /// Brings the specification in line with the driver and the GPUs that a container has.
    pub(crate) fn settle_specification(&self, container: &Container) -> Result<()> {
        let (guest, rootfs) = (self.guest(container.id), self.hypervisor.rootfs(container.id)?);
        match (self.wanted_specification(container, &rootfs)?, cdi::of_others(&rootfs)?, cdi::look(&rootfs)?) {
            (Wanted::Text(_), Some(path), there) => {
                let error = cdi::foreign(&guest, &path);
                let hint = error.hint_text().unwrap_or_default();
                self.context.listener.warn(Some(container.id), format!("{}; {hint}", error.message()));
                // Two of them would leave engines with none.
                if matches!(there, There::Ours(_)) {
                    cdi::remove(&rootfs)?;
                }
            }
            (Wanted::Text(text), None, There::Ours(there)) if there == text.as_bytes() => {}
            (Wanted::Text(text), None, _) => {
                cdi::write(&guest, &rootfs, &text)?;
                let note = format!("wrote `{FILE}`, by which Podman and Docker in it use its GPUs");
                self.context.listener.note(Some(container.id), note);
            }
            (Wanted::Nothing, _, There::Ours(_)) => drop(cdi::remove(&rootfs)?),
            (Wanted::Nothing | Wanted::AsItIs(_), _, _) => {}
        }
        Ok(())
    }

    fn wanted_specification(&self, container: &Container, rootfs: &dyn Readable) -> Result<Wanted> {
        let is_engines = |feature: &String| feature == "docker" || feature == "podman";
        let is_wanted = match container.cdi {
            Some(said) => said,
            // One that somebody had written by `cdi` is followed like any other.
            None => {
                container.features.iter().any(is_engines)
                    || cdi::has_engine(rootfs)?
                    || matches!(cdi::look(rootfs)?, There::Ours(_))
            }
        };
        if !is_wanted {
            return Ok(Wanted::Nothing);
        }
        if container.driver.is_none() {
            return Ok(Wanted::AsItIs("no driver is wanted in it for the moment"));
        }
        self.describable(container, rootfs)
    }

    fn describable(&self, container: &Container, rootfs: &dyn Readable) -> Result<Wanted> {
        if container.gpus.is_none() {
            return Ok(Wanted::Nothing);
        }
        let guest = self.guest(container.id);
        let Some(receipt) = receipt::load(&guest, rootfs)? else {
            return Ok(Wanted::AsItIs(UNKNOWN_DRIVER));
        };
        let passthrough = self.passthrough(container)?;
        if !passthrough.waiting.is_empty() || passthrough.devices.is_empty() {
            return Ok(Wanted::AsItIs("its GPUs are pending, so they cannot be described"));
        }
        let (gpus, others) = self.nodes_of(self.nodes_there(container.id, passthrough, rootfs)?);
        let Some(placed) = cdi::placed(&guest, &receipt)? else {
            return Ok(Wanted::AsItIs("the image of its driver is not mounted on this host"));
        };
        let text = specification(&receipt.version, &placed, &gpus, &others);
        Ok(text.map_or(Wanted::AsItIs("none of its GPUs has a device node in it"), Wanted::Text))
    }

    /// The nodes that a container has: while it runs, those that lie in it, for an engine refuses a device of which one node
    /// is missing.
    fn nodes_there(&self, id: ContainerId, passthrough: Passthrough, rootfs: &dyn Readable) -> Result<Vec<PathBuf>> {
        let is_running = matches!(self.hypervisor.state(id)?, State::Running { .. });
        let mut paths = Vec::new();
        for node in passthrough.devices {
            let found = if is_running { rootfs.look(&node.path.to_string_lossy())? } else { None };
            if !is_running || matches!(found, Some(Found::CharacterDevice { .. })) {
                paths.push(node.path);
            }
        }
        Ok(paths)
    }

    /// The GPUs in NVIDIA's order, which is that of their addresses, and the other nodes.
    fn nodes_of(&self, paths: Vec<PathBuf>) -> (Vec<Gpu>, Vec<PathBuf>) {
        let (mut of_gpus, others): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| minor_of(path).is_some());
        let known = |path: &PathBuf| self.host.gpus.iter().find(|gpu| Some(gpu.minor) == minor_of(path));
        of_gpus.sort_by_key(|path| (known(path).map(|gpu| gpu.pci_address.clone()), minor_of(path)));
        let gpu = |node: PathBuf| Gpu { uuid: known(&node).and_then(|gpu| gpu.uuid.clone()), node };
        (of_gpus.into_iter().map(gpu).collect(), others)
    }
}
