//! Getting a container's driver: where it comes from, and the way that brings it in.

use crate::config::{Container, WantedDriver, Way};
use crate::error::Result;
use crate::hypervisor::Desired;
use crate::install::{presence, receipt, runfile};
use crate::store::Tree;

use super::passthrough::passthrough;
use super::{Fleet, request, wanted_driver};

impl Fleet<'_> {
    /// How a container should be.
    pub(super) fn desired<'c>(&self, container: &'c Container) -> Result<Desired<'c>> {
        let devices = passthrough(container, self.host)?.devices;
        Ok(Desired { container, devices, mounts: Vec::new() })
    }

    /// Whether the driver can be installed without its run file: it is extracted, and the way asks for no more.
    pub(super) fn is_extracted(&self, driver: &WantedDriver) -> Result<bool> {
        Ok(driver.way() != Way::Runfile && self.stored(driver)?.is_some())
    }

    /// Installs the driver; false when the right one was there already.
    pub(super) fn install_driver(&self, container: &Container) -> Result<bool> {
        self.bring_in(container, wanted_driver(container)?)
    }

    /// Installs this driver, whatever the configuration wants; false when it was there already.
    pub(super) fn bring_in(&self, container: &Container, driver: &WantedDriver) -> Result<bool> {
        let site = self.site(container.id);
        // A clone has brought its source's driver along, and `install` asks nobody before.
        let rootfs = self.hypervisor.rootfs(container.id)?;
        let presence = presence::observe(&site, &rootfs)?;
        if presence.satisfies(driver) {
            receipt::restore(&site, &rootfs)?;
            self.listener.note(Some(container.id), format!("driver {} is there already", driver.version));
            return Ok(false);
        }
        match driver.way() {
            Way::Runfile => runfile::install(&site, &self.cache.ensure(&request(driver))?)?,
            way @ (Way::Installer | Way::Native | Way::Shared) => {
                let _tree = self.extracted(driver)?;
                return Err(crate::error::Error::new(
                    crate::error::Kind::Configuration,
                    format!("the way `{}` is not there yet", way.word()),
                ));
            }
        };
        Ok(true)
    }

    /// The extracted driver: the one that is there, or a new one from its run file.
    pub(super) fn extracted(&self, driver: &WantedDriver) -> Result<Tree> {
        match self.stored(driver)? {
            Some(tree) => Ok(tree),
            None => self.store.extract(&self.cache.ensure(&request(driver))?),
        }
    }

    /// The extracted driver that is there, if it came from the run file that the operator vouches for.
    fn stored(&self, driver: &WantedDriver) -> Result<Option<Tree>> {
        let tree = self.store.open(&driver.version)?;
        let vouched = |tree: &Tree| driver.sha256.as_ref().is_none_or(|it| it.sum == tree.run_file_sha256());
        Ok(tree.filter(vouched).filter(|tree| tree.architecture() == std::env::consts::ARCH))
    }
}
