//! Versions that no container wants, by the real program: they come from where the configuration says.

use serde_json::json;

use super::VERSION;
use crate::http_server::{Answer, HttpServer};
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::world::World;

/// Runs the program where only the names in `/etc/hosts` are known, so that no test asks anybody on the network.
fn run(world: &World, arguments: &[&str]) -> Ran {
    let program = env!("CARGO_BIN_EXE_phoenix-nvidia");
    let names = world.scratch("nsswitch.conf");
    fs_err::write(&names, "hosts: files\n").unwrap();
    let script = "mount --bind \"$1\" /etc/nsswitch.conf; shift; exec \"$@\"";
    let words = ["--mount", "--propagation", "private", "sh", "-euc", script, "sh", names.to_str().unwrap(), program];
    Ran::of("unshare", &[&words[..], arguments].concat(), &world.environment())
}

#[test]
fn the_configured_url_is_asked_first() {
    let driver = TestDriver::new(VERSION);
    let bytes = driver.run_file().build();
    let server = HttpServer::start(move |asked| match &*asked.path {
        path if path == format!("/{VERSION}/driver.run") => Answer::file(asked, &bytes, "\"one\""),
        _ => Answer::new(404, ""),
    });
    for (by_root, verb) in [(false, ["cache", "fetch"]), (true, ["store", "extract"])] {
        let world = World::new();
        let url = server.url("/{version}/driver.run");
        let mut containers = json!({ "lxc_configs": {} });
        let mut hypervisor = json!({ "nvidia_driver": { "allow_http": ["127.0.0.1"] } });
        match by_root {
            true => containers["nvidia_runfile_url"] = url.into(),
            false => hypervisor["nvidia_driver"]["runfile_url"] = url.into(),
        }
        world.write_containers(&containers);
        world.write_hypervisor(&hypervisor);
        run(&world, &[verb[0], verb[1], VERSION]).ok();
        assert!(world.cache().join(driver.file_name()).exists());
    }
}

#[test]
fn names_that_cannot_be_resolved_are_said_once_each() {
    let world = World::new();
    world.write_containers(&json!({ "lxc_configs": {} }));
    let said = run(&world, &["cache", "fetch", VERSION]).exits(8).stderr;
    assert_eq!(said.matches("the host's name cannot be resolved").count(), 2, "{said}");
    assert_eq!(said.matches("not asked, for `us.download.nvidia.com` has not been found").count(), 1, "{said}");
    assert!(!said.contains("retrying"), "{said}");
}
