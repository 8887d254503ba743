//! Where the SHA-256 sum that a run file has to have comes from.

use std::fmt;
use std::path::PathBuf;

use crate::driver::Sha256;

/// A sum that somebody outside the cache vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedSum {
    /// The sum of the whole file.
    pub sum: Sha256,
    /// Who says so, as messages name it: `` `nvidia_runfile_sha256` of container 901 ``.
    pub origin: String,
}

/// Who vouched for the sum that a run file was compared with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The request itself, in its words.
    Given(String),
    /// The operator's list of sums.
    ChecksumsFile(PathBuf),
    /// What the cache recorded when it first got the file.
    Record,
    /// The sum that the server publishes at this URL.
    Published(String),
    /// Nobody: only the two sums that the file carries inside.
    Embedded,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(text) => f.write_str(text),
            Self::ChecksumsFile(path) => write!(f, "`{}`", path.display()),
            Self::Record => f.write_str("the cache's record of the first download"),
            Self::Published(url) => write!(f, "`{url}`"),
            Self::Embedded => f.write_str("only the sums inside the file"),
        }
    }
}

/// A sum to compare with, and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) sum: Sha256,
    /// That of the file which is just taking the place of the one with that sum.
    pub(super) coming: Option<Sha256>,
    pub(super) origin: Origin,
}

impl Expected {
    /// Whether a file with this sum is the right one.
    pub(super) fn allows(&self, sum: Sha256) -> bool {
        self.sum == sum || self.coming == Some(sum)
    }
}

impl From<&ExpectedSum> for Expected {
    fn from(given: &ExpectedSum) -> Self {
        Self { sum: given.sum, coming: None, origin: Origin::Given(given.origin.clone()) }
    }
}
