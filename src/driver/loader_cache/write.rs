//! Writing a cache, as `ldconfig` 2.33 and later do: without the older table, with the extension.

use std::collections::{BTreeSet, HashMap};

use super::layout::*;
use super::{CacheFault, CachedLibrary, Hardware, LoaderCache, order};

impl LoaderCache {
    /// The bytes of the file, sorted as loaders want it.
    ///
    /// # Errors
    /// There are more or longer names than [`LoaderCache::parse`] takes, or one that cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CacheFault> {
        if self.libraries.len() > Self::ENTRIES {
            return Err(CacheFault::TooManyEntries);
        }
        let mut libraries: Vec<&CachedLibrary> = self.libraries.iter().collect();
        libraries.sort_by(|one, other| order::compare(one, other));
        let hardware = hardware_of(&libraries);
        let mut strings = Strings::starting_at(HEADER + libraries.len() * ENTRY);
        let mut entries = Vec::with_capacity(libraries.len() * ENTRY);
        for (index, library) in libraries.iter().enumerate() {
            if ![&library.soname, &library.path].into_iter().all(|name| is_writable(name)) {
                return Err(CacheFault::NoName(index));
            }
            entries.extend(entry(library, &hardware, &mut strings)?);
        }
        let names = hardware.iter().map(|name| strings.place_of(name)).collect::<Result<Vec<_>, _>>()?;
        let mut file = header(libraries.len(), &strings)?;
        file.extend(entries);
        file.extend(&strings.bytes);
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(self.extension(file.len(), &names)?);
        if file.len() > Self::LIMIT { Err(CacheFault::TooLong) } else { Ok(file) }
    }

    /// What comes behind the strings, at this place in the file.
    fn extension(&self, at: usize, names: &[u32]) -> Result<Vec<u8>, CacheFault> {
        let names = names.iter().flat_map(|place| place.to_le_bytes()).collect::<Vec<u8>>();
        let generator = self.generator.clone().unwrap_or_default();
        let sections = [(HARDWARE_NAMES, names), (GENERATOR, generator)];
        let used: Vec<_> = sections.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let mut bytes = words(&[EXTENSION_MAGIC, number(used.len())?]);
        let mut from = at + 8 + used.len() * 16;
        for (kind, section) in &used {
            bytes.extend(words(&[*kind, 0, number(from)?, number(section.len())?]));
            from += section.len();
        }
        bytes.extend(used.iter().flat_map(|(_, section)| section));
        Ok(bytes)
    }
}

/// All names of hardware, each once and sorted: the loader compares them with its own list in one pass.
fn hardware_of(libraries: &[&CachedLibrary]) -> Vec<Vec<u8>> {
    let names = libraries.iter().filter_map(|library| match &library.hardware {
        Hardware::Named(name) => Some(name.clone()),
        Hardware::Bits(_) => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn header(entries: usize, strings: &Strings) -> Result<Vec<u8>, CacheFault> {
    let extension_at = strings.end().next_multiple_of(4);
    let mut header = MAGIC.to_vec();
    header.extend(words(&[number(entries)?, number(strings.bytes.len())?, u32::from(LITTLE_ENDIAN)]));
    header.extend(words(&[number(extension_at)?, 0, 0, 0]));
    Ok(header)
}

fn entry(library: &CachedLibrary, hardware: &[Vec<u8>], strings: &mut Strings) -> Result<Vec<u8>, CacheFault> {
    // The path first: most end in the name, which then needs no bytes of its own.
    let path = strings.place_of(&library.path)?;
    let soname = match library.path.strip_suffix(library.soname.as_slice()) {
        Some(before) => path + number(before.len())?,
        None => strings.place_of(&library.soname)?,
    };
    let bits = match &library.hardware {
        Hardware::Bits(bits) => *bits,
        Hardware::Named(name) => {
            let index = hardware.binary_search(name).unwrap_or_default();
            u64::from(NAMED_HARDWARE) << 32 | u64::from(number(index)?)
        }
    };
    let mut entry = words(&[library.flags.0, soname, path, library.os_version]);
    entry.extend(bits.to_le_bytes());
    Ok(entry)
}

fn is_writable(name: &[u8]) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(&0)
}

/// The names behind the entries; each is there once.
struct Strings {
    start: usize,
    bytes: Vec<u8>,
    places: HashMap<Vec<u8>, u32>,
}

impl Strings {
    fn starting_at(start: usize) -> Self {
        Self { start, bytes: Vec::new(), places: HashMap::new() }
    }

    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }

    fn place_of(&mut self, name: &[u8]) -> Result<u32, CacheFault> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let place = number(self.end())?;
        self.bytes.extend(name);
        self.bytes.push(0);
        if self.bytes.len() > LoaderCache::LIMIT {
            return Err(CacheFault::NamesTooLong);
        }
        self.places.insert(name.to_vec(), place);
        Ok(place)
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A place or a size in the file.
fn number(value: usize) -> Result<u32, CacheFault> {
    u32::try_from(value).map_err(|_| CacheFault::TooLong)
}
