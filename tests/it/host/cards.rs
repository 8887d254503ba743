//! A GPU that is another card than it was: told by every verb that looks, until `create` has taken note of it.

use serde_json::json;

use crate::gpu_host::{GpuHostBuilder, PretendedGpuHost};
use crate::shown::assert_shown;
use crate::world::World;

const VERSION: &str = "580.76.05";

/// A host that numbers its cards in this order.
fn host(cards: [&str; 2]) -> PretendedGpuHost {
    let builder: GpuHostBuilder = PretendedGpuHost::with_module(VERSION);
    builder.card(cards[0], 0).card(cards[1], 1).start()
}

fn configure(world: &World, gpu: &str) {
    world.write_containers(&json!({ "lxc_configs": {
        "901": { "name": "gpu-one", "template": world.template(), "unprivileged": true, "gpu_assignment": gpu },
    } }));
}

const MOVED: &str = "GPU 0 was 0000:07:00.0 and is 0000:81:00.0 now";

#[test]
fn a_number_that_means_another_card_after_a_boot_is_reported() {
    let world = World::new();
    configure(&world, "0");
    let (before, after) = (host(["0000:07:00.0", "0000:81:00.0"]), host(["0000:81:00.0", "0000:07:00.0"]));
    world.run_on(&before, &["create", "901"]).ok();
    let record = fs_err::read_to_string(world.base().join("lib/containers/901.json")).unwrap();
    assert!(record.contains("0000:07:00.0") && record.contains("GPU-00000000-0000-0000-0000-000000000700"), "{record}");
    assert!(!world.run_on(&before, &["status"]).ok().stdout.contains("was"));
    let shows =
        |name: &str, arguments: &[&str]| assert_shown(name, &world, arguments, &world.run_on(&after, arguments));
    shows("status_of_a_moved_gpu", &["status"]);
    shows("plan_of_a_moved_gpu", &["plan", "901"]);
    shows("hook_of_a_moved_gpu", &["hook", "901", "pre-start"]);
    let json = world.run_on(&after, &["status", "--output", "json"]).ok().stdout;
    assert!(json.contains(&format!("\"moved_gpus\": [\n      \"{MOVED}\"\n")), "{json}");
    assert!(world.run(&["status"]).ok().stdout.lines().all(|line| !line.contains("was")), "no module, no cards");
    let created = world.run_on(&after, &["create", "901"]).ok();
    assert!(created.stderr.contains(&format!("901: note: {MOVED}\n")), "{}", created.stderr);
    assert!(!world.run_on(&after, &["status"]).ok().stdout.contains("was"), "whoever ran `create` has been told");
}

#[test]
fn a_card_named_by_its_address_or_uuid_is_the_same_under_any_number() {
    let world = World::new();
    let (before, after) = (host(["0000:07:00.0", "0000:81:00.0"]), host(["0000:81:00.0", "0000:07:00.0"]));
    for gpu in ["0000:07:00.0", "GPU-00000000-0000-0000-0000-000000000700"] {
        configure(&world, gpu);
        world.run_on(&before, &["create", "901"]).ok();
        assert!(!world.run_on(&after, &["status"]).ok().stdout.contains("was"), "{gpu}");
    }
}

#[test]
fn a_container_of_a_release_that_remembered_no_cards_is_remembered_from_now_on() {
    let world = World::new();
    configure(&world, "0");
    let (before, after) = (host(["0000:07:00.0", "0000:81:00.0"]), host(["0000:81:00.0", "0000:07:00.0"]));
    world.run_on(&before, &["create", "901"]).ok();
    fs_err::write(world.base().join("lib/containers/901.json"), "{ \"features\": [\"docker\"] }").unwrap();
    assert!(!world.run_on(&after, &["status"]).ok().stdout.contains("was"));
    world.run_on(&before, &["create", "901"]).ok();
    assert!(world.run_on(&after, &["status"]).ok().stdout.contains(MOVED));
    let record = fs_err::read_to_string(world.base().join("lib/containers/901.json")).unwrap();
    assert!(record.contains("docker"), "{record}");
}
