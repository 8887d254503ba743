//! Every sort of broken run file is caught, and each says what is wrong with it.

use phoenix_nvidia::driver::Compression;
use phoenix_nvidia::error::Kind;

use super::{PATH, VERSION, World, driver, request};
use crate::run_file::{self, Broken};

#[test]
fn every_sort_of_broken_file_is_refused_with_its_own_message() {
    use Broken as B;
    let table = [
        (B::Truncated, "its CRC sum is"),
        (B::TruncatedInTheHeader, "it ends within its header"),
        (B::HeaderOnly, "it ends where its payload should begin"),
        (B::FlippedInTheHeader, "its CRC sum is"),
        (B::FlippedInThePayload, "its CRC sum is"),
        (B::TrailingGarbage, "its CRC sum is"),
        (B::HtmlPage, "it is an HTML page, not a run file"),
        (B::Empty, "it is empty"),
        (B::OtherVersionInTheHeader, "it holds driver 999.99.99, but 580.76.05 is wanted"),
        (B::OtherArchitecture, "it is for aarch64, but x86_64 is wanted"),
        (B::WrongSkip, "its payload has an unknown compression"),
        // Whether the damage is seen by zstd or makes it unpack nonsense is up to its version.
        (B::DamagedPayload, "is refused: its payload "),
    ];
    for (broken, expected) in table {
        let world = World::new();
        world.put(&driver(VERSION).broken(broken));
        let error = world.offline().ensure(&request(&[])).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification, "{broken:?}");
        assert!(error.message().contains(expected), "{broken:?}: {}", error.message());
        assert!(world.path().exists(), "offline, {broken:?} stays where it is");
    }
}

#[test]
fn a_file_without_md5_sum_is_decided_by_its_crc_sum_and_that_is_reported() {
    let world = World::new();
    world.put(&driver(VERSION).broken(Broken::ZeroMd5));
    world.offline().ensure(&request(&[])).unwrap();
    assert!(world.heard.sayings().contains("has no MD5 sum inside; its CRC sum is right"));
}

#[test]
fn files_of_every_compression_are_accepted() {
    use run_file::Compression as C;
    let table = [
        (C::Zstd, Compression::Zstd),
        (C::Xz, Compression::Xz),
        (C::Gzip, Compression::Gzip),
        (C::Bzip2, Compression::Bzip2),
        (C::None, Compression::None),
    ];
    for (made, found) in table {
        let world = World::new();
        world.put(&driver(VERSION).compression(made).build());
        let file = world.offline().ensure(&request(&[])).unwrap();
        assert_eq!(file.compression(), found);
        assert_eq!(file.uncompressed_kib(), Some(293));
    }
}

#[test]
fn an_embedded_decompressor_does_not_hide_the_payload() {
    let world = World::new();
    world.put(&driver(VERSION).decompressor(b"\x7fELF\n\n\0\xff\n".repeat(300)).build());
    world.offline().ensure(&request(&[])).unwrap();
}

#[test]
fn something_that_is_no_file_is_refused() {
    let world = World::new();
    fs_err::create_dir_all(world.path()).unwrap();
    let error = world.offline().ensure(&request(&[])).unwrap_err();
    assert!(error.message().ends_with("is refused: it is not a regular file"), "{error:?}");
    fs_err::remove_dir(world.path()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, world.path(), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let error = world.offline().ensure(&request(&[])).unwrap_err();
    assert!(error.message().ends_with("is refused: it is not a regular file"), "{error:?}");
}

#[test]
fn an_imported_file_is_checked_copied_and_trusted() {
    let world = World::new();
    let source = world.layout.base().join(&PATH[1..]);
    fs_err::write(&source, driver(VERSION).build()).unwrap();
    let file = world.offline().import(&source, None).unwrap();
    assert_eq!(file.path(), world.path());
    assert!(source.exists());
    assert_eq!(world.names(), [&PATH[1..], "SHA256SUMS", "stamps.json"]);
    world.offline().ensure(&request(&[])).unwrap();
    world.offline().import(&source, Some(&VERSION.parse().unwrap())).unwrap();
    assert!(world.heard.sayings().contains("was in the cache already"));
}

#[test]
fn an_import_that_is_refused_leaves_the_cache_as_it_was() {
    let table = [
        ("NVIDIA-Linux-x86_64-550.163.01.run", None, "its name says 550.163.01 for x86_64, but it holds 580.76.05"),
        ("driver.run", Some("570.133.20"), "it holds driver 580.76.05, but 570.133.20 is wanted"),
    ];
    for (name, version, expected) in table {
        let world = World::new();
        let source = world.layout.base().join(name);
        fs_err::write(&source, driver(VERSION).build()).unwrap();
        let version = version.map(|version| version.parse().unwrap());
        let error = world.offline().import(&source, version.as_ref()).unwrap_err();
        assert!(error.message().starts_with(&format!("`{}` is refused: {expected}", source.display())), "{error:?}");
        assert_eq!(world.names(), [""; 0]);
    }
}

#[test]
fn a_damaged_import_is_refused_by_the_name_that_the_operator_knows() {
    let world = World::new();
    let source = world.layout.base().join("from usb.run");
    fs_err::write(&source, driver(VERSION).broken(Broken::FlippedInThePayload)).unwrap();
    let error = world.offline().import(&source, None).unwrap_err();
    assert!(error.message().starts_with(&format!("`{}` is refused: its CRC sum is", source.display())), "{error:?}");
    assert_eq!(world.names(), [""; 0]);
}
