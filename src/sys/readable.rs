//! What can be read of a container's root, wherever that lies: behind the in-root door, or on a volume that nobody has
//! mounted.

use crate::error::Result;
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

    fn may_be_believed(&self) -> bool {
        // The kernel shows what there is.
        true
    }
}
