//! Trees that are no longer what they were, and extractions that cannot be done.

use phoenix_nvidia::config::Context;
use std::time::SystemTime;

use phoenix_nvidia::error::Kind;
use phoenix_nvidia::event::{Event, Listener};
use phoenix_nvidia::store::Store;

use super::{VERSION, World, driver, is_extraction, version};

/// Changes one byte of a file, and sets its time back if told to.
fn change(path: &std::path::Path, keeps_time: bool) {
    let before = fs_err::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs_err::read(path).unwrap();
    bytes[0] ^= 1;
    fs_err::write(path, bytes).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    let time = if keeps_time { before } else { SystemTime::UNIX_EPOCH };
    file.file().set_modified(time).unwrap();
}

/// What the listener hears, and what is done to the tree.
type Damage<'a> = (&'a str, &'a dyn Fn(&std::path::Path));

#[test]
fn a_changed_or_missing_file_is_noticed_before_the_tree_is_used() {
    let damages: [Damage<'_>; 7] = [
        ("`nvidia-smi` has changed", &|tree| change(&tree.join("nvidia-smi"), false)),
        ("`nvidia-smi` is missing", &|tree| fs_err::remove_file(tree.join("nvidia-smi")).unwrap()),
        ("`nvidia.icd` has changed", &|tree| {
            fs_err::set_permissions(tree.join("nvidia.icd"), std::os::unix::fs::PermissionsExt::from_mode(0o4755))
                .unwrap();
        }),
        ("`libcuda.so` has changed", &|tree| {
            fs_err::remove_file(tree.join("libcuda.so")).unwrap();
            fs_err::os::unix::fs::symlink("/etc/passwd", tree.join("libcuda.so")).unwrap();
        }),
        ("its `tree.json` is damaged", &|tree| fs_err::write(tree.with_file_name("tree.json"), "{").unwrap()),
        ("it has no `tree.json`", &|tree| {
            let place = tree.parent().unwrap();
            fs_err::remove_dir_all(place).unwrap();
            fs_err::write(place, "in the way").unwrap();
        }),
        ("it has no `tree.json`", &|tree| fs_err::remove_file(tree.with_file_name("tree.json")).unwrap()),
    ];
    for (expected, damage) in damages {
        let world = World::new();
        damage(world.extract(&driver(VERSION)).unwrap().path());
        assert_eq!(world.store().open(&version()).unwrap(), None, "{expected}");
        assert!(world.heard.warnings().contains(expected), "{}", world.heard.warnings());
        world.extract(&driver(VERSION)).unwrap();
        assert_eq!(world.heard.warnings().lines().count(), 2, "once for each that asked");
        assert!(world.store().open(&version()).unwrap().is_some(), "{expected}");
        assert_eq!((world.heard.extractions(), world.names()), (2, vec![VERSION.to_owned()]), "{expected}");
    }
}

#[test]
fn verifying_finds_what_times_cannot_see_and_takes_the_tree_out_of_use() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    assert_eq!(world.store().verify(&version()).unwrap(), tree);
    change(&tree.path().join("nvidia-smi"), true);
    assert!(world.store().open(&version()).unwrap().is_some(), "size, time and mode are the same");
    let error = world.store().verify(&version()).unwrap_err();
    assert_eq!((error.kind(), error.output_text()), (Kind::Verification, Some("`nvidia-smi` has changed")));
    assert_eq!(world.store().open(&version()).unwrap(), None);
    world.extract(&driver(VERSION)).unwrap();
    world.store().verify(&version()).unwrap();
}

#[test]
fn verifying_finds_files_that_nobody_extracted() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    fs_err::write(tree.path().join("kernel/common/evil.h"), "x").unwrap();
    let error = world.store().verify(&version()).unwrap_err();
    assert_eq!(error.output_text(), Some("`kernel/common/evil.h` is not part of it"));
}

#[test]
fn verifying_what_is_not_there_says_how_to_extract_it() {
    let error = World::new().store().verify(&version()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Usage, "driver 580.76.05 is not in the store"));
}

#[test]
fn a_disk_without_space_is_reported_before_anything_is_unpacked() {
    let world = World::new();
    let error = world.extract(&driver(VERSION).uncompressed_size(1 << 60)).unwrap_err();
    assert_eq!(error.kind(), Kind::Host);
    assert!(error.message().starts_with("driver 580.76.05 needs 1152921504607 MB in `"), "{error}");
    assert!(world.names().is_empty());
}

#[test]
fn a_store_that_cannot_be_made_is_an_error_with_its_path() {
    let world = World::new();
    let run_file = world.verified(&driver(VERSION));
    fs_err::create_dir_all(world.layout.store().parent().unwrap()).unwrap();
    fs_err::write(world.layout.store(), "in the way").unwrap();
    let error = world.store().extract(&run_file).unwrap_err();
    assert_eq!(error.kind(), Kind::Host);
    assert!(error.message().contains("lib/nvidia"), "{error}");
}

#[test]
fn an_interruption_leaves_nothing() {
    struct Interrupts<'a>(&'a World);
    impl Listener for Interrupts<'_> {
        fn hear(&self, event: &Event) {
            if is_extraction(event) {
                self.0.cancel.request();
            }
        }
    }
    let world = World::new();
    let run_file = world.verified(&driver(VERSION).member("large", 0o644, vec![0; 20 << 20]));
    let listener = Interrupts(&world);
    let error = Store::new(Context::new(&world.layout, &listener, &world.cancel)).extract(&run_file).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert!(world.names().is_empty());
}
