//! The check in the moment before a container starts: are its device nodes there, and is its driver the host's? And the
//! second look when its root is there, where only then its driver can be brought in sync.
//!
//! It runs under the hypervisor's own lock of the container, so it asks no hypervisor and uses no network; what it needs
//! lies in the configuration, in `/proc` and `/dev`, and in the host's receipt. It starts no process, except to mount the
//! image of a driver that is not mounted yet.

use std::time::Duration;

use crate::config::{Configuration, Container, Context, OnMismatch};
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::error::{Error, Kind, Result};
use crate::event::NoListener;
use crate::host::NvidiaHost;
use crate::install::receipt::{self, Receipt};
use crate::store::Store;
use crate::sys::lock::FileLock;

use crate::fleet::observe::container_record::ContainerRecord;
use crate::fleet::observe::known_gpus;
use crate::fleet::observe::passthrough::minors_there;

/// What the check needs.
#[derive(Clone, Copy)]
pub struct BeforeStart<'a> {
    /// What the operators want.
    pub configuration: &'a Configuration,
    /// Where our files lie, who hears of events, and whether to stop.
    pub context: Context<'a>,
    /// Lets a container open its device nodes by the numbers that they have now, where its start has been prepared with
    /// others.
    pub allow_nodes: &'a dyn Fn(ContainerId) -> Result<()>,
    /// Brings a container's driver to the version of the host's module: [`crate::fleet::Fleet::install_while_starting`].
    pub bring_in_sync: &'a dyn Fn(ContainerId, &DriverVersion) -> Result<()>,
}

impl BeforeStart<'_> {
    /// Checks one container, mounts the image of its driver where it has one, and makes the device
    /// nodes of its GPUs where they are missing or wrong.
    ///
    /// A mismatch is reported, or keeps the container from starting, as its `nvidia_on_mismatch` says. A container
    /// without GPUs, or one that the configuration does not define, may always start.
    ///
    /// # Errors
    /// Why it must not start.
    pub fn check(&self, id: ContainerId) -> Result<()> {
        self.mount_image(id)?;
        let Some(container) = self.configured(id) else { return Ok(()) };
        if container.gpus.is_none() {
            return Ok(());
        }
        let host = match NvidiaHost::read() {
            Ok(host) => host,
            Err(error) => return self.judge(container, error),
        };
        match known_gpus::moved_since(self.context.layout, container, &host) {
            Ok(moved) => moved.into_iter().for_each(|sentence| self.context.listener.warn(Some(id), sentence)),
            Err(error) => self.context.listener.warn(Some(id), error.message()),
        }
        if let Err(error) = self.make_nodes(container, &host) {
            // No other driver in the container would bring nodes, so `update` has nothing to do here.
            self.judge(container, error)?;
        }
        match (&host.loaded, self.installed(id)) {
            (Some(host), Some(installed)) if installed != *host => self.mismatch(container, &installed, host),
            _ => Ok(()),
        }
    }

    /// Looks again when the root of a container that is being started can be reached: brings its driver in sync where
    /// that is wanted, and does nothing else.
    ///
    /// # Errors
    /// It could not be brought in sync.
    pub fn check_root(&self, id: ContainerId) -> Result<()> {
        let Some(container) = self.configured(id) else { return Ok(()) };
        if container.gpus.is_none() || container.on_mismatch != OnMismatch::Update || self.is_being_worked_on(id) {
            return Ok(());
        }
        match (NvidiaHost::read()?.loaded, self.installed(id)) {
            (Some(host), Some(installed)) if installed != host => (self.bring_in_sync)(id, &host),
            _ => Ok(()),
        }
    }

    /// Mounts the image that the container's configuration mounts from this host, without which it does not start.
    fn mount_image(&self, id: ContainerId) -> Result<()> {
        // A damaged receipt is reported where the driver is compared.
        let image = receipt::of_host(self.context.layout, id).ok().flatten().and_then(|receipt| receipt.needed_image());
        Store::new(self.context).ensure_mounted(image.as_slice())
    }

    /// The container's entry; one that is faulty is reported and cannot keep anything from starting.
    fn configured(&self, id: ContainerId) -> Option<&Container> {
        let (_, entry) = self.configuration.containers().find(|(defined, _)| *defined == id)?;
        match entry {
            Ok(container) => Some(container),
            Err(error) => {
                self.context.listener.warn(Some(id), format!("the driver was not checked: {}", error.message()));
                None
            }
        }
    }

    fn make_nodes(&self, container: &Container, host: &NvidiaHost) -> Result<()> {
        if host.loaded.is_none() {
            return Err(Error::new(Kind::Host, host.no_module())
                .hint("load it and make its nodes with `phoenix-nvidia host prepare`"));
        }
        let known = ContainerRecord::load(self.context.layout, container.id)?.gpus;
        let (minors, lacking) = minors_there(container, host, &known)?;
        let made = host.make_nodes_for(&minors);
        for change in made.as_deref().unwrap_or_default() {
            self.context.listener.note(Some(container.id), change.phrase());
        }
        // One GPU that is away keeps a container from none of the others.
        let allowed = (self.allow_nodes)(container.id);
        made.map(drop).and(allowed).and(lacking.map_or(Ok(()), Err))
    }

    /// The version in the host's receipt; a container without one is not ours to judge.
    fn installed(&self, id: ContainerId) -> Option<DriverVersion> {
        let receipt = fs_err::read(self.context.layout.receipt(id)).ok()?;
        let version = Receipt::parse(&receipt).map(|receipt| receipt.version);
        if version.is_none() {
            self.context
                .listener
                .warn(Some(id), "its receipt is damaged, so its driver was not compared with the host's");
        }
        version
    }

    fn mismatch(&self, container: &Container, installed: &DriverVersion, host: &DriverVersion) -> Result<()> {
        let id = container.id;
        let wanted = container.driver.as_ref().map(|driver| &driver.version);
        let install = match wanted {
            Some(wanted) if wanted == host => format!("run `phoenix-nvidia install {id}`"),
            _ => format!("set `nvidia_driver_version` to \"{host}\", then run `phoenix-nvidia install {id}`"),
        };
        let message = format!("driver {installed} is installed, but the host's kernel module is {host}");
        let error = Error::new(Kind::Verification, message).hint(install);
        match container.on_mismatch {
            OnMismatch::Update if !self.is_being_worked_on(id) => (self.bring_in_sync)(id, host),
            _ => self.judge(container, error),
        }
    }

    /// Lets a container start in spite of an error, or not.
    fn judge(&self, container: &Container, error: Error) -> Result<()> {
        let id = container.id;
        if container.on_mismatch == OnMismatch::Refuse && !self.is_being_worked_on(id) {
            return Err(error.about(format_args!("container {id}")));
        }
        let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
        self.context.listener.warn(Some(id), format!("{}{hint}", error.message()));
        Ok(())
    }

    /// Whether this program itself starts the container, to install its driver: that must not be kept from mending it.
    fn is_being_worked_on(&self, id: ContainerId) -> bool {
        let path = self.context.layout.container_lock(id);
        let lock =
            FileLock::acquire(&path, &format!("container {id}"), Duration::ZERO, &NoListener, self.context.cancel);
        lock.is_err_and(|error| error.kind() == Kind::Busy)
    }
}
