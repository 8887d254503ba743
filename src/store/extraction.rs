//! Unpacking one run file into an empty directory: four threads that decompress, look, sum and write.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use super::digest::{self, Fed, Sums};
use super::read_ahead::ReadAhead;
use super::tree::{FileFacts, Record};
use super::writer::{self, Order};
use crate::cache::VerifiedRunFile;
use crate::cache::archive::{self, Stopped};
use crate::cache::member::{ArchiveFault, Gate, Member, MemberKind, RawMember};
use crate::driver::manifest::{Manifest, ManifestFault};
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event, Listener};
use crate::sys::cancel::Cancel;

// With `QUEUE` pieces waiting for each of two threads an extraction needs about 10 MiB besides the decompressor's own.
const PIECE: usize = 512 << 10;
const QUEUE: usize = 4;
const PROGRESS_EVERY: u64 = 8 << 20;

/// One extraction.
pub(super) struct Extraction<'a> {
    pub(super) run_file: &'a VerifiedRunFile,
    pub(super) listener: &'a dyn Listener,
    pub(super) cancel: &'a Cancel,
}

impl Extraction<'_> {
    /// Unpacks everything into `root`, which is empty, and returns what is now known of it. Nothing is synced yet.
    ///
    /// # Errors
    /// [`Kind::Verification`] when the archive is damaged, hostile, or of another driver than the run file's header
    /// says; [`Kind::Interrupted`], or the host refused. `root` then holds a part of the tree.
    pub(super) fn unpack_to(&self, root: &Path) -> Result<Record> {
        let declared = self.run_file.uncompressed_kib().map(|kib| kib.saturating_mul(1024));
        let (walked, sums, written) = std::thread::scope(|scope| {
            let source = ReadAhead::start(scope, || self.run_file.archive());
            let (to_sums, fed) = sync_channel(QUEUE);
            let (to_writer, orders) = sync_channel(QUEUE);
            let sums = scope.spawn(move || digest::all(fed));
            let written = scope.spawn(move || writer::obey(root, orders));
            let mut visitor = Visitor::new(self, Gate::new(declared), to_sums, to_writer);
            let walked = archive::walk(source, |member, content| visitor.visit(member, content));
            let walked = walked.map(|()| visitor.finish());
            (walked, joined(sums), joined(written))
        });
        let (sums, written) = (sums?, written?);
        // The writer's error is the cause when both have failed.
        let times = written?;
        let seen = walked.map_err(|stopped| self.failed(stopped))?;
        let manifest = seen.manifest.ok_or_else(|| self.refused(ArchiveFault::NoManifest))?;
        if let Some(missing) = manifest.files().find(|entry| !seen.gate.has_file(&entry.file)) {
            return Err(self.refused(ArchiveFault::Missing(missing.file.clone())));
        }
        for warning in &manifest.warnings {
            self.listener.warn(None, format!("the manifest of driver {}: {warning}", manifest.version));
        }
        self.record(seen.files, seen.hard_links, seen.links, &sums, &times)
    }

    fn record(
        &self,
        files: Vec<(String, u64, u32)>,
        hard_links: Vec<(String, String)>,
        links: BTreeMap<String, String>,
        sums: &[Sums],
        times: &[i64],
    ) -> Result<Record> {
        if files.len() != sums.len() || files.len() != times.len() {
            return Err(Error::new(Kind::Bug, "an extraction has lost count of its files"));
        }
        let run_file = self.run_file;
        let mut record = Record::new(run_file.version().clone(), run_file.architecture().to_owned(), run_file.sha256());
        for (((path, size, mode), sums), mtime) in files.into_iter().zip(sums).zip(times) {
            let facts = FileFacts { size, mode, mtime: *mtime, sha256: sums.sha256, crc: sums.crc };
            record.files.insert(path, facts);
        }
        for (path, target) in hard_links {
            // Admitted only where the target came before.
            let facts = record.files.get(&target).cloned();
            record.files.extend(facts.map(|facts| (path, facts)));
        }
        record.links = links;
        Ok(record)
    }

    fn failed(&self, stopped: Stopped<Error>) -> Error {
        match stopped {
            Stopped::ByVisitor(error) => error,
            Stopped::Refused(fault) => self.refused(fault),
            // Errors of the disk have a number, those of decompressors have none.
            Stopped::Unreadable(error) if error.raw_os_error().is_some() => {
                Error::from(error).within(format!("`{}` could not be read", self.run_file.path().display()))
            }
            unreadable @ Stopped::Unreadable(_) => self.refused(unreadable),
        }
    }

    fn refused(&self, fault: impl std::fmt::Display) -> Error {
        Error::new(Kind::Verification, format!("`{}` is refused: {fault}", self.run_file.path().display()))
    }

    fn check_manifest(&self, bytes: &[u8]) -> Result<Manifest> {
        let manifest = Manifest::parse(bytes).map_err(|fault: ManifestFault| {
            self.refused("its manifest is not one").caused_by(Error::new(Kind::Verification, fault.to_string()))
        })?;
        let (header, inside) = (self.run_file.version(), &manifest.version);
        if header == inside {
            return Ok(manifest);
        }
        let fault = format!("its header says driver {header}, but the manifest inside says {inside}");
        Err(self.refused(fault).hint(
            "the file does not match its header: download it again from NVIDIA, and run `phoenix-nvidia cache replace \
             FILE`",
        ))
    }

    fn tell(&self, done: u64, finished: bool) {
        self.listener.hear(&Event::Progress {
            container: None,
            activity: Activity::Extract,
            subject: format!("driver {}", self.run_file.version()),
            done,
            total: self.run_file.uncompressed_kib().map(|kib| kib.saturating_mul(1024).max(done)),
            finished,
        });
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread.join().map_err(|_| Error::new(Kind::Bug, "a thread of an extraction has panicked"))
}

/// What the archive turned out to hold.
struct Seen {
    gate: Gate,
    manifest: Option<Manifest>,
    /// Path, size and mode in the order in which they were written.
    files: Vec<(String, u64, u32)>,
    hard_links: Vec<(String, String)>,
    links: BTreeMap<String, String>,
}

/// Looks at every member and hands it on.
struct Visitor<'a> {
    extraction: &'a Extraction<'a>,
    seen: Seen,
    to_sums: SyncSender<Fed>,
    to_writer: SyncSender<Order>,
    done: u64,
    reported: u64,
}

/// The receiving thread is gone; why, it says itself.
struct Gone;

impl<T> From<SendError<T>> for Gone {
    fn from(_: SendError<T>) -> Self {
        Self
    }
}

impl From<Gone> for Stopped<Error> {
    fn from(Gone: Gone) -> Self {
        Self::ByVisitor(Error::new(Kind::Bug, "a thread of an extraction has ended early"))
    }
}

impl<'a> Visitor<'a> {
    fn new(extraction: &'a Extraction<'a>, gate: Gate, to_sums: SyncSender<Fed>, to_writer: SyncSender<Order>) -> Self {
        let (files, hard_links, links) = (Vec::new(), Vec::new(), BTreeMap::new());
        let seen = Seen { gate, manifest: None, files, hard_links, links };
        Self { extraction, seen, to_sums, to_writer, done: 0, reported: 0 }
    }

    fn visit(&mut self, raw: &RawMember, content: &mut dyn Read) -> Result<(), Stopped<Error>> {
        let Some(Member { path, kind }) = self.seen.gate.admit(raw)? else { return Ok(()) };
        match kind {
            MemberKind::Directory => self.order(Order::Directory { path })?,
            MemberKind::File { size, mode } => self.file(path, size, mode, content)?,
            MemberKind::Link { target } => {
                self.seen.links.insert(path.clone(), target.clone());
                self.order(Order::Link { path, target })?;
            }
            MemberKind::HardLink { target } => {
                self.seen.hard_links.push((path.clone(), target.clone()));
                self.order(Order::HardLink { path, target })?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, size: u64, mode: u32, content: &mut dyn Read) -> Result<(), Stopped<Error>> {
        let is_manifest = path == Manifest::NAME;
        if is_manifest && size > Manifest::LIMIT as u64 {
            return Err(ArchiveFault::TooLong(path).into());
        }
        self.order(Order::File { path: path.clone(), mode })?;
        let mut manifest = Vec::new();
        let mut left = size;
        while left > 0 {
            self.extraction.cancel.check().map_err(Stopped::ByVisitor)?;
            let mut piece = vec![0; left.min(PIECE as u64) as usize];
            content.read_exact(&mut piece).map_err(Stopped::Unreadable)?;
            left -= piece.len() as u64;
            if is_manifest {
                manifest.extend_from_slice(&piece);
            }
            self.advance(piece.len() as u64);
            let piece = Arc::new(piece);
            self.to_sums.send(Fed::Bytes(Arc::clone(&piece))).map_err(Gone::from)?;
            self.order(Order::Bytes(piece))?;
        }
        self.to_sums.send(Fed::EndOfFile).map_err(Gone::from)?;
        self.order(Order::EndOfFile)?;
        if is_manifest {
            self.seen.manifest = Some(self.extraction.check_manifest(&manifest).map_err(Stopped::ByVisitor)?);
        }
        self.seen.files.push((path, size, mode));
        Ok(())
    }

    fn order(&self, order: Order) -> Result<(), Gone> {
        Ok(self.to_writer.send(order)?)
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done - self.reported >= PROGRESS_EVERY {
            self.reported = self.done;
            self.extraction.tell(self.done, false);
        }
    }

    fn finish(self) -> Seen {
        self.extraction.tell(self.done, true);
        self.seen
    }
}
