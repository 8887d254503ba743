//! The four ways in which a driver gets into a container.

use std::str::FromStr;

/// How a driver gets into a container.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The run file is put into the container and NVIDIA's installer runs there.
    #[default]
    Runfile,
    /// NVIDIA's installer runs in the container from a tree that is extracted once on the host.
    Installer,
    /// The host places the files of the driver into the container.
    Native,
    /// The container mounts the host's read-only image of the driver.
    Shared,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Runfile, Self::Installer, Self::Native, Self::Shared];

    /// Whether NVIDIA's installer has to run in the container for it.
    pub fn needs_processes(self) -> bool {
        matches!(self, Self::Runfile | Self::Installer)
    }

    /// Its name in configuration files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Runfile => "runfile",
            Self::Installer => "installer",
            Self::Native => "native",
            Self::Shared => "shared",
        }
    }
}

impl FromStr for Method {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|method| method.word() == text).ok_or(())
    }
}
