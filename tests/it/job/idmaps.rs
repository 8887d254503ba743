//! Containers whose idmap nobody can work with: told before anything is changed, whatever was asked for.

use super::fixture::Job;
use crate::tree;
use crate::world::Privilege;

#[test]
fn a_container_whose_idmap_has_groups_alone_is_refused_by_every_verb_before_anything_changes() {
    let job = Job::new();
    job.set("unprivileged", false);
    job.world.create_by_hand(job.ctid, Privilege::Privileged, &["lxc.idmap = g 0 100000 44", "lxc.idmap = g 44 44 1"]);
    let lacking = format!("container {}: its `lxc.idmap` lines do not map users", job.ctid);
    for method in ["runfile", "native"] {
        job.set("nvidia_install_method", method);
        for verb in ["create", "install", "uninstall", "apply"] {
            let before = tree::with_times_of(&job.world.lxcpath());
            let ran = job.run(verb).exits(3);
            let said = ran.stdout + &ran.stderr;
            assert!(said.contains(&lacking), "{method}, {verb}: {said}");
            assert!(said.contains("`u 0 100000 65536` and `g 0 100000 65536`"), "{method}, {verb}: {said}");
            assert_eq!(tree::differences(&before, &tree::with_times_of(&job.world.lxcpath())), "", "{method}, {verb}");
        }
    }
    job.run_with("destroy", &["--yes"]).ok();
    assert!(!job.world.lxcpath().join(job.ctid.to_string()).exists());
}

#[test]
fn a_map_that_the_configuration_alone_names_is_looked_at_before_the_container_is_made() {
    let job = Job::new();
    job.set("unprivileged", false);
    job.set("lxc_options", vec!["lxc.idmap=u 1 100001 65535", "lxc.idmap=g 0 100000 65536"]);
    let said = job.run("create").exits(3).stderr;
    assert!(said.contains("its `lxc.idmap` lines do not map root as a user"), "{said}");
    assert!(!job.world.lxcpath().join(job.ctid.to_string()).exists());
}
