//! The beginning of a run file's payload: whether it unpacks, and to a tar archive.

use std::io::{self, Read};

use crate::driver::Compression;

// As much as is unpacked to see that it can be: the first tar header, and a look behind it.
const LOOKED_AT: u64 = 64 << 10;
const BLOCK: usize = 512;
// An xz file may ask for any amount of memory; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 96 << 20;

/// What is wrong with the beginning of a payload.
#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadFault {
    #[error("its payload has an unknown compression")]
    UnknownCompression,
    #[error("its payload cannot be unpacked as {} ({cause})", .compression.name())]
    Damaged { compression: Compression, cause: io::Error },
    #[error("its payload unpacks as {}, but not to a tar archive", .compression.name())]
    NotAnArchive { compression: Compression },
}

/// Finds the compression of a payload and unpacks its first bytes; `payload` stands where it begins.
pub(super) fn check_beginning(mut payload: impl Read + Send) -> Result<Compression, PayloadFault> {
    let mut beginning = Vec::new();
    let unreadable = |cause| PayloadFault::Damaged { compression: Compression::None, cause };
    payload.by_ref().take(Compression::SNIFFED as u64).read_to_end(&mut beginning).map_err(unreadable)?;
    let compression = Compression::sniff(&beginning).ok_or(PayloadFault::UnknownCompression)?;
    let whole = beginning.as_slice().chain(payload);
    let mut unpacked = Vec::new();
    open(compression, whole)
        .and_then(|reader| reader.take(LOOKED_AT).read_to_end(&mut unpacked))
        .map_err(|cause| PayloadFault::Damaged { compression, cause })?;
    match unpacked.get(..BLOCK) {
        Some(block) if is_tar_header(block) => Ok(compression),
        _ => Err(PayloadFault::NotAnArchive { compression }),
    }
}

pub(super) fn open<'a>(
    compression: Compression,
    packed: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
        Compression::Bzip2 => Box::new(bzip2::read::BzDecoder::new(packed)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
            Box::new(liblzma::read::XzDecoder::new_stream(packed, stream))
        }
        // zstd's own limit of 128 MiB for the window stands: the stub's `zstd -d` has the same.
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
    })
}

/// Whether a block is the header of an archive's member: the magic, and the sum over the block with blanks for itself.
fn is_tar_header(block: &[u8]) -> bool {
    let sum: u32 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { *byte as u32 }).sum();
    let stored = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let stored = stored.trim_matches(|character| character == ' ' || character == '\0');
    block[257..262] == *b"ustar" && u32::from_str_radix(stored, 8) == Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(100_000);
        header.set_mode(0o644);
        header.set_cksum();
        let noise: Vec<u8> = (0..100_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        builder.append_data(&mut header, "./nvidia-installer", noise.as_slice()).unwrap();
        builder.into_inner().unwrap()
    }

    fn packed(compression: Compression) -> Vec<u8> {
        let plain = archive();
        match compression {
            Compression::None => plain,
            Compression::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(&plain).unwrap();
                writer.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                writer.write_all(&plain).unwrap();
                writer.finish().unwrap()
            }
            Compression::Xz => {
                let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
                writer.write_all(&plain).unwrap();
                writer.finish().unwrap()
            }
            Compression::Zstd => zstd::stream::encode_all(plain.as_slice(), 1).unwrap(),
        }
    }

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd];

    #[test]
    fn archives_of_every_compression_are_recognised() {
        for compression in ALL {
            assert_eq!(check_beginning(packed(compression).as_slice()).unwrap(), compression);
        }
    }

    #[test]
    fn damage_in_the_first_bytes_is_seen_in_every_compression() {
        for compression in ALL {
            let mut bytes = packed(compression);
            bytes[12..200].fill(0xa5);
            assert!(check_beginning(bytes.as_slice()).is_err(), "{compression:?}");
        }
    }

    #[test]
    fn what_is_cut_off_at_once_is_damaged() {
        for compression in ALL {
            assert!(check_beginning(&packed(compression)[..40]).is_err(), "{compression:?}");
        }
    }

    #[test]
    fn something_packed_that_is_no_archive_is_refused() {
        let bytes = zstd::stream::encode_all([b'x'; 4096].as_slice(), 1).unwrap();
        let fault = check_beginning(bytes.as_slice()).unwrap_err();
        assert_eq!(fault.to_string(), "its payload unpacks as zstd, but not to a tar archive");
    }

    #[test]
    fn bytes_of_no_known_compression_are_refused() {
        assert!(matches!(check_beginning([b'x'; 4096].as_slice()), Err(PayloadFault::UnknownCompression)));
    }
}
