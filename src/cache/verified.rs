//! `VerifiedRunFile`: proof that a file is a whole, undamaged run file of the wanted driver.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::payload;
use super::record::{Stamp, Stamped};
use crate::driver::run_file::Header;
use crate::driver::{Compression, DriverVersion, Sha256, Variant};
use crate::error::Result;

/// A run file that was checked; the only kind that may be unpacked, pushed into a container or executed.
///
/// The file is held open: what is read through it is the file that was checked, even if the name is given to another.
#[derive(Debug)]
pub struct VerifiedRunFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) sha256: Sha256,
    pub(super) header: Header,
    pub(super) variant: Variant,
    pub(super) compression: Compression,
    pub(super) origin: Origin,
}

impl VerifiedRunFile {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 sum of the whole file.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Who vouched for that sum.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The driver's version, from the header.
    pub fn version(&self) -> &DriverVersion {
        &self.header.version
    }

    /// The machine it is for, as `uname -m` names it.
    pub fn architecture(&self) -> &str {
        &self.header.architecture
    }

    /// For whom NVIDIA has packed it, as what is inside says.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Everything the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the payload is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The size of the unpacked payload in KiB as the file declares it, where it does.
    pub fn uncompressed_kib(&self) -> Option<u64> {
        self.header.uncompressed_kib
    }

    /// The open file itself, for a copy that shares its blocks.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The whole file from its beginning; every reader has its own position.
    pub fn reader(&self) -> Section<'_> {
        Section { file: &self.file, position: 0 }
    }

    /// The payload, unpacked: a tar archive.
    ///
    /// # Errors
    /// The decompressor cannot be set up.
    pub fn archive(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let packed = Section { file: &self.file, position: self.header.payload_at };
        payload::open(self.compression, io::BufReader::with_capacity(256 << 10, packed))
    }

    /// The same file under the name that it has been given in the meantime.
    pub(super) fn renamed(self, path: &Path) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// The cache's record of it.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn stamped(&self) -> Result<Stamped> {
        let stamp = Stamp::of(&self.file.metadata()?);
        let (sha256, origin, variant) = (self.sha256, self.origin.clone(), Some(self.variant));
        Ok(Stamped { stamp, sha256, origin, variant })
    }
}

/// Reads an open file from a position of its own.
#[derive(Debug)]
pub struct Section<'a> {
    pub(super) file: &'a File,
    pub(super) position: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
