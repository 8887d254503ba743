//! Whose a container below the lxcpath is. Proxmox VE and Incus run liblxc's containers too, keep what they decide
//! elsewhere and write liblxc's file anew at every start: who changes theirs behind their back breaks them.

use std::path::Path;

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::proxmox;

use super::{Lxc, config_file};

/// Another hypervisor that liblxc runs containers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Proxmox,
    Incus,
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Self::Proxmox => "Proxmox VE",
            Self::Incus => "Incus",
        }
    }

    fn hint(self, id: ContainerId) -> String {
        match self {
            Self::Proxmox => {
                "use `--backend proxmox`, or leave it out; in the hypervisor's file, `hypervisor.backend` likewise"
                    .to_owned()
            }
            Self::Incus => {
                format!("this release does not support Incus: give the container of plain LXC another CTID than {id}")
            }
        }
    }
}

impl Lxc<'_> {
    /// The same, where this container may be touched by the tools of plain LXC. Every verb goes through here.
    ///
    /// # Errors
    /// Another hypervisor has it, or that cannot be known.
    pub(super) fn plain(&self, id: ContainerId) -> Result<&Self> {
        match proxmox::has_guest(&self.pve_root, id)? {
            Some(true) => return Err(owned(id, Owner::Proxmox, &self.pve_root)),
            Some(false) => {}
            None if *self.is_node.get_or_init(|| proxmox::is_node(&self.pve_root)) => {
                let root = self.pve_root.display();
                let message = format!(
                    "container {id}: its owner cannot be determined: this host is a node of Proxmox VE, and `{root}` \
                     is not mounted"
                );
                return Err(Error::new(Kind::Host, message).hint("mount it with `systemctl start pve-cluster`"));
            }
            None => {}
        }
        let path = self.config(id);
        match config_file::read(&path) {
            Ok(config) => owner(&config).map_or(Ok(self), |owner| Err(owned(id, owner, &path))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(self),
            Err(error) => Err(error.into()),
        }
    }
}

fn owned(id: ContainerId, owner: Owner, says: &Path) -> Error {
    let (path, name) = (says.display(), owner.name());
    let message = format!("container {id} belongs to {name}, as `{path}` says, and plain LXC must not touch it");
    Error::new(Kind::Configuration, message).hint(owner.hint(id))
}

/// The hypervisor that has written this `config`.
///
/// Proxmox VE puts every container in cgroups of its own layout and lets its own script set up the network
/// (`update_lxc_config` of pve-container 6.1.10; the hooks of lxc-pve stand in a file that all containers of a host
/// include). Incus lets its daemon be called by each hook (`driver_lxc.go` of Incus 6).
fn owner(config: &str) -> Option<Owner> {
    config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let is_script = key.starts_with("lxc.net.") && key.ends_with(".script.up");
        match key {
            "lxc.cgroup.dir.monitor" if value.starts_with("lxc.monitor/") => Some(Owner::Proxmox),
            _ if is_script && value == "/usr/share/lxc/lxcnetaddbr" => Some(Owner::Proxmox),
            _ if key.starts_with("lxc.hook.") && value.contains("/lxc-pve-") => Some(Owner::Proxmox),
            _ if key.starts_with("lxc.hook.") && value.split_whitespace().nth(1) == Some("callhook") => {
                Some(Owner::Incus)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // In the order and form of pve-container 6.1.10.
    const OF_PROXMOX: &str = "\
lxc.cgroup.relative = 0
lxc.cgroup.dir.monitor = lxc.monitor/901
lxc.cgroup.dir.container = lxc/901
lxc.cgroup.dir.container.inner = ns
lxc.arch = amd64
lxc.include = /usr/share/lxc/config/debian.common.conf
lxc.monitor.unshare = 1
lxc.rootfs.path = /var/lib/lxc/901/rootfs
lxc.net.0.type = veth
lxc.net.0.script.up = /usr/share/lxc/lxcnetaddbr
";

    #[test]
    fn a_file_of_proxmox_ve_is_known_by_its_cgroups_and_by_its_network() {
        assert_eq!(owner(OF_PROXMOX), Some(Owner::Proxmox));
        let without = |word: &str| -> String {
            OF_PROXMOX.lines().filter(|line| !line.contains(word)).map(|line| format!("{line}\n")).collect()
        };
        assert_eq!(owner(&without("cgroup.dir")), Some(Owner::Proxmox), "before LXC 4");
        assert_eq!(owner(&without("script.up")), Some(Owner::Proxmox), "one without a network");
        assert_eq!(owner("lxc.hook.pre-start=/usr/share/lxc/hooks/lxc-pve-prestart-hook\n"), Some(Owner::Proxmox));
    }

    #[test]
    fn a_file_of_incus_is_known_by_its_hooks() {
        let hook = "lxc.hook.version = 1\nlxc.hook.pre-start = /proc/612/exe callhook /var/lib/incus \"default\" \"c1\" start\n";
        assert_eq!(owner(hook), Some(Owner::Incus));
    }

    #[test]
    fn a_file_of_plain_lxc_has_no_other_owner() {
        let hooks =
            "lxc.hook.pre-start = /usr/local/bin/phoenix-nvidia hook\n# lxc.cgroup.dir.monitor = lxc.monitor/1\n";
        let config = format!("lxc.include = /usr/share/lxc/config/common.conf\nlxc.monitor.unshare = 1\n{hooks}");
        assert_eq!(owner(&config), None);
        assert_eq!(owner("lxc.cgroup.dir.monitor = mine/901\nlxc.net.0.script.up = /etc/lxc/ifup\n"), None);
    }
}
