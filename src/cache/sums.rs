//! The sums of a run file, side by side in one pass: SHA-256, and the two that NVIDIA embeds, MD5 and POSIX `cksum`.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use crc::{Crc, Table};
use md5::{Digest, Md5};

use crate::driver::Sha256;
use crate::error::{Error, Kind, Result};
use crate::sys::cancel::Cancel;

const BUFFER: usize = 1 << 20;
// How many buffers may wait for a slow digest before the reader waits for it.
const QUEUE: usize = 2;
// One is being read into and one is being digested while `QUEUE` wait, so none is ever copied.
const BUFFERS: usize = QUEUE + 2;

// Sixteen parallel tables: with the default table of one this would be the slowest of the three sums.
static CKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_CKSUM);

/// Which sums are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// SHA-256 of the whole file alone.
    Sha256,
    /// Also the embedded sums, which cover the file from this byte on.
    Embedded {
        /// Where line 4 begins.
        summed_from: u64,
    },
}

/// The sums of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    /// Of the whole file.
    pub(super) sha256: Sha256,
    /// Of what [`Extent::Embedded`] says.
    pub(super) embedded: Option<Embedded>,
}

/// The two sums that NVIDIA writes into its run files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Embedded {
    /// POSIX `cksum`.
    pub(super) crc: u32,
    /// MD5.
    pub(super) md5: [u8; 16],
}

/// Reads `source` to its end and computes its sums; `progress` hears how many bytes have been read so far.
///
/// Needs about 4 MiB whatever the size of the file, and one thread per sum.
///
/// # Errors
/// The file cannot be read, or the operator interrupts.
pub(super) fn compute(
    source: &mut dyn Read,
    extent: Extent,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<Sums> {
    std::thread::scope(|scope| {
        let mut digests = Vec::new();
        let spawn_fed = |work: fn(Receiver<Piece>) -> Sum| {
            let (sender, pieces) = sync_channel(QUEUE);
            let thread = scope.spawn(move || work(pieces));
            (sender, thread)
        };
        let (sender, sha256) = spawn_fed(digest_sha256);
        digests.push(Feed { sender, from: 0 });
        let embedded = match extent {
            Extent::Sha256 => None,
            Extent::Embedded { summed_from } => {
                let (sender, crc) = spawn_fed(digest_cksum);
                digests.push(Feed { sender, from: summed_from });
                let (sender, md5) = spawn_fed(digest_md5);
                digests.push(Feed { sender, from: summed_from });
                Some((crc, md5))
            }
        };
        let read = feed(source, &digests, cancel, progress);
        drop(digests);
        let sha256 = joined(sha256)?;
        let embedded = embedded.map(|(crc, md5)| Ok::<_, Error>((joined(crc)?, joined(md5)?))).transpose()?;
        read?;
        gathered(sha256, embedded)
    })
}

/// Where one digest gets its bytes, and the first byte of the file that it covers.
struct Feed {
    sender: SyncSender<Piece>,
    from: u64,
}

/// A part of a buffer that several digests look at.
struct Piece {
    buffer: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

fn feed(source: &mut dyn Read, feeds: &[Feed], cancel: &Cancel, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut buffers: [Arc<Vec<u8>>; BUFFERS] = std::array::from_fn(|_| Arc::new(vec![0; BUFFER]));
    let mut position = 0u64;
    for turn in 0.. {
        cancel.check()?;
        let buffer = &mut buffers[turn % BUFFERS];
        let bytes: &mut Vec<u8> = Arc::make_mut(buffer);
        let end = read_full(source, bytes)?;
        if end == 0 {
            break;
        }
        for feed in feeds {
            let start = usize::try_from(feed.from.saturating_sub(position)).unwrap_or(usize::MAX);
            if start < end && feed.sender.send(Piece { buffer: Arc::clone(buffer), start, end }).is_err() {
                return Err(Error::new(Kind::Bug, "a thread that computes a sum has ended too early"));
            }
        }
        position += end as u64;
        progress(position);
    }
    Ok(())
}

fn read_full(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

enum Sum {
    Sha256([u8; 32]),
    Md5([u8; 16]),
    Cksum(u32),
}

fn digest_sha256(pieces: Receiver<Piece>) -> Sum {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    pieces.iter().for_each(|piece| context.update(piece.bytes()));
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    Sum::Sha256(sum)
}

fn digest_md5(pieces: Receiver<Piece>) -> Sum {
    let mut context = Md5::new();
    pieces.iter().for_each(|piece| context.update(piece.bytes()));
    Sum::Md5(context.finalize().into())
}

/// POSIX `cksum`: the CRC of the bytes and then of their number, least significant byte first, without leading zeros.
fn digest_cksum(pieces: Receiver<Piece>) -> Sum {
    let mut digest = CKSUM.digest();
    let mut length = 0u64;
    for piece in pieces {
        digest.update(piece.bytes());
        length += piece.bytes().len() as u64;
    }
    let significant = 8 - length.leading_zeros() as usize / 8;
    digest.update(&length.to_le_bytes()[..significant]);
    Sum::Cksum(digest.finalize())
}

fn joined(thread: ScopedJoinHandle<'_, Sum>) -> Result<Sum> {
    thread.join().map_err(|_| Error::new(Kind::Bug, "a thread that computes a sum has panicked"))
}

fn gathered(sha256: Sum, embedded: Option<(Sum, Sum)>) -> Result<Sums> {
    match (sha256, embedded) {
        (Sum::Sha256(sum), None) => Ok(Sums { sha256: Sha256::from_bytes(sum), embedded: None }),
        (Sum::Sha256(sum), Some((Sum::Cksum(crc), Sum::Md5(md5)))) => {
            Ok(Sums { sha256: Sha256::from_bytes(sum), embedded: Some(Embedded { crc, md5 }) })
        }
        _ => Err(Error::new(Kind::Bug, "the sums came back in the wrong order")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bytes: &[u8], extent: Extent) -> Sums {
        compute(&mut &*bytes, extent, &Cancel::new().unwrap(), &mut |_| {}).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_sums_are_those_of_coreutils() {
        // `printf 'The quick brown fox' | sha256sum`, `md5sum`, `cksum` of coreutils 9.1.
        let sums = sums(b"The quick brown fox", Extent::Embedded { summed_from: 0 });
        assert_eq!(sums.sha256.to_string(), "5cac4f980fedc3d3f1f99b4be3472c9b30d56523e632d151237ec9309048bda9");
        let embedded = sums.embedded.unwrap();
        assert_eq!(hex(&embedded.md5), "a2004f37730b9445670a738fa0fc9ee5");
        assert_eq!(embedded.crc, 2_672_498_166);
    }

    #[test]
    fn the_sums_of_nothing_are_those_of_coreutils() {
        let sums = sums(b"", Extent::Embedded { summed_from: 0 });
        assert_eq!(sums.embedded.unwrap().crc, 4_294_967_295);
        assert_eq!(hex(&sums.embedded.unwrap().md5), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn the_embedded_sums_begin_where_they_are_reported_to() {
        // Longer than all buffers together, and beginning in the second.
        let bytes: Vec<u8> = (0..6 * BUFFER + 12345).map(|index| (index % 251) as u8).collect();
        let from = BUFFER + 100;
        let all = sums(&bytes, Extent::Embedded { summed_from: from as u64 });
        let tail = sums(&bytes[from..], Extent::Embedded { summed_from: 0 });
        assert_eq!(all.embedded, tail.embedded);
        assert_ne!(all.sha256, tail.sha256);
        assert_eq!(all.sha256, sums(&bytes, Extent::Sha256).sha256);
        assert_eq!(sums(&bytes, Extent::Sha256).embedded, None);
    }

    #[test]
    fn an_interruption_ends_the_reading() {
        let cancel = Cancel::new().unwrap();
        let mut heard = 0;
        let error = compute(&mut std::io::repeat(1), Extent::Embedded { summed_from: 0 }, &cancel, &mut |done| {
            heard = done;
            cancel.request();
        });
        assert_eq!(error.unwrap_err().kind(), Kind::Interrupted);
        assert_eq!(heard, BUFFER as u64);
    }

    #[test]
    fn a_read_error_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("bad sector"))
            }
        }
        let error = compute(&mut Broken, Extent::Sha256, &Cancel::new().unwrap(), &mut |_| {}).unwrap_err();
        assert_eq!(error.message(), "bad sector");
    }
}
