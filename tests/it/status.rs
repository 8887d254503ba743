//! `status` of many containers: without a process for any of them, as data that fits its schema, as metrics, again and
//! again until Ctrl-C, and of containers that run, freeze and lose their device nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::resting_fleet::{self, VERSION};
use crate::shown::assert_shown;
use crate::world::{Privilege, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");
const MANY: usize = 200;

/// Containers at rest that are in sync on a host with one GPU.
fn resting(count: usize) -> (World, PretendedGpuHost) {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    resting_fleet::make(&world, count);
    world.run_on(&host, &["apply", "--all"]).ok();
    (world, host)
}

/// A container that runs, made by hand and given its settings, with no driver in it.
fn running(host: &PretendedGpuHost) -> (World, u32) {
    let world = World::new();
    let ctid = world.ctid();
    world.write_containers(&json!({
        "nvidia_driver_version": VERSION,
        "lxc_configs": { ctid.to_string(): {
            "name": "gpu", "template": world.template(), "features": ["nvidia"], "gpu_assignment": "0",
        } },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
    world.create_by_hand(ctid, Privilege::Privileged, &[]);
    // Only the settings: there is no run file to install from.
    world.run_on(host, &["apply", &ctid.to_string()]).exits(8);
    (world, ctid)
}

/// Every program that a command on this host has started, itself included (`strace`, execve).
fn programs_started_by(world: &World, host: &PretendedGpuHost, arguments: &[&str]) -> Vec<String> {
    programs_started_in(world, host, arguments, &world.environment())
}

/// The same in another environment.
pub(crate) fn programs_started_in(
    world: &World,
    host: &PretendedGpuHost,
    arguments: &[&str],
    environment: &[(&'static str, std::ffi::OsString)],
) -> Vec<String> {
    let trace = world.scratch("trace");
    let traced = ["-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", trace.to_str().unwrap(), PROGRAM];
    host.run("strace", &[&traced[..], arguments].concat(), environment).ok();
    let text = fs_err::read_to_string(trace).unwrap();
    let program = |line: &str| Some(line.split_once("execve(\"")?.1.split_once('"')?.0.to_owned());
    text.lines().filter(|line| line.ends_with(" = 0")).filter_map(program).collect()
}

fn rows(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

pub(crate) fn assert_fits_the_schema(ran: &Ran) {
    let schema: Value = serde_json::from_str(include_str!("../../etc/schema/status.schema.json")).unwrap();
    let output: Value = serde_json::from_str(&ran.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(&output).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}\n{output:#}");
}

#[test]
fn two_hundred_containers_in_sync_are_shown_and_planned_without_a_process_for_any() {
    let (world, host) = resting(MANY);
    let shown = world.run_on(&host, &["status", "--output", "json", "--exit-code"]).ok();
    let rows = rows(&shown);
    assert_eq!(rows.len(), MANY);
    for row in &rows {
        assert_eq!((&row["verdict"], &row["in_sync"]), (&json!("in sync (not verified live)"), &json!(true)), "{row}");
    }
    assert_fits_the_schema(&shown);
    for verb in [&["status"][..], &["plan", "--all", "--exit-code"]] {
        assert_eq!(programs_started_by(&world, &host, verb), [PROGRAM], "{verb:?}");
    }
}

#[test]
fn what_differs_is_reported_with_the_side_to_change() {
    let (world, host) = resting(6);
    let rootfs = |ctid| world.rootfs(ctid);
    fs_err::remove_file(rootfs(1001).join(format!("usr/lib/x86_64-linux-gnu/libcuda.so.{VERSION}"))).unwrap();
    fs_err::remove_dir_all(rootfs(1002).join("usr")).unwrap();
    fs_err::remove_dir_all(world.lxcpath().join("1003")).unwrap();
    fs_err::remove_file(world.lxcpath().join("1004/phoenix-nvidia.conf")).unwrap();
    fs_err::write(world.lxcpath().join("1005/config"), "lxc.rootfs.path = zfs:pool/ct\n").unwrap();
    for name in ["status", "status --output json"] {
        let arguments: Vec<&str> = name.split(' ').collect();
        let ran = world.run_on(&host, &arguments).ok();
        assert_shown(&format!("status_of_faults_{}", arguments.len()), &world, &arguments, &ran);
    }
    assert_fits_the_schema(&world.run_on(&host, &["status", "--output", "json"]).ok());
    world.run_on(&host, &["status", "--exit-code"]).exits(4);
    world.run_on(&host, &["status", "--exit-code", "1000"]).ok();
    let upgraded = PretendedGpuHost::with_module("590.44.01").on_disk(VERSION).gpu("0000:01:00.0", 0).start();
    let row = &rows(&world.run_on(&upgraded, &["status", "1000", "--output", "json"]).ok())[0];
    assert_eq!(row["reason"], format!("driver {VERSION} is wanted, but the host's kernel module is 590.44.01"));
    assert!(row["hint"].as_str().unwrap().ends_with("590.44.01 is still loaded: reboot the host"), "{row}");
    let without = &rows(&world.run(&["status", "1000", "--output", "json"]).ok())[0];
    assert_eq!(without["verdict"], "GPU unavailable", "its settings name devices that this host has not: {without}");
}

#[test]
fn states_and_device_nodes_of_containers_are_seen_without_liblxcs_tools() {
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    let (world, ctid) = running(&host);
    let id = ctid.to_string();
    let seen = || {
        let words = ["status", "--output", "json"];
        assert_eq!(programs_started_by(&world, &host, &words), [PROGRAM]);
        let ran = world.run_on(&host, &words).ok();
        assert_fits_the_schema(&ran);
        rows(&ran).remove(0)
    };
    assert_eq!(seen()["state"], "stopped");
    let start = || host.run("lxc-start", &["-P", world.lxcpath().to_str().unwrap(), "-n", &id], &[]).ok();
    start();
    let row = seen();
    assert_eq!((&row["state"], &row["verdict"]), (&json!("running"), &json!("not installed")));
    assert_eq!(row["nodes"], json!({ "wanted": 5, "missing": [] }));
    world.lxc("lxc-freeze", ctid, &[]).ok();
    assert_eq!(seen()["state"], "frozen");
    world.lxc("lxc-unfreeze", ctid, &[]).ok();
    assert_eq!(seen()["state"], "running");
    world.lxc("lxc-stop", ctid, &["--kill"]).ok();
    assert_eq!(seen()["state"], "stopped");

    let settings = world.lxcpath().join(&id).join("phoenix-nvidia.conf");
    let text = fs_err::read_to_string(&settings).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("/dev/nvidia-uvm ")).collect();
    fs_err::write(&settings, without.join("\n") + "\n").unwrap();
    start();
    assert_eq!(seen()["nodes"], json!({ "wanted": 5, "missing": ["/dev/nvidia-uvm"] }));
}

#[test]
fn page_and_metrics_are_written_as_wholes_and_readable_for_others() {
    let (world, host) = resting(2);
    let (page, metrics) = (world.scratch("fleet.html"), world.scratch("fleet.prom"));
    let words = ["status", "--html", page.to_str().unwrap(), "--prometheus", metrics.to_str().unwrap()];
    assert_eq!(world.run_on(&host, &words).ok().stdout, "");
    for (file, beginning) in [(&page, "<!DOCTYPE html>"), (&metrics, "# HELP phoenix_nvidia_")] {
        assert!(fs_err::read_to_string(file).unwrap().starts_with(beginning));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o644);
    }
    let printed = world.run_on(&host, &["status", "--prometheus", "-"]).ok();
    let is_lasting = |line: &&str| !line.contains("timestamp");
    let lasting = |text: &str| text.lines().filter(is_lasting).map(|line| line.to_owned() + "\n").collect::<String>();
    assert_eq!(lasting(&printed.stdout), lasting(&fs_err::read_to_string(&metrics).unwrap()));
    assert_shown(
        "status_as_metrics",
        &world,
        &["status", "--prometheus", "-"],
        &Ran { stdout: lasting(&printed.stdout), ..printed.clone() },
    );
    // 127: there is no Prometheus on this machine; the unit tests read the format by its rules.
    let checked = Ran::of("sh", &["-c", "promtool check metrics < \"$1\"", "sh", metrics.to_str().unwrap()], &[]);
    assert!([0, 127].contains(&checked.code), "{}{}", checked.stdout, checked.stderr);
    world.run_on(&host, &["status", "--html", "-", "--prometheus", "-"]).exits(2);
}

#[test]
fn metrics_json_and_exit_code_agree_where_nobody_can_tell() {
    let world = World::new();
    resting_fleet::make(&world, 1);
    let entry = json!({ "name": "gpu", "features": ["nvidia"], "gpu_assignment": "none" });
    world.write_containers(&json!({ "nvidia_driver_version": VERSION, "lxc_configs": { "1000": entry } }));
    world.run(&["apply", "--all"]).ok();
    let json: Value = serde_json::from_str(&world.run(&["status", "--output", "json"]).ok().stdout).unwrap();
    assert_eq!((&json[0]["verdict"], &json[0]["in_sync"]), (&"installed, not verified live".into(), &Value::Null));
    let metrics = world.run(&["status", "--exit-code", "--prometheus", "-"]).ok().stdout;
    assert!(metrics.contains("verdict=\"installed, not verified live\""), "{metrics}");
    assert!(!metrics.contains("phoenix_nvidia_container_in_sync"), "{metrics}");
}

#[test]
fn it_is_shown_again_and_again_until_ctrl_c_which_is_a_good_end() {
    let (world, host) = resting(2);
    let watch = format!("exec timeout --signal=INT --preserve-status 3 {PROGRAM} status --watch=1");
    let ran = host.run("sh", &["-c", &watch], &world.environment()).ok();
    let tables = ran.stdout.matches("CTID  NAME").count();
    assert!((2..=4).contains(&tables), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
    // `head` goes away after its line; without a reader there is nothing to watch for.
    let until_nobody_reads = format!("{PROGRAM} status --watch=1 | head -n 1");
    let ran = host.run("bash", &["-o", "pipefail", "-c", &until_nobody_reads], &world.environment()).ok();
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn a_terminal_is_redrawn_in_place() {
    let (world, host) = resting(2);
    let command = format!(
        "stty rows 10 cols 60; exec timeout --foreground --signal=INT --preserve-status 3 {PROGRAM} status --watch=1"
    );
    let ran = host.run("script", &["-qec", &command, "/dev/null"], &world.environment()).ok();
    let frames: Vec<&str> = ran.stdout.split("\u{1b}[H").skip(1).collect();
    assert!(frames.len() >= 2, "{:?}", ran.stdout);
    let differing: BTreeSet<&str> = frames.iter().map(|frame| frame.split("\u{1b}[J").next().unwrap()).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert!(frames[0].contains("2 containers: 2 in sync, 0 not"), "{:?}", frames[0]);
}
