//! What this host has of a container's driver, and what the container should have of it. Changes nothing.

use crate::config::{Container, Method, WantedDriver};
use crate::container_id::ContainerId;
use crate::driver::placement::{Target, bytes_of, placements};
use crate::error::Result;
use crate::fleet::observe::passthrough::Passthrough;
use crate::fleet::{Fleet, request};
use crate::hypervisor::{Desired, Drift};
use crate::install::methods::shared;
use crate::install::presence::Presence;
use crate::install::{preflight, receipt};
use crate::store::{Contents, ImageName, NeededImage, Tree};
use crate::sys::readable::Readable;

impl Fleet<'_> {
    /// How a container should be.
    pub(crate) fn desired<'c>(&self, container: &'c Container) -> Result<Desired<'c>> {
        let Passthrough { devices, kept, .. } = self.passthrough(container)?;
        let receipt = receipt::of_host(self.context.layout, container.id)?;
        let mounts = receipt.map(|receipt| shared::mounts(self.context.layout, &receipt)).unwrap_or_default();
        Ok(Desired { container, devices, kept, mounts })
    }

    /// What separates an existing container from how it should be. One that keeps its settings is as it should be.
    pub(crate) fn drift(&self, container: &Container) -> Result<Drift> {
        if container.keeps_settings {
            return Ok(Drift::default());
        }
        self.hypervisor.drift(&self.desired(container)?)
    }

    /// Whether the driver can be installed without its run file: it is extracted, and the method asks for no more.
    pub(crate) fn is_extracted(&self, driver: &WantedDriver) -> Result<bool> {
        Ok(driver.method() != Method::Runfile && self.stored(driver)?.is_some())
    }

    /// The bytes that the method `native` puts into a container, where the driver is extracted and says so.
    pub(crate) fn needed_bytes(&self, driver: &WantedDriver) -> Result<Option<u64>> {
        if driver.method() != Method::Native {
            return Ok(None);
        }
        let size_in = |tree: Tree| {
            // The directories differ from container to container, and the sizes do not.
            let placed = placements(tree.manifest(), &Target::of_any_system(), driver.profile());
            bytes_of(&placed, |source| tree.file(source).map(|facts| facts.size))
        };
        Ok(self.stored(driver)?.and_then(size_in))
    }

    /// That the image which the way of a container's driver needs is there or can be made, so that nothing is begun
    /// that cannot come to its end.
    ///
    /// # Errors
    /// This host has no program that makes images.
    pub(crate) fn require_image(&self, container: &Container, presence: &Presence) -> Result<()> {
        let Some(driver) = container.driver.as_ref().filter(|driver| !presence.satisfies(driver)) else {
            return Ok(());
        };
        let contents = match driver.method() {
            Method::Installer => Contents::Package,
            Method::Shared => Contents::Placed(driver.profile()),
            Method::Runfile | Method::Native => return Ok(()),
        };
        let name = ImageName { version: driver.version.clone(), contents, edition: None };
        if driver.allow_fallback || self.store.open_image(&name)?.is_some() {
            return Ok(());
        }
        let required = self.store.require_image_maker();
        required.map_err(|error| error.about(format_args!("container {}", container.id)))
    }

    /// That NVIDIA's installer could run in a container that it has to run in, as far as that can be seen without changing
    /// anything.
    ///
    /// # Errors
    /// There is no shell in it.
    pub(crate) fn require_shell(&self, container: &Container, presence: &Presence, root: &dyn Readable) -> Result<()> {
        match &container.driver {
            Some(driver) if driver.method().needs_processes() && !presence.satisfies(driver) => {
                preflight::require_shell(&self.guest(container.id), root)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn image_of(&self, id: ContainerId) -> Result<Option<ImageName>> {
        Ok(receipt::of_host(self.context.layout, id)?.and_then(|receipt| receipt.image()))
    }

    pub(crate) fn needed_image_of(&self, id: ContainerId) -> Result<Option<NeededImage>> {
        Ok(receipt::of_host(self.context.layout, id)?.and_then(|receipt| receipt.needed_image()))
    }

    /// The extracted driver that is there, if it came from the run file that the operator vouches for, and from the one
    /// that the cache knows where it knows one: a file that was replaced is no longer used.
    pub(crate) fn stored(&self, driver: &WantedDriver) -> Result<Option<Tree>> {
        let tree = self.store.open(&driver.version)?;
        let vouched = |tree: &Tree| driver.sha256.as_ref().is_none_or(|it| it.sum == tree.run_file_sha256());
        let ours = |tree: &Tree| {
            tree.architecture() == std::env::consts::ARCH
                && request(driver).takes(tree.variant())
                && (tree.has_compat32() || !driver.profile().has_compat32())
        };
        let Some(tree) = tree.filter(vouched).filter(ours) else { return Ok(None) };
        let recorded = self.cache.recorded_sum(tree.version(), tree.architecture(), tree.variant())?;
        Ok(recorded.is_none_or(|sum| sum == tree.run_file_sha256()).then_some(tree))
    }
}
