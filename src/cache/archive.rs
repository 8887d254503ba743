//! Reading the archive of a driver: raw headers, so that no length in one of them is believed before it is looked at.

use std::io::{self, Read};

use tar::{Archive, EntryType};

use super::member::{ArchiveFault, RawMember, shown};

// A path that does not fit into a header comes in a member of its own.
const LONGEST_NAME_MEMBER: u64 = 4096;
const LONGEST_EXTENSION: u64 = 64 << 10;
// GNU tar fills the last record up to 10 KiB; anything near this is no padding.
const PADDING: u64 = 1 << 20;

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped<E> {
    #[error("its payload cannot be unpacked ({0})")]
    Unreadable(io::Error),
    #[error(transparent)]
    Refused(#[from] ArchiveFault),
    #[error("{0}")]
    ByVisitor(E),
}

/// Shows every member with its contents to `visit`, in the archive's order.
///
/// Long names of GNU tar and pax are put together; their lengths are limited before they are read.
pub(crate) fn walk<E>(
    source: impl Read,
    mut visit: impl FnMut(&RawMember, &mut dyn Read) -> Result<(), Stopped<E>>,
) -> Result<(), Stopped<E>> {
    let mut archive = Archive::new(source);
    let mut long = LongNames::default();
    for entry in archive.entries().map_err(Stopped::Unreadable)?.raw(true) {
        let mut entry = entry.map_err(Stopped::Unreadable)?;
        let header = entry.header();
        let sort = header.entry_type();
        let size = entry.size();
        match sort {
            EntryType::GNULongName => long.path = Some(name_member(&mut entry, size)?),
            EntryType::GNULongLink => long.target = Some(name_member(&mut entry, size)?),
            EntryType::XHeader => long.read_extension(&mut entry, size)?,
            // What concerns all members (comments, times) does not concern us.
            EntryType::XGlobalHeader => {}
            _ => {
                let mode = header.mode().map_err(Stopped::Unreadable)?;
                let path = long.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
                let target = long.target.take().or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
                visit(&RawMember { path, target, sort, mode, size }, &mut entry)?;
            }
        }
    }
    drain(archive.into_inner())
}

/// The names that came ahead of the member that they belong to.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

impl LongNames {
    fn read_extension<E>(&mut self, entry: &mut impl Read, size: u64) -> Result<(), Stopped<E>> {
        let bytes = small_member(entry, size, LONGEST_EXTENSION)?;
        for extension in tar::PaxExtensions::new(&bytes) {
            let extension = extension.map_err(Stopped::Unreadable)?;
            match extension.key_bytes() {
                b"path" => self.path = Some(extension.value_bytes().to_owned()),
                b"linkpath" => self.target = Some(extension.value_bytes().to_owned()),
                // Another length than the header's would move everything that follows.
                b"size" => return Err(ArchiveFault::TooLong("a pax header with a size".to_owned()).into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn name_member<E>(entry: &mut impl Read, size: u64) -> Result<Vec<u8>, Stopped<E>> {
    let mut bytes = small_member(entry, size, LONGEST_NAME_MEMBER)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn small_member<E>(entry: &mut impl Read, size: u64, limit: u64) -> Result<Vec<u8>, Stopped<E>> {
    let mut bytes = Vec::new();
    entry.take(limit).read_to_end(&mut bytes).map_err(Stopped::Unreadable)?;
    if size > limit {
        return Err(ArchiveFault::TooLong(shown(&bytes)).into());
    }
    Ok(bytes)
}

/// Reads what follows the archive's end, so that a decompressor gets to the sum at its own end.
fn drain<E>(rest: impl Read) -> Result<(), Stopped<E>> {
    let trailing = io::copy(&mut rest.take(PADDING), &mut io::sink()).map_err(Stopped::Unreadable)?;
    if trailing == PADDING { Err(ArchiveFault::Trailing(PADDING).into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Walked = Result<Vec<(String, Option<String>, usize)>, Stopped<String>>;

    fn walked(archive: &[u8]) -> Walked {
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        walk(archive, |member, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(Stopped::Unreadable)?;
            seen.push((text(&member.path), member.target.as_deref().map(text), bytes.len()));
            Ok(())
        })?;
        Ok(seen)
    }

    fn builder_with(path: &str, bytes: &[u8]) -> tar::Builder<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, path, bytes).unwrap();
        builder
    }

    fn special(sort: EntryType, bytes: &[u8]) -> tar::Builder<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(sort);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
        builder
    }

    #[test]
    fn names_longer_than_a_header_are_put_together() {
        let path = format!("kernel/{}/nv.h", "x".repeat(150));
        let mut builder = builder_with(&path, b"12345");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        builder.append_link(&mut header, "short", &path).unwrap();
        let members = walked(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(members, [(path.clone(), None, 5), ("short".to_owned(), Some(path), 0)]);
    }

    #[test]
    fn names_of_pax_are_read_too() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", b"by/pax".as_slice()), ("comment", b"x".as_slice())]).unwrap();
        let archive = builder.into_inner().unwrap();
        // The builder ends its archive with two empty blocks, which the member has to come before.
        let member = builder_with("other", b"1").into_inner().unwrap();
        let joined = [&archive[..archive.len() - 1024], &member].concat();
        assert_eq!(walked(&joined).unwrap(), [("by/pax".to_owned(), None, 1)]);
    }

    #[test]
    fn names_without_measure_are_refused() {
        for sort in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            let archive = special(sort, &vec![b'x'; 70_000]).into_inner().unwrap();
            assert!(matches!(walked(&archive), Err(Stopped::Refused(ArchiveFault::TooLong(_)))), "{sort:?}");
        }
        let archive = special(EntryType::XHeader, b"11 size=99\n").into_inner().unwrap();
        assert!(matches!(walked(&archive), Err(Stopped::Refused(ArchiveFault::TooLong(_)))));
    }

    #[test]
    fn much_that_follows_the_end_is_refused() {
        let archive = builder_with("a", b"1").into_inner().unwrap();
        assert!(walked(&[&archive[..], &[0; 9216]].concat()).is_ok());
        let bomb = [&archive[..], &vec![0; 2 << 20]].concat();
        assert!(matches!(walked(&bomb), Err(Stopped::Refused(ArchiveFault::Trailing(_)))));
    }

    #[test]
    fn a_damaged_header_is_an_error() {
        let mut archive = builder_with("a", b"1").into_inner().unwrap();
        archive[0] ^= 1;
        assert!(matches!(walked(&archive), Err(Stopped::Unreadable(_))));
    }
}
