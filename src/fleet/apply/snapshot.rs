//! The snapshot that a container goes back to when its new driver fails: taken, removed, gone back to; and what the host
//! remembers of it, so that the run after a killed one knows it for ours and finishes what that had begun.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Snapshots, State};
use crate::install::ReceiptAndIntent;
use crate::sys::atomic;

use crate::fleet::Fleet;
use crate::fleet::plan::rollback_point::{RollbackPoint, SNAPSHOT};

// How long a hypervisor's tool may be at work on one.
const LONGEST_SNAPSHOT: Duration = Duration::from_secs(10 * 60);

/// The host's record of a snapshot: written before it is taken, removed after it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RollbackRecord {
    /// What makes the snapshot ours: its description ends with it.
    token: String,
    taken_at: String,
    /// Whether the container ran, and so has to run again.
    was_running: bool,
    /// The host's record of the container's driver at that time.
    remembered: ReceiptAndIntent,
    going_back: bool,
}

impl RollbackRecord {
    fn new(token: String, was_running: bool, remembered: ReceiptAndIntent) -> Self {
        let taken_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Self { token, taken_at, was_running, remembered, going_back: false }
    }

    fn description(&self) -> String {
        format!("phoenix-nvidia apply {}", self.token)
    }

    fn load(path: &Path) -> Result<Option<Self>> {
        match fs_err::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                Error::new(Kind::Host, format!("`{}` is damaged", path.display()))
                    .caused_by(error)
                    .hint(format!("remove it; a snapshot `{SNAPSHOT}` is then no longer recognised"))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "a record could not be written as JSON").caused_by(error))?;
        atomic::write(path, &json, 0o644)
    }
}

impl Fleet<'_> {
    /// The hypervisor's snapshots.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn snapshots(&self, id: ContainerId) -> Result<&dyn Snapshots> {
        let none = |why: &str| Error::new(Kind::Configuration, format!("container {id}: no snapshot: {why}"));
        self.hypervisor.snapshots().map_err(none)
    }

    /// How it stands with the snapshot of a container that is in this state.
    pub(crate) fn rollback_point(&self, id: ContainerId, state: State) -> Result<RollbackPoint> {
        if state == State::Absent {
            return Ok(RollbackPoint::Impossible("it does not exist".to_owned()));
        }
        let snapshots = match self.hypervisor.snapshots() {
            Ok(snapshots) => snapshots,
            Err(why) => return Ok(RollbackPoint::Impossible(why.to_owned())),
        };
        let record = RollbackRecord::load(&self.context.layout.rollback(id))?;
        Ok(match (snapshots.find(id, SNAPSHOT)?, record) {
            (None, _) => match snapshots.why_not(id)? {
                Some(why) => RollbackPoint::Impossible(why),
                None => RollbackPoint::Possible,
            },
            (Some(found), Some(RollbackRecord { taken_at, going_back, token, .. }))
                if found.description.ends_with(&token) =>
            {
                RollbackPoint::Left { taken_at, going_back: going_back && found.is_whole }
            }
            (Some(_), _) => RollbackPoint::Foreign,
        })
    }

    /// When the snapshot was taken that an interrupted run left.
    pub(crate) fn left_snapshot(&self, id: ContainerId) -> Result<Option<String>> {
        Ok(match self.rollback_point(id, self.hypervisor.state(id)?)? {
            RollbackPoint::Left { taken_at, .. } => Some(taken_at),
            _ => None,
        })
    }

    /// The version of the driver that the container had when its snapshot was taken.
    pub(crate) fn driver_in_snapshot(&self, id: ContainerId) -> Result<Option<DriverVersion>> {
        Ok(RollbackRecord::load(&self.context.layout.rollback(id))?.and_then(|record| record.remembered.version()))
    }

    /// Takes the snapshot, or goes on with the one that an interrupted run left. False where the storage turns out
    /// to have none, against what was known before.
    pub(crate) fn take_rollback_point(&self, container: &Container) -> Result<bool> {
        let (id, path) = (container.id, self.context.layout.rollback(container.id));
        let (state, snapshots) = (self.hypervisor.state(id)?, self.snapshots(id)?);
        if matches!(self.rollback_point(id, state)?, RollbackPoint::Left { .. }) {
            if snapshots.find(id, SNAPSHOT)?.is_some_and(|found| found.is_whole) {
                return Ok(true);
            }
            snapshots.remove(id, SNAPSHOT)?;
        }
        // A killed run may have left a hypervisor's tool at work: what that takes is to be known as ours, too.
        let token = RollbackRecord::load(&path)?
            .map_or_else(|| format!("{:016x}", fastrand::u64(..)), |previous| previous.token);
        let record = RollbackRecord::new(token, state.init().is_some(), ReceiptAndIntent::of(self.context.layout, id)?);
        record.save(&path)?;
        let Err(error) = snapshots.take(id, SNAPSHOT, &record.description()) else { return Ok(true) };
        if snapshots.find(id, SNAPSHOT)?.is_none() {
            atomic::remove_if_there(&path)?;
        }
        // A setting of the container prevents it; anything else may pass, and fails this container.
        if error.kind() != Kind::Configuration {
            return Err(error);
        }
        self.context.listener.warn(Some(id), format!("no snapshot: {}", error.message()));
        Ok(false)
    }

    /// Removes the snapshot, if it is ours; false where there is none.
    pub(crate) fn remove_rollback_point(&self, id: ContainerId) -> Result<bool> {
        let state = self.hypervisor.state(id)?;
        let is_left = matches!(self.rollback_point(id, state)?, RollbackPoint::Left { .. });
        if is_left {
            self.snapshots(id)?.remove(id, SNAPSHOT)?;
        }
        self.forget_rollback_point(id)?;
        Ok(is_left)
    }

    /// Forgets what a run has remembered that was killed before its snapshot was taken; not while the hypervisor's tool
    /// may still be at work on that, for then nobody would know the snapshot for ours.
    pub(crate) fn forget_untaken_rollback_point(&self, id: ContainerId) -> Result<()> {
        let Some(record) = RollbackRecord::load(&self.context.layout.rollback(id))? else { return Ok(()) };
        let is_recent = record
            .taken_at
            .parse::<jiff::Timestamp>()
            .is_ok_and(|taken_at| jiff::Timestamp::now().duration_since(taken_at).unsigned_abs() < LONGEST_SNAPSHOT);
        if is_recent { Ok(()) } else { self.forget_rollback_point(id) }
    }

    /// The host's record, without the snapshot that it is of.
    fn forget_rollback_point(&self, id: ContainerId) -> Result<()> {
        let path = self.context.layout.rollback(id);
        if path.exists() { atomic::remove_if_there(&path) } else { Ok(()) }
    }

    /// Brings the container back to the snapshot, with the host's record of its driver; running, if it ran.
    pub(crate) fn go_back(&self, container: &Container) -> Result<()> {
        let (id, path) = (container.id, self.context.layout.rollback(container.id));
        let Some(record) = RollbackRecord::load(&path)? else {
            return Err(Error::new(Kind::Bug, format!("container {id}: there is no snapshot to roll back to")));
        };
        // From here on nobody goes on with what is being thrown away.
        RollbackRecord { going_back: true, ..record.clone() }.save(&path)?;
        self.snapshots(id)?.roll_back(id, SNAPSHOT)?;
        record.remembered.put_back(self.context.layout, id)?;
        if record.was_running {
            self.mount_images(id)?;
            self.hypervisor.start(id)?;
        }
        self.settle_images(container)?;
        self.remove_rollback_point(id).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_release_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("901.json");
        assert_eq!(RollbackRecord::load(&path).unwrap(), None);
        let first = r#"{ "token": "00c0ffee00c0ffee", "taken_at": "2026-11-25T04:00:00Z", "was_running": true,
            "remembered": { "receipt": "{}", "intent": null }, "going_back": false, "of_later": 1 }"#;
        fs_err::write(&path, first).unwrap();
        let record = RollbackRecord::load(&path).unwrap().unwrap();
        assert_eq!(record.description(), "phoenix-nvidia apply 00c0ffee00c0ffee");
        record.save(&path).unwrap();
        assert_eq!(RollbackRecord::load(&path).unwrap(), Some(record));
        fs_err::write(&path, "{}").unwrap();
        assert_eq!(RollbackRecord::load(&path).unwrap_err().kind(), Kind::Host);
    }
}
