//! The main job from its beginning to its end: `create` in real containers, again and again.

use serde_json::json;

use crate::run_file::Compression;
use crate::test_driver::TestDriver;
use crate::world::World;

const VERSION: &str = "580.76.05";

fn world_with(ctid: u32, unprivileged: bool, compression: Compression) -> World {
    let world = World::new();
    world.write_containers(&json!({
        "nvidia_driver_version": VERSION,
        "lxc_configs": { ctid.to_string(): {
            "name": "gpu-test", "template": world.template(), "unprivileged": unprivileged,
            "memory_mb": 512, "cores": 1, "features": ["nvidia"], "gpu_assignment": "0",
        } },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    TestDriver::new(VERSION).compression(compression).write_into(&world.cache());
    world
}

#[test]
fn a_privileged_container_is_created_with_its_driver() {
    let ctid = World::new().ctid();
    let world = world_with(ctid, false, Compression::Zstd);
    let ran = world.run(&["create", &ctid.to_string()]).ok();
    println!("{}\n{}", ran.stdout, ran.stderr);
    let again = world.run(&["create", &ctid.to_string()]).ok();
    println!("{}\n{}", again.stdout, again.stderr);
    let status = world.run(&["status"]).ok();
    println!("{}\n{}", status.stdout, status.stderr);
}
