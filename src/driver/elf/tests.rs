//! Shared objects of both widths, and files that only look like them.

use std::io::Cursor;

use super::*;

#[path = "../../../tests/support/shared_object.rs"]
mod shared_object;

fn read(bytes: impl AsRef<[u8]>) -> Result<SharedObject, ElfFault> {
    SharedObject::read(&mut Cursor::new(bytes.as_ref()))
}

fn object() -> Vec<u8> {
    shared_object::shared_object("libcuda.so.1", 100)
}

/// A shared object for x86: the file's header, two segments, the dynamic section, its strings.
fn object_of_32_bits(strings: &[u8], soname_at: u32) -> Vec<u8> {
    const DYNAMIC_AT: u32 = 52 + 2 * 32;
    const STRINGS_AT: u32 = DYNAMIC_AT + 4 * 8;
    const ADDRESS: u32 = 0x1000;
    let length = u32::try_from(strings.len()).unwrap();
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x03\0".to_vec();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    file.extend(words(&[1, 0, 52, 0, 0]));
    file.extend([52u16, 32, 2, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(words(&[1, 0, ADDRESS, ADDRESS, STRINGS_AT + length, STRINGS_AT + length, 4, 0x1000]));
    file.extend(words(&[2, DYNAMIC_AT, ADDRESS + DYNAMIC_AT, ADDRESS + DYNAMIC_AT, 32, 32, 4, 4]));
    file.extend(words(&[14, soname_at, 5, ADDRESS + STRINGS_AT, 10, length, 0, 0]));
    file.extend(strings);
    file
}

#[test]
fn the_soname_and_the_word_size_are_read() {
    let of_64 = read(object()).unwrap();
    assert_eq!(of_64, SharedObject { soname: Some("libcuda.so.1".to_owned()), flags: LibraryFlags::X86_64 });
    let of_32 = read(object_of_32_bits(b"\0libnvidia-ml.so.1\0", 1)).unwrap();
    assert_eq!(of_32, SharedObject { soname: Some("libnvidia-ml.so.1".to_owned()), flags: LibraryFlags::I386 });
}

#[test]
fn a_library_without_a_soname_has_none() {
    let mut bytes = object();
    // The tag DT_SONAME becomes DT_SYMBOLIC, which says nothing here.
    let at = bytes.windows(16).position(|window| window == [14, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    bytes[at] = 16;
    assert_eq!(read(bytes).unwrap().soname, None);
}

#[test]
fn what_is_no_shared_object_is_refused_with_its_reason() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = object();
        bytes[at] = byte;
        read(bytes).unwrap_err()
    };
    assert!(matches!(read(b""), Err(ElfFault::NotElf)));
    assert!(matches!(read(b"#! /bin/sh\necho \x7fELF\n"), Err(ElfFault::NotElf)));
    assert!(matches!(changed(5, 2), ElfFault::NotElf));
    assert!(matches!(changed(16, 2), ElfFault::NotShared));
    assert!(matches!(changed(18, 8), ElfFault::OtherMachine(8)));
    assert!(matches!(changed(54, 57), ElfFault::Damaged("table of segments")));
    assert!(matches!(read(&object()[..100]), Err(ElfFault::Damaged("table of segments"))));
}

#[test]
fn a_soname_that_is_no_name_is_refused() {
    for (strings, at) in [
        (&b"\0../../etc/cron.d/x\0"[..], 1),
        (b"\0lib\x1b[2J.so\0", 1),
        (b"\0\xff\xfe\0", 1),
        (b"\0\0", 1),
        (b"\0libcuda.so.1", 1),
        (b"\0libcuda.so.1\0", 4_000_000_000),
    ] {
        assert!(matches!(read(object_of_32_bits(strings, at)), Err(ElfFault::Damaged("SONAME"))), "{strings:?} {at}");
    }
}

proptest::proptest! {
    #[test]
    fn changed_bytes_are_refused_or_read(at in 0usize..600, with: [u8; 8]) {
        let mut bytes = object();
        let at = at % (bytes.len() - with.len());
        bytes[at..at + with.len()].copy_from_slice(&with);
        let _ = read(bytes);
    }
}
