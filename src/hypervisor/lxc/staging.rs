//! Building a container beside its final place, so that it is there as a whole or not at all; and what a killed run of
//! that has left: its tools still at work, a half-built directory, a source that nobody was left to thaw.

use std::path::{Path, PathBuf};

use crate::container_id::ContainerId;
use crate::error::Result;
use crate::hypervisor::{LeftByMaking, State};
use crate::sys::cancel::Cancel;
use crate::sys::{atomic, processes};

use super::Lxc;

/// The variable that names the staging directory in the environment of every tool that works in it.
pub(super) const MARKER: &str = "PHOENIX_NVIDIA_STAGING";

/// How the name of the note begins that a container is frozen by us, before its CTID. The copy's is in it.
const FROZE: &str = ".phoenix-nvidia-froze-";

impl Lxc<'_> {
    /// Lets `make` build `<staging>/<id>` and moves it to its place; whatever fails, nothing is left.
    pub(super) fn staged(&self, id: ContainerId, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let staging = self.staging(id);
        self.clear_staging(id)?;
        fs_err::create_dir_all(&staging)?;
        let made = make(&staging).and_then(|()| {
            fs_err::rename(staging.join(id.to_string()), self.directory(id))?;
            atomic::sync_directory(&self.lxcpath)
        });
        let removed = remove_tree(&staging);
        made.and(removed)
    }

    /// Ends the tools that a killed run left at work, and removes what they have built.
    pub(super) fn clear_staging(&self, id: ContainerId) -> Result<()> {
        let staging = self.staging(id);
        if staging.exists() {
            // Variables end with a zero byte; without it, container 901 would find the tools of container 9012.
            let marker = format!("{MARKER}={}\0", staging.display());
            // Again until none is found: one that was seen may have started another in between.
            while processes::kill_marked(std::process::id(), &marker)? > 0 {}
        }
        remove_tree(&staging)
    }

    /// What a killed run has left of the making of a container.
    pub(super) fn left_of_making(&self, id: ContainerId) -> Result<Option<LeftByMaking>> {
        let staging = self.staging(id);
        let exists = self.config(id).exists();
        // Of one that has its place, an empty directory may be left, which is nothing to speak of.
        if !staging.exists() || (exists && fs_err::read_dir(&staging)?.next().is_none()) {
            return Ok(None);
        }
        let mut what = format!("a killed run began to create it, and left `{}`", staging.display());
        for source in self.frozen_for(id)? {
            what.push_str(&format!(", and its source, container {source}, frozen"));
        }
        Ok(Some(LeftByMaking { what, by_hand: exists.then_some(staging) }))
    }

    /// The sources that were frozen for a copy, and that nobody has thawed.
    fn frozen_for(&self, copy: ContainerId) -> Result<Vec<ContainerId>> {
        let mut sources = Vec::new();
        for entry in fs_err::read_dir(&self.lxcpath)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(source) = name.strip_prefix(FROZE).and_then(|id| id.parse().ok()) else { continue };
            let is_for_it = fs_err::read_to_string(entry.path()).is_ok_and(|text| text == copy.to_string());
            if is_for_it && self.current_state(source)? == State::Frozen {
                sources.push(source);
            }
        }
        Ok(sources)
    }

    /// Where a container is built before it has its place; hidden from `lxc-ls` by its dot.
    pub(super) fn staging(&self, id: ContainerId) -> PathBuf {
        self.lxcpath.join(format!(".phoenix-nvidia-{id}"))
    }

    /// Freezes a running container for this long, for a copy of it. One that somebody else has frozen stays frozen; one
    /// that a killed run of ours has is thawed afterwards.
    pub(super) fn while_still(
        &self,
        id: ContainerId,
        copy: ContainerId,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let note = self.lxcpath.join(format!("{FROZE}{id}"));
        match self.current_state(id)? {
            State::Running { .. } => {
                atomic::write(&note, copy.to_string().as_bytes(), 0o600)?;
                self.tool("lxc-freeze", id).run_ok(self.cancel)?;
            }
            State::Frozen if note.exists() => {}
            State::Frozen | State::Stopped | State::Absent => return work(),
        }
        let worked = work();
        // With a flag of its own: it must be done even when the operator has interrupted.
        let thawed = Cancel::new().and_then(|never| self.tool("lxc-unfreeze", id).run_ok(&never));
        let thawed = thawed.and_then(|_| atomic::remove_if_there(&note));
        worked.and(thawed)
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
