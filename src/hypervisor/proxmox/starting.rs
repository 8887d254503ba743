//! A container that `pct` is starting at this moment: `pct` waits for a hook of this program and must not be called, and
//! the container can be held still until the hook has done its work.

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::hypervisor::liblxc::Liblxc;
use crate::sys::cancel::Cancel;

use super::Proxmox;

impl<'a> Proxmox<'a> {
    /// The same, called by `pct` just after this container's init has been started: nothing in it moves until what is
    /// given back is dropped, so nothing in it begins with the previous driver.
    ///
    /// # Errors
    /// It does not run, or cannot be frozen.
    pub fn just_started(self, id: ContainerId) -> Result<(Self, HeldStill<'a>)> {
        let State::Running { init } = self.current_state(id)? else {
            return Err(Error::new(Kind::Command, format!("container {id} does not run"))
                .hint("this is a hook, which `pct` calls when it has started the container"));
        };
        let held = HeldStill { proxmox: Proxmox::new(self.node.clone(), self.context), id };
        self.liblxc().tool("lxc-freeze", id).run_ok(self.context.cancel)?;
        Ok((Self { starting: Some((id, init)), ..self }, held))
    }
}

/// A container in which nothing moves while this lives.
pub struct HeldStill<'a> {
    proxmox: Proxmox<'a>,
    id: ContainerId,
}

impl HeldStill<'_> {
    /// Lets it go on.
    ///
    /// # Errors
    /// It could not be thawed.
    fn let_go(&self) -> Result<()> {
        // With a flag of its own: it must be done even when somebody has interrupted.
        let never = Cancel::new()?;
        let liblxc = Liblxc { cancel: &never, ..self.proxmox.liblxc() };
        liblxc.tool("lxc-unfreeze", self.id).run_ok(&never).map(drop)
    }
}

impl Drop for HeldStill<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            let hint = format!("thaw it with `lxc-unfreeze -n {}`", self.id);
            self.proxmox
                .context
                .listener
                .warn(Some(self.id), format!("it is still frozen: {}; {hint}", error.message()));
        }
    }
}
