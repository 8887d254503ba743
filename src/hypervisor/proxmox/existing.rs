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
        let keys = config.after_restart();
        let number = |key: &str| keys.get(key).and_then(|value| value.parse::<u64>().ok());
        Ok(AsItIs {
            name: keys.get("hostname").cloned().unwrap_or_default(),
            is_unprivileged: number("unprivileged") == Some(1),
            starts_at_boot: number("onboot") == Some(1),
            memory_mb: number("memory"),
            swap_mb: number("swap"),
            cores: number("cores").and_then(|cores| cores.try_into().ok()),
            nodes,
            may_open_nvidias,
        })
    }
}
