//! Device nodes as a running container has them: made when it was started, from the host's as they were then.

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::driver::device::{DeviceNode, MODESET};
use crate::error::Result;
use crate::hypervisor::State;
use crate::sys::readable::Readable;
use crate::sys::rootfs::Found;

use crate::fleet::Fleet;

/// Whether a running container lacks a node for which nobody restarts it: `nvidia-modeset`, which CUDA does not need, of a
/// host that had none when the container started. A mount that is `optional` has left an empty file there, or nothing.
pub(crate) fn waits_for_a_start(path: &Path, found: Option<&Found>) -> bool {
    path == Path::new(MODESET) && matches!(found, None | Some(Found::File { .. }))
}

impl Fleet<'_> {
    /// Those of these nodes that a running container lacks, has with another number, or may not open.
    pub(crate) fn wrong_nodes(
        &self,
        id: ContainerId,
        root: &dyn Readable,
        devices: &[DeviceNode],
    ) -> Result<Vec<PathBuf>> {
        let refused = self.hypervisor.refused_nodes(id, devices)?;
        let mut wrong = Vec::new();
        for node in devices {
            let right = Some(Found::CharacterDevice { major: node.major, minor: node.minor });
            let found = root.look(&node.path.to_string_lossy())?;
            let is_wrong = found != right && !waits_for_a_start(&node.path, found.as_ref());
            if is_wrong || refused.contains(&node.path) {
                wrong.push(node.path.clone());
            }
        }
        Ok(wrong)
    }

    /// Whether a container that runs has a node that its settings pass otherwise than the host has it now. One that its
    /// settings do not pass yet comes in with them.
    pub(crate) fn has_former_nodes(&self, id: ContainerId, state: State, devices: &[DeviceNode]) -> Result<bool> {
        if devices.is_empty() || !matches!(state, State::Running { .. }) {
            return Ok(false);
        }
        let passed = self.hypervisor.passed_nodes(id)?;
        let passed: Vec<DeviceNode> = devices.iter().filter(|node| passed.contains(&node.path)).cloned().collect();
        let wrong = self.look_into(id, |root| self.wrong_nodes(id, root, &passed))?;
        Ok(wrong.is_some_and(|wrong| !wrong.is_empty()))
    }
}
