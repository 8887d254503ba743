//! What the command line itself answers: help, and what is wrong with the words.

use crate::world::World;

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
