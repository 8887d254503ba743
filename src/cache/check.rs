//! One check of one file: read once, sums and contents side by side, and compared with what it has to be.

use std::io::{self, Read};
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;

use super::contents::{self, ContentsFault, Ended};
use super::origin::{Expected, Origin};
use super::payload::{self, PayloadFault};
use super::record::{Stamp, Stamped};
use super::sums::{self, Embedded, Extent};
use super::verified::{Section, VerifiedRunFile};
use crate::driver::run_file::{HEADER_LIMIT, Header, HeaderFault, Name};
use crate::driver::{Compression, DriverVersion, Sha256, Variant};
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event, Listener, NoListener};
use crate::sys::cancel::Cancel;

// Progress is reported this often; a listener draws it, so every single buffer would be too much.
const PROGRESS_EVERY: u64 = 8 << 20;

/// What is wrong with a file that should be a run file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it is not a regular file")]
    NotAFile,
    #[error(transparent)]
    Header(#[from] HeaderFault),
    #[error("it holds driver {found}, but {wanted} is wanted")]
    OtherVersion { found: DriverVersion, wanted: DriverVersion },
    #[error("it is for {found}, but {wanted} is wanted")]
    OtherArchitecture { found: String, wanted: String },
    #[error("its name says {named}, but it holds {found}")]
    OtherName { named: String, found: String },
    #[error(transparent)]
    Payload(#[from] PayloadFault),
    #[error(transparent)]
    Contents(#[from] ContentsFault),
    #[error("its SHA-256 sum is {found}, but {expected} is expected according to {origin}")]
    Sha256 { found: Sha256, expected: Sha256, origin: Origin },
    #[error("its CRC sum is {found}, but its header says {expected}: it is damaged or incomplete")]
    Crc { found: u32, expected: u32 },
    #[error("its MD5 sum differs from its header, but its CRC sum matches: the file was modified")]
    Md5,
    #[error("it changed while it was being read")]
    Changed,
}

/// A file that is being read, and what its beginning says.
struct Reading<'r> {
    file: &'r fs_err::File,
    before: Stamp,
    header: &'r Header,
    compression: Compression,
}

/// One check of one file.
#[derive(Clone, Copy)]
pub(super) struct Check<'a> {
    /// The version that it has to have; none when any will do.
    pub(super) version: Option<&'a DriverVersion>,
    /// The machine that it has to be for; none when any will do.
    pub(super) architecture: Option<&'a str>,
    /// The name that it came under, where it can say something else than the header.
    pub(super) name: Option<&'a str>,
    /// What messages call the file; its path may be temporary and mean nothing to the operator.
    pub(super) called: &'a str,
    /// What progress calls the file.
    pub(super) subject: &'a str,
    pub(super) listener: &'a dyn Listener,
    pub(super) cancel: &'a Cancel,
}

impl Check<'_> {
    /// Reads the whole file and checks everything. `expected` says which sum a variant of this driver has to have.
    ///
    /// With an expected SHA-256 sum that is the only one computed; without one both embedded sums are.
    ///
    /// # Errors
    /// [`Kind::Verification`] with what is wrong, [`Kind::Interrupted`], or the file cannot be read.
    pub(super) fn whole(
        &self,
        path: &Path,
        expected: impl Fn(Variant) -> Result<Option<Expected>>,
    ) -> Result<VerifiedRunFile> {
        let file = open(path)?;
        let before = Stamp::of(&file.metadata()?);
        let (header, compression) = self.beginning(&file)?;
        let read = Reading { file: &file, before, header: &header, compression };
        let claimed = header.claimed_variant();
        let mut sum = expected(claimed)?;
        let (mut sums, mut variant) = self.read(&read, sum.as_ref())?;
        if let Ok(found) = &variant
            && *found != claimed
        {
            // Somebody has repacked it; what is inside decides which sum counts.
            sum = expected(*found)?;
            (sums, variant) = self.read(&read, sum.as_ref())?;
        }
        // Damage on the way is the likelier cause of whatever else is wrong.
        compare(&header, &sums, sum.as_ref()).map_err(|fault| self.refused(&fault))?;
        let variant = variant?;
        if sum.is_none() && header.md5.is_none() {
            self.listener.note(None, format!("{} has no MD5 sum inside; its CRC sum is right", self.called));
        }
        let origin = sum.map_or(Origin::Embedded, |sum| sum.origin);
        let (path, bytes, sha256) = (path.to_owned(), before.bytes, sums.sha256);
        self.tell_of(&header, variant);
        Ok(VerifiedRunFile { path, file: file.into_parts().0, bytes, sha256, header, variant, compression, origin })
    }

    /// Reads all of a file: its sums, and what is inside.
    fn read(&self, read: &Reading<'_>, expected: Option<&Expected>) -> Result<(sums::Sums, Result<Variant>)> {
        let extent = match expected {
            Some(_) => Extent::Sha256,
            None => Extent::Embedded { summed_from: read.header.summed_from },
        };
        let (sums, contents) = std::thread::scope(|scope| {
            // From the page cache: whichever of the two comes first has read it from the disk.
            let contents = scope.spawn(self.cancel.as_here(|| self.contents(read)));
            let sums = self.sums(read.file, read.before.bytes, extent);
            (sums, contents.join())
        });
        let sums = sums?;
        if Stamp::of(&read.file.metadata()?) != read.before {
            return Err(self.refused(&Fault::Changed));
        }
        let panicked = |_| Error::new(Kind::Bug, "a thread that looks into a run file has panicked");
        Ok((sums, contents.map_err(panicked)?))
    }

    /// Reads the payload to its end, and compares what the archive says of itself with the header.
    fn contents(&self, read: &Reading<'_>) -> Result<Variant> {
        let Reading { file, header, compression, .. } = *read;
        let payload = Section { file: file.file(), position: header.payload_at };
        let archive = payload::open(compression, io::BufReader::with_capacity(256 << 10, payload))?;
        contents::examine(archive, header, self.cancel).map_err(|ended| match ended {
            Ended::Interrupted(error) => error,
            Ended::Fault(fault) => self.refused(&fault.into()),
            // Errors of the disk have a number, those of decompressors have none.
            Ended::Unreadable(error) if error.raw_os_error().is_some() => {
                Error::from(error).within(format!("{} could not be read", self.called))
            }
            Ended::Unreadable(cause) => self.refused(&PayloadFault::Damaged { compression, cause }.into()),
        })
    }

    /// What an operator wants to know before containers get it.
    fn tell_of(&self, header: &Header, variant: Variant) {
        let ours = std::env::consts::ARCH;
        if header.architecture != ours {
            let theirs = &header.architecture;
            let what =
                format!("{} is for {theirs}, and this host is {ours}: its containers cannot use it", self.called);
            self.listener.warn(None, what);
        }
        if variant == Variant::VgpuKvm {
            let what = format!(
                "{} is the host's part of a virtual GPU (vgpu-kvm): it has no `libcuda`, so it is not used for \
                 containers; run them in a guest with a virtual GPU and the guest's driver (`-grid`)",
                self.called
            );
            self.listener.warn(None, what);
        }
        if let Some(named) = self.name.and_then(Name::parse).and_then(|name| name.variant).filter(|it| *it != variant) {
            let what = format!(
                "the name of {} is that of {}, but it contains {}, which is what counts",
                self.called,
                named.description(),
                variant.description()
            );
            self.listener.note(None, what);
        }
    }

    /// Checks the beginning alone, for a file that still looks as it did when all of it was checked.
    ///
    /// None when it looks different.
    ///
    /// # Errors
    /// As [`Check::whole`].
    pub(super) fn remembered(&self, path: &Path, remembered: &Stamped) -> Result<Option<VerifiedRunFile>> {
        let file = open(path)?;
        if Stamp::of(&file.metadata()?) != remembered.stamp {
            return Ok(None);
        }
        let (header, compression) = self.beginning(&file)?;
        let Stamped { stamp, sha256, origin, variant: Some(variant) } = remembered.clone() else { return Ok(None) };
        let (path, bytes, file) = (path.to_owned(), stamp.bytes, file.into_parts().0);
        Ok(Some(VerifiedRunFile { path, file, bytes, sha256, header, variant, compression, origin }))
    }

    fn beginning(&self, file: &fs_err::File) -> Result<(Header, Compression)> {
        let header = read_header(self.called, file)?;
        self.identity(&header).map_err(|fault| self.refused(&fault))?;
        let payload = Section { file: file.file(), position: header.payload_at };
        let compression = payload::check_beginning(payload).map_err(|fault| self.refused(&fault.into()))?;
        Ok((header, compression))
    }

    fn identity(&self, header: &Header) -> Result<(), Fault> {
        if let Some(wanted) = self.version.filter(|wanted| **wanted != header.version) {
            return Err(Fault::OtherVersion { found: header.version.clone(), wanted: wanted.clone() });
        }
        if let Some(wanted) = self.architecture.filter(|wanted| *wanted != header.architecture) {
            return Err(Fault::OtherArchitecture { found: header.architecture.clone(), wanted: wanted.to_owned() });
        }
        let found = format!("{} for {}", header.version, header.architecture);
        match self.name.and_then(Name::parse) {
            Some(name) if name.version != header.version || name.architecture != header.architecture => {
                Err(Fault::OtherName { named: format!("{} for {}", name.version, name.architecture), found })
            }
            _ => Ok(()),
        }
    }

    fn sums(&self, file: &fs_err::File, bytes: u64, extent: Extent) -> Result<sums::Sums> {
        let tell = |done: u64, finished: bool| {
            let (activity, subject) = (Activity::Verify, self.subject.to_owned());
            self.listener.hear(&Event::Progress {
                container: None,
                activity,
                subject,
                done,
                total: Some(bytes),
                finished,
            });
        };
        // Only a hint for the kernel's read-ahead: a file system that does not take it is as good.
        let _ = rustix::fs::fadvise(file.file(), 0, None, rustix::fs::Advice::Sequential);
        let mut reported = 0;
        let mut source = Section { file: file.file(), position: 0 };
        let sums = sums::compute(&mut source, extent, self.cancel, &mut |done| {
            if done - reported >= PROGRESS_EVERY {
                reported = done;
                tell(done, false);
            }
        })
        .map_err(|error| match error.kind() {
            Kind::Host => error.within(format!("{} could not be read", self.called)),
            _ => error,
        })?;
        tell(bytes, true);
        Ok(sums)
    }

    /// The same check, about which nobody is told anything.
    pub(super) fn unheard(&self) -> Self {
        Self { listener: &NoListener, ..*self }
    }

    fn refused(&self, fault: &Fault) -> Error {
        refused(self.called, fault)
    }

    /// Whether a file differs only in its sum.
    pub(super) fn is_sound(&self, path: &Path) -> bool {
        self.unheard().whole(path, |_| Ok(None)).is_ok()
    }
}

/// Opens a file for reading; a pipe that somebody has put there does not block.
fn open(path: &Path) -> Result<fs_err::File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    Ok(fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

fn read_header(called: &str, file: &fs_err::File) -> Result<Header> {
    if !file.metadata()?.is_file() {
        return Err(refused(called, &Fault::NotAFile));
    }
    let mut prefix = Vec::new();
    Section { file: file.file(), position: 0 }.take(HEADER_LIMIT as u64).read_to_end(&mut prefix)?;
    Header::parse(&prefix).map_err(|fault| refused(called, &Fault::Header(fault)))
}

fn compare(header: &Header, sums: &sums::Sums, expected: Option<&Expected>) -> Result<(), Fault> {
    if let Some(Expected { sum, origin, .. }) = expected.filter(|expected| !expected.allows(sums.sha256)) {
        return Err(Fault::Sha256 { found: sums.sha256, expected: *sum, origin: origin.clone() });
    }
    match sums.embedded {
        Some(Embedded { crc, .. }) if crc != header.crc => Err(Fault::Crc { found: crc, expected: header.crc }),
        Some(Embedded { md5, .. }) if header.md5.is_some_and(|expected| expected != md5) => Err(Fault::Md5),
        _ => Ok(()),
    }
}

fn refused(called: &str, fault: &Fault) -> Error {
    Error::new(Kind::Verification, format!("{called} is refused: {fault}"))
}

/// The driver and the machine that a file's header names, without any proof.
///
/// # Errors
/// [`Kind::Verification`] when it has no sound header, or it cannot be read.
pub(super) fn claimed(path: &Path) -> Result<Header> {
    read_header(&quoted(path), &open(path)?)
}

/// A path as messages show it.
pub(super) fn quoted(path: &Path) -> String {
    format!("`{}`", path.display())
}
