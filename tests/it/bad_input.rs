//! Input that cannot be served: each gets its exit code and an error that says what to do, and changes nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::shown::assert_shown;
use crate::test_driver::TestDriver;
use crate::tree::tree;
use crate::world::{Privilege, World};

const VERSION: &str = "580.76.05";
const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

/// A world whose configuration has container 901, sound but for these keys.
fn world_with(keys: &Value) -> World {
    let world = World::new();
    write(&world, &json!({ "901": keys }));
    world
}

/// Writes these containers, each sound but for its keys.
fn write(world: &World, containers: &Value) {
    let mut containers = containers.clone();
    for container in containers.as_object_mut().unwrap().values_mut() {
        let sound = json!({
            "name": "gpu-test", "template": world.template(), "unprivileged": true,
            "features": ["nvidia"], "gpu_assignment": "none",
        });
        for (key, value) in sound.as_object().unwrap() {
            container.as_object_mut().unwrap().entry(key).or_insert(value.clone());
        }
    }
    world.write_containers(&json!({ "nvidia_driver_version": VERSION, "lxc_configs": containers }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
}

/// Everything that is the operators': configuration, cache, records and containers.
fn everything(world: &World) -> String {
    let of_base = tree(&world.base());
    // A lock file stays, on purpose: removing one lets two processes hold locks of the same name.
    let kept = of_base.lines().filter(|line| !line.starts_with("lib/locks") && !line.starts_with("lib 4"));
    kept.collect::<Vec<_>>().join("\n") + "\n" + &tree(&world.lxcpath())
}

/// Runs the program through `run`, which must fail with the snapshot's text and change nothing.
#[track_caller]
fn refuses_by(name: &str, world: &World, arguments: &[&str], run: impl FnOnce(&World) -> Ran) {
    let before = everything(world);
    let ran = run(world);
    assert_eq!(everything(world), before, "`{name}` has changed something");
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stderr.contains("error: "), "{}", ran.stderr);
    assert!(ran.stderr.matches("hint: ").count() <= 1, "{}", ran.stderr);
    assert_shown(&format!("error__{name}"), world, arguments, &ran);
}

#[track_caller]
fn refuses(name: &str, world: &World, arguments: &[&str]) {
    refuses_by(name, world, arguments, |world| world.run(arguments));
}

/// Runs the program after a shell script in a mount namespace of its own, which has the world in `$base` and `$lxc`.
fn prepared(world: &World, script: &str, arguments: &[&str]) -> Ran {
    let script = format!("base=$1; lxc=$2; shift 2; {script}\nexec \"$@\"");
    let mut words: Vec<OsString> = ["--mount", "--propagation", "private", "sh", "-euc"].map(OsString::from).into();
    words.extend([script.into(), "sh".into(), world.base().into(), world.lxcpath().into(), PROGRAM.into()]);
    words.extend(arguments.iter().map(OsString::from));
    Ran::of("unshare", &words, &world.environment())
}

#[test]
fn a_container_that_the_configuration_does_not_have() {
    let world = world_with(&json!({}));
    refuses("unknown_ctid", &world, &["create", "902"]);
    refuses("one_unknown_ctid_of_two", &world, &["create", "901", "902"]);
    refuses("destroying_an_unknown_ctid", &world, &["destroy", "--yes", "902"]);
    refuses("status_of_an_unknown_ctid", &world, &["status", "902"]);
    refuses("installing_into_what_is_not_there", &world, &["install", "901"]);
    refuses("verifying_what_is_not_there", &world, &["verify", "901"]);
    refuses("uninstalling_from_what_is_not_there", &world, &["uninstall", "901"]);
}

#[test]
fn files_that_are_not_json_or_not_there() {
    let world = world_with(&json!({}));
    refuses("no_such_config", &world, &["--config", "/nonexistent.json", "create", "901"]);
    fs_err::write(world.base().join("etc/phoenix_lxc_configs.json"), "{\n  \"lxc_configs\": {\n    \"901\": [,]\n")
        .unwrap();
    refuses("malformed_json", &world, &["create", "901"]);
    fs_err::remove_file(world.base().join("etc/phoenix_lxc_configs.json")).unwrap();
    refuses("no_configuration", &world, &["create", "901"]);
    refuses("no_configuration_to_lint", &world, &["lint"]);
}

#[test]
fn a_file_that_is_named_and_not_there_is_a_mistake_for_every_verb() {
    let world = world_with(&json!({}));
    let verbs: [&[&str]; 9] = [
        &["create", "901"],
        &["plan", "901"],
        &["status"],
        &["doctor"],
        &["lint"],
        &["host", "show"],
        &["cache", "list"],
        &["store", "list"],
        &["completions", "bash"],
    ];
    for option in ["--config", "--hypervisor-config", "--checksums"] {
        for verb in verbs {
            let ran = world.run(&[verb, &[option, "/nope.json"]].concat()).exits(3);
            let message = format!("error: there is no file `/nope.json`, which `{option}` names\n\nhint: correct");
            assert!(ran.stderr.starts_with(&message), "{verb:?}: {}", ran.stderr);
            assert_eq!(ran.stdout, "");
        }
    }
    // No container may be kept from its start for it.
    let said = world.run(&["--hypervisor-config", "/nope.json", "hook", "901", "pre-start"]).ok().stderr;
    assert!(said.contains("the driver was not checked: there is no file `/nope.json`"), "{said}");
}

#[test]
fn an_installed_program_without_files_names_the_example_that_was_installed_beside_it() {
    let world = world_with(&json!({}));
    let place = world.base().join("etc/phoenix_lxc_configs.json");
    fs_err::remove_file(&place).unwrap();
    let examples = world.scratch("usr/share/doc/phoenix-nvidia/examples");
    fs_err::create_dir_all(&examples).unwrap();
    fs_err::create_dir_all(world.scratch("usr/bin")).unwrap();
    let (program, example) = (world.scratch("usr/bin/phoenix-nvidia"), examples.join("phoenix_lxc_configs.json"));
    fs_err::copy(PROGRAM, &program).unwrap();
    fs_err::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/etc/phoenix_lxc_configs.json"), &example).unwrap();
    let run = |arguments: &[&str]| Ran::of(&program, arguments, &world.environment());
    for arguments in [&["lint"][..], &["create", "901"], &["plan", "901"]] {
        let said = run(arguments).exits(3).stderr;
        let hint = format!("hint: copy the example `{}` there, and make it yours\n", example.display());
        assert!(said.ends_with(&hint) || said.contains(&hint[6..hint.len() - 1]), "{said}");
    }
    fs_err::copy(&example, &place).unwrap();
    run(&["lint"]).ok();
}

#[test]
fn values_that_are_not_what_they_should_be() {
    let create = ["create", "901"];
    refuses("not_a_version", &world_with(&json!({ "nvidia_driver_version": "580.x" })), &create);
    refuses("template_missing", &world_with(&json!({ "template": "/nonexistent.tar.zst" })), &create);
    refuses("no_template", &world_with(&json!({ "template": null })), &create);
    let network = json!({ "name": "eth0", "bridge": "vmbr-none", "ip": "dhcp" });
    refuses("no_such_bridge", &world_with(&json!({ "network_config": network })), &create);
    refuses("no_clone_source", &world_with(&json!({ "clone_from_ctid": "900" })), &create);
    let world = World::new();
    write(&world, &json!({ "901": { "dependencies": ["902"] }, "902": { "dependencies": ["901"] } }));
    refuses("circular_dependencies", &world, &create);
}

#[test]
fn a_template_that_is_no_tarball_or_not_a_whole_one() {
    let world = World::new();
    let template = world.scratch("template.tar.zst");
    fs_err::write(&template, "<!DOCTYPE html><title>404</title>").unwrap();
    write(&world, &json!({ "901": { "template": template } }));
    refuses("template_no_tarball", &world, &["create", "901"]);
    let whole = fs_err::read(world.template()).unwrap();
    fs_err::write(&template, &whole[..whole.len() / 16]).unwrap();
    refuses("template_truncated", &world, &["create", "901"]);
}

#[test]
fn a_gpu_that_the_host_does_not_have() {
    let world = world_with(&json!({ "gpu_assignment": "3" }));
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    let create = ["create", "901"];
    refuses_by("no_such_gpu", &world, &create, |world| world.run_on(&host, &create));
}

#[test]
fn a_host_that_gives_no_room_no_ids_or_no_right() {
    let world = world_with(&json!({}));
    TestDriver::new(VERSION).write_into(&world.cache());
    let create = ["create", "901"];
    let by = |name: &str, script: &str| refuses_by(name, &world, &create, |world| prepared(world, script, &create));
    by("no_space_for_the_container", "mount -t tmpfs -o size=8m,mode=755 tmpfs \"$lxc\"");
    by("no_subordinate_ids", "mount --bind /dev/null /etc/subuid");
    by("base_not_writable", "mount --bind \"$base\" \"$base\"; mount -o remount,bind,ro \"$base\"");
    by("lxcpath_not_writable", "mount --bind \"$lxc\" \"$lxc\"; mount -o remount,bind,ro \"$lxc\"");
}

#[test]
fn a_file_in_a_directory_that_is_not_there() {
    let world = world_with(&json!({}));
    let file = world.scratch("missing/directory/file").display().to_string();
    for words in [["status", "--html", &file], ["status", "--prometheus", &file], ["plan", "--save", &file]] {
        let words = match words[0] {
            "plan" => [&words[..], &["901"]].concat(),
            _ => words.to_vec(),
        };
        refuses(&format!("{}_into_a_missing_directory", words[1].trim_start_matches('-')), &world, &words);
        assert!(!world.scratch("missing").exists());
    }
}

/// The lines of a failure, without the indentation and the empty line that differ.
fn failure(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_start).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_plan_of_one_container_fails_as_its_creation_does() {
    let world = World::new();
    let missing = json!({ "template": "/nope.tar.zst" });
    write(
        &world,
        &json!({
            "901": missing, "902": { "clone_from_ctid": "901", "template": null }, "903": { "name": 5 }, "904": {},
            "905": { "template": "/nope.tar.zst", "dependencies": ["904"] },
        }),
    );
    let by_itself = |ctid: &str, verb: &str| world.run(&[verb, ctid]);
    let without_ids = |ctid: &str, verb: &str| prepared(&world, "mount --bind /dev/null /etc/subuid", &[verb, ctid]);
    type Run<'r> = &'r dyn Fn(&str, &str) -> Ran;
    let cases: [(&str, &str, i32, Run<'_>); 5] = [
        ("901", "901 gpu-test", 3, &by_itself),
        ("902", "901 gpu-test (dependency)", 3, &by_itself),
        ("903", "903", 3, &by_itself),
        ("904", "904 gpu-test", 10, &without_ids),
        ("905", "905 gpu-test", 3, &by_itself),
    ];
    for (ctid, named, code, run) in cases {
        let (planned, created) = (run(ctid, "plan").exits(code).stdout, run(ctid, "create").exits(code).stderr);
        let begun = planned.find(&format!("{named}: cannot be planned: ")).unwrap_or_else(|| panic!("{planned}"));
        let planned = planned[begun..].replacen(&format!("{named}: cannot be planned: "), "error: ", 1);
        let expected = failure(&created);
        assert_eq!(failure(&planned)[..expected.len()], expected, "{ctid}");
    }
    world.run(&["plan", "901", "904"]).exits(5);
    assert_eq!(world.run(&["plan", "901", "--output", "json"]).exits(3).stderr, "");
}

#[test]
fn somebody_who_is_not_root() {
    let world = world_with(&json!({}));
    // Nobody but root can be expected to reach where cargo has put the program.
    let program = world.scratch("program");
    fs_err::copy(PROGRAM, &program).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", program.to_str().unwrap()];
    for verb in ["create", "plan", "status"] {
        let words = [&nobody[..], &[verb, "901"]].concat();
        let run = |world: &World| Ran::of("setpriv", &words, &world.environment());
        refuses_by(&format!("{verb}_by_nobody"), &world, &[verb, "901"], run);
    }
}

#[test]
fn a_clone_of_another_privilege() {
    let world = World::new();
    write(&world, &json!({ "900": {}, "901": { "clone_from_ctid": "900" } }));
    world.create_by_hand(900, Privilege::Privileged, &[]);
    refuses("clone_of_another_privilege", &world, &["create", "901"]);
}

#[test]
fn one_container_that_fails_does_not_stop_the_other() {
    let world = World::new();
    let template = world.scratch("truncated.tar.zst");
    let whole = fs_err::read(world.template()).unwrap();
    fs_err::write(&template, &whole[..whole.len() / 16]).unwrap();
    TestDriver::new(VERSION).write_into(&world.cache());
    write(&world, &json!({ "901": { "template": template }, "902": {}, "903": { "dependencies": ["901"] } }));
    let arguments = ["create", "901", "902", "903"];
    let ran = world.run(&arguments).exits(5);
    assert_shown("error__one_of_three_fails", &world, &arguments, &ran);
    let containers: Vec<_> = fs_err::read_dir(world.lxcpath()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(containers, ["902"]);
}

#[test]
fn a_command_line_that_says_nothing_or_nonsense() {
    let world = world_with(&json!({}));
    refuses("no_ctid_given", &world, &["create"]);
    refuses("not_a_ctid", &world, &["create", "../901"]);
    refuses("no_such_subcommand", &world, &["crate", "901"]);
    refuses("no_such_option", &world, &["create", "--force", "901"]);
    refuses("another_backend", &world, &["--backend", "incus", "create", "901"]);
    refuses("nobody_to_ask", &world, &["destroy", "901"]);
    refuses("fetching_no_version", &world, &["cache", "fetch", "latest"]);
    refuses("importing_what_is_not_there", &world, &["cache", "import", "/nonexistent.run"]);
    let words: [OsString; 2] = ["create".into(), OsString::from_vec(b"9\xff1".into())];
    refuses_by("bytes_that_are_no_text", &world, &["create", "9\\xff1"], |world| {
        Ran::of(PROGRAM, &words, &world.environment())
    });
    let words: [OsString; 3] = ["--base".into(), OsString::from_vec(b"/\xff".into()), "lint".into()];
    Ran::of(PROGRAM, &words, &world.environment()).exits(3);
}

#[test]
fn a_reader_that_goes_away_is_a_good_end() {
    let world = world_with(&json!({}));
    for words in ["completions bash", "status", "--help", "lint"] {
        // The reader is gone before a byte is written.
        let script = format!("exec 3> >(exec true); wait $!; exec {PROGRAM} {words} >&3");
        let ran = Ran::of("bash", &["-c", &script], &world.environment()).ok();
        assert_eq!(ran.stderr, "", "{words}");
    }
}
