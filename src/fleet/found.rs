//! Containers of this host that no file describes: which there are, and what they get, which is the host's driver alone.

use crate::config::{Container, Method, WantedDriver};
use crate::container_id::ContainerId;
use crate::driver::placement::Profile;
use crate::error::{Error, Kind, Result};
use crate::fleet::Fleet;
use crate::hypervisor::{AsItIs, State};
use crate::install::packages;
use crate::install::presence::{self, Presence};
use crate::install::receipt;
use crate::sys::readable::Readable;

impl Fleet<'_> {
    /// The containers of this host that have to do with NVIDIA's devices and that the configuration does not know. One
    /// whose settings cannot be read is reported, and hides no other.
    ///
    /// # Errors
    /// The hypervisor's containers cannot be listed.
    pub fn unconfigured(&self) -> Result<Vec<(ContainerId, AsItIs)>> {
        let mut found = Vec::new();
        for id in self.hypervisor.ids()?.into_iter().filter(|id| !self.configuration.knows(*id)) {
            match self.hypervisor.as_it_is(id) {
                // Or has been given a driver by its name.
                Ok(as_it_is) if as_it_is.has_gpus() || receipt::of_host(self.context.layout, id)?.is_some() => {
                    found.push((id, as_it_is));
                }
                Ok(_) => {}
                Err(error) => self.context.listener.warn(Some(id), format!("it was not looked at: {error}")),
            }
        }
        Ok(found)
    }

    /// Those of these containers that are on this host and that the configuration does not know, with or without GPUs.
    ///
    /// # Errors
    /// The hypervisor cannot be asked.
    pub fn unconfigured_among(&self, ids: &[ContainerId]) -> Result<Vec<(ContainerId, AsItIs)>> {
        let mut found = Vec::new();
        for id in ids.iter().copied().filter(|id| !self.configuration.knows(*id)) {
            if self.hypervisor.state(id)? != State::Absent {
                found.push((id, self.hypervisor.as_it_is(id)?));
            }
        }
        Ok(found)
    }

    /// What such a container is to be: as it is, with the driver of the loaded module. While none is loaded nobody knows
    /// which driver that is, and it is to get none.
    pub fn described(&self, id: ContainerId, as_it_is: AsItIs) -> Container {
        let of_host = |version| self.configuration.driver_of(version, None);
        let driver = self.host.loaded.as_ref().map(of_host);
        let driver = driver.map(|driver| driver.by_default(Method::Native, self.covering_profile(id)));
        Container::found(id, as_it_is.name, &as_it_is.nodes, driver)
    }

    /// The profile that has everything of the driver which is in a container now. What cannot be read without mounting it,
    /// or not at all, may have everything.
    fn covering_profile(&self, id: ContainerId) -> Profile {
        let seen = self.look_into(id, |root| self.presence_and_profile(id, root));
        seen.ok().flatten().map(|(_, profile)| profile).unwrap_or_default()
    }

    /// The driver in a container, and the profile that has everything of it.
    pub(crate) fn presence_and_profile(&self, id: ContainerId, root: &dyn Readable) -> Result<(Presence, Profile)> {
        let presence = presence::observe(&self.guest(id), root)?;
        let profile = presence::covering_profile(&self.guest(id), &presence, root)?;
        Ok((presence, profile))
    }

    /// That a driver can come into a container whose settings stay as they are without a change of them.
    ///
    /// # Errors
    /// It says what to do instead.
    pub(crate) fn require_no_settings(&self, container: &Container, presence: &Presence) -> Result<()> {
        let driver = container.driver.as_ref().filter(|driver| container.keeps_settings && !presence.satisfies(driver));
        let Some(driver) = driver else { return Ok(()) };
        self.require_no_mount(container)?;
        if driver.method() != Method::Shared {
            return Ok(());
        }
        let id = container.id;
        let message = format!(
            "container {id}: the method `shared` mounts a driver by the container's settings, and these stay as they are"
        );
        Err(Error::new(Kind::Configuration, message).hint(format!(
            "use the method `native`; or describe {id} in the containers' file, without `manage_settings` set to false"
        )))
    }

    /// That the settings of a container do not mount its driver, where they stay as they are.
    ///
    /// # Errors
    /// They do: they have been ours before.
    pub(crate) fn require_no_mount(&self, container: &Container) -> Result<()> {
        if !container.keeps_settings || self.image_of(container.id)?.is_none() {
            return Ok(());
        }
        let id = container.id;
        let message = format!("container {id}: its settings mount its driver, so they cannot stay as they are");
        Err(Error::new(Kind::Configuration, message).hint(format!(
            "describe {id} in the containers' file as it was when it got its driver, without `manage_settings` set to false"
        )))
    }

    /// The packages that have installed a driver in a container and are purged before ours comes. What we have installed
    /// before is replaced by another version of ours, whatever packages are there.
    ///
    /// # Errors
    /// They are there, nobody has said that they may go, and the container is not ours to settle.
    pub(crate) fn packages_to_purge(
        &self,
        container: &Container,
        driver: &WantedDriver,
        rootfs: &dyn Readable,
    ) -> Result<Vec<String>> {
        let guest = self.guest(container.id);
        let is_decided = driver.replaces_packages || container.keeps_settings;
        if !is_decided || receipt::load(&guest, rootfs)?.is_some() {
            return Ok(Vec::new());
        }
        let packages = packages::installed(rootfs)?;
        if driver.replaces_packages || packages.is_empty() {
            return Ok(packages);
        }
        Err(packages::in_the_way(&guest, &packages))
    }
}
