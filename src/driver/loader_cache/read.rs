//! Reading a cache; no number in it is believed.

use super::layout::*;
use super::{CacheFault, CachedLibrary, Hardware, LibraryFlags, LoaderCache};

impl LoaderCache {
    /// Reads a cache.
    ///
    /// # Errors
    /// The bytes are not a cache, or one beyond the limits; each cause has its [`CacheFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheFault> {
        if bytes.len() > Self::LIMIT {
            return Err(CacheFault::TooLong);
        }
        let table = Table::find(bytes)?;
        let extension = Extension::read(bytes, table.extension_at)?;
        let mut libraries = Vec::with_capacity(table.number);
        let mut names = 0;
        for index in 0..table.number {
            let library = table.library(index, &extension.hardware)?;
            names += library.soname.len() + library.path.len();
            if names > Self::LIMIT {
                return Err(CacheFault::NamesTooLong);
            }
            libraries.push(library);
        }
        Ok(Self { libraries, generator: extension.generator.map(<[u8]>::to_vec) })
    }
}

/// The newer of the two tables that a cache may have.
struct Table<'a> {
    /// From its header to the end of the file: names count from there.
    bytes: &'a [u8],
    number: usize,
    /// Counted from the beginning of the file; zero for none.
    extension_at: usize,
}

impl<'a> Table<'a> {
    fn find(bytes: &'a [u8]) -> Result<Self, CacheFault> {
        let bytes = if bytes.starts_with(OLD_MAGIC) { behind_old_table(bytes)? } else { bytes };
        if !bytes.starts_with(MAGIC) {
            return Err(CacheFault::NotACache);
        }
        let header = bytes.get(..HEADER).ok_or(CacheFault::Truncated("header"))?;
        // Before glibc 2.33 nobody wrote the order, and it was the machine's.
        if !matches!(header[28] & 3, 0 | LITTLE_ENDIAN) {
            return Err(CacheFault::NotLittleEndian);
        }
        let word = |at| number_at(header, at).ok_or(CacheFault::Truncated("header"));
        let (number, extension_at) = (word(20)?, word(32)?);
        if number > LoaderCache::ENTRIES {
            return Err(CacheFault::TooManyEntries);
        }
        if bytes.len() < HEADER + number * ENTRY {
            return Err(CacheFault::Truncated("entries"));
        }
        Ok(Self { bytes, number, extension_at })
    }

    fn library(&self, index: usize, hardware: &[&[u8]]) -> Result<CachedLibrary, CacheFault> {
        let at = HEADER + index * ENTRY;
        let word = |offset| number_at(self.bytes, at + offset).ok_or(CacheFault::Truncated("entries"));
        let name = |at| name_at(self.bytes, at).ok_or(CacheFault::NoName(index));
        let (lower, upper) = (word(16)?, word(20)?);
        let hardware = if upper == NAMED_HARDWARE as usize {
            Hardware::Named(hardware.get(lower).ok_or(CacheFault::NoHardware(index))?.to_vec())
        } else {
            Hardware::Bits((upper as u64) << 32 | lower as u64)
        };
        Ok(CachedLibrary {
            soname: name(word(4)?)?.to_vec(),
            path: name(word(8)?)?.to_vec(),
            flags: LibraryFlags(half(word(0)?)),
            os_version: half(word(12)?),
            hardware,
        })
    }
}

fn behind_old_table(bytes: &[u8]) -> Result<&[u8], CacheFault> {
    let number = number_at(bytes, OLD_HEADER - 4).ok_or(CacheFault::Truncated("older header"))?;
    if number > LoaderCache::ENTRIES {
        return Err(CacheFault::TooManyEntries);
    }
    let end = (OLD_HEADER + number * OLD_ENTRY).next_multiple_of(ALIGNMENT);
    bytes.get(end..).ok_or(CacheFault::Truncated("older entries"))
}

/// What stands behind the strings; a cache from before glibc 2.33 has nothing there.
#[derive(Default)]
struct Extension<'a> {
    generator: Option<&'a [u8]>,
    hardware: Vec<&'a [u8]>,
}

impl<'a> Extension<'a> {
    /// Sections of unknown kinds are for newer loaders, and are left out.
    fn read(bytes: &'a [u8], at: usize) -> Result<Self, CacheFault> {
        const TRUNCATED: CacheFault = CacheFault::Truncated("extension");
        let mut extension = Self::default();
        // The loader, too, goes on without an extension that it does not know.
        if at == 0 || number_at(bytes, at) != Some(EXTENSION_MAGIC as usize) {
            return Ok(extension);
        }
        let number = number_at(bytes, at + 4).ok_or(TRUNCATED)?;
        for index in 0..number {
            let at = at + 8 + index * 16;
            let word = |offset| number_at(bytes, at + offset).ok_or(TRUNCATED);
            let (kind, from, length) = (word(0)?, word(8)?, word(12)?);
            let section = bytes.get(from..from.saturating_add(length)).ok_or(TRUNCATED)?;
            match u32::try_from(kind) {
                Ok(GENERATOR) => extension.generator = section.get(..LONGEST_NAME.min(section.len())),
                Ok(HARDWARE_NAMES) => extension.hardware = hardware_names(bytes, section)?,
                _ => {}
            }
        }
        Ok(extension)
    }
}

fn hardware_names<'a>(bytes: &'a [u8], section: &[u8]) -> Result<Vec<&'a [u8]>, CacheFault> {
    let places = section.chunks_exact(4).filter_map(|place| number_at(place, 0));
    places.map(|at| name_at(bytes, at).ok_or(CacheFault::Truncated("names of hardware"))).collect()
}

/// The number of four bytes at a place.
fn number_at(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

/// A number that was read as four bytes.
fn half(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The name at a place, up to its zero byte.
fn name_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let rest = &rest[..rest.len().min(LONGEST_NAME + 1)];
    let end = rest.iter().position(|byte| *byte == 0)?;
    (end > 0).then(|| &rest[..end])
}
