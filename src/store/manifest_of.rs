//! The manifest of a run file that is not in the store, read from its payload.

use std::io::Read;

use crate::cache::VerifiedRunFile;
use crate::cache::archive::{self, Stopped};
use crate::cache::member::{ArchiveFault, Gate, Member, MemberKind};
use crate::driver::manifest::Manifest;
use crate::error::{Error, Kind, Result};
use crate::sys::cancel::Cancel;

/// Why the reading ended before the archive did.
enum Ended {
    Found(Vec<u8>),
    Interrupted(Error),
}

/// Reads the archive as far as its manifest, which may be near the end: 2 s for a driver of 400 MB packed with zstd.
///
/// # Errors
/// [`Kind::Verification`] when the archive is damaged, or of another driver than its header says; [`Kind::Interrupted`].
pub fn manifest_of(run_file: &VerifiedRunFile, cancel: &Cancel) -> Result<Manifest> {
    let refused = |fault: String| {
        Error::new(Kind::Verification, format!("`{}` is refused: {fault}", run_file.path().display()))
            .hint("download the file again from NVIDIA, compare its sum, and run `phoenix-nvidia cache replace FILE`")
    };
    let mut gate = Gate::new(run_file.uncompressed_kib().map(|kib| kib.saturating_mul(1024)));
    let walked = archive::walk(run_file.archive()?, |raw, content| {
        cancel.check().map_err(|error| Stopped::ByVisitor(Ended::Interrupted(error)))?;
        match gate.admit(raw)? {
            Some(Member { path, kind: MemberKind::File { .. } }) if path == Manifest::NAME => {
                let mut bytes = Vec::new();
                content.take(Manifest::LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(Stopped::Unreadable)?;
                Err(Stopped::ByVisitor(Ended::Found(bytes)))
            }
            _ => Ok(()),
        }
    });
    let bytes = match walked {
        Ok(()) => return Err(refused(ArchiveFault::NoManifest.to_string())),
        Err(Stopped::ByVisitor(Ended::Found(bytes))) => bytes,
        Err(Stopped::ByVisitor(Ended::Interrupted(error))) => return Err(error),
        Err(Stopped::Refused(fault)) => return Err(refused(fault.to_string())),
        Err(Stopped::Unreadable(error)) => return Err(refused(format!("its payload cannot be unpacked ({error})"))),
    };
    let manifest = Manifest::parse(&bytes).map_err(|fault| refused(format!("its manifest is not one: {fault}")))?;
    let (header, inside) = (run_file.version(), &manifest.version);
    if header == inside {
        return Ok(manifest);
    }
    Err(refused(format!("its header says driver {header}, but the manifest inside says {inside}")))
}
