//! What an update may do to containers beside bringing their driver in sync.

use serde::{Deserialize, Serialize};

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fleet::plan::rollback_point::{RollbackPoint, SNAPSHOT};

/// What may be done to containers beside bringing their driver in sync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// A container that does not exist is created, with what it depends on.
    pub create: bool,
    /// A running container whose settings or device nodes come in with a restart alone is restarted.
    pub restart: bool,
    /// Before a driver is changed a snapshot is taken, and a failure rolls back to it.
    #[serde(default)]
    pub snapshot: bool,
}

/// Fails where a snapshot is asked for and its name is taken by somebody else.
///
/// # Errors
/// It says so.
pub(crate) fn require_own(id: ContainerId, point: &RollbackPoint, rules: Permissions) -> Result<()> {
    if !rules.snapshot || *point != RollbackPoint::Foreign {
        return Ok(());
    }
    let message = format!("container {id} has a snapshot `{SNAPSHOT}` that this program did not take");
    Err(Error::new(Kind::Configuration, message)
        .hint(format!("if nobody needs it, run `pct delsnapshot {id} {SNAPSHOT}`; or leave out `--snapshot`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_has_taken_stands_against_a_snapshot_and_nothing_else() {
        let id = "901".parse().unwrap();
        let with = |snapshot| Permissions { snapshot, ..Permissions::default() };
        assert!(require_own(id, &RollbackPoint::Foreign, with(true)).is_err());
        require_own(id, &RollbackPoint::Foreign, with(false)).unwrap();
        require_own(id, &RollbackPoint::Possible, with(true)).unwrap();
    }
}
