//! Caches of hand-made bytes, round trips, and the order of names.

use std::cmp::Ordering;

use super::order::compare_names;
use super::*;

fn cache(names: &[&str]) -> LoaderCache {
    names
        .iter()
        .fold(LoaderCache::default(), |cache, name| cache.with(name, format!("/usr/lib/{name}"), LibraryFlags::X86_64))
}

fn listed(cache: &LoaderCache) -> Vec<String> {
    let text = |library: &CachedLibrary| format!("{} {}", library.soname().display(), library.path().display());
    cache.libraries().map(text).collect()
}

#[test]
fn what_is_written_is_read_again_in_the_loaders_order() {
    let bytes = cache(&["libb.so.1", "liba.so.9", "liba.so.10", "libc.so.6"]).to_bytes().unwrap();
    let read = LoaderCache::parse(&bytes).unwrap();
    let expected = ["libc.so.6", "libb.so.1", "liba.so.10", "liba.so.9"].map(|name| format!("{name} /usr/lib/{name}"));
    assert_eq!(listed(&read), expected);
    assert_eq!(read.to_bytes().unwrap(), bytes);
}

#[test]
fn a_library_is_added_once_and_behind_those_of_its_name() {
    let added = |cache: LoaderCache| cache.with("liba.so.1", "/opt/liba.so.1", LibraryFlags::X86_64);
    let read = LoaderCache::parse(&added(added(cache(&["liba.so.1"]))).to_bytes().unwrap()).unwrap();
    assert_eq!(listed(&read), ["liba.so.1 /usr/lib/liba.so.1", "liba.so.1 /opt/liba.so.1"]);
    assert_eq!(read.libraries().next().unwrap().flags(), LibraryFlags::X86_64);
}

#[test]
fn a_library_can_be_added_once_and_before_those_of_its_name() {
    let added = |cache: LoaderCache| cache.with_first("liba.so.1", "/opt/liba.so.1", LibraryFlags::X86_64);
    let twice = added(added(cache(&["liba.so.1"])));
    let read = LoaderCache::parse(&twice.to_bytes().unwrap()).unwrap();
    let paths: Vec<&Path> = read.libraries().map(CachedLibrary::path).collect();
    assert_eq!(paths, [Path::new("/opt/liba.so.1"), Path::new("/usr/lib/liba.so.1")]);
}

#[test]
fn libraries_are_taken_out_by_their_paths() {
    let left = cache(&["liba.so.1", "libb.so.1"]).without(|path| path.ends_with("liba.so.1"));
    assert_eq!(listed(&left), ["libb.so.1 /usr/lib/libb.so.1"]);
    assert_eq!(listed(&left.without(|_| true)), [""; 0]);
}

#[test]
fn names_are_ordered_with_numbers_above_letters() {
    for (lower, higher) in [
        ("liba.so.9", "liba.so.10"),
        ("liba.so", "liba.so.1"),
        ("liba.so.x", "liba.so.1"),
        ("liba", "libb"),
        ("lib", "lib1"),
        ("lib\u{e4}", "lib"),
        ("lib4294967297.so", "lib4294967298.so"),
    ] {
        assert_eq!(compare_names(lower.as_bytes(), higher.as_bytes()), Ordering::Less, "{lower} {higher}");
        assert_eq!(compare_names(higher.as_bytes(), lower.as_bytes()), Ordering::Greater, "{higher} {lower}");
    }
    assert_eq!(compare_names(b"lib01.so", b"lib1.so"), Ordering::Equal);
}

#[test]
fn hardware_and_the_maker_are_kept_and_libraries_for_hardware_come_first() {
    let library = |path: &str, hardware| CachedLibrary {
        soname: b"liba.so.1".to_vec(),
        path: path.as_bytes().to_vec(),
        flags: LibraryFlags::X86_64,
        os_version: 0x0003_0200,
        hardware,
    };
    let named = |name: &str| {
        let path = format!("/usr/lib/glibc-hwcaps/{name}/liba.so.1");
        library(&path, Hardware::Named(name.as_bytes().to_vec()))
    };
    let libraries = vec![
        library("/usr/lib/liba.so.1", Hardware::Bits(0)),
        named("x86-64-v3"),
        library("/usr/lib/tls/liba.so.1", Hardware::Bits(1 << 63)),
        named("x86-64-v2"),
    ];
    let before = LoaderCache { libraries, generator: Some(b"ldconfig".to_vec()) };
    let after = LoaderCache::parse(&before.to_bytes().unwrap()).unwrap();
    assert_eq!(after.generator, before.generator);
    let expected: Vec<_> = [3, 1, 2, 0].map(|index| before.libraries[index].clone()).into();
    assert_eq!(after.libraries, expected);
}

/// The older table in front, with one entry, as glibc 2.31 writes both.
fn with_older_table(bytes: &[u8]) -> Vec<u8> {
    let mut both = layout::OLD_MAGIC.to_vec();
    both.resize(layout::OLD_HEADER - 4, 0);
    both.extend(1u32.to_le_bytes());
    both.resize((layout::OLD_HEADER + layout::OLD_ENTRY).next_multiple_of(layout::ALIGNMENT), 0);
    both.extend(bytes);
    both
}

#[test]
fn the_older_table_in_front_is_passed_over_and_not_written() {
    let mut bytes = cache(&["liba.so.1"]).to_bytes().unwrap();
    let newer = LoaderCache::parse(&bytes).unwrap();
    // Who writes the older table writes no extension.
    bytes[32..36].fill(0);
    let read = LoaderCache::parse(&with_older_table(&bytes)).unwrap();
    assert_eq!(read, newer);
    assert!(read.to_bytes().unwrap().starts_with(layout::MAGIC));
}

#[test]
fn what_is_no_cache_is_refused_with_its_reason() {
    let bytes = cache(&["liba.so.1", "libb.so.1"]).to_bytes().unwrap();
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        LoaderCache::parse(&bytes).unwrap_err()
    };
    assert_eq!(LoaderCache::parse(b""), Err(CacheFault::NotACache));
    assert_eq!(LoaderCache::parse(b"root:x:0:0"), Err(CacheFault::NotACache));
    assert_eq!(LoaderCache::parse(layout::OLD_MAGIC), Err(CacheFault::Truncated("older header")));
    assert_eq!(LoaderCache::parse(&bytes[..40]), Err(CacheFault::Truncated("header")));
    assert_eq!(LoaderCache::parse(&bytes[..80]), Err(CacheFault::Truncated("entries")));
    assert_eq!(LoaderCache::parse(&vec![0; LoaderCache::LIMIT + 1]), Err(CacheFault::TooLong));
    assert_eq!(changed(20, &u32::MAX.to_le_bytes()), CacheFault::TooManyEntries);
    assert_eq!(changed(28, &[3]), CacheFault::NotLittleEndian);
    assert_eq!(changed(52, &u32::MAX.to_le_bytes()), CacheFault::NoName(0));
    let named = [7u32.to_le_bytes(), layout::NAMED_HARDWARE.to_le_bytes()].concat();
    assert_eq!(changed(88, &named), CacheFault::NoHardware(1));
}

#[test]
fn a_few_bytes_that_name_much_are_refused() {
    let long = format!("/{}", "a".repeat(4000));
    let library = cache(&["liba.so.1"]).libraries.remove(0);
    let one = CachedLibrary { soname: long.clone().into_bytes(), path: long.into_bytes(), ..library };
    let bytes = LoaderCache { libraries: vec![one; 5000], generator: None }.to_bytes().unwrap();
    assert!(bytes.len() < 200_000);
    assert_eq!(LoaderCache::parse(&bytes), Err(CacheFault::NamesTooLong));
}

#[test]
fn names_that_cannot_be_written_are_refused() {
    for (soname, path) in [("", "/usr/lib/liba.so"), ("liba.so", ""), ("lib\0a.so", "/usr/lib/liba.so")] {
        let cache = LoaderCache::default().with(soname, path, LibraryFlags::I386);
        assert_eq!(cache.to_bytes(), Err(CacheFault::NoName(0)), "{soname:?}");
    }
}

proptest::proptest! {
    #[test]
    fn every_cache_survives_writing(names in proptest::collection::vec("[a-z0-9.]{1,12}", 0..40)) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let before = cache(&names);
        let after = LoaderCache::parse(&before.to_bytes().unwrap()).unwrap();
        let mut expected = listed(&before);
        let mut found = listed(&after);
        expected.sort();
        found.sort();
        proptest::prop_assert_eq!(found, expected);
    }

    #[test]
    fn changed_bytes_are_refused_or_read(at in 0usize..400, byte: u8) {
        let mut bytes = cache(&["liba.so.1", "libb.so.12"]).to_bytes().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = LoaderCache::parse(&bytes);
    }
}
