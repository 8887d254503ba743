//! The sums of every file of a driver: SHA-256 for us, CRC-32/MPEG-2 for the list of NVIDIA's installer.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::driver::Sha256;
use crate::driver::backup_log::Sum;

/// The sums of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sha256: Sha256,
    /// As `nvidia-installer` writes it into `/var/lib/nvidia/log`: of an empty file it is 0.
    pub(super) crc: u32,
}

/// The sums of one file as its bytes come.
pub(super) struct Digest {
    sha256: ring::digest::Context,
    crc: Sum,
}

impl Digest {
    pub(super) fn new() -> Self {
        Self { sha256: ring::digest::Context::new(&ring::digest::SHA256), crc: Sum::new() }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc.update(bytes);
    }

    pub(super) fn finish(self) -> Sums {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.sha256.finish().as_ref());
        Sums { sha256: Sha256::from_bytes(sha256), crc: self.crc.finish() }
    }
}

/// The messages to the thread of the sums.
pub(super) enum Fed {
    Bytes(Arc<Vec<u8>>),
    EndOfFile,
}

/// The sums of all files that are fed, in their order.
pub(super) fn all(fed: Receiver<Fed>) -> Vec<Sums> {
    let mut sums = Vec::new();
    let mut digest = Digest::new();
    for fed in fed {
        match fed {
            Fed::Bytes(bytes) => digest.update(&bytes),
            Fed::EndOfFile => sums.push(std::mem::replace(&mut digest, Digest::new()).finish()),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_sha256sum_and_of_the_catalogue_of_crcs() {
        let mut digest = Digest::new();
        digest.update(b"1234");
        digest.update(b"56789");
        let sums = digest.finish();
        // `printf 123456789 | sha256sum`; the check value of CRC-32/MPEG-2 in the catalogue of parametrised CRCs.
        assert_eq!(sums.sha256.to_string(), "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        assert_eq!(sums.crc, 0x0376_e6e7);
    }

    #[test]
    fn the_crc_of_an_empty_file_is_zero() {
        assert_eq!(Digest::new().finish().crc, 0);
    }
}
