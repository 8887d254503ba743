//! What an extraction makes: every file as it is in the archive, and what is known of it.

use std::os::unix::fs::PermissionsExt;

use phoenix_nvidia::driver::placement::{Profile, Target, bytes_of, placements};

use super::{ALL_COMPRESSIONS, VERSION, World, driver, manifest, noise, version};

fn sum(program: &str, path: &std::path::Path) -> String {
    #[expect(clippy::disallowed_methods, reason = "the tools of the system are asked without the library")]
    let output = std::process::Command::new(program).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn every_compression_gives_the_same_tree() {
    for compression in ALL_COMPRESSIONS {
        let world = World::new();
        let tree = world.extract(&driver(VERSION).compression(compression)).unwrap();
        let read = |path: &str| fs_err::read(tree.path().join(path)).unwrap();
        assert!(read("libcuda.so.580.76.05") == noise(1_300_000), "{compression:?}");
        assert!(read("32/libcuda.so.580.76.05") == noise(70_000), "{compression:?}");
        assert_eq!(read("nvidia.icd"), b"");
        assert_eq!(read(".manifest"), manifest(VERSION).into_bytes());
        let link = fs_err::read_link(tree.path().join("libcuda.so")).unwrap();
        assert_eq!(link.to_str(), Some("libcuda.so.580.76.05"));
        assert_eq!(tree.files().count(), 6);
        assert_eq!(world.names(), [VERSION]);
    }
}

#[test]
fn what_is_known_of_a_file_is_true() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    for (path, facts) in tree.files() {
        let on_disk = tree.path().join(path);
        let metadata = fs_err::metadata(&on_disk).unwrap();
        assert_eq!((facts.size, facts.mode), (metadata.len(), metadata.permissions().mode() & 0o7777), "{path}");
        assert_eq!(facts.sha256.to_string(), sum("sha256sum", &on_disk), "{path}");
    }
    let mode = |path: &str| tree.file(path).unwrap().mode;
    assert_eq!((mode("nvidia-smi"), mode("kernel/common/nv.h"), mode(".manifest")), (0o755, 0o644, 0o644));
    // The CRC of the installer's list: of nothing 0, and else what its own source computes.
    assert_eq!(tree.file("nvidia.icd").unwrap().crc, 0);
    assert_eq!(tree.file("nvidia-smi").unwrap().crc, bit_by_bit(b"#! /bin/sh\n"));
    assert_eq!((tree.version(), tree.architecture()), (&version(), "x86_64"));
    assert_eq!(tree.file("nvidia-settings"), None);
}

/// CRC-32/MPEG-2 as its definition has it.
fn bit_by_bit(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ (u32::from(*byte) << 24),
            |crc, _| {
                if crc >> 31 == 1 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 }
            },
        )
    })
}

#[test]
fn directories_and_files_can_be_read_by_a_containers_mapped_root() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let kernel = tree.path().join("kernel/common");
    for directory in [world.place().as_path(), tree.path(), &kernel] {
        assert_eq!(fs_err::metadata(directory).unwrap().permissions().mode() & 0o7777, 0o755);
    }
}

#[test]
fn nvidia_modprobe_lies_in_the_tree_without_its_bit() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION).member("nvidia-modprobe", 0o4755, "x")).unwrap();
    let mode = fs_err::metadata(tree.path().join("nvidia-modprobe")).unwrap().permissions().mode();
    assert_eq!((mode & 0o7777, tree.file("nvidia-modprobe").unwrap().mode), (0o755, 0o755));
}

#[test]
fn an_extracted_driver_is_not_extracted_again() {
    let world = World::new();
    let first = world.extract(&driver(VERSION)).unwrap();
    assert_eq!(world.extract(&driver(VERSION)).unwrap(), first);
    assert_eq!(world.store().open(&version()).unwrap(), Some(first));
    assert_eq!(world.heard.extractions(), 1);
}

#[test]
fn another_run_file_of_the_version_replaces_the_tree() {
    let world = World::new();
    let first = world.extract(&driver(VERSION)).unwrap();
    let other = World::new().verified(&driver(VERSION).member("extra", 0o644, "x"));
    let second = world.store().extract(&other).unwrap();
    assert_ne!(first.run_file_sha256(), second.run_file_sha256());
    assert!(second.path().join("extra").exists());
    assert_eq!(world.names(), [VERSION]);
}

#[test]
fn the_manifest_and_the_facts_tell_what_to_place_and_how_much_it_is() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let placed = placements(tree.manifest(), &Target::new("/usr/lib/x86_64-linux-gnu"), Profile::Compute);
    let bytes = bytes_of(&placed, |source| tree.file(source).map(|facts| facts.size));
    assert_eq!(bytes, Some(1_300_000 + "#! /bin/sh\n".len() as u64));
}
