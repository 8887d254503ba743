//! What `store` prints, as snapshots, and what its pruning keeps.

use serde_json::json;

use super::{VERSION, driver};
use crate::shown::assert_shown;
use crate::world::World;

const OLDER: &str = "570.133.20";

/// A world with a container that wants one version, and both versions in the cache.
fn world() -> World {
    let world = World::new();
    world.write_containers(&json!({
        "nvidia_driver_version": VERSION,
        "lxc_configs": {
            "901": { "name": "gpu-one", "template": world.template(), "features": ["nvidia"], "gpu_assignment": "0" },
        },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    for version in [VERSION, OLDER] {
        let run_file = driver(version);
        run_file.write_to(&world.cache().join(run_file.file_name())).unwrap();
    }
    world
}

#[track_caller]
fn shows(name: &str, world: &World, arguments: &[&str]) {
    assert_shown(name, world, arguments, &world.run(arguments));
}

fn stored(world: &World, version: &str) -> std::path::PathBuf {
    world.base().join("lib/nvidia").join(version)
}

#[test]
fn the_store() {
    let world = world();
    shows("store_list_of_nothing", &world, &["store", "list"]);
    shows("store_extract_a_dry_run", &world, &["store", "extract", "--dry-run", VERSION, OLDER]);
    assert!(!world.base().join("lib/nvidia").exists());
    shows("store_extract", &world, &["store", "extract", VERSION, OLDER]);
    shows("store_extract_as_json", &world, &["store", "extract", VERSION, "--output", "json"]);
    shows("store_extract_offline", &world, &["store", "extract", "550.54.14"]);
    shows("store_verify", &world, &["store", "verify"]);
    shows("store_verify_what_is_not_there", &world, &["store", "verify", "550.54.14"]);
    fs_err::write(stored(&world, OLDER).join("tree/evil"), "x").unwrap();
    shows("store_verify_a_changed_tree", &world, &["store", "verify"]);
    shows("store_list", &world, &["store", "list"]);
    shows("store_list_as_json", &world, &["store", "list", "--output", "json"]);
    shows("store_prune_a_dry_run", &world, &["store", "prune", "--dry-run"]);
    assert!(stored(&world, OLDER).exists());
    shows("store_prune", &world, &["store", "prune"]);
    shows("store_prune_again", &world, &["store", "prune"]);
    assert!(!stored(&world, OLDER).exists() && stored(&world, VERSION).exists());
}

#[test]
fn pruning_keeps_what_a_receipt_names_and_stops_at_one_that_it_cannot_read() {
    let world = world();
    world.run(&["store", "extract", VERSION, OLDER]).ok();
    let receipts = world.base().join("lib/receipts");
    fs_err::create_dir_all(&receipts).unwrap();
    let receipt = json!({
        "format": 1, "version": OLDER, "way": "runfile", "run_file_sha256": "0".repeat(64),
        "installed_at": "2026-11-23T10:00:00Z", "written_by": "a test", "files": [], "links": [],
    });
    fs_err::write(receipts.join("902.json"), receipt.to_string()).unwrap();
    assert_eq!(world.run(&["store", "prune"]).ok().stdout, "");
    assert!(stored(&world, OLDER).exists());
    fs_err::write(receipts.join("902.json"), "{").unwrap();
    shows("store_prune_with_a_damaged_receipt", &world, &["store", "prune"]);
    assert!(stored(&world, OLDER).exists());
    fs_err::remove_file(receipts.join("902.json")).unwrap();
    world.run(&["store", "prune"]).ok();
    assert!(!stored(&world, OLDER).exists());
}
