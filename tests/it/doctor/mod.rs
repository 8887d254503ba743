//! `doctor`, `docker` and following the host, on pretended hosts and real containers.

mod booted_units;
mod containers;
mod docker;
mod host;
mod package;
mod remedies;
mod units;

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::test_driver::TestDriver;
use crate::world::World;

const VERSION: &str = "580.76.05";
const OTHER: &str = "570.133.20";

/// A world whose container 901 wants a driver that is cached, GPU 0, and Docker.
fn world() -> World {
    let world = World::new();
    configure(&world, VERSION);
    TestDriver::new(VERSION).write_into(&world.cache());
    world
}

fn configure(world: &World, version: &str) {
    world.write_containers(&json!({
        "nvidia_driver_version": version,
        "lxc_configs": { "901": {
            "name": "gpu-one", "template": world.template(), "unprivileged": true, "memory_mb": 512,
            "features": ["nvidia", "docker"], "gpu_assignment": "0",
        } },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
}

/// The rules of the findings, in their order; those of the host begin with `host `.
#[track_caller]
fn found(world: &World, host: &PretendedGpuHost, code: i32, arguments: &[&str]) -> Vec<String> {
    let ran = world.run_on(host, &[&["doctor", "--output", "json"], arguments].concat()).exits(code);
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let rule = |finding: &Value| {
        let whom = finding["container"].as_u64().map_or_else(|| "host".to_owned(), |id| id.to_string());
        format!("{whom} {}", finding["rule"].as_str().unwrap())
    };
    findings.iter().map(rule).collect()
}
