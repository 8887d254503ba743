//! The program under the name of the orchestrator's feature script: the same words, the same log, exit codes of its kind.

use serde_json::json;

use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::world::{Privilege, World};

const VERSION: &str = "580.76.05";

fn world() -> (World, u32) {
    let world = World::new();
    let ctid = world.ctid();
    world.write_containers(&json!({
        "nvidia_driver_version": VERSION,
        "lxc_configs": { ctid.to_string(): { "name": "gpu", "template": world.template(), "features": ["nvidia"] } },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    (world, ctid)
}

/// Calls the feature script through a link, as an installation has it.
fn feature_script(world: &World, words: &[&str]) -> Ran {
    let script = world.base().join("bin/lxc_setup/phoenix_hypervisor_feature_install_nvidia.sh");
    if !script.exists() {
        fs_err::create_dir_all(script.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_phoenix-nvidia"), &script).unwrap();
    }
    Ran::of(&script, words, &world.environment())
}

#[test]
fn one_word_or_two_install_and_verify_and_the_log_is_the_orchestrators() {
    let (world, ctid) = world();
    TestDriver::new(VERSION).write_into(&world.cache());
    world.create_by_hand(ctid, Privilege::Unprivileged, &["lxc.signal.halt = SIGKILL"]);
    fs_err::write(world.log_file(), "2026-11-23 10:00:00 [INFO] orchestrator: before\n").unwrap();
    let number = ctid.to_string();
    let ran = feature_script(&world, &[&number, "--force", "{\"name\": \"gpu\"}"]).ok();
    assert!(ran.stdout.contains(&format!("install driver {VERSION}, stop again; driver {VERSION} ")), "{}", ran.stdout);
    feature_script(&world, &[&number]).ok();
    let log = fs_err::read_to_string(world.log_file()).unwrap();
    assert!(log.starts_with("2026-11-23 10:00:00 [INFO] orchestrator: before\n"), "it is appended to: {log}");
    assert!(log.contains(&format!("[INFO] phoenix-nvidia: {ctid}: install driver {VERSION}: done in ")), "{log}");
}

#[test]
fn whatever_fails_is_an_exit_code_and_a_line_in_the_log() {
    let (world, ctid) = world();
    let number = ctid.to_string();
    let absent = feature_script(&world, &[&number, "x"]).exits(6);
    assert!(absent.stderr.contains("does not exist"), "{}", absent.stderr);
    world.create_by_hand(ctid, Privilege::Unprivileged, &["lxc.signal.halt = SIGKILL"]);
    feature_script(&world, &[&number, "x"]).exits(8);
    feature_script(&world, &["../nvidia"]).exits(2);
    feature_script(&world, &[]).exits(2);
    let log = fs_err::read_to_string(world.log_file()).unwrap();
    assert_eq!(log.matches("[ERROR] phoenix-nvidia: ").count(), 2, "{log}");
}
