//! Which containers a node has, and what their own files say of them, whoever has written them.

use crate::container_id::ContainerId;
use crate::error::Result;
use crate::hypervisor::AsItIs;
use crate::hypervisor::majors::Majors;

use super::{Proxmox, devices};

impl Proxmox<'_> {
    pub(super) fn own_containers(&self) -> Result<Vec<ContainerId>> {
        let entries = match fs_err::read_dir(self.node.root.join("lxc")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".conf")?.parse::<ContainerId>().ok());
            ids.extend(id.filter(|id| id.number().is_some()));
        }
        ids.sort();
        Ok(ids)
    }

    pub(super) fn described_by_settings(&self, id: ContainerId) -> Result<AsItIs> {
        let config = self.config(id)?;
        let nodes = devices::passed(&config, &self.record(id)?.devices);
        let may_open_nvidias = !devices::passing_nvidia(&config, &[], &Majors::read()?).is_empty();
        let name = config.after_restart().get("hostname").cloned().unwrap_or_default();
        Ok(AsItIs { name, nodes, may_open_nvidias })
    }
}
