//! Taking a run file that the operator brought into the cache.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::check::{self, Check};
use super::ensure::name_of;
use super::origin::Expected;
use super::record::Record;
use super::verified::VerifiedRunFile;
use super::{Cache, Request};
use crate::driver::{DriverVersion, Variant, run_file};
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event, NoListener};
use crate::sys::lock::FileLock;

const BUFFER: usize = 1 << 20;
const PROGRESS_EVERY: u64 = 8 << 20;

/// What temporary files of an import begin with.
pub(super) const TEMPORARY: &str = ".phoenix-nvidia-";

/// What a file that is brought is to be: of the version that is asked for, or else the one that it says.
pub(super) struct Claimed {
    pub(super) version: DriverVersion,
    pub(super) architecture: String,
}

impl Claimed {
    pub(super) fn of(source: &Path, version: Option<&DriverVersion>) -> Result<Self> {
        let header = check::claimed(source)?;
        Ok(Self { version: version.unwrap_or(&header.version).clone(), architecture: header.architecture })
    }

    /// What asks for this very file.
    pub(super) fn request(&self, variant: Variant) -> Request {
        let Self { version, architecture } = self;
        let (version, architecture, urls) = (version.clone(), architecture.clone(), Vec::new());
        Request { version, architecture, variant, compat32: true, urls, sha256: None }
    }
}

impl Cache<'_> {
    /// Copies a local run file into the cache, under NVIDIA's name for what it holds; the file itself stays.
    ///
    /// The copy is what is checked: with the operator's list of sums or the cache's record where they know the file,
    /// and always with the sums inside. An older file of the same name is replaced.
    ///
    /// # Errors
    /// [`Kind::Verification`] when it is no sound run file, or not of this version, or not what its name says;
    /// [`Kind::Busy`], [`Kind::Interrupted`], or the host refused. The cache is then as it was.
    pub fn import(&self, source: &Path, version: Option<&DriverVersion>) -> Result<VerifiedRunFile> {
        let claimed = Claimed::of(source, version)?;
        let _alone = self.alone(&claimed.version, &claimed.architecture)?;
        let copy = self.copied(source)?;
        let record = Record::read(self.context.layout, self.context.listener)?;
        let file = self.checked(source, &copy, &claimed, |name| self.expected(name, &record, self.context.listener))?;
        let place = self.place_of(&file);
        match self.remembered(&claimed.request(file.variant()), &NoListener)? {
            Some(there) if there.sha256() == file.sha256() => {
                self.context.listener.note(None, format!("`{}` was in the cache already", name_of(&place)));
                Ok(there)
            }
            // Renamed, so nothing temporary is left to be removed when `copy` goes.
            _ => self.accept(file, &copy, &place),
        }
    }

    /// Checks a local run file as an import would, and changes nothing.
    ///
    /// # Errors
    /// As [`Cache::import`].
    pub fn examine(&self, source: &Path, version: Option<&DriverVersion>) -> Result<VerifiedRunFile> {
        let record = Record::read(self.context.layout, self.context.listener)?;
        let claimed = Claimed::of(source, version)?;
        self.checked(source, source, &claimed, |name| self.expected(name, &record, self.context.listener))
    }

    /// The lock of all run files of a version.
    pub(super) fn alone(&self, version: &DriverVersion, architecture: &str) -> Result<FileLock> {
        let lock = self.context.layout.run_file_lock(version, architecture);
        let subject = format!("run file {version}");
        FileLock::acquire(&lock, &subject, self.settings.lock_patience, self.context.listener, self.context.cancel)
    }

    /// Checks all of `copy`, which messages call `source`; `expected` says the sum of a file of the cache.
    pub(super) fn checked(
        &self,
        source: &Path,
        copy: &Path,
        claimed: &Claimed,
        expected: impl Fn(&str) -> Result<Option<Expected>>,
    ) -> Result<VerifiedRunFile> {
        let Claimed { version, architecture } = claimed;
        let (called, name) = (check::quoted(source), name_of(source));
        let check = Check {
            version: Some(version),
            architecture: Some(architecture),
            name: Some(&name),
            called: &called,
            subject: &name,
            listener: self.context.listener,
            cancel: self.context.cancel,
        };
        let expected = |variant| expected(&run_file::file_name(architecture, version, variant));
        check.whole(copy, expected).map_err(|error| with_hint(self.with_remedy(error, &check, copy)))
    }

    /// A copy beside the cache's files, that shares their blocks where the file system can.
    pub(super) fn copied(&self, source: &Path) -> Result<tempfile::TempPath> {
        let directory = self.context.layout.cache();
        fs_err::create_dir_all(&directory)?;
        let failed = |error: std::io::Error| {
            Error::from(error).within(format!("`{}` could not be copied into the cache", source.display()))
        };
        let mut copy = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&directory).map_err(failed)?;
        let mut original = fs_err::File::open(source)?;
        if rustix::fs::ioctl_ficlone(copy.as_file(), original.file()).is_err() {
            self.copy_bytes(&mut original, copy.as_file_mut(), &name_of(source)).map_err(|error| {
                match error.kind() {
                    Kind::Interrupted => error,
                    _ => error.within(format!("`{}` could not be copied into the cache", source.display())),
                }
            })?;
        }
        copy.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        Ok(copy.into_temp_path())
    }

    fn copy_bytes(&self, original: &mut fs_err::File, copy: &mut std::fs::File, subject: &str) -> Result<()> {
        let total = Some(original.metadata()?.len());
        let mut buffer = vec![0; BUFFER];
        let (mut done, mut reported) = (0, 0);
        loop {
            self.context.cancel.check()?;
            let count = original.read(&mut buffer)?;
            copy.write_all(&buffer[..count])?;
            done += count as u64;
            if count == 0 || done - reported >= PROGRESS_EVERY {
                reported = done;
                let (activity, subject, finished) = (Activity::Copy, subject.to_owned(), count == 0);
                self.context.listener.hear(&Event::Progress {
                    container: None,
                    activity,
                    subject,
                    done,
                    total,
                    finished,
                });
            }
            if count == 0 {
                return Ok(());
            }
        }
    }
}

fn with_hint(error: Error) -> Error {
    match error.kind() {
        Kind::Verification if error.hint_text().is_none() => {
            error.hint("download the file again, then compare its size and checksum with those that NVIDIA publishes")
        }
        _ => error,
    }
}
