//! Taking a run file that the operator brought into the cache.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ensure::name_of;
use super::record::Record;
use super::verified::{self, Check, VerifiedRunFile};
use super::{Cache, Request};
use crate::driver::DriverVersion;
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Deaf, Event};
use crate::sys::lock::FileLock;

const BUFFER: usize = 1 << 20;
const TOLD_EVERY: u64 = 8 << 20;

/// What temporary files of an import begin with.
pub(super) const TEMPORARY: &str = ".phoenix-nvidia-";

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
        let header = verified::claimed(source)?;
        let (version, architecture) = (version.unwrap_or(&header.version).clone(), header.architecture);
        let path = self.layout.run_file(&version, &architecture);
        let lock = self.layout.run_file_lock(&version, &architecture);
        let subject = format!("run file {version}");
        let _alone = FileLock::acquire(&lock, &subject, self.settings.lock_patience, self.listener, self.cancel)?;
        let expected = self.expected(&name_of(&path), &Record::read(self.layout, self.listener)?, self.listener)?;
        let copy = self.copied(source)?;
        let (called, original_name, subject) = (verified::quoted(source), name_of(source), name_of(&path));
        let check = Check {
            version: Some(&version),
            architecture: Some(&architecture),
            name: Some(&original_name),
            called: &called,
            subject: &subject,
            listener: self.listener,
            cancel: self.cancel,
        };
        let file = check.whole(&copy, expected.as_ref()).map_err(with_hint)?;
        let request = Request { version, architecture, urls: Vec::new(), sha256: None };
        match self.remembered(&request, &Deaf)? {
            Some(there) if there.sha256() == file.sha256() => {
                self.listener.note(None, format!("`{subject}` was in the cache already"));
                Ok(there)
            }
            // Renamed, so nothing temporary is left to be removed when `copy` goes.
            _ => self.accept(file, &copy, &path),
        }
    }

    /// Checks a local run file as an import would, and changes nothing.
    ///
    /// # Errors
    /// As [`Cache::import`].
    pub fn examine(&self, source: &Path, version: Option<&DriverVersion>) -> Result<VerifiedRunFile> {
        let header = verified::claimed(source)?;
        let version = version.unwrap_or(&header.version);
        let path = self.layout.run_file(version, &header.architecture);
        let expected = self.expected(&name_of(&path), &Record::read(self.layout, self.listener)?, self.listener)?;
        let (called, name) = (verified::quoted(source), name_of(source));
        let check = Check {
            version: Some(version),
            architecture: Some(&header.architecture),
            name: Some(&name),
            called: &called,
            subject: &name,
            listener: self.listener,
            cancel: self.cancel,
        };
        check.whole(source, expected.as_ref()).map_err(with_hint)
    }

    /// A copy beside the cache's files, that shares their blocks where the file system can.
    fn copied(&self, source: &Path) -> Result<tempfile::TempPath> {
        let directory = self.layout.cache();
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
        let (mut done, mut told) = (0, 0);
        loop {
            self.cancel.check()?;
            let count = original.read(&mut buffer)?;
            copy.write_all(&buffer[..count])?;
            done += count as u64;
            if count == 0 || done - told >= TOLD_EVERY {
                told = done;
                let (activity, subject, finished) = (Activity::Copy, subject.to_owned(), count == 0);
                self.listener.hear(&Event::Progress { container: None, activity, subject, done, total, finished });
            }
            if count == 0 {
                return Ok(());
            }
        }
    }
}

fn with_hint(error: Error) -> Error {
    match error.kind() {
        Kind::Verification => error.hint("download the file again, and compare its size and sum with NVIDIA's"),
        _ => error,
    }
}
