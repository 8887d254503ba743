//! What the command line itself answers: help, and what is wrong with the words.

use std::ffi::OsString;

use serde_json::json;

use crate::ran::Ran;
use crate::world::{Privilege, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

#[test]
fn the_subcommand_help_prints_what_the_option_prints() {
    let world = World::new();
    let verbs: [&[&str]; 5] = [&[], &["create"], &["cache", "fetch"], &["hook"], &["help"]];
    for verb in verbs {
        let by_option = world.run(&[verb, &["--help"]].concat()).ok();
        let by_subcommand = world.run(&[&["help"], verb].concat()).ok();
        assert_eq!(by_subcommand.stdout, by_option.stdout, "{verb:?}");
        assert_eq!(by_subcommand.stderr, "");
    }
    let said = world.run(&["help", "cache", "fetsh"]).exits(2).stderr;
    assert!(said.contains("similar subcommand exists: 'fetch'"), "{said}");
}

#[test]
fn no_tip_leads_to_a_ctid_that_begins_with_a_dash() {
    let world = World::new();
    for verb in ["create", "status", "destroy", "cdi", "docker", "apply"] {
        for option in ["--al", "--force"] {
            let said = world.run(&[verb, option]).exits(2).stderr;
            assert!(said.starts_with(&format!("error: unexpected argument '{option}' found\n\n")), "{said}");
            assert!(!said.contains("as a value") && !said.contains("\n\n\n"), "{said}");
        }
    }
    let said = world.run(&["create", "--al"]).exits(2).stderr;
    assert!(said.contains("similar argument exists: '--all'"), "{said}");
}

#[test]
fn variables_of_the_environment_are_no_words_of_the_call() {
    let variables = ["PHOENIX_BASE", "PHOENIX_LXCPATH", "PHOENIX_LOG_FILE", "PHOENIX_PVE_ROOT"];
    let set: Vec<(&str, OsString)> = variables.iter().map(|name| (*name, "/var/tmp/from-environment".into())).collect();
    let calls: [&[&str]; 9] = [
        &[],
        &["--al"],
        &["create"],
        &["create", "--al"],
        &["create", "901", "--method", "magic"],
        &["status", "901", "--all-nodes"],
        &["crate"],
        &["cache", "fetsh"],
        &["create", "--help"],
    ];
    for call in calls {
        let (with, without) = (Ran::of(PROGRAM, call, &set), Ran::of(PROGRAM, call, &[]));
        assert_eq!((with.code, with.stdout, with.stderr), (without.code, without.stdout, without.stderr), "{call:?}");
    }
    let said = Ran::of(PROGRAM, &["create"], &set).exits(2).stderr;
    assert!(said.contains("\nUsage: phoenix-nvidia create <CTID|--all|--gpu>\n"), "{said}");
}

#[test]
fn the_options_of_every_subcommand_are_shown_in_one_place_and_understood_everywhere() {
    let world = World::new();
    let options = world.run(&["help", "options"]).ok().stdout;
    for shown in ["--base <DIR>", "[env: PHOENIX_BASE]", "[default: /usr/local/phoenix_hypervisor]", "--verbose"] {
        assert!(options.contains(shown), "{shown}: {options}");
    }
    let help = world.run(&["cache", "list", "--help"]).ok().stdout;
    assert_eq!(help.matches("help options").count(), 1, "{help}");
    assert!(!help.contains("--base"), "{help}");
    assert_eq!(world.run(&["cache", "list", "--output", "json"]).ok().stdout, "[]\n");
    let said = world.run(&["cache", "list", "--outptu", "json"]).exits(2).stderr;
    assert!(said.contains("a similar argument exists: '--output'"), "{said}");
}

#[test]
fn a_shell_completes_the_containers_that_are_configured_and_those_that_exist() {
    let world = World::new();
    world.write_containers(&json!({ "lxc_configs": { "901": { "name": "gpu" } } }));
    world.create_by_hand("jellyfin", Privilege::Unprivileged, &[]);
    assert_eq!(world.run(&["completions", "--containers"]).ok().stdout, "901\njellyfin\n");
    let script = world.scratch("completions.bash");
    fs_err::write(&script, world.run(&["completions", "bash"]).ok().stdout).unwrap();
    let programs = std::path::Path::new(PROGRAM).parent().unwrap();
    let complete = |words: &str| {
        let function = format!(
            "PATH={}:$PATH; . {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _phoenix__nvidia phoenix-nvidia \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            programs.display(),
            script.display()
        );
        Ran::of("bash", &["-c", &function], &world.environment()).ok().stdout
    };
    assert_eq!(complete("phoenix-nvidia install 9"), "901\n");
    assert_eq!(complete("phoenix-nvidia plan 901 jelly"), "jellyfin\n");
    assert!(complete("phoenix-nvidia status ''").contains("901 jellyfin "));
    assert_eq!(complete("phoenix-nvidia install --dry"), "--dry-run\n");
    assert_eq!(complete("phoenix-nvidia cache fetch 9"), "\n");
    assert_eq!(complete("phoenix-nvidia update-check --verb"), "--verbose\n");
    assert_eq!(complete("phoenix-nvidia install --method nat"), "native\n");
    fs_err::write(world.base().join("etc/phoenix_lxc_configs.json"), "{").unwrap();
    assert_eq!(complete("phoenix-nvidia install 9"), "\n");
}
