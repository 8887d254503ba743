//! The name under which a shared library is looked for: DT_SONAME of an ELF file, read from a few places of it.

// Far more than any library has; a damaged file must not make us read it all.
const MOST_HEADERS: u16 = 256;
const MOST_DYNAMIC: u64 = 64 << 10;
const LONGEST_NAME: usize = 255;

const LOADED: u32 = 1;
const DYNAMIC: u32 = 2;
const STRING_TABLE: u64 = 5;
const SONAME: u64 = 14;

/// The SONAME of an ELF file of 64 bits, little endian; `None` for one without, and for everything else.
///
/// `read(at, length)` gives the bytes at a place in the file, fewer where it ends.
pub fn soname(read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<String> {
    let header = read(0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (at, size, number) = (long(&header, 32)?, short(&header, 54)?, short(&header, 56)?);
    if size < 56 || number > MOST_HEADERS {
        return None;
    }
    let table = read(at, usize::from(size) * usize::from(number))?;
    let segments: Vec<Segment> = table.chunks_exact(usize::from(size)).filter_map(Segment::read).collect();
    let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC && segment.size <= MOST_DYNAMIC)?;
    let entries = read(dynamic.offset, usize::try_from(dynamic.size).ok()?)?;
    let value = |tag| entries.chunks_exact(16).find(|entry| long(entry, 0) == Some(tag)).and_then(|it| long(it, 8));
    let name = value(STRING_TABLE)?.checked_add(value(SONAME)?)?;
    let holds = |segment: &&Segment| {
        segment.kind == LOADED && name.checked_sub(segment.address).is_some_and(|inside| inside < segment.size)
    };
    let segment = segments.iter().find(holds)?;
    let bytes = read(segment.offset.checked_add(name - segment.address)?, LONGEST_NAME + 1)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&bytes[..end]).ok()?;
    let plain = !name.is_empty() && !name.contains('/') && !name.chars().any(char::is_control);
    plain.then(|| name.to_owned())
}

/// What the file says of a part of itself.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    fn read(header: &[u8]) -> Option<Self> {
        let kind = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
        Some(Self { kind, offset: long(header, 8)?, address: long(header, 16)?, size: long(header, 32)? })
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
#[path = "../../tests/support/shared_object.rs"]
mod shared_object;

#[cfg(test)]
mod tests {
    use super::shared_object::shared_object;
    use super::*;

    fn soname_of(bytes: &[u8]) -> Option<String> {
        soname(|at, length| {
            let start = usize::try_from(at).ok()?.min(bytes.len());
            Some(bytes[start..start.saturating_add(length).min(bytes.len())].to_vec())
        })
    }

    #[test]
    fn the_name_of_a_library_is_found() {
        assert_eq!(soname_of(&shared_object("libcuda.so.1", 100)).unwrap(), "libcuda.so.1");
        let libc = fs_err::read("/lib/x86_64-linux-gnu/libc.so.6");
        assert!(libc.is_err() || soname_of(&libc.unwrap()).unwrap() == "libc.so.6");
    }

    #[test]
    fn what_is_no_library_has_none() {
        assert_eq!(soname_of(b""), None);
        assert_eq!(soname_of(b"of 32 bits"), None);
        assert_eq!(soname_of(&shared_object("../libcuda.so.1", 0)), None);
        assert_eq!(soname_of(&shared_object("", 0)), None);
    }

    proptest::proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic(at in 0_usize..400, byte in 0_u8.., length in 0_usize..400) {
            let mut bytes = shared_object("libcuda.so.1", 0);
            let last = bytes.len() - 1;
            bytes[at.min(last)] = byte;
            bytes.truncate(length);
            let _ = soname_of(&bytes);
        }
    }
}
