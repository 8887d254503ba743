//! Putting another file in the place of the recorded one of the same driver and variant. What the cache has recorded first
//! keeps every other file out, so this is a decision of the operator's, with a verb of its own and no option of `import`.

use std::path::Path;

use super::Cache;
use super::check::Check;
use super::ensure::name_of;
use super::import::Claimed;
use super::origin::{Expected, Origin};
use super::record::Record;
use super::verified::VerifiedRunFile;
use crate::driver::{DriverVersion, Sha256};
use crate::error::{Error, Kind, Result};

/// What a replacement has done, or would do.
#[derive(Debug)]
pub struct Replacement {
    /// The file that takes the place.
    pub run_file: VerifiedRunFile,
    /// The sum that was recorded; none where nothing was.
    pub previous: Option<Sha256>,
}

impl Replacement {
    /// The sum of the file whose place another one takes.
    pub fn replaced(&self) -> Option<Sha256> {
        self.previous.filter(|previous| *previous != self.run_file.sha256())
    }
}

impl Cache<'_> {
    /// Takes a local run file into the cache as [`Cache::import`] does, in the place of the recorded one of its driver and
    /// variant; the recorded sum does not count, the operator's list of sums does.
    ///
    /// Killed at any moment, the cache has the previous file or the new one, and trusts it. Whoever has opened the
    /// previous one goes on reading that.
    ///
    /// # Errors
    /// As [`Cache::import`]. The cache is then as it was.
    pub fn replace(&self, source: &Path, version: Option<&DriverVersion>) -> Result<Replacement> {
        let claimed = Claimed::of(source, version)?;
        let _alone = self.alone(&claimed.version, &claimed.architecture)?;
        let copy = self.copied(source)?;
        let file = self.checked(source, &copy, &claimed, |name| self.vouched(name))?;
        let place = self.place_of(&file);
        let (name, sum) = (name_of(&place), file.sha256());
        let previous = Record::read(self.context.layout, self.context.listener)?.sum(&name, self.context.listener);
        // From here on either of both is right, until the record names the new one alone.
        Record::change(self.context.layout, self.context.listener, self.context.cancel, |record| {
            record.expect_too(&name, sum)
        })?;
        Ok(Replacement { run_file: self.accept(file, &copy, &place)?, previous })
    }

    /// Checks a local run file as [`Cache::replace`] would, says whose place it would take, and changes nothing.
    ///
    /// # Errors
    /// As [`Cache::replace`].
    pub fn replaceable(&self, source: &Path, version: Option<&DriverVersion>) -> Result<Replacement> {
        let claimed = Claimed::of(source, version)?;
        let run_file = self.checked(source, source, &claimed, |name| self.vouched(name))?;
        let name = name_of(&self.place_of(&run_file));
        let previous = Record::read(self.context.layout, self.context.listener)?.sum(&name, self.context.listener);
        Ok(Replacement { run_file, previous })
    }

    /// The refusal of a file, with its remedy where it is only another one than the recorded one.
    pub(super) fn with_remedy(&self, error: Error, check: &Check<'_>, path: &Path) -> Error {
        match self.is_only_another(&error, check, path) {
            true => error.hint(format!(
                "it is intact, but differs from the file that was recorded first; if it is the right one, run \
                 `phoenix-nvidia cache replace {}`",
                check.called.trim_matches('`')
            )),
            false => error,
        }
    }

    /// Whether a file was refused for the recorded sum alone.
    pub(super) fn is_only_another(&self, error: &Error, check: &Check<'_>, path: &Path) -> bool {
        error.kind() == Kind::Verification && self.settings.checksums.is_none() && check.is_sound(path)
    }

    /// The sum that the operator's list has of a file.
    fn vouched(&self, name: &str) -> Result<Option<Expected>> {
        let origin = || Origin::ChecksumsFile(self.settings.checksums.clone().unwrap_or_default());
        Ok(self.listed(name)?.map(|sum| Expected { sum, coming: None, origin: origin() }))
    }
}
