//! Which containers a lxcpath has, and what their own settings say of them, whoever has written them.

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::AsItIs;
use crate::hypervisor::liblxc::passes_nvidia;
use crate::hypervisor::majors::Majors;

use super::{Lxc, config_file};

impl Lxc<'_> {
    /// Those that are plain LXC's own; what Proxmox VE and Incus keep below the same directory is theirs.
    pub(super) fn own_containers(&self) -> Result<Vec<ContainerId>> {
        let entries = match fs_err::read_dir(&self.lxcpath) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::from(error).within("the containers of this host cannot be listed"));
            }
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            // A name that is none of ours to use, such as that of a half-made container, has no identity.
            let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else { continue };
            if self.config(id).is_file() && self.is_ours(id)? {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Whether it is not another hypervisor's. One whose owner cannot be known is an error.
    fn is_ours(&self, id: ContainerId) -> Result<bool> {
        match self.plain(id) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Configuration => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn described_by_settings(&self, id: ContainerId) -> Result<AsItIs> {
        self.require(id)?;
        let files = self.settings_files(id)?;
        let entries: Vec<(&str, &str)> = files.iter().flat_map(|(_, text)| config_file::entries(text)).collect();
        let name = entries.iter().rfind(|(key, _)| *key == "lxc.uts.name").map(|(_, name)| (*name).to_owned());
        let nodes: Vec<_> = files.iter().flat_map(|(_, text)| config_file::passed_nodes(text)).collect();
        let majors = Majors::read()?;
        let is_nvidias = |major| majors.is_nvidias(major, !nodes.is_empty());
        let may_open_nvidias = entries.iter().any(|(key, value)| passes_nvidia(key, value, &is_nvidias));
        let says =
            |wanted: &str, value: &str| entries.iter().rfind(|(key, _)| *key == wanted).is_some_and(|it| it.1 == value);
        Ok(AsItIs {
            name: name.unwrap_or_default(),
            is_unprivileged: entries.iter().any(|(key, _)| *key == "lxc.idmap"),
            starts_at_boot: says("lxc.start.auto", "1"),
            nodes,
            may_open_nvidias,
            // Plain LXC has them as limits of cgroups, in as many forms as there are guides.
            ..AsItIs::default()
        })
    }
}
