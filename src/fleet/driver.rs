//! Getting a container's driver: where it comes from, and the way that brings it in.

use crate::config::{Container, WantedDriver, Way};
use crate::container_id::ContainerId;
use crate::driver::placement::{Profile, Target, bytes_of, placements};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Desired;
use crate::install::presence::Presence;
use crate::install::receipt::{self, Choice, Receipt};
use crate::install::{Attempt, Site, clear_away, installer, native, placed, preflight, presence, runfile, shared};
use crate::store::{Contents, ImageName, NeededImage, Tree, manifest_of};
use crate::sys::readable::Readable;

use super::passthrough::Passthrough;
use super::{Fleet, request, wanted_driver};

impl Fleet<'_> {
    /// How a container should be.
    pub(super) fn desired<'c>(&self, container: &'c Container) -> Result<Desired<'c>> {
        let Passthrough { devices, kept, .. } = self.passthrough(container)?;
        let receipt = receipt::of_host(self.layout, container.id)?;
        let mounts = receipt.map(|receipt| shared::mounts(self.layout, &receipt)).unwrap_or_default();
        Ok(Desired { container, devices, kept, mounts })
    }

    /// Whether the driver can be installed without its run file: it is extracted, and the way asks for no more.
    pub(super) fn is_extracted(&self, driver: &WantedDriver) -> Result<bool> {
        Ok(driver.way() != Way::Runfile && self.stored(driver)?.is_some())
    }

    /// The bytes that the way `native` puts into a container, where the driver is extracted and says so.
    pub(super) fn needed_bytes(&self, driver: &WantedDriver) -> Result<Option<u64>> {
        if driver.way() != Way::Native {
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
    pub(super) fn require_image(&self, container: &Container, presence: &Presence) -> Result<()> {
        let Some(driver) = container.driver.as_ref().filter(|driver| !presence.satisfies(driver)) else {
            return Ok(());
        };
        let contents = match driver.way() {
            Way::Installer => Contents::Package,
            Way::Shared => Contents::Placed(driver.profile()),
            Way::Runfile | Way::Native => return Ok(()),
        };
        let name = ImageName { version: driver.version.clone(), contents, edition: None };
        if driver.allow_fallback || self.store.open_image(&name)?.is_some() {
            return Ok(());
        }
        let required = self.store.require_image_maker();
        required.map_err(|error| error.about(format_args!("container {}", container.id)))
    }

    /// Installs the driver; false when the right one was there already.
    pub(super) fn install_driver(&self, container: &Container) -> Result<bool> {
        self.bring_in(container, wanted_driver(container)?)
    }

    /// Installs the driver in a container that is being started and whose root can be reached, from what is on this
    /// host.
    ///
    /// # Errors
    /// The way cannot do that, or the driver is not extracted: nothing is downloaded while a container starts.
    pub fn install_while_starting(&self, id: ContainerId) -> Result<()> {
        let (container, driver) = self.installable_while_starting(id)?;
        let _lock = self.lock(id)?;
        self.bring_in(container, driver).map(drop)
    }

    /// Does on this host what [`Fleet::install_while_starting`] will need when the container's root can be reached, so
    /// that what stands against it is known while the start can still be refused.
    ///
    /// # Errors
    /// As [`Fleet::install_while_starting`].
    pub fn prepare_while_starting(&self, id: ContainerId) -> Result<()> {
        let (container, driver) = self.installable_while_starting(id)?;
        if driver.way() == Way::Shared {
            // Its mount must come into the container's settings afterwards.
            self.hypervisor.check(&self.desired(container)?)?;
            shared::prepare(self.store, &self.extracted(driver)?, driver.profile())?;
        }
        self.listener.note(Some(id), format!("driver {} comes in as soon as its root is there", driver.version));
        Ok(())
    }

    fn installable_while_starting(&self, id: ContainerId) -> Result<(&Container, &WantedDriver)> {
        let container = self.configuration.container(id)?;
        let driver = wanted_driver(container)?;
        let refused = |why: &str, hint: String| {
            let message = format!("container {id}: driver {} {why}", driver.version);
            Err(Error::new(Kind::Configuration, message).hint(hint))
        };
        if driver.way().needs_processes() {
            let hint = "set `nvidia_on_mismatch` to \"warn\" or \"refuse\", or `nvidia_install_method` to \"native\" or \"shared\"";
            return refused("cannot be brought in by an installer while the container starts", hint.to_owned());
        }
        if !self.is_extracted(driver)? {
            let hint = format!("extract it with `phoenix-nvidia store extract {}`", driver.version);
            return refused("is not extracted on this host", hint);
        }
        Ok((container, driver))
    }

    /// That NVIDIA's installer could run in a container that it has to run in, as far as that can be seen without changing
    /// anything.
    ///
    /// # Errors
    /// There is no shell in it.
    pub(super) fn require_shell(&self, container: &Container, presence: &Presence, root: &dyn Readable) -> Result<()> {
        match &container.driver {
            Some(driver) if driver.way().needs_processes() && !presence.satisfies(driver) => {
                preflight::require_shell(&self.site(container.id), root)
            }
            _ => Ok(()),
        }
    }

    /// Installs this driver, whatever the configuration wants; false when it was there already.
    pub(super) fn bring_in(&self, container: &Container, driver: &WantedDriver) -> Result<bool> {
        let site = self.site(container.id);
        // A clone has brought its source's driver along, and `install` asks nobody before.
        let rootfs = self.hypervisor.rootfs(container.id)?;
        let presence = presence::observe(&site, &rootfs)?;
        if presence.satisfies(driver) {
            receipt::restore(&site, &rootfs)?;
            let left = shared::left(&rootfs, self.image_of(container.id)?.as_ref())?;
            drop(rootfs);
            clear_away(&site)?;
            if !left.is_empty() {
                self.settle_images(container)?;
            }
            self.listener.note(Some(container.id), format!("driver {} is there already", driver.version));
            return Ok(false);
        }
        let installed = self.go_the_way(driver, &site);
        drop(rootfs);
        // What an interrupted change has begun stays as it is until the next run brings it to its end.
        if installed.is_ok() || !placed::is_interrupted(&site)? {
            let settled = self.settle_images(container);
            return installed.and(settled).map(|()| true);
        }
        installed.map(|()| true)
    }

    fn go_the_way(&self, driver: &WantedDriver, site: &Site<'_>) -> Result<()> {
        let profile = driver.profile();
        let attempt = match driver.way() {
            Way::Runfile => return self.go_the_runfile_way(driver, site, profile).map(drop),
            Way::Native => return native::install(site, &self.extracted(driver)?, profile).map(drop),
            Way::Installer => installer::install(site, self.store, &self.extracted(driver)?, profile)?,
            Way::Shared => shared::install(site, self.store, &self.extracted(driver)?, profile)?,
        };
        match attempt {
            Attempt::Installed(_) => Ok(()),
            Attempt::NotMounted(error) if driver.allow_fallback => {
                let way = driver.way().word();
                let warning = format!("the way `{way}` cannot be gone here, so the way `runfile` is: {error}");
                self.listener.warn(Some(site.id), warning);
                let mut receipt = self.go_the_runfile_way(driver, site, profile.of_installer())?;
                receipt.instead_of = Some(Choice { way: driver.way(), profile });
                receipt::save(site, &self.hypervisor.rootfs(site.id)?, &receipt)
            }
            Attempt::NotMounted(error) => Err(match error.hint_text() {
                Some(_) => error,
                None => error.hint(
                    "choose the way `runfile`, or set `nvidia_allow_fallback` to true to have it chosen where it must be",
                ),
            }),
        }
    }

    fn go_the_runfile_way(&self, driver: &WantedDriver, site: &Site<'_>, profile: Profile) -> Result<Receipt> {
        let run_file = self.cache.ensure(&request(driver))?;
        let tree = self.stored(driver)?.filter(|tree| tree.run_file_sha256() == run_file.sha256());
        let manifest = match tree {
            Some(tree) => tree.manifest().clone(),
            None => manifest_of(&run_file, self.cancel)?,
        };
        runfile::install(site, &run_file, &manifest, profile)
    }

    /// Brings a container's mounts in line with its receipt: those in its configuration, and those that it sees.
    pub(super) fn settle_images(&self, container: &Container) -> Result<()> {
        let (site, image) = (self.site(container.id), self.image_of(container.id)?);
        if image.is_none() && !shared::is_there(&self.hypervisor.rootfs(container.id)?)? {
            return Ok(());
        }
        // Again, for somebody may have unmounted it before the receipt named it.
        self.store.ensure_mounted(self.needed_image_of(container.id)?.as_slice())?;
        // A stopped container takes no settings while its root is mounted.
        self.hypervisor.configure(&self.desired(container)?)?;
        shared::settle(&site, &self.hypervisor.rootfs(container.id)?, image.as_ref())?;
        self.release_images();
        Ok(())
    }

    /// Mounts on this host what a container's configuration mounts from it: without that it does not start.
    ///
    /// # Errors
    /// The container's receipt cannot be read, or the image cannot be mounted.
    pub fn mount_images(&self, id: ContainerId) -> Result<()> {
        self.store.ensure_mounted(self.needed_image_of(id)?.as_slice())
    }

    /// Unmounts on this host what no container's receipt names any more.
    pub(super) fn release_images(&self) {
        let needed = || Ok(receipt::all(self.layout)?.iter().filter_map(Receipt::image).collect());
        if let Err(error) = self.store.unmount_unneeded(needed) {
            self.listener.warn(None, format!("images that nobody needs are still mounted: {error}"));
        }
    }

    pub(super) fn image_of(&self, id: ContainerId) -> Result<Option<ImageName>> {
        Ok(receipt::of_host(self.layout, id)?.and_then(|receipt| receipt.image()))
    }

    fn needed_image_of(&self, id: ContainerId) -> Result<Option<NeededImage>> {
        Ok(receipt::of_host(self.layout, id)?.and_then(|receipt| receipt.needed_image()))
    }

    /// The extracted driver: the one that is there, or a new one from its run file.
    pub(super) fn extracted(&self, driver: &WantedDriver) -> Result<Tree> {
        match self.stored(driver)? {
            Some(tree) => {
                if tree.variant() != driver.variant {
                    let (is, wanted) = (tree.variant().description(), driver.variant.description());
                    let version = &driver.version;
                    self.listener.note(None, format!("driver {version} is extracted from {is}; it does for {wanted}"));
                }
                Ok(tree)
            }
            None => self.store.extract(&self.cache.ensure(&request(driver))?),
        }
    }

    /// The extracted driver that is there, if it came from the run file that the operator vouches for, and from the one
    /// that the cache knows where it knows one: a file that was replaced is not used any more.
    fn stored(&self, driver: &WantedDriver) -> Result<Option<Tree>> {
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
