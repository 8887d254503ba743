//! Room on file systems: how much is left, and the words by which a program says that there is none.

use std::path::Path;

use crate::error::Result;

/// Bytes as they are shown where room is counted.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// Whether a program has said that its disk is full, in the words of the C library (`LC_ALL=C`).
pub fn says_full(said: &str) -> bool {
    said.contains("No space left on device") || said.contains("Disk quota exceeded")
}

/// What a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes for everybody.
    pub bytes: u64,
    /// Bytes for root of the host, who may use up what is reserved.
    pub bytes_for_root: u64,
    /// Whether the file system can have no further file, however small.
    pub lacks_inodes: bool,
    /// Whether a file takes at least as much of it as it is long. Others may compress it.
    pub stores_as_is: bool,
}

impl Room {
    /// What is left on the file system of a directory; of its nearest parent where it is still to be made.
    ///
    /// # Errors
    /// The file system refused.
    pub fn of(directory: &Path) -> Result<Self> {
        let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let found = rustix::fs::statvfs(there).map_err(std::io::Error::from)?;
        let kind = rustix::fs::statfs(there).map_err(std::io::Error::from)?.f_type;
        Ok(Self {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            bytes_for_root: found.f_bfree.saturating_mul(found.f_frsize),
            // Where inodes are made as they are needed, as by btrfs, there are none by this count.
            lacks_inodes: found.f_files > 0 && found.f_ffree == 0,
            stores_as_is: STORE_AS_IS.contains(&kind),
        })
    }
}

/// ext2 to ext4, xfs, tmpfs (`statfs(2)`).
const STORE_AS_IS: [i64; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_still_to_be_made_has_the_room_of_its_parent() {
        let parent = tempfile::tempdir_in("/dev/shm").unwrap();
        let (room, there) = (Room::of(&parent.path().join("a/b")).unwrap(), Room::of(parent.path()).unwrap());
        assert!(room.stores_as_is && !room.lacks_inodes, "{room:?}");
        assert!(there.bytes > 0 && room.bytes_for_root >= room.bytes, "{there:?} {room:?}");
    }

    #[test]
    fn full_disks_and_used_up_quotas_are_said_in_words_of_their_own() {
        assert!(says_full("tar: ./a: Cannot write: No space left on device\ntar: Exiting with failure status"));
        assert!(says_full("rsync: write failed: Disk quota exceeded (122)"));
        assert!(!says_full("tar: This does not look like a tar archive"));
    }
}
