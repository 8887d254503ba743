//! The snapshot that a container goes back to when its new driver fails: taken, removed, gone back to; and what the host
//! remembers of it, so that the run after a killed one knows it for ours and finishes what that had begun.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::State;
use crate::install::Remembered;
use crate::sys::atomic;

use super::Fleet;
use super::update::Rules;

/// The one name of these snapshots. There is never more than one of a container.
pub const SNAPSHOT: &str = "phoenix-nvidia-apply";

// How long a hypervisor's tool may be at work on one.
const LONGEST_SNAPSHOT: Duration = Duration::from_secs(10 * 60);

/// How it stands with a snapshot to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackPoint {
    /// There is none, and one can be taken.
    Possible,
    /// There is none, and none can be taken, for this reason.
    Impossible(String),
    /// An interrupted run of ours has left it.
    Left {
        /// When it was taken, RFC 3339.
        taken_at: String,
        /// That run had begun to go back to it.
        going_back: bool,
    },
    /// There is one of our name that we have not taken.
    Foreign,
}

/// What the host remembers of a snapshot: written before it is taken, removed after it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// What makes the snapshot ours: its description ends with it.
    token: String,
    taken_at: String,
    /// Whether the container ran, and so has to run again.
    was_running: bool,
    /// What the host remembered of the container's driver at that time.
    remembered: Remembered,
    going_back: bool,
}

impl Record {
    fn new(token: String, was_running: bool, remembered: Remembered) -> Self {
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
                    .hint(format!("remove it; a snapshot `{SNAPSHOT}` is then no longer taken for ours"))
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

/// Fails where a snapshot is asked for and its name is taken by somebody else.
///
/// # Errors
/// It says so.
pub(super) fn require_own(id: ContainerId, point: &RollbackPoint, rules: Rules) -> Result<()> {
    if !rules.snapshot || *point != RollbackPoint::Foreign {
        return Ok(());
    }
    let message = format!("container {id} has a snapshot `{SNAPSHOT}` that this program did not take");
    Err(Error::new(Kind::Configuration, message)
        .hint(format!("if nobody needs it, run `pct delsnapshot {id} {SNAPSHOT}`; or leave out `--snapshot`")))
}

impl Fleet<'_> {
    /// How it stands with the snapshot of a container that is in this state.
    pub(super) fn rollback_point(&self, id: ContainerId, state: State) -> Result<RollbackPoint> {
        if state == State::Absent {
            return Ok(RollbackPoint::Impossible("it does not exist".to_owned()));
        }
        let record = Record::load(&self.layout.rollback(id))?;
        Ok(match (self.hypervisor.find_snapshot(id, SNAPSHOT)?, record) {
            (None, _) => match self.hypervisor.snapshot_obstacle(id)? {
                Some(why) => RollbackPoint::Impossible(why),
                None => RollbackPoint::Possible,
            },
            (Some(found), Some(Record { taken_at, going_back, token, .. })) if found.description.ends_with(&token) => {
                RollbackPoint::Left { taken_at, going_back: going_back && found.is_whole }
            }
            (Some(_), _) => RollbackPoint::Foreign,
        })
    }

    /// When the snapshot was taken that an interrupted run has left.
    pub(super) fn left_snapshot(&self, id: ContainerId) -> Result<Option<String>> {
        Ok(match self.rollback_point(id, self.hypervisor.state(id)?)? {
            RollbackPoint::Left { taken_at, .. } => Some(taken_at),
            _ => None,
        })
    }

    /// The version of the driver that the container had when its snapshot was taken.
    pub(super) fn driver_in_snapshot(&self, id: ContainerId) -> Result<Option<DriverVersion>> {
        Ok(Record::load(&self.layout.rollback(id))?.and_then(|record| record.remembered.version()))
    }

    /// Takes the snapshot, or goes on with the one that an interrupted run has left. False where the storage turns out
    /// to have none, against what was known before.
    pub(super) fn take_rollback_point(&self, container: &Container) -> Result<bool> {
        let (id, path) = (container.id, self.layout.rollback(container.id));
        let state = self.hypervisor.state(id)?;
        if matches!(self.rollback_point(id, state)?, RollbackPoint::Left { .. }) {
            if self.hypervisor.find_snapshot(id, SNAPSHOT)?.is_some_and(|found| found.is_whole) {
                return Ok(true);
            }
            self.hypervisor.remove_snapshot(id, SNAPSHOT)?;
        }
        // A killed run may have left a hypervisor's tool at work: what that takes is to be known as ours, too.
        let token = Record::load(&path)?.map_or_else(|| format!("{:016x}", fastrand::u64(..)), |former| former.token);
        let record = Record::new(token, state.init().is_some(), Remembered::of(self.layout, id)?);
        record.save(&path)?;
        let Err(error) = self.hypervisor.snapshot(id, SNAPSHOT, &record.description()) else { return Ok(true) };
        if self.hypervisor.find_snapshot(id, SNAPSHOT)?.is_none() {
            atomic::remove_if_there(&path)?;
        }
        // What stands against it in the container's settings; anything else may pass, and fails this container.
        if error.kind() != Kind::Configuration {
            return Err(error);
        }
        self.listener.warn(Some(id), format!("no snapshot: {}", error.message()));
        Ok(false)
    }

    /// Removes the snapshot, if it is ours; false where there is none.
    pub(super) fn remove_rollback_point(&self, id: ContainerId) -> Result<bool> {
        let state = self.hypervisor.state(id)?;
        let is_left = matches!(self.rollback_point(id, state)?, RollbackPoint::Left { .. });
        if is_left {
            self.hypervisor.remove_snapshot(id, SNAPSHOT)?;
        }
        self.forget_rollback_point(id)?;
        Ok(is_left)
    }

    /// Forgets what a run has remembered that was killed before its snapshot was taken; not while the hypervisor's tool
    /// may still be at work on that, for then nobody would know the snapshot for ours.
    pub(super) fn forget_untaken_rollback_point(&self, id: ContainerId) -> Result<()> {
        let Some(record) = Record::load(&self.layout.rollback(id))? else { return Ok(()) };
        let is_recent = record
            .taken_at
            .parse::<jiff::Timestamp>()
            .is_ok_and(|taken_at| jiff::Timestamp::now().duration_since(taken_at).unsigned_abs() < LONGEST_SNAPSHOT);
        if is_recent { Ok(()) } else { self.forget_rollback_point(id) }
    }

    /// The host's record, without the snapshot that it is of.
    fn forget_rollback_point(&self, id: ContainerId) -> Result<()> {
        let path = self.layout.rollback(id);
        if path.exists() { atomic::remove_if_there(&path) } else { Ok(()) }
    }

    /// Brings the container back to the snapshot, with what the host remembers of its driver; running, if it ran.
    pub(super) fn go_back(&self, container: &Container) -> Result<()> {
        let (id, path) = (container.id, self.layout.rollback(container.id));
        let Some(record) = Record::load(&path)? else {
            return Err(Error::new(Kind::Bug, format!("container {id}: there is no snapshot to go back to")));
        };
        // From here on nobody goes on with what is being thrown away.
        Record { going_back: true, ..record.clone() }.save(&path)?;
        self.hypervisor.roll_back(id, SNAPSHOT)?;
        record.remembered.put_back(self.layout, id)?;
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
        assert_eq!(Record::load(&path).unwrap(), None);
        let first = r#"{ "token": "00c0ffee00c0ffee", "taken_at": "2026-11-25T04:00:00Z", "was_running": true,
            "remembered": { "receipt": "{}", "intent": null }, "going_back": false, "of_later": 1 }"#;
        fs_err::write(&path, first).unwrap();
        let record = Record::load(&path).unwrap().unwrap();
        assert_eq!(record.description(), "phoenix-nvidia apply 00c0ffee00c0ffee");
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap(), Some(record));
        fs_err::write(&path, "{}").unwrap();
        assert_eq!(Record::load(&path).unwrap_err().kind(), Kind::Host);
    }

    #[test]
    fn a_name_that_somebody_else_has_taken_stands_against_a_snapshot_and_nothing_else() {
        let id = "901".parse().unwrap();
        let with = |snapshot| Rules { snapshot, ..Rules::default() };
        assert!(require_own(id, &RollbackPoint::Foreign, with(true)).is_err());
        require_own(id, &RollbackPoint::Foreign, with(false)).unwrap();
        require_own(id, &RollbackPoint::Possible, with(true)).unwrap();
    }
}
