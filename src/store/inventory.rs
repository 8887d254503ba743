//! What lies in the store, and what of it may go.

use std::path::PathBuf;
use std::time::Duration;

use super::tree::Tree;
use super::{Store, names_in, version_of_temporary};
use crate::driver::{DriverVersion, Sha256};
use crate::error::{Kind, Result};

/// One directory of the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Where it lies.
    pub path: PathBuf,
    /// The driver that its name says.
    pub version: DriverVersion,
    /// What sort of directory it is.
    #[serde(flatten)]
    pub sort: Sort,
}

/// The sorts of directories that the store makes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Sort {
    /// A tree that looks as it did when it was extracted.
    #[serde(rename = "ok")]
    Sound {
        /// How many files it has.
        files: usize,
        /// How many bytes they have.
        bytes: u64,
        /// The run file that it came from.
        run_file_sha256: Sha256,
    },
    /// A tree that is not used, and will be extracted again.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// A driver that is just being extracted or removed, or what a killed process left of that.
    Temporary,
}

impl Store<'_> {
    /// The store's directories in the order of their versions; what is none of its own is not among them.
    ///
    /// # Errors
    /// The file system refused.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (name, path) in names_in(&self.context.layout.store())? {
            if let Some(version) = version_of_temporary(&name) {
                entries.push(Entry { path, version, sort: Sort::Temporary });
                continue;
            }
            let Ok(version) = name.parse::<DriverVersion>() else { continue };
            let sort = match Tree::open(&path, &version)? {
                Ok(tree) => Sort::Sound {
                    files: tree.files().count(),
                    bytes: tree.bytes(),
                    run_file_sha256: tree.run_file_sha256(),
                },
                Err(fault) => Sort::Damaged { reason: fault.to_string() },
            };
            entries.push(Entry { path, version, sort });
        }
        entries.sort_by(|one, other| (&one.version, &one.path).cmp(&(&other.version, &other.path)));
        Ok(entries)
    }

    /// The versions in the store by their directories' names, in their order. Whether a tree is sound is not looked at.
    ///
    /// # Errors
    /// The file system refused.
    pub fn versions(&self) -> Result<Vec<DriverVersion>> {
        let names = names_in(&self.context.layout.store())?.into_iter();
        let mut versions: Vec<DriverVersion> = names.filter_map(|(name, _)| name.parse().ok()).collect();
        versions.sort();
        Ok(versions)
    }

    /// What [`Store::prune`] would remove, as far as nobody is working on it.
    ///
    /// # Errors
    /// The file system refused.
    pub fn prunable(&self, keep: &[DriverVersion]) -> Result<Vec<Entry>> {
        let mut entries = self.list()?;
        entries.retain(|entry| entry.sort == Sort::Temporary || !keep.contains(&entry.version));
        Ok(entries)
    }

    /// Removes the drivers of all versions but these, and what killed processes left.
    ///
    /// Whoever calls this names every version that a container still needs: a tree that is in use breaks what uses it.
    /// What somebody is just working on is left alone, and the listener is warned. Returns what was removed.
    ///
    /// # Errors
    /// [`Kind::Interrupted`], or the file system refused.
    pub fn prune(&self, keep: &[DriverVersion]) -> Result<Vec<Entry>> {
        let mut removed = Vec::new();
        for entry in self.prunable(keep)? {
            match self.lock(&entry.version, Duration::ZERO) {
                Ok(_alone) => {
                    match entry.sort {
                        Sort::Temporary => fs_err::remove_dir_all(&entry.path)?,
                        Sort::Sound { .. } | Sort::Damaged { .. } => self.remove(&entry.version)?,
                    }
                    removed.push(entry);
                }
                Err(error) if error.kind() == Kind::Busy => {
                    self.context
                        .listener
                        .warn(None, format!("`{}` was not removed: {}", entry.path.display(), error.message()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
