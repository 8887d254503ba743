//! The superblock of an ext4 file system, as far as it says whether the volume may be read as it lies there, and
//! whether it was written since. Offsets and flags: `fs/ext4/ext4.h`, kernel 6.18. Pure.

use crc::{Crc, Table};

/// Where it lies, and how long it is.
pub(super) const PLACE: u64 = 1024;
pub(super) const LENGTH: usize = 1024;

// Blocks that root alone may use, and free ones; the higher halves are those of file systems of 64 bits.
const RESERVED: [usize; 2] = [0x08, 0x154];
const FREE: [usize; 2] = [0x0C, 0x158];
const BLOCK_SIZE: usize = 0x18;
const MAGIC: (usize, u16) = (0x38, 0xEF53);
const STATE: usize = 0x3A;
const STATE_CLEAN: u16 = 0x1;
const STATE_ERRORS: u16 = 0x2;
const INCOMPATIBLE: usize = 0x60;
// Set while it is mounted for writing, and after a crash.
const NEEDS_RECOVERY: u32 = 0x4;
const BITS_64: u32 = 0x80;
const MULTIPLE_MOUNT_PROTECTION: u32 = 0x100;
const READ_ONLY_COMPATIBLE: usize = 0x64;
const METADATA_CHECKSUMS: u32 = 0x400;
// What was removed while it was open is still to be freed.
const ORPHANS_PRESENT: u32 = 0x1_0000;
const CHECKSUM: usize = 0x3FC;
static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_ISCSI);

/// Its bytes. Every mount for writing, every unmount and every tool that writes changes them: counters of mounts and of
/// written kilobytes, times, free blocks and inodes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Superblock(pub(super) [u8; LENGTH]);

impl Superblock {
    /// Whether everything that was ever written lies where it belongs: nobody has it mounted for writing, on this host or
    /// another, and its journal holds nothing.
    pub(super) fn is_clean(&self) -> bool {
        let state = self.short(STATE);
        self.short(MAGIC.0) == MAGIC.1
            && state & STATE_CLEAN != 0
            && state & STATE_ERRORS == 0
            && self.word(INCOMPATIBLE) & NEEDS_RECOVERY == 0
            && self.word(READ_ONLY_COMPATIBLE) & ORPHANS_PRESENT == 0
    }

    /// The bytes that an ordinary process could still write.
    pub(super) fn available(&self) -> u64 {
        let is_long = self.word(INCOMPATIBLE) & BITS_64 != 0;
        let high = |place: usize| if is_long { u64::from(self.word(place)) << 32 } else { 0 };
        let count = |[low, higher]: [usize; 2]| u64::from(self.word(low)) | high(higher);
        let block = 1024_u64.checked_shl(self.word(BLOCK_SIZE)).unwrap_or(0);
        count(FREE).saturating_sub(count(RESERVED)).saturating_mul(block)
    }

    /// The same without the mark of the multiple mount protection, which Proxmox VE gives every volume
    /// (`mkfs.ext4 -O mmp`): it only tells who may mount, and the reader knows no such mark.
    pub(super) fn without_mount_protection(&self) -> [u8; LENGTH] {
        let mut bytes = self.0;
        let features = self.word(INCOMPATIBLE) & !MULTIPLE_MOUNT_PROTECTION;
        bytes[INCOMPATIBLE..INCOMPATIBLE + 4].copy_from_slice(&features.to_le_bytes());
        if self.word(READ_ONLY_COMPATIBLE) & METADATA_CHECKSUMS != 0 {
            // ext4 leaves out the last inversion.
            let sum = !CRC_32C.checksum(&bytes[..CHECKSUM]);
            bytes[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        }
        bytes
    }

    fn short(&self, place: usize) -> u16 {
        u16::from_le_bytes([self.0[place], self.0[place + 1]])
    }

    fn word(&self, place: usize) -> u32 {
        u32::from(self.short(place)) | u32::from(self.short(place + 2)) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `mkfs.ext4 -O mmp` of e2fsprogs 1.47 writes, as far as it is looked at.
    fn new() -> Superblock {
        let mut bytes = [0; LENGTH];
        bytes[0x38..0x3C].copy_from_slice(&[0x53, 0xEF, 1, 0]);
        bytes[0x60..0x68].copy_from_slice(&[0xC2, 3, 0, 0, 0x6B, 4, 0, 0]);
        Superblock(bytes)
    }

    fn with(place: usize, byte: u8) -> Superblock {
        let mut changed = new();
        changed.0[place] = byte;
        changed
    }

    #[test]
    fn it_is_clean_only_when_nobody_writes_and_nothing_waits() {
        assert!(new().is_clean());
        for (place, byte) in [(0x38, 0), (0x3A, 0), (0x3A, 3), (0x60, 0xC6), (0x66, 1)] {
            assert!(!with(place, byte).is_clean(), "{byte:#x} at {place:#x}");
        }
    }

    #[test]
    fn what_is_free_is_so_without_what_root_keeps() {
        let mut full = new();
        full.0[0x08] = 5;
        full.0[0x0C] = 7;
        full.0[0x18] = 2;
        assert_eq!(full.available(), 2 * 4096);
        full.0[0x158] = 1;
        assert_eq!(full.available(), (2 + (1 << 32)) * 4096);
        full.0[0x60] = 0x42;
        assert_eq!(full.available(), 2 * 4096);
        full.0[0x08] = 9;
        assert_eq!(full.available(), 0);
    }

    #[test]
    fn the_mark_goes_and_the_sum_is_that_of_the_rest() {
        let bytes = new().without_mount_protection();
        assert_eq!(bytes[0x60..0x64], [0xC2, 2, 0, 0]);
        assert_ne!(bytes[CHECKSUM..], [0; 4]);
        assert_eq!(with(0x65, 0).without_mount_protection()[CHECKSUM..], [0; 4], "where there are no sums, none comes");
    }
}
