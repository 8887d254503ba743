//! What lies in the cache, whether it is still good, and what of it may go.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::check::{Check, quoted};
use super::ensure::name_of;
use super::import::TEMPORARY;
use super::origin::Origin;
use super::record::{Record, Refused, Stamp};
use super::verified::VerifiedRunFile;
use super::{Cache, Request};
use crate::driver::run_file::{self, Name};
use crate::driver::{DriverVersion, Sha256, Variant};
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;
use crate::sys::lock::FileLock;

// A download that nobody has continued for this long will not be continued.
const PARTIAL_IS_STALE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
// No import takes this long, so a temporary file this old was left by one that was killed.
const TEMPORARY_IS_STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// One file in the cache.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The driver that its name says; none for temporary files.
    pub version: Option<DriverVersion>,
    /// The machine that its name says; none for temporary files.
    pub architecture: Option<String>,
    /// For whom it is packed, as its name says; none for temporary files.
    pub variant: Option<Variant>,
    /// What sort of file it is.
    #[serde(flatten)]
    pub sort: Sort,
}

/// The sorts of files that the cache makes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Sort {
    /// A run file that looks as it did when all of it was checked.
    #[serde(rename = "verified")]
    Trusted {
        /// Its sum.
        sha256: Sha256,
        /// Who vouched for the sum.
        origin: Origin,
    },
    /// A run file that will be checked before it is used.
    Unchecked,
    /// A run file that was read to its end and is not the one that was recorded under its name.
    Refused {
        /// Whether it is without a fault, and only another one.
        is_sound: bool,
    },
    /// The beginning of a run file, from a download that was broken off; or the note beside it.
    Partial,
    /// A run file that failed verification and was renamed.
    Wrong,
    /// What a killed process left.
    Temporary,
}

impl Cache<'_> {
    /// The cache's files in the order of their names; files that are none of its own are not among them.
    ///
    /// # Errors
    /// The file system refused.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let record = Record::read(self.context.layout, self.context.listener)?;
        let mut entries = Vec::new();
        let directory = match fs_err::read_dir(self.context.layout.cache()) {
            Ok(directory) => directory,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(entries),
            Err(error) => return Err(error.into()),
        };
        for file in directory {
            let path = file?.path();
            // A file that is renamed or removed while we look is not there.
            let Ok(metadata) = fs_err::metadata(&path) else { continue };
            let name = name_of(&path);
            let Some((sort, named)) = sorted(&name) else { continue };
            let remembered = record.stamped(&name).filter(|known| known.stamp == Stamp::of(&metadata));
            let refused = record.refused(&name, Stamp::of(&metadata));
            let sort = match (sort, remembered, refused) {
                (Sort::Unchecked, Some(known), _) => {
                    Sort::Trusted { sha256: known.sha256, origin: known.origin.clone() }
                }
                (Sort::Unchecked, None, Some(is_sound)) => Sort::Refused { is_sound },
                (sort, ..) => sort,
            };
            let (bytes, variant) = (metadata.len(), named.as_ref().and_then(|name| name.variant));
            let (version, architecture) = named.map(|name| (name.version, name.architecture)).unzip();
            entries.push(Entry { path, bytes, version, architecture, variant, sort });
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// Reads every run file to its end and says whether it is good, remembered or not.
    ///
    /// # Errors
    /// [`Kind::Interrupted`], or the file system refused; what is wrong with one file stands beside its entry.
    pub fn verify_all(&self) -> Result<Vec<(Entry, Result<VerifiedRunFile>)>> {
        let mut verdicts = Vec::new();
        for entry in self.list()? {
            if !matches!(entry.sort, Sort::Trusted { .. } | Sort::Unchecked | Sort::Refused { .. }) {
                continue;
            }
            let verdict = self.verify(&entry);
            match verdict {
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                verdict => verdicts.push((entry, verdict)),
            }
        }
        Ok(verdicts)
    }

    fn verify(&self, entry: &Entry) -> Result<VerifiedRunFile> {
        let (Some(version), Some(architecture)) = (&entry.version, &entry.architecture) else {
            return Err(Error::new(Kind::Bug, format!("`{}` is listed without its driver", entry.path.display())));
        };
        let name = name_of(&entry.path);
        let record = Record::read(self.context.layout, self.context.listener)?;
        let expected = |variant| {
            self.expected(&run_file::file_name(architecture, version, variant), &record, self.context.listener)
        };
        let check = Check {
            version: None,
            architecture: None,
            name: Some(&name),
            called: &quoted(&entry.path),
            subject: &name,
            listener: self.context.listener,
            cancel: self.context.cancel,
        };
        let file = match check.whole(&entry.path, expected) {
            Ok(file) => file,
            Err(error) => return Err(self.noted(error, &check, entry)),
        };
        if Some(file.variant()) == entry.variant {
            self.remember(&file)?;
            return Ok(file);
        }
        let _alone = self.alone(version, architecture)?;
        let what = format!("{} is {}", quoted(&entry.path), file.variant().description());
        self.under_its_name(file)?.ok_or_else(|| {
            Error::new(Kind::Verification, what).hint("it is renamed, because another file has that name")
        })
    }

    /// Notes that a file is not what it should be, so that nobody is sent to check it again.
    fn noted(&self, error: Error, check: &Check<'_>, entry: &Entry) -> Error {
        let Ok(metadata) = fs_err::metadata(&entry.path) else { return error };
        if error.kind() != Kind::Verification {
            return error;
        }
        let is_sound = self.is_only_another(&error, check, &entry.path);
        let (name, refused) = (name_of(&entry.path), Refused { stamp: Stamp::of(&metadata), is_sound });
        let noted = Record::change(self.context.layout, self.context.listener, self.context.cancel, |record| {
            record.refuse(&name, refused)
        });
        if let Err(failed) = noted {
            self.context.listener.warn(None, format!("this result could not be saved: {failed}"));
        }
        match is_sound {
            true => self.with_remedy(error, check, &entry.path),
            false => error.hint("remove it with `phoenix-nvidia cache prune`, then fetch or import it again"),
        }
    }

    /// What [`Cache::prune`] would remove.
    ///
    /// # Errors
    /// The file system refused.
    pub fn prunable(&self, keep: &[Request]) -> Result<Vec<Entry>> {
        let mut entries = self.list()?;
        entries.retain(|entry| {
            let wanted = || keep.iter().any(|request| is_for(entry, request));
            let used = || keep.iter().any(|request| is_for(entry, request) && self.uses(request, entry));
            match entry.sort {
                Sort::Trusted { .. } | Sort::Unchecked | Sort::Refused { is_sound: true } => !used(),
                Sort::Refused { is_sound: false } => true,
                Sort::Partial => !wanted() || is_older(&entry.path, PARTIAL_IS_STALE_AFTER),
                Sort::Wrong => true,
                Sort::Temporary => is_older(&entry.path, TEMPORARY_IS_STALE_AFTER),
            }
        });
        Ok(entries)
    }

    /// Whether this is the file that a request gets, or one that does as long as the wanted one is not there.
    fn uses(&self, request: &Request, entry: &Entry) -> bool {
        let is_there = || self.path_of(request, request.variant).exists();
        entry.variant == Some(request.variant)
            || (!is_there() && entry.variant.is_some_and(|variant| request.takes(variant)))
    }

    /// Removes the run files that nobody of these wants, and what broken-off downloads and killed processes left.
    ///
    /// The sums of what is removed stay in `SHA256SUMS`, so that a later download has to be the same. A file that
    /// somebody is just getting is left alone, and the listener is warned. Returns what was removed.
    ///
    /// # Errors
    /// [`Kind::Interrupted`], or the file system refused.
    pub fn prune(&self, keep: &[Request]) -> Result<Vec<Entry>> {
        let mut removed = Vec::new();
        for entry in self.prunable(keep)? {
            let lock = match (&entry.version, &entry.architecture) {
                (Some(version), Some(architecture)) => {
                    let path = self.context.layout.run_file_lock(version, architecture);
                    let subject = format!("run file {version}");
                    Some(FileLock::acquire(&path, &subject, Duration::ZERO, self.context.listener, self.context.cancel))
                }
                _ => None,
            };
            match lock.transpose() {
                Ok(_alone) => {
                    atomic::remove_if_there(&entry.path)?;
                    let name = name_of(&entry.path);
                    Record::change(self.context.layout, self.context.listener, self.context.cancel, |record| {
                        record.forget_stamp(&name)
                    })?;
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

/// What a name in the cache's directory means; none for a file that is not the cache's own.
fn sorted(name: &str) -> Option<(Sort, Option<Name>)> {
    if name.starts_with(TEMPORARY) {
        return Some((Sort::Temporary, None));
    }
    let (run_file, rest) = name.split_at(name.find(".run")? + ".run".len());
    let sort = match rest {
        "" => Sort::Unchecked,
        ".partial" | ".partial.json" => Sort::Partial,
        ".wrong" => Sort::Wrong,
        _ => return None,
    };
    let named = Name::parse(run_file)?;
    // Names with more in them (`-grid-aws`) are files that the operator put there.
    let own = run_file::file_name(&named.architecture, &named.version, named.variant?);
    (own == run_file).then_some((sort, Some(named)))
}

fn is_for(entry: &Entry, request: &Request) -> bool {
    (entry.version.as_ref(), entry.architecture.as_ref()) == (Some(&request.version), Some(&request.architecture))
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs_err::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|passed| passed > age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_cache_itself_have_a_meaning() {
        let sort = |name: &str| sorted(name).map(|(sort, _)| sort);
        assert_eq!(sort("NVIDIA-Linux-x86_64-580.76.05.run"), Some(Sort::Unchecked));
        assert_eq!(sort("NVIDIA-Linux-x86_64-580.76.05.run.partial"), Some(Sort::Partial));
        assert_eq!(sort("NVIDIA-Linux-x86_64-580.76.05.run.partial.json"), Some(Sort::Partial));
        assert_eq!(sort("NVIDIA-Linux-x86_64-580.76.05.run.wrong"), Some(Sort::Wrong));
        assert_eq!(sort(".phoenix-nvidia-a1B2c3"), Some(Sort::Temporary));
        let grid = sorted("NVIDIA-Linux-x86_64-580.76.05-grid.run").and_then(|(_, name)| name?.variant);
        assert_eq!(grid, Some(Variant::Grid));
        for other in ["SHA256SUMS", "stamps.json", "NVIDIA-Linux-x86_64-580.76.05-mine.run", "x.run", "debian.tar.zst"]
        {
            assert_eq!(sort(other), None, "{other}");
        }
    }
}
