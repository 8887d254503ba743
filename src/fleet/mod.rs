//! Containers as a whole: observe them, plan what is to do, do it, and report how they are.

pub mod adoption;
pub mod apply;
pub mod before_start;
mod cdi;
mod found;
pub mod observe;
pub mod plan;
mod planner;
mod rehearsal;
pub mod report;
pub mod workers;

pub use observe::host_limits::host_limits;

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::cache::{Cache, ExpectedSum, Request};
use crate::config::{Configuration, Container, Context, WantedDriver};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::host::NvidiaHost;
use crate::hypervisor::Hypervisor;
use crate::install::Guest;
use crate::store::Store;
use crate::sys::lock::FileLock;

/// Everything that work on containers needs.
#[derive(Clone, Copy)]
pub struct Fleet<'a> {
    /// What the operators want.
    pub configuration: &'a Configuration,
    /// Where our files lie, who hears of events, and whether to stop.
    pub context: Context<'a>,
    /// Container backend.
    pub hypervisor: &'a dyn Hypervisor,
    /// The run files.
    pub cache: &'a Cache<'a>,
    /// The extracted drivers.
    pub store: &'a Store<'a>,
    /// The host's NVIDIA driver.
    pub host: &'a NvidiaHost,
    /// How many containers are worked on at the same time.
    pub jobs: NonZeroUsize,
    /// How long somebody else's work on a container is waited for.
    pub lock_patience: Duration,
    /// How long a container that was started may take until its systemd and its network are up.
    pub boot_patience: Duration,
}

impl<'a> Fleet<'a> {
    /// One container as a place of work.
    pub fn guest(&self, id: ContainerId) -> Guest<'a> {
        Guest {
            id,
            keeps_settings: self.configuration.keeps_settings(id),
            hypervisor: self.hypervisor,
            context: self.context,
        }
    }

    pub(crate) fn lock(&self, id: ContainerId) -> Result<FileLock> {
        let path = self.context.layout.container_lock(id);
        FileLock::acquire(
            &path,
            &format!("container {id}"),
            self.lock_patience,
            self.context.listener,
            self.context.cancel,
        )
    }
}

/// What the cache is asked for a container's driver.
pub fn request(driver: &WantedDriver) -> Request {
    Request {
        version: driver.version.clone(),
        architecture: std::env::consts::ARCH.to_owned(),
        variant: driver.variant,
        compat32: driver.profile().has_compat32(),
        urls: driver.urls.clone(),
        sha256: driver.sha256.as_ref().map(|it| ExpectedSum { sum: it.sum, origin: it.origin.clone() }),
    }
}

/// The driver that a container's configuration asks for.
///
/// # Errors
/// It asks for none.
pub fn wanted_driver(container: &Container) -> Result<&WantedDriver> {
    let id = container.id;
    container.driver.as_ref().ok_or_else(|| {
        if container.is_found {
            let message =
                format!("container {id} gets the driver of this host, which has no NVIDIA kernel module loaded");
            return Error::new(Kind::Host, message)
                .hint("load it with `modprobe nvidia`; `phoenix-nvidia doctor` says why it is missing");
        }
        Error::new(Kind::Configuration, format!("container {id} does not ask for a driver"))
            .hint(format!("add \"nvidia\" to `lxc_configs.{id}.features`"))
    })
}
