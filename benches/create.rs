//! What the driver costs in a container from a warm cache, beside the same job done the scripts' way: copy, run, remove.
//!
//! `cargo bench --bench create`, as root, after `sh tests/prepare.sh`. One real container, a run file of true size whose
//! installer places only small libraries: the installer's share is smaller than in life, our own is the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or has failed")]

use std::time::{Duration, Instant};

use serde_json::json;

#[path = "../tests/support/gpu_host.rs"]
mod gpu_host;
#[path = "support/noise.rs"]
mod noise;
#[path = "../tests/support/ran.rs"]
mod ran;
#[path = "../tests/support/run_file.rs"]
mod run_file;
#[path = "../tests/support/shared_object.rs"]
mod shared_object;
#[path = "../tests/support/test_driver.rs"]
mod test_driver;
#[path = "../tests/support/world.rs"]
mod world;

use test_driver::TestDriver;
use world::{Privilege, World};

const VERSION: &str = "580.76.05";
const ROUNDS: usize = 5;
// About 1 GB.
const PIECES: usize = 760;
// What checking adds to copying, running and removing, as a share of the installer's own time.
const OVERHEAD_GOAL: f64 = 0.05;

fn main() {
    let world = World::new();
    let ctid = world.ctid();
    let run_file = prepare(&world, ctid);
    // The first use reads the whole file; a warm cache is one that remembers it.
    install(&world, ctid);
    remove(&world, ctid);
    let inside = world.rootfs(ctid).join("root/NVIDIA.run");
    let copy = || assert!(fs_err::copy(&run_file, &inside).unwrap() > 0);
    let script = format!("sh /root/NVIDIA.run {}", test_driver::OPTIONS);
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        copy();
        best[0] = best[0].min(timed(|| drop(world.inside(ctid, &script).ok())));
        remove(&world, ctid);
        best[1] = best[1].min(timed(|| {
            copy();
            world.inside(ctid, &script).ok();
            fs_err::remove_file(&inside).unwrap();
        }));
        remove(&world, ctid);
        best[2] = best[2].min(timed(|| install(&world, ctid)));
        remove(&world, ctid);
    }
    let [installer, scripts, ours] = best.map(|time| time.as_secs_f64());
    println!("{} MB run file, best of {ROUNDS} rounds", fs_err::metadata(&run_file).unwrap().len() / 1_000_000);
    println!("{:<44} {installer:>7.3} s", "NVIDIA's stub and the installer alone");
    println!(
        "{:<44} {scripts:>7.3} s  {:>5.2} of the installer",
        "the scripts' way: copy, run, remove",
        scripts / installer
    );
    println!(
        "{:<44} {ours:>7.3} s  {:>5.2} of the installer, {:.2} of the scripts' way",
        "phoenix-nvidia install",
        ours / installer,
        ours / scripts
    );
    let overhead = (ours - scripts) / installer;
    println!(
        "our own share, beside copying and removing: {:.1} % (goal {:.0} %): met: {}",
        overhead * 100.0,
        OVERHEAD_GOAL * 100.0,
        overhead <= OVERHEAD_GOAL
    );
}

/// A running container, and a run file of true size in the cache.
fn prepare(world: &World, ctid: u32) -> std::path::PathBuf {
    world.write_containers(&json!({
        "nvidia_driver_version": VERSION,
        "lxc_configs": { ctid.to_string(): { "name": "bench", "template": world.template(), "features": ["nvidia"] } },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    world.create_by_hand(ctid, Privilege::Privileged, &[]);
    world.lxc("lxc-start", ctid, &[]).ok();
    let noise = world.scratch("noise");
    noise::write(&noise, PIECES);
    let path = world.cache().join(TestDriver::new(VERSION).file_name());
    let driver = TestDriver::new(VERSION).run_file().member_from("noise", 0o644, &noise);
    driver.write_to(&path).unwrap();
    fs_err::remove_file(noise).unwrap();
    path
}

fn install(world: &World, ctid: u32) {
    world.run(&["install", &ctid.to_string()]).ok();
}

fn remove(world: &World, ctid: u32) {
    let _ = fs_err::remove_file(world.rootfs(ctid).join("root/NVIDIA.run"));
    world.run(&["uninstall", &ctid.to_string()]).ok();
    rustix::fs::sync();
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
