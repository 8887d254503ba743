//! `/etc/ld.so.cache`, in which glibc's dynamic loader looks up libraries by their SONAME: read, changed and written
//! without running `ldconfig`.
//!
//! The format `glibc-ld.so.cache1.1` of glibc 2.2 to 2.41 (`sysdeps/generic/dl-cache.h`, `elf/cache.c`), little endian:
//!
//! ```text
//! [the older table, "ld.so-1.7.0": glibc before 2.32 writes both]
//! header       magic, number of entries, length of the strings, byte order, place of the extension
//! entries      flags, SONAME, path, version of the kernel, hardware; sorted for a binary search
//! strings      each with a zero byte at its end
//! extension    who made the cache; names of hardware that entries refer to (since glibc 2.33)
//! ```
//!
//! A cache may come from a container, so its bytes may be anything.

mod order;
mod read;
mod write;

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A whole cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoaderCache {
    libraries: Vec<CachedLibrary>,
    /// What the extension says of the program that made the cache.
    generator: Option<Vec<u8>>,
}

/// One library that the loader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedLibrary {
    soname: Vec<u8>,
    path: Vec<u8>,
    flags: LibraryFlags,
    /// The oldest kernel that the library runs on; zero for any. The loader ignores it since glibc 2.36.
    os_version: u32,
    hardware: Hardware,
}

/// What a machine must have for a library to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hardware {
    /// Bits of AT_HWCAP, which the loader looks at up to glibc 2.36. Zero for libraries that run everywhere.
    Bits(u64),
    /// The name of a directory below `glibc-hwcaps`: `x86-64-v3`.
    Named(Vec<u8>),
}

/// For which loader a library is: its word size and instruction set. The bits that glibc's `ldconfig.h` defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LibraryFlags(u32);

impl LibraryFlags {
    /// 64 bits on x86_64; `ldconfig -p` prints `libc6,x86-64`.
    pub const X86_64: Self = Self(0x0303);
    /// 32 bits on x86; `ldconfig -p` prints `libc6`.
    pub const I386: Self = Self(0x0003);
    /// 64 bits on ARM; `ldconfig -p` prints `libc6,AArch64`.
    pub const AARCH64: Self = Self(0x0a03);
}

/// Why bytes are not a cache, or none that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheFault {
    /// More bytes than any cache has.
    #[error("it has more than {} bytes", LoaderCache::LIMIT)]
    TooLong,
    /// More libraries than any system has.
    #[error("it has more than {} entries", LoaderCache::ENTRIES)]
    TooManyEntries,
    /// Names that take more space together than a whole cache may.
    #[error("its names take more than {} bytes", LoaderCache::LIMIT)]
    NamesTooLong,
    /// Neither the format nor the older one with the format behind it.
    #[error("it does not begin as a cache in the format `glibc-ld.so.cache1.1` does")]
    NotACache,
    /// It is for a machine with the other order of bytes.
    #[error("its numbers are not little endian")]
    NotLittleEndian,
    /// A table does not fit in the bytes.
    #[error("it ends within its {0}")]
    Truncated(&'static str),
    /// An entry refers to a name that is not there, is empty, or is longer than the kernel takes.
    #[error("entry {0} has no usable name or path")]
    NoName(usize),
    /// An entry refers to hardware that the extension does not name.
    #[error("entry {0} is for hardware that has no name")]
    NoHardware(usize),
}

impl LoaderCache {
    /// The most bytes of a cache, and of all its names; a desktop system's has about 200 KiB.
    pub const LIMIT: usize = 16 << 20;
    /// The most entries; a desktop system has about 2000.
    pub const ENTRIES: usize = 100_000;

    /// All libraries, in the order of the file that was read, with those that were added at the end.
    pub fn libraries(&self) -> impl Iterator<Item = &CachedLibrary> {
        self.libraries.iter()
    }

    /// The same cache without the libraries whose path, as the loader sees it, is chosen.
    #[must_use]
    pub fn without(mut self, chosen: impl Fn(&Path) -> bool) -> Self {
        self.libraries.retain(|library| !chosen(library.path()));
        self
    }

    /// The same cache with a library that is found by this name for loaders with these flags.
    ///
    /// Of several libraries with one name the loader takes the first, and this one comes behind those that are there,
    /// as those of the system's directories come behind those that `ld.so.conf` names. Path and name must be what can
    /// be written: not empty, without zero bytes, and not longer than 4095 bytes; others are refused when the cache is
    /// written.
    #[must_use]
    pub fn with(mut self, soname: impl AsRef<OsStr>, path: impl Into<PathBuf>, flags: LibraryFlags) -> Self {
        let library = CachedLibrary::new(soname.as_ref(), path.into(), flags);
        if !self.libraries.contains(&library) {
            self.libraries.push(library);
        }
        self
    }

    /// As [`LoaderCache::with`], before the libraries that are there.
    #[must_use]
    pub fn with_first(mut self, soname: impl AsRef<OsStr>, path: impl Into<PathBuf>, flags: LibraryFlags) -> Self {
        let library = CachedLibrary::new(soname.as_ref(), path.into(), flags);
        self.libraries.retain(|other| *other != library);
        self.libraries.insert(0, library);
        self
    }
}

impl CachedLibrary {
    fn new(soname: &OsStr, path: PathBuf, flags: LibraryFlags) -> Self {
        let (soname, path) = (soname.as_bytes().to_owned(), path.into_os_string().into_vec());
        Self { soname, path, flags, os_version: 0, hardware: Hardware::Bits(0) }
    }

    /// The name that programs and other libraries ask for.
    pub fn soname(&self) -> &OsStr {
        OsStr::from_bytes(&self.soname)
    }

    /// Where it lies, as the loader sees it.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// For which loader it is.
    pub fn flags(&self) -> LibraryFlags {
        self.flags
    }
}

/// Places and sizes in the file, in bytes.
mod layout {
    pub(super) const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    pub(super) const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
    pub(super) const OLD_HEADER: usize = 16;
    pub(super) const OLD_ENTRY: usize = 12;
    pub(super) const HEADER: usize = 48;
    pub(super) const ENTRY: usize = 24;
    pub(super) const ALIGNMENT: usize = 8;
    pub(super) const LITTLE_ENDIAN: u8 = 2;
    pub(super) const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
    pub(super) const GENERATOR: u32 = 0;
    pub(super) const HARDWARE_NAMES: u32 = 1;
    /// An entry whose hardware has this in its upper half refers to a name by its lower half.
    pub(super) const NAMED_HARDWARE: u32 = 1 << 30;
    /// The longest name or path, without the zero byte (`PATH_MAX` of Linux).
    pub(super) const LONGEST_NAME: usize = 4095;
}

#[cfg(test)]
mod tests;
