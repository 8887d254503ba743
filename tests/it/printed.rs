//! Everything that the program prints, as people read it: each a snapshot that a change of words has to pass.

use serde_json::json;

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::shown::{assert_shown, assert_text};
use crate::test_driver::TestDriver;
use crate::world::World;

const VERSION: &str = "580.76.05";
const OLDER: &str = "570.133.20";
const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

/// A world with containers 901 and its clone 902, and both versions in the cache.
fn world(version: &str) -> World {
    let world = World::new();
    configure(&world, version, false);
    for version in [VERSION, OLDER] {
        TestDriver::new(version).write_into(&world.cache());
    }
    world
}

fn configure(world: &World, version: &str, at_boot: bool) {
    let template = world.template();
    world.write_containers(&json!({
        "nvidia_driver_version": version,
        "lxc_configs": {
            "901": {
                "name": "gpu-one", "template": template, "unprivileged": true, "memory_mb": 512, "start_at_boot": at_boot, "boot_order": 3,
                "features": ["nvidia", "docker"], "gpu_assignment": "0",
            },
            "902": {
                "name": "gpu-two", "clone_from_ctid": "901", "unprivileged": true,
                "features": ["nvidia"], "gpu_assignment": "0",
            },
            "903": { "name": "plain", "template": template, "unprivileged": true },
        },
    }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
}

/// Runs the program on the pretended host and compares what it shows.
#[track_caller]
fn shows_on(host: &PretendedGpuHost, name: &str, world: &World, arguments: &[&str]) {
    assert_shown(name, world, arguments, &world.run_on(host, arguments));
}

#[track_caller]
fn shows(name: &str, world: &World, arguments: &[&str]) {
    assert_shown(name, world, arguments, &world.run(arguments));
}

#[test]
fn the_life_of_two_containers() {
    let (world, host) = (world(VERSION), PretendedGpuHost::with_one_gpu(VERSION));
    let shows = |name: &str, arguments: &[&str]| shows_on(&host, name, &world, arguments);
    shows("plan_of_a_creation", &["plan", "902"]);
    shows("plan_of_a_creation_as_json", &["plan", "902", "--output", "json"]);
    shows("plan_with_its_exit_code", &["plan", "--exit-code", "--quiet", "903"]);
    shows("status_before", &["status"]);
    shows("create_and_no_answer", &["create", "901"]);
    world.pretend_kernel_module(901, VERSION);
    shows("create_again", &["create", "901"]);
    shows("plan_of_a_clone", &["plan", "902"]);
    shows("create_a_clone", &["create", "902"]);
    shows("status", &["status"]);
    shows("status_live", &["status", "--live"]);
    shows("status_as_json", &["status", "901", "--output", "json"]);
    shows("verify", &["verify", "901", "902"]);
    shows("verify_as_json", &["verify", "901", "--output", "json"]);
    configure(&world, OLDER, true);
    shows("plan_of_changes", &["plan", "901"]);
    shows("verify_another_version", &["verify", "901"]);
    shows("install_another_version", &["install", "901"]);
    shows("status_of_another_version", &["status", "901"]);
    shows("uninstall_a_dry_run", &["uninstall", "--dry-run", "901"]);
    shows("uninstall_a_dry_run_of_several", &["uninstall", "--dry-run", "901", "902", "903"]);
    shows("uninstall", &["uninstall", "901"]);
    shows("uninstall_a_dry_run_of_nothing", &["uninstall", "--dry-run", "901"]);
    shows("uninstall_again", &["uninstall", "901"]);
    shows("destroy_a_dry_run", &["destroy", "--dry-run", "901", "902", "903"]);
    shows("destroy", &["destroy", "--yes", "901", "902"]);
    shows("destroy_again", &["destroy", "--yes", "901"]);
    let log = fs_err::read_to_string(world.log_file()).unwrap();
    for line in log.lines() {
        let (time, rest) = line.split_at(19);
        assert!(time.bytes().all(|byte| byte.is_ascii_digit() || b"-: ".contains(&byte)), "{line}");
        let level = rest.strip_prefix(" [").and_then(|rest| rest.split_once("] phoenix-nvidia: "));
        assert!(level.is_some_and(|(level, _)| ["INFO", "WARN", "ERROR"].contains(&level)), "{line}");
    }
    assert!(!log.contains('\u{1b}'));
    assert_text("log_file", &world, &log);
}

#[test]
fn a_creation_reported_to_people_and_to_machines() {
    let world = world(VERSION);
    shows("create", &world, &["create", "901"]);
    world.run(&["destroy", "--yes", "901"]).ok();
    let arguments = ["create", "901", "--progress", "json", "--output", "json"];
    let mut ran = world.run(&arguments).ok();
    for line in ran.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(event["event"].is_string(), "{line}");
    }
    // How many pieces come in between is chance.
    let is_between = |line: &&str| line.contains("\"progress\"") && line.contains("\"finished\":false");
    ran.stderr = ran.stderr.lines().filter(|line| !is_between(line)).map(|line| line.to_owned() + "\n").collect();
    assert_shown("create_for_machines", &world, &arguments, &ran);
}

#[test]
fn the_cache() {
    shows("cache_list_of_nothing", &World::new(), &["cache", "list"]);
    let world = world(VERSION);
    shows("cache_list_unchecked", &world, &["cache", "list"]);
    shows("cache_fetch", &world, &["cache", "fetch"]);
    shows("cache_fetch_as_json", &world, &["cache", "fetch", "--output", "json"]);
    shows("cache_fetch_offline", &world, &["cache", "fetch", "550.54.14"]);
    shows("cache_fetch_a_dry_run", &world, &["cache", "fetch", "--dry-run", "550.54.14"]);
    shows("cache_list", &world, &["cache", "list"]);
    shows("cache_list_as_json", &world, &["cache", "list", "--output", "json"]);
    shows("cache_verify", &world, &["cache", "verify"]);
    shows("cache_prune_a_dry_run", &world, &["cache", "prune", "--dry-run"]);
    shows("cache_prune", &world, &["cache", "prune"]);
    shows("cache_prune_again", &world, &["cache", "prune"]);
    let elsewhere = world.scratch("elsewhere");
    fs_err::create_dir_all(&elsewhere).unwrap();
    let file = TestDriver::new(OLDER).write_into(&elsewhere);
    let file = file.to_str().unwrap();
    shows("cache_import_another_version", &world, &["cache", "import", "--version", VERSION, file]);
    shows("cache_import", &world, &["cache", "import", file]);
    world.run(&["store", "extract", OLDER]).ok();
    let anew = TestDriver::new(OLDER).library_size(9000).write_into(&elsewhere);
    let anew = anew.to_str().unwrap();
    shows("cache_import_of_a_file_that_was_published_anew", &world, &["cache", "import", anew]);
    shows("cache_replace_a_dry_run", &world, &["cache", "replace", "--dry-run", anew]);
    shows("cache_replace", &world, &["cache", "replace", anew]);
    shows("cache_replace_again_as_json", &world, &["cache", "replace", anew, "--output", "json"]);
    let cached = world.cache().join(TestDriver::new(VERSION).file_name());
    let mut bytes = fs_err::read(&cached).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&cached, bytes).unwrap();
    shows("cache_verify_a_damaged_file", &world, &["cache", "verify"]);
}

#[test]
fn findings_of_a_faulty_pair() {
    let world = World::new();
    fs_err::write(
        world.base().join("etc/phoenix_lxc_configs.json"),
        r#"{
  "nvidia_driver_version": "580.76.05",
  "lxc_configs": {
    "901": {
      "name": "gpu one",
      "template": "/var/lib/vz/template/debian.tar.zst",
      "gpu_assigment": "0",
      "features": ["nvidia"],
      "memory_mb": "lots"
    },
    "902": { "name": "two", "clone_from_ctid": "903", "mac_address": "52:54:00:12:34" }
  }
}
"#,
    )
    .unwrap();
    fs_err::write(
        world.base().join("etc/phoenix_hypervisor_config.json"),
        "{ \"nvidia_driver\": { \"offline\": 1 } }\n",
    )
    .unwrap();
    shows("lint", &world, &["lint"]);
    let json = world.run(&["lint", "--output", "json"]).exits(3);
    let findings: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(findings.as_array().is_some_and(|findings| !findings.is_empty()));
}

#[test]
fn help_of_everything() {
    let world = World::new();
    let verbs: [&[&str]; 34] = [
        &[],
        &["create"],
        &["install"],
        &["verify"],
        &["status"],
        &["plan"],
        &["apply"],
        &["adopt"],
        &["uninstall"],
        &["destroy"],
        &["hook"],
        &["host"],
        &["host", "show"],
        &["host", "prepare"],
        &["cache"],
        &["cache", "list"],
        &["cache", "fetch"],
        &["cache", "verify"],
        &["cache", "import"],
        &["cache", "replace"],
        &["cache", "prune"],
        &["store"],
        &["store", "list"],
        &["store", "extract"],
        &["store", "verify"],
        &["store", "prune"],
        &["doctor"],
        &["cdi"],
        &["docker"],
        &["update-check"],
        &["lint"],
        &["completions"],
        &["help"],
        &["man"],
    ];
    for verb in verbs {
        let arguments = [verb, &["--help"]].concat();
        // Without the variables of a world, whose paths help would show as its defaults.
        let ran = Ran::of(PROGRAM, &arguments, &[("COLUMNS", "100".into())]).ok();
        assert_shown(&format!("help_{}", [&["of"], verb].concat().join("_")), &world, &arguments, &ran);
    }
    let ran = Ran::of(PROGRAM, &["help", "options"], &[("COLUMNS", "100".into())]).ok();
    assert_shown("help_options", &world, &["help", "options"], &ran);
}

#[test]
fn manual_pages_are_formatted_without_complaint() {
    let world = World::new();
    let directory = world.scratch("man");
    world.run(&["man", directory.to_str().unwrap()]).ok();
    let mut names: Vec<String> = Vec::new();
    for entry in fs_err::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let formatted = Ran::of("groff", &["-man", "-Tutf8", "-P-cbou", "-ww", path.to_str().unwrap()], &[]);
        // A machine without groff has nothing to format with; the pages are there all the same.
        if formatted.code != 127 {
            let formatted = formatted.ok();
            assert_eq!(formatted.stderr, "", "{}", path.display());
            for section in ["NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
                assert!(formatted.stdout.contains(&format!("\n{section}\n")), "{section}: {}", path.display());
            }
        }
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_text("manual_pages", &world, &names.join("\n"));
}

#[test]
fn completions_are_understood_by_their_shells() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("phoenix-nvidia") && script.contains("require-live"), "{shell}");
        let path = world.scratch(shell);
        fs_err::write(&path, script).unwrap();
        let checked = Ran::of(shell, &["-n", path.to_str().unwrap()], &[]);
        // 127: there is no such shell on this machine.
        assert!([0, 127].contains(&checked.code), "{shell}: {}", checked.stderr);
    }
}
