//! The units that follow the host: understood by systemd, and doing what they say.

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::world::World;

const SERVICE: &str = include_str!("../../../etc/systemd/phoenix-nvidia-follow.service");
const PATH: &str = include_str!("../../../etc/systemd/phoenix-nvidia-follow.path");
const TIMER: &str = include_str!("../../../etc/systemd/phoenix-nvidia-follow.timer");

#[test]
fn the_units_are_understood_by_systemd() {
    let world = World::new();
    let mut words = vec!["verify".to_owned(), "--man=no".to_owned()];
    for (ending, text) in [("service", SERVICE), ("path", PATH), ("timer", TIMER)] {
        let path = world.scratch(&format!("phoenix-nvidia-follow.{ending}"));
        let program = env!("CARGO_BIN_EXE_phoenix-nvidia");
        fs_err::write(&path, text.replace("/usr/local/bin/phoenix-nvidia", program)).unwrap();
        words.push(path.to_str().unwrap().to_owned());
    }
    let ran = Ran::of("systemd-analyze", &words, &[]);
    // 127: there is no systemd on this machine.
    if ran.code != 127 {
        let ours: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("phoenix-nvidia")).collect();
        assert_eq!((ran.code, ours), (0, vec![]), "{}", ran.stderr);
    }
}

/// The shell command behind a key of the service, with the record elsewhere than in `/run`.
fn shell(key: &str, record: &str) -> String {
    let line = SERVICE.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let script = line.strip_prefix("=/bin/sh -c '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
    script.replace("/run/phoenix-nvidia/followed", record)
}

#[test]
fn the_driver_is_followed_once_after_a_boot_and_after_every_change() {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu("580.76.05"));
    let record = world.scratch("followed");
    let (condition, after) =
        (shell("ExecCondition", record.to_str().unwrap()), shell("ExecStartPost", record.to_str().unwrap()));
    host.sh(&condition).ok();
    host.sh(&after).ok();
    host.sh(&condition).exits(1);
    host.sh("sed -i s/580.76.05/580.95.05/ /proc/driver/nvidia/version").ok();
    host.sh(&condition).ok();
}

#[test]
fn the_service_runs_a_command_that_exists() {
    let line = SERVICE.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/phoenix-nvidia ")).unwrap();
    let mut words: Vec<&str> = line.split(' ').collect();
    words.push("--help");
    let world = World::new();
    world.run(&words).ok();
}
