//! How long `status` and `plan` take for a whole fleet at rest, and how much processor time.
//!
//! `cargo bench --bench status`. 200 containers with a receipt and its files each, stopped and then running; beside them
//! what one `lxc-info` a container would take. And `plan` of 1000 containers that are configured and do not exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or has failed")]

use std::time::{Duration, Instant};

#[path = "../tests/support/gpu_host.rs"]
mod gpu_host;
#[path = "../tests/support/ran.rs"]
mod ran;
#[path = "../tests/support/resting_fleet.rs"]
mod resting_fleet;
#[path = "../tests/support/world.rs"]
mod world;

use gpu_host::PretendedGpuHost;
use resting_fleet::VERSION;
use world::World;

const ROUNDS: usize = 5;
const RESTING: usize = 200;
const CONFIGURED: usize = 1000;

const STATUS_GOAL: Duration = Duration::from_secs(2);
const PLAN_CPU_GOAL: Duration = Duration::from_millis(100);

fn main() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    resting_fleet::make(&world, RESTING);
    world.run_on(&host, &["apply", "--all"]).ok();
    show(&world, &host, "at rest");
    resting_fleet::start(&world, &host, RESTING);
    show(&world, &host, "running");

    let empty = World::new();
    resting_fleet::configure(&empty, CONFIGURED);
    let ids: Vec<String> = resting_fleet::ctids(CONFIGURED).map(|ctid| ctid.to_string()).collect();
    let named: Vec<&str> = ["plan", "--quiet"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let all = best(|| drop(empty.run_on(&host, &["plan", "--all", "--quiet"]).ok()));
    let create = best(|| drop(empty.run_on(&host, &named).ok()));
    println!("{CONFIGURED} containers that do not exist, best of {ROUNDS} rounds");
    for (name, (time, processor)) in [("plan --all", all), ("plan CTID…, to be created", create)] {
        println!("{name:<28} {time:>8.3?}, {processor:.3?} of processors");
    }
    println!("goal ({PLAN_CPU_GOAL:?} of processors) met: {}", all.1.max(create.1) <= PLAN_CPU_GOAL);
}

/// What the whole fleet takes, beside one `lxc-info` a container.
fn show(world: &World, host: &PretendedGpuHost, how: &str) {
    let run = |arguments: &[&str]| drop(world.run_on(host, arguments).ok());
    let asked_one_by_one = || {
        for ctid in resting_fleet::ctids(RESTING) {
            world.lxc("lxc-info", ctid, &["-s", "-p"]).ok();
        }
    };
    let status = best(|| run(&["status"]));
    let plan = best(|| run(&["plan", "--all"]));
    let (lxc_info, _) = timed(asked_one_by_one);
    println!("{RESTING} containers {how}, best of {ROUNDS} rounds");
    for (name, (time, processor)) in [("status", status), ("plan --all", plan)] {
        let share = time.as_secs_f64() / lxc_info.as_secs_f64();
        println!("{name:<28} {time:>8.3?}, {processor:.3?} of processors, {share:.2} of one `lxc-info` each");
    }
    println!("goal ({STATUS_GOAL:?}) met: {}", status.0 <= STATUS_GOAL);
}

/// The best time and the least processor time of several rounds.
fn best(work: impl Fn()) -> (Duration, Duration) {
    let rounds: Vec<_> = (0..ROUNDS).map(|_| timed(&work)).collect();
    (rounds.iter().map(|it| it.0).min().unwrap(), rounds.iter().map(|it| it.1).min().unwrap())
}

fn timed(work: impl FnOnce()) -> (Duration, Duration) {
    let (start, before) = (Instant::now(), processor_time_of_children());
    work();
    (start.elapsed(), processor_time_of_children() - before)
}

/// The processor time of all processes that this one has waited for: fields 16 and 17 of proc_pid_stat(5), in ticks of
/// 10 ms; what starts the program counts, too.
fn processor_time_of_children() -> Duration {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    let ticks: u64 = fields.skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
