//! Listing and pruning.

use std::time::Duration;

use phoenix_nvidia::store::{Entry, Sort};
use phoenix_nvidia::sys::lock::FileLock;

use super::{VERSION, World, driver};

fn populated() -> World {
    let world = World::new();
    for version in ["570.133.20", "580.142", VERSION] {
        world.extract(&driver(version)).unwrap();
    }
    let store = world.layout.store();
    fs_err::remove_file(store.join("580.142/tree/nvidia-smi")).unwrap();
    for name in [".phoenix-nvidia-535.261.03-aB1", "the operator's own", "580"] {
        fs_err::create_dir_all(store.join(name).join("tree")).unwrap();
    }
    world
}

fn versions(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.version.as_str()).collect()
}

#[test]
fn the_list_tells_sound_trees_from_damaged_ones_and_leftovers() {
    let world = populated();
    let list = world.store().list().unwrap();
    assert_eq!(versions(&list), ["535.261.03", "570.133.20", VERSION, "580.142"]);
    assert_eq!(list[0].sort, Sort::Temporary);
    assert!(matches!(list[1].sort, Sort::Sound { files: 6, bytes: 1_370_000.., .. }), "{:?}", list[1]);
    assert_eq!(list[3].sort, Sort::Damaged { reason: "`nvidia-smi` is missing".to_owned() });
}

#[test]
fn an_empty_hypervisor_has_an_empty_list() {
    assert!(World::new().store().list().unwrap().is_empty());
}

#[test]
fn pruning_removes_what_it_said_it_would_and_nothing_else() {
    let world = populated();
    let keep = [VERSION.parse().unwrap()];
    let before = world.names();
    let announced = world.store().prunable(&keep).unwrap();
    assert_eq!(versions(&announced), ["535.261.03", "570.133.20", "580.142"]);
    assert_eq!(world.names(), before);
    assert_eq!(world.store().prune(&keep).unwrap(), announced);
    assert_eq!(world.names(), ["580", VERSION, "the operator's own"]);
    assert!(world.store().prune(&keep).unwrap().is_empty());
}

#[test]
fn pruning_leaves_alone_what_somebody_is_working_on() {
    let world = populated();
    let lock = world.layout.store_lock(&"570.133.20".parse().unwrap());
    let _held = FileLock::acquire(&lock, "it", Duration::ZERO, &world.heard, &world.cancel).unwrap();
    world.store().prune(&[]).unwrap();
    assert_eq!(world.names(), ["570.133.20", "580", "the operator's own"]);
    assert!(
        world
            .heard
            .warnings()
            .contains("was not removed: the extracted driver 570.133.20 is in use by another part of this run")
    );
}
