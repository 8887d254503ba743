//! What can be read of a container's root, wherever that lies: behind the in-root door, or on a volume that nobody has
//! mounted.

use std::os::unix::fs::MetadataExt;

use crate::error::Result;
use crate::sys::idmap::IdMap;
use crate::sys::rootfs::{Found, Rootfs};

/// A container's root, to be read. Paths are the container's, absolute or relative to its root, and lead nowhere else.
pub trait Readable {
    /// As [`Rootfs::look`].
    ///
    /// # Errors
    /// The path cannot be looked up.
    fn look(&self, path: &str) -> Result<Option<Found>>;

    /// As [`Rootfs::names`].
    ///
    /// # Errors
    /// The directory cannot be read.
    fn names(&self, directory: &str, limit: usize) -> Result<Vec<String>>;

    /// As [`Rootfs::read`].
    ///
    /// # Errors
    /// The file is larger than `limit` bytes, or not a regular one.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// As [`Rootfs::read_end`].
    ///
    /// # Errors
    /// The file cannot be read, or is not a regular one.
    fn read_end(&self, path: &str, limit: u64) -> Result<Option<String>>;

    /// As [`Rootfs::is_executable`].
    ///
    /// # Errors
    /// The path cannot be looked up.
    fn is_executable(&self, path: &str) -> Result<bool>;

    /// As [`Rootfs::access`].
    ///
    /// # Errors
    /// The path cannot be looked up.
    fn access(&self, path: &str) -> Result<Option<(u32, u32, u32)>>;

    /// A name of the regular file that a path leads to, by which it is known however it is reached; `None` where there is
    /// none.
    ///
    /// # Errors
    /// The path cannot be looked up.
    fn identity(&self, path: &str) -> Result<Option<String>>;

    /// The bytes that an ordinary process could still write below a directory.
    ///
    /// # Errors
    /// There is no such directory.
    fn available(&self, directory: &str) -> Result<u64>;

    /// The container's idmap.
    fn idmap(&self) -> &IdMap;

    /// Whether what was read until now, errors included, is how the container is: nobody has written below it meanwhile,
    /// and everything could be read.
    fn may_be_believed(&self) -> bool;
}

impl Readable for Rootfs {
    fn look(&self, path: &str) -> Result<Option<Found>> {
        Self::look(self, path)
    }

    fn names(&self, directory: &str, limit: usize) -> Result<Vec<String>> {
        Self::names(self, directory, limit)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Self::read(self, path, limit)
    }

    fn read_end(&self, path: &str, limit: u64) -> Result<Option<String>> {
        Self::read_end(self, path, limit)
    }

    fn is_executable(&self, path: &str) -> Result<bool> {
        Self::is_executable(self, path)
    }

    fn access(&self, path: &str) -> Result<Option<(u32, u32, u32)>> {
        Self::access(self, path)
    }

    fn identity(&self, path: &str) -> Result<Option<String>> {
        let Some(file) = self.open_file(path).ok().flatten() else { return Ok(None) };
        let metadata = file.metadata()?;
        Ok(Some(format!("{}:{}", metadata.dev(), metadata.ino())))
    }

    fn available(&self, directory: &str) -> Result<u64> {
        Ok(self.space(directory)?.available)
    }

    fn idmap(&self) -> &IdMap {
        Self::idmap(self)
    }

    fn may_be_believed(&self) -> bool {
        // The kernel shows what there is.
        true
    }
}
