//! What is inside a run file: read once, to its end, before anything of it is believed.
//!
//! NVIDIA's stub believes its header alone: a file whose header says 535 and that holds 550 installs 550.

use std::io::Read;

use super::archive::{self, Stopped};
use super::member::{ArchiveFault, Gate, Member, MemberKind};
use crate::driver::manifest::{Manifest, ManifestFault};
use crate::driver::run_file::Header;
use crate::driver::{DriverVersion, Variant};
use crate::error::Error;
use crate::sys::cancel::Cancel;

/// Libraries that have the driver's version in their names, in every driver.
const VERSIONED: [&str; 2] = ["libcuda.so.", "libnvidia-ml.so."];

/// What is wrong with what is inside.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentsFault {
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
    #[error("its manifest is not one: {0}")]
    Manifest(#[from] ManifestFault),
    #[error("its header says driver {header}, but {place} inside says {found}")]
    OtherVersion { header: DriverVersion, place: String, found: DriverVersion },
}

/// Why the reading ended early.
pub(super) enum Ended {
    Fault(ContentsFault),
    /// The decompressor or the disk.
    Unreadable(std::io::Error),
    Interrupted(Error),
}

/// For whom NVIDIA has packed it. Reads an archive to its end: so a decompressor's own sum, where it has one, is compared,
/// too.
pub(super) fn examine(archive: impl Read, header: &Header, cancel: &Cancel) -> Result<Variant, Ended> {
    let declared = header.uncompressed_kib.map(|kib| kib.saturating_mul(1024));
    let mut seen = Seen { header: &header.version, gate: Gate::new(declared), names: Vec::new() };
    let walked = archive::walk(archive, |raw, content| {
        cancel.check().map_err(|error| Stopped::ByVisitor(Ended::Interrupted(error)))?;
        match seen.gate.admit(raw)? {
            Some(Member { path, kind: MemberKind::File { .. } }) => seen.file(path, content),
            _ => Ok(()),
        }
    });
    match walked {
        Ok(()) => Ok(Variant::of_files(&header.architecture, seen.names.iter().map(String::as_str))),
        Err(Stopped::ByVisitor(ended)) => Err(ended),
        Err(Stopped::Refused(fault)) => Err(Ended::Fault(fault.into())),
        Err(Stopped::Unreadable(error)) => Err(Ended::Unreadable(error)),
    }
}

struct Seen<'h> {
    header: &'h DriverVersion,
    gate: Gate,
    names: Vec<String>,
}

impl Seen<'_> {
    fn file(&mut self, path: String, content: &mut dyn Read) -> Result<(), Stopped<Ended>> {
        if path == Manifest::NAME {
            let mut bytes = Vec::new();
            content.take(Manifest::LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(Stopped::Unreadable)?;
            let manifest = Manifest::parse(&bytes).map_err(|fault| fault_of(fault.into()))?;
            self.require(&manifest.version, "the manifest")?;
        } else {
            let name = path.rsplit('/').next().unwrap_or(&path);
            let version = VERSIONED.iter().find_map(|stem| name.strip_prefix(stem)).and_then(|end| end.parse().ok());
            if let Some(version) = version {
                self.require(&version, &format!("`{path}`"))?;
            }
        }
        self.names.push(path);
        Ok(())
    }

    fn require(&self, found: &DriverVersion, place: &str) -> Result<(), Stopped<Ended>> {
        if found == self.header {
            return Ok(());
        }
        let (header, place, found) = (self.header.clone(), place.to_owned(), found.clone());
        Err(fault_of(ContentsFault::OtherVersion { header, place, found }))
    }
}

fn fault_of(fault: ContentsFault) -> Stopped<Ended> {
    Stopped::ByVisitor(Ended::Fault(fault))
}
