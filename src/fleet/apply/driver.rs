//! Getting a container's driver: where it comes from, and the method that brings it in.

use crate::config::{Container, Method, WantedDriver};
use crate::container_id::ContainerId;
use crate::driver::placement::Profile;
use crate::error::{Error, Kind, Result};
use crate::install::methods::{installer, native, runfile, shared};
use crate::install::receipt::{self, Choice, Receipt};
use crate::install::{Attempt, Guest, clear_away, files, packages, presence};
use crate::store::{Tree, manifest_of};

use crate::fleet::{Fleet, request, wanted_driver};

impl Fleet<'_> {
    /// Installs the driver; false when the right one was there already.
    pub(crate) fn install_driver(&self, container: &Container) -> Result<bool> {
        self.bring_in(container, wanted_driver(container)?)
    }

    /// Installs the driver in a container that is being started and whose root can be reached, from what is on this
    /// host.
    ///
    /// # Errors
    /// The method cannot do that, or the driver is not in the store: nothing is downloaded while a container starts.
    pub fn install_while_starting(&self, id: ContainerId) -> Result<()> {
        let (container, driver) = self.installable_while_starting(id)?;
        let _lock = self.lock(id)?;
        self.bring_in(container, driver).map(drop)
    }

    /// Does on this host what [`Fleet::install_while_starting`] will need when the container's root can be reached, so
    /// that what prevents it is known while the start can still be refused.
    ///
    /// # Errors
    /// As [`Fleet::install_while_starting`].
    pub fn prepare_while_starting(&self, id: ContainerId) -> Result<()> {
        let (container, driver) = self.installable_while_starting(id)?;
        if driver.method() == Method::Shared {
            // Its mount must come into the container's settings afterwards.
            self.hypervisor.check(&self.desired(container)?)?;
            shared::prepare(self.store, &self.extracted(driver)?, driver.profile())?;
        }
        self.context.listener.note(Some(id), format!("driver {} is installed when its root is set up", driver.version));
        Ok(())
    }

    fn installable_while_starting(&self, id: ContainerId) -> Result<(&Container, &WantedDriver)> {
        let container = self.configuration.container(id)?;
        let driver = wanted_driver(container)?;
        let refused = |why: &str, hint: String| {
            let message = format!("container {id}: driver {} {why}", driver.version);
            Err(Error::new(Kind::Configuration, message).hint(hint))
        };
        if driver.method().needs_processes() {
            let hint = "set `nvidia_on_mismatch` to \"warn\" or \"refuse\", or `nvidia_install_method` to \"native\" \
                        or \"shared\"";
            return refused("cannot be installed by NVIDIA's installer while the container starts", hint.to_owned());
        }
        if !self.is_extracted(driver)? {
            let hint = format!("extract it with `phoenix-nvidia store extract {}`", driver.version);
            return refused("is not extracted on this host", hint);
        }
        Ok((container, driver))
    }

    /// Installs this driver, whatever the configuration wants; false when it was there already.
    pub(crate) fn bring_in(&self, container: &Container, driver: &WantedDriver) -> Result<bool> {
        let guest = self.guest(container.id);
        // A clone has brought its source's driver along, and `install` asks nobody before.
        let rootfs = self.hypervisor.rootfs(container.id)?;
        let presence = presence::observe(&guest, &rootfs)?;
        if presence.satisfies(driver) {
            receipt::restore(&guest, &rootfs)?;
            let left = shared::left(&rootfs, self.image_of(container.id)?.as_ref())?;
            drop(rootfs);
            clear_away(&guest)?;
            if !left.is_empty() {
                self.settle_images(container)?;
            }
            self.follow_with_specification(container);
            self.context.listener.note(Some(container.id), format!("driver {} is already installed", driver.version));
            return Ok(false);
        }
        self.require_no_settings(container, &presence)?;
        let purged = self.packages_to_purge(container, driver, &rootfs)?;
        if !purged.is_empty() {
            self.obtain(driver)?;
            self.as_step(container.id, &format!("purge {}", purged.join(", ")), || packages::purge(&guest, &purged))?;
        }
        let installed = self.install_by_method(driver, &guest);
        if installed.is_err()
            && !purged.is_empty()
            && let Err(error) = packages::put_back(&guest, &purged)
        {
            let hint = error.hint_text().unwrap_or_default();
            self.context.listener.warn(Some(container.id), format!("{}; {hint}", error.message()));
        }
        drop(rootfs);
        // What an interrupted change has begun stays as it is until the next run brings it to its end.
        if installed.is_ok() || !files::is_interrupted(&guest)? {
            let settled = self.settle_images(container);
            self.follow_with_specification(container);
            return installed.and(settled).map(|()| true);
        }
        installed.map(|()| true)
    }

    /// Has on this host what the method needs, so that nothing goes from a container for a driver that cannot come.
    fn obtain(&self, driver: &WantedDriver) -> Result<()> {
        match driver.method() {
            Method::Runfile => self.cache.ensure(&request(driver)).map(drop),
            Method::Installer | Method::Native | Method::Shared => self.extracted(driver).map(drop),
        }
    }

    fn install_by_method(&self, driver: &WantedDriver, guest: &Guest<'_>) -> Result<()> {
        let profile = driver.profile();
        let attempt = match driver.method() {
            Method::Runfile => return self.install_by_runfile(driver, guest, profile).map(drop),
            Method::Native => return native::install(guest, &self.extracted(driver)?, profile).map(drop),
            Method::Installer => installer::install(guest, self.store, &self.extracted(driver)?, profile)?,
            Method::Shared => shared::install(guest, self.store, &self.extracted(driver)?, profile)?,
        };
        match attempt {
            Attempt::Installed(_) => Ok(()),
            Attempt::NotMounted(error) if driver.allow_fallback => {
                let method = driver.method().word();
                let warning = format!("the method `{method}` does not work here, so `runfile` is used: {error}");
                self.context.listener.warn(Some(guest.id), warning);
                let mut receipt = self.install_by_runfile(driver, guest, profile.of_installer())?;
                receipt.instead_of = Some(Choice { method: driver.method(), profile });
                receipt::save(guest, &self.hypervisor.rootfs(guest.id)?, &receipt)
            }
            Attempt::NotMounted(error) => Err(match error.hint_text() {
                Some(_) => error,
                None => {
                    error.hint("choose the method `runfile`, or set `nvidia_allow_fallback` to true to fall back to it")
                }
            }),
        }
    }

    fn install_by_runfile(&self, driver: &WantedDriver, guest: &Guest<'_>, profile: Profile) -> Result<Receipt> {
        let run_file = self.cache.ensure(&request(driver))?;
        let tree = self.stored(driver)?.filter(|tree| tree.run_file_sha256() == run_file.sha256());
        let manifest = match tree {
            Some(tree) => tree.manifest().clone(),
            None => manifest_of(&run_file, self.context.cancel)?,
        };
        runfile::install(guest, &run_file, &manifest, profile)
    }

    /// Brings a container's mounts in line with its receipt: those in its configuration, and those that it sees.
    pub(crate) fn settle_images(&self, container: &Container) -> Result<()> {
        let (guest, image) = (self.guest(container.id), self.image_of(container.id)?);
        if image.is_none() && !shared::is_there(&self.hypervisor.rootfs(container.id)?)? {
            return Ok(());
        }
        // Again, for somebody may have unmounted it before the receipt named it.
        self.store.ensure_mounted(self.needed_image_of(container.id)?.as_slice())?;
        // A stopped container takes no settings while its root is mounted.
        if !container.keeps_settings {
            self.hypervisor.configure(&self.desired(container)?)?;
        }
        shared::settle(&guest, &self.hypervisor.rootfs(container.id)?, image.as_ref())?;
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
    pub(crate) fn release_images(&self) {
        let needed = || Ok(receipt::all(self.context.layout)?.iter().filter_map(Receipt::image).collect());
        if let Err(error) = self.store.unmount_unneeded(needed) {
            self.context.listener.warn(None, format!("unused images could not be unmounted: {error}"));
        }
    }

    /// The extracted driver: the one that is there, or a new one from its run file.
    pub(crate) fn extracted(&self, driver: &WantedDriver) -> Result<Tree> {
        match self.stored(driver)? {
            Some(tree) => {
                if tree.variant() != driver.variant {
                    let (is, wanted) = (tree.variant().description(), driver.variant.description());
                    let version = &driver.version;
                    self.context
                        .listener
                        .note(None, format!("driver {version} is extracted from {is}, which fits {wanted}"));
                }
                Ok(tree)
            }
            None => self.store.extract(&self.cache.ensure(&request(driver))?),
        }
    }
}
