//! What the loader wants to know of a shared object: the name that it is found by, and for which loader it is.
//!
//! ELF of 32 and 64 bits, little endian (System V gABI, chapters 4 and 5), read as `ldconfig` of glibc 2.36 does. The
//! file may be anything: every place and size in it is checked, and little of it is read.

use std::io::{Read, Seek, SeekFrom};

use super::loader_cache::LibraryFlags;

/// What a shared object says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedObject {
    /// The name that others ask for; libraries without one are found by their file's name.
    pub soname: Option<String>,
    /// For which loader it is.
    pub flags: LibraryFlags,
}

/// Why a file is not a shared object that a loader here takes.
#[derive(Debug, thiserror::Error)]
pub enum ElfFault {
    /// It does not begin as ELF does: a script, a text, a Windows library.
    #[error("it is not an ELF file")]
    NotElf,
    /// A program, an object file or a core dump.
    #[error("it is an ELF file, but not a shared object")]
    NotShared,
    /// For another machine, or with the other order of bytes.
    #[error("it is a shared object for machines of another kind (number {0})")]
    OtherMachine(u16),
    /// A table lies outside of the file, or is larger than any real one.
    #[error("its {0} cannot be where it says")]
    Damaged(&'static str),
    /// It could not be read.
    #[error("it could not be read: {0}")]
    Unreadable(#[from] std::io::Error),
}

const SEGMENTS: u64 = 256;
const DYNAMIC_SECTION: u64 = 1 << 16;
const LONGEST_SONAME: u64 = 255;

const SHARED_OBJECT: u64 = 3;
const MACHINES: &[(u64, Width, LibraryFlags)] = &[
    (3, Width::Bits32, LibraryFlags::I386),
    (62, Width::Bits64, LibraryFlags::X86_64),
    (183, Width::Bits64, LibraryFlags::AARCH64),
];
const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Bits32,
    Bits64,
}

impl SharedObject {
    /// Reads what a library says of itself, at most 100 KiB of it.
    ///
    /// # Errors
    /// It is not a shared object for x86, x86_64 or 64-bit ARM, it is damaged, or it cannot be read; each cause has its
    /// [`ElfFault`].
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Self, ElfFault> {
        let mut library = Library::open(file)?;
        let segments = library.segments()?;
        let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC).ok_or(ElfFault::NotShared)?;
        let soname = library.soname(dynamic, &segments)?;
        Ok(Self { soname, flags: library.flags })
    }
}

struct Library<'a, F> {
    file: &'a mut F,
    width: Width,
    flags: LibraryFlags,
    header: Words,
}

struct Segment {
    kind: u64,
    from: u64,
    address: u64,
    size: u64,
}

impl<'a, F: Read + Seek> Library<'a, F> {
    fn open(file: &'a mut F) -> Result<Self, ElfFault> {
        let header = Words(bytes_at(file, 0, 64)?);
        if header.0.len() < 52 || !header.0.starts_with(b"\x7fELF") {
            return Err(ElfFault::NotElf);
        }
        let width = match (header.0[4], header.0[5]) {
            (1, 1) => Width::Bits32,
            (2, 1) if header.0.len() == 64 => Width::Bits64,
            _ => return Err(ElfFault::NotElf),
        };
        let (kind, machine) = (header.number(16, 2), header.number(18, 2));
        let known = MACHINES.iter().find(|(number, of_width, _)| Some(*number) == machine && *of_width == width);
        let Some((_, _, flags)) = known else {
            return Err(ElfFault::OtherMachine(machine.and_then(|number| number.try_into().ok()).unwrap_or(0)));
        };
        if kind != Some(SHARED_OBJECT) {
            return Err(ElfFault::NotShared);
        }
        Ok(Self { file, width, flags: *flags, header })
    }

    /// The offset or length in the file that the width decides about.
    fn by_width(&self, of_32: u64, of_64: u64) -> u64 {
        match self.width {
            Width::Bits32 => of_32,
            Width::Bits64 => of_64,
        }
    }

    fn word(&self) -> u64 {
        self.by_width(4, 8)
    }

    fn segments(&mut self) -> Result<Vec<Segment>, ElfFault> {
        const DAMAGED: ElfFault = ElfFault::Damaged("table of segments");
        let header = |at, length| self.header.number(at, length).ok_or(DAMAGED);
        let from = header(self.by_width(28, 32), self.word())?;
        let (entry, number) = (header(self.by_width(42, 54), 2)?, header(self.by_width(44, 56), 2)?);
        if entry != self.by_width(32, 56) || number > SEGMENTS {
            return Err(DAMAGED);
        }
        let table = Words(bytes_at(self.file, from, entry * number)?);
        let word = self.word();
        let segment = |index: u64| {
            let field = |of_32, of_64| table.number(index * entry + self.by_width(of_32, of_64), word);
            let kind = table.number(index * entry, 4)?;
            Some(Segment { kind, from: field(4, 8)?, address: field(8, 16)?, size: field(16, 32)? })
        };
        (0..number).map(|index| segment(index).ok_or(DAMAGED)).collect()
    }

    fn soname(&mut self, dynamic: &Segment, segments: &[Segment]) -> Result<Option<String>, ElfFault> {
        if dynamic.size > DYNAMIC_SECTION {
            return Err(ElfFault::Damaged("dynamic section"));
        }
        let table = Words(bytes_at(self.file, dynamic.from, dynamic.size)?);
        let word = self.word();
        let entry =
            |index: u64| Some((table.number(index * 2 * word, word)?, table.number((index * 2 + 1) * word, word)?));
        let entries: Vec<(u64, u64)> = (0..).map_while(entry).take_while(|(tag, _)| *tag != DT_NULL).collect();
        let value = |wanted| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
        let Some(offset) = value(DT_SONAME) else { return Ok(None) };
        const DAMAGED: ElfFault = ElfFault::Damaged("SONAME");
        let (address, size) = (value(DT_STRTAB).ok_or(DAMAGED)?, value(DT_STRSZ).ok_or(DAMAGED)?);
        let left = size.checked_sub(offset).ok_or(DAMAGED)?.min(LONGEST_SONAME + 1);
        let place = place_in_file(address, segments).and_then(|place| place.checked_add(offset)).ok_or(DAMAGED)?;
        let text = bytes_at(self.file, place, left)?;
        let end = text.iter().position(|byte| *byte == 0).ok_or(DAMAGED)?;
        let plain = |text: &str| !text.is_empty() && !text.contains('/') && !text.chars().any(char::is_control);
        let soname = std::str::from_utf8(&text[..end]).ok().filter(|text| plain(text)).ok_or(DAMAGED)?;
        Ok(Some(soname.to_owned()))
    }
}

/// Where in the file the bytes lie that a loader maps at this address.
fn place_in_file(address: u64, segments: &[Segment]) -> Option<u64> {
    let holds = |segment: &&Segment| {
        segment.kind == LOAD && address.checked_sub(segment.address).is_some_and(|offset| offset < segment.size)
    };
    let segment = segments.iter().find(holds)?;
    segment.from.checked_add(address - segment.address)
}

/// As many bytes as there are at a place of the file, up to a length.
fn bytes_at(file: &mut (impl Read + Seek), place: u64, length: u64) -> Result<Vec<u8>, ElfFault> {
    file.seek(SeekFrom::Start(place))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of the file, in which numbers are found.
struct Words(Vec<u8>);

impl Words {
    /// The number of this many bytes, lowest first.
    fn number(&self, at: u64, length: u64) -> Option<u64> {
        let from = usize::try_from(at).ok()?;
        let bytes = self.0.get(from..from.checked_add(usize::try_from(length).ok()?)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests;
