//! Which of the files that are there is used: the wanted variant, or one that does in its place.

use std::path::{Path, PathBuf};

use super::check::{Check, quoted};
use super::ensure::{name_of, partial_of};
use super::origin::Expected;
use super::partial::Partial;
use super::record::{Record, Stamp, Stamped};
use super::verified::VerifiedRunFile;
use super::{Cache, Entry, Presence, Request, Sort, beside};
use crate::driver::{DriverVersion, Sha256, Variant, run_file};
use crate::error::{Error, Kind, Result};
use crate::event::{Listener, NoListener};

impl Cache<'_> {
    /// What is there of a run file, or of one that does in its place. Reads no file to its end and writes nothing.
    ///
    /// # Errors
    /// [`Kind::Configuration`] when the operator's list of sums cannot be used; the file system refused.
    pub fn look(&self, request: &Request) -> Result<Presence> {
        Ok(self.chosen(request, self.context.listener)?.0)
    }

    /// The file that is used, and what is remembered of it if that holds. `listener` hears of damaged records.
    fn chosen(&self, request: &Request, listener: &dyn Listener) -> Result<(Presence, Option<Stamped>)> {
        for variant in request.variants() {
            if !self.may_do(request, variant)? {
                continue;
            }
            match self.inspect(request, variant, listener)? {
                (Presence::Absent | Presence::Partial { .. }, _) => {}
                found => return Ok(found),
            }
        }
        let bytes = Partial::length_of(&partial_of(&self.path_of(request, request.variant)));
        Ok((if bytes > 0 { Presence::Partial { bytes } } else { Presence::Absent }, None))
    }

    /// What is there under the name of one variant.
    fn inspect(
        &self,
        request: &Request,
        variant: Variant,
        listener: &dyn Listener,
    ) -> Result<(Presence, Option<Stamped>)> {
        let path = self.path_of(request, variant);
        let metadata = match fs_err::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Presence::Absent, None)),
            Err(error) => return Err(error.into()),
        };
        let record = Record::read(self.context.layout, listener)?;
        let bytes = metadata.len();
        let Some(known) = record.stamped(&name_of(&path)).filter(|known| known.stamp == Stamp::of(&metadata)) else {
            return Ok((Presence::Unchecked { path, bytes }, None));
        };
        let expected = self.known(request, variant, &record, listener)?;
        Ok(match expected.is_none_or(|expected| expected.allows(known.sha256)) {
            true => (Presence::Trusted { path, bytes, sha256: known.sha256 }, Some(known.clone())),
            false => (Presence::Unchecked { path, bytes }, None),
        })
    }

    /// Whether a file of this variant's name is to be looked into. One that only does in the wanted one's place must be there,
    /// and not be known to have another sum than the operator asks for.
    fn may_do(&self, request: &Request, variant: Variant) -> Result<bool> {
        if variant == request.variant {
            return Ok(true);
        }
        let path = self.path_of(request, variant);
        let name = name_of(&path);
        if !path.try_exists()? {
            return Ok(false);
        }
        if self.settings.checksums.is_some() && self.listed(&name).is_err() {
            return Ok(false);
        }
        let Some(given) = &request.sha256 else { return Ok(true) };
        Ok(Record::read(self.context.layout, &NoListener)?.sum(&name, &NoListener) == Some(given.sum))
    }

    /// The cached file if it looks as it did when it was checked, and that check is as good as one made now.
    pub(super) fn remembered(&self, request: &Request, listener: &dyn Listener) -> Result<Option<VerifiedRunFile>> {
        let (Presence::Trusted { path, .. }, Some(known)) = self.chosen(request, listener)? else { return Ok(None) };
        match self.check(request, &path, &quoted(&path), |check| check.remembered(&path, &known)) {
            // What is wrong with it is found again, and dealt with, where the lock is held.
            Err(error) if error.kind() == Kind::Verification => Ok(None),
            other => other,
        }
    }

    /// A file that is there and not remembered, checked. One that is wrong is renamed; the caller holds the lock.
    pub(super) fn at_hand(&self, request: &Request) -> Result<Option<VerifiedRunFile>> {
        for variant in request.variants() {
            let path = self.path_of(request, variant);
            if !path.try_exists()? || !self.may_do(request, variant)? {
                continue;
            }
            let file = self.cached(request, variant, &path)?;
            if let Some(file) = file.filter(|file| request.takes(file.variant())) {
                return Ok(Some(file));
            }
            // One that does may have been checked before, and was only not the first.
            if let Some(file) = self.remembered(request, &NoListener)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Checks a cached file. One that is wrong is renamed, and none is returned. One that is wrong by the operator's
    /// sum alone stays.
    fn cached(&self, request: &Request, named: Variant, path: &Path) -> Result<Option<VerifiedRunFile>> {
        let record = Record::read(self.context.layout, &NoListener)?;
        let expected = |variant| match self.known(request, variant, &record, &NoListener)? {
            None if variant == request.variant && variant == named && !self.settings.offline => {
                request.urls.first().map_or(Ok(None), |url| self.published(url))
            }
            known => Ok(known),
        };
        let checked = self.check(request, path, &quoted(path), |check| match check.whole(path, expected) {
            Err(error) if self.settings.offline && request.sha256.is_none() => {
                Err(self.with_remedy(error, check, path))
            }
            other => other,
        });
        let error = match checked {
            Ok(file) => return self.under_its_name(file),
            Err(error) => error,
        };
        if error.kind() == Kind::Verification
            && let Some(error) = self.misjudged(request, path, &record)?
        {
            return Err(error);
        }
        match (error.kind(), error.hint_text()) {
            (Kind::Verification, None) if self.settings.offline => return Err(error.hint(self.import_hint())),
            (Kind::Verification, _) if !self.settings.offline => {}
            _ => return Err(error),
        }
        self.reject(path, &error)?;
        Ok(None)
    }

    /// The failure that names the operator's sum, where that alone speaks against a file. All containers share the
    /// file, and the sum may stand in the entry of one. A list of sums is about files, so it must be the record that
    /// disagrees.
    fn misjudged(&self, request: &Request, path: &Path, record: &Record) -> Result<Option<Error>> {
        let name = name_of(path);
        let (doubted, otherwise) = match (&request.sha256, self.settings.checksums.is_some()) {
            (Some(given), _) => (Expected::from(given), self.expected(&name, record, &NoListener)?),
            (None, true) => match (self.expected(&name, record, &NoListener)?, record.expected(&name, &NoListener)) {
                (Some(listed), Some(recorded)) => (listed, Some(recorded)),
                _ => return Ok(None),
            },
            (None, false) => return Ok(None),
        };
        let again = |check: &Check<'_>| match record.stamped(&name).map(|known| check.remembered(path, known)) {
            Some(Ok(Some(file))) if otherwise.as_ref().is_none_or(|sum| sum.allows(file.sha256())) => Ok(file),
            _ => check.whole(path, |_| Ok(otherwise.clone())),
        };
        let file = match self.check(request, path, &quoted(path), |check| again(&check.unheard())) {
            Ok(file) if !doubted.allows(file.sha256()) => file,
            Err(error) if error.kind() != Kind::Verification => return Err(error),
            _ => return Ok(None),
        };
        let (origin, found, path) = (&doubted.origin, file.sha256(), quoted(path));
        let message =
            format!("{path} has the SHA-256 sum {found}, but {} is expected according to {origin}", doubted.sum);
        Ok(Some(Error::new(Kind::Verification, message).hint(
            "the file is intact and stays for everybody else: correct or remove the expected sum; if the sum is right, \
             put the right file there with `phoenix-nvidia cache replace FILE`",
        )))
    }

    /// Sees to it that a checked file of the cache is called what it is, and remembers it; the caller holds the lock. One
    /// whose name another file has is renamed, and none is returned.
    pub(super) fn under_its_name(&self, file: VerifiedRunFile) -> Result<Option<VerifiedRunFile>> {
        let (old, place, sum) = (file.path().to_owned(), self.place_of(&file), file.sha256());
        if old == place {
            self.remember(&file)?;
            return Ok(Some(file));
        }
        let recorded = Record::read(self.context.layout, &NoListener)?.sum(&name_of(&place), &NoListener);
        if place.try_exists()? && recorded != Some(sum) {
            let what = format!("{} is {}, and the cache already has one", quoted(&old), file.variant().description());
            self.reject(&old, &Error::new(Kind::Verification, what))?;
            return Ok(None);
        }
        let file = self.accept(file, &old, &place)?;
        Record::change(self.context.layout, self.context.listener, self.context.cancel, |record| {
            record.renamed(&name_of(&old), sum)
        })?;
        let (variant, name) = (file.variant().description(), name_of(&place));
        self.context.listener.note(None, format!("{} is {variant}; renamed to `{name}`", quoted(&old)));
        Ok(Some(file))
    }

    /// The sum of a file that the cache has had, whether it is still there or not.
    ///
    /// # Errors
    /// The record is there and cannot be read.
    pub fn recorded_sum(
        &self,
        version: &DriverVersion,
        architecture: &str,
        variant: Variant,
    ) -> Result<Option<Sha256>> {
        let name = run_file::file_name(architecture, version, variant);
        Ok(Record::read(self.context.layout, &NoListener)?.sum(&name, &NoListener))
    }

    /// Takes a file out of use.
    fn reject(&self, path: &Path, error: &Error) -> Result<()> {
        let renamed = beside(path, ".wrong");
        fs_err::rename(path, &renamed)?;
        self.context.listener.warn(None, format!("{}; renamed to `{}`", error.message(), renamed.display()));
        Ok(())
    }

    /// Says so where a file is used in another one's place.
    pub(super) fn announced(&self, request: &Request, file: VerifiedRunFile) -> VerifiedRunFile {
        if file.variant() != request.variant {
            let (name, wanted) = (name_of(file.path()), request.variant.description());
            self.context
                .listener
                .note(None, format!("`{name}` is used in place of {wanted}, which is not in the cache"));
        }
        file
    }

    /// What to say where a version is here in files alone that do not do: of another variant, or for other machines.
    pub(super) fn unfit_alone(&self, request: &Request) -> Option<Error> {
        let Request { version, architecture: wanted, .. } = request;
        let is_ours = |entry: &Entry| entry.architecture.as_ref() == Some(wanted);
        let is_unfit = |entry: &Entry| {
            let is_file = matches!(entry.sort, Sort::Trusted { .. } | Sort::Unchecked);
            let does = is_ours(entry) && entry.variant.is_some_and(|variant| request.takes(variant));
            entry.version.as_ref() == Some(version) && is_file && !does
        };
        // What cannot be listed is reported by whoever needs it.
        let found = self.list().unwrap_or_default().into_iter().filter(is_unfit);
        let entry = found.min_by_key(|entry| (!is_ours(entry), entry.variant))?;
        let is_ours = is_ours(&entry);
        let (architecture, variant, name) = (entry.architecture?, entry.variant?, name_of(&entry.path));
        let what = if is_ours { variant.description().to_owned() } else { format!("a file for {architecture}") };
        let (why, hint) = match variant {
            _ if !is_ours => (
                format!("and {wanted} is wanted"),
                "import the file for this machine: `phoenix-nvidia cache import FILE`",
            ),
            Variant::VgpuKvm => (
                "which has no `libcuda`: no container can use it".to_owned(),
                "run the container in a guest that has a virtual GPU, and import the guest's driver there: \
                 `phoenix-nvidia cache import FILE` with the `-grid` file of the same vGPU release",
            ),
            Variant::NoCompat32 => (
                "but 32-bit libraries are needed".to_owned(),
                "import the full file, `phoenix-nvidia cache import FILE`, or choose a profile without `+compat32`",
            ),
            Variant::Full | Variant::Grid => (
                "and the URL of the configuration names another one".to_owned(),
                "import that one with `phoenix-nvidia cache import FILE`, or change the URL to the variant in the \
                 cache",
            ),
        };
        let message = format!("the cache has driver {version} only as {what}, `{name}`, {why}");
        Some(Error::new(Kind::Configuration, message).hint(hint))
    }

    /// Where a checked file belongs.
    pub(super) fn place_of(&self, file: &VerifiedRunFile) -> PathBuf {
        self.context.layout.run_file(file.version(), file.architecture(), file.variant())
    }

    pub(super) fn path_of(&self, request: &Request, variant: Variant) -> PathBuf {
        self.context.layout.run_file(&request.version, &request.architecture, variant)
    }
}
