//! What is done when a container is about to start with another driver than the host's: `nvidia_on_mismatch`.

/// What the check before a start does when the container's driver is not that of the host's kernel module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// It warns, and lets the container start.
    #[default]
    Warn,
    /// It keeps the container from starting.
    Refuse,
    /// It brings the container in sync; where the method cannot do that, it keeps it from starting.
    Update,
}

impl std::str::FromStr for OnMismatch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "warn" => Ok(Self::Warn),
            "refuse" => Ok(Self::Refuse),
            "update" => Ok(Self::Update),
            _ => Err(()),
        }
    }
}
