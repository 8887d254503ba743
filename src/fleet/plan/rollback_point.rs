//! The snapshot that a container rolls back to when its new driver fails, as planning sees it.

/// The one name of these snapshots. There is never more than one of a container.
pub const SNAPSHOT: &str = "phoenix-nvidia-apply";

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
