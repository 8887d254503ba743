//! Disks of the host that are too small: said before anything is unpacked where that is certain, and cleared away.

use std::ffi::CString;

use rustix::mount::{MountFlags, mount};
use serde_json::json;

use crate::ran::Ran;
use crate::world::World;

/// A world whose directory of containers is a file system of its own, with these limits.
fn world_with(limits: &str) -> World {
    let world = World::new();
    let limits = CString::new(limits).unwrap();
    mount("tmpfs", world.lxcpath(), "tmpfs", MountFlags::empty(), Some(limits.as_c_str())).unwrap();
    world
}

fn configure(world: &World, unprivileged: bool) {
    let entry = json!({ "name": "full", "template": world.template(), "unprivileged": unprivileged });
    world.write_containers(&json!({ "lxc_configs": { "901": entry } }));
}

fn said_by(ran: Ran, world: &World) -> String {
    assert_eq!(fs_err::read_dir(world.lxcpath()).unwrap().count(), 0, "{}", ran.stderr);
    ran.exits(10).stderr
}

#[test]
fn a_template_that_cannot_fit_is_refused_before_it_is_unpacked() {
    let world = world_with("size=5m,mode=755");
    for unprivileged in [false, true] {
        configure(&world, unprivileged);
        let said = said_by(world.run(&["create", "901"]), &world);
        let (template, place) = (world.template().display().to_string(), world.lxcpath().display().to_string());
        assert!(said.contains(&format!("error: container 901: no space: the template `{template}` needs ")), "{said}");
        assert!(said.contains(&format!(" MB, and `{place}` has 5 MB\n")), "{said}");
        assert!(said.contains(&format!("\nhint: free some space there (`df -h {place}`")), "{said}");
        assert!(!said.contains("tar: "), "nothing was tried: {said}");
    }
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_said_and_nothing_is_left() {
    let world = world_with("size=1g,nr_inodes=60,mode=755");
    configure(&world, true);
    let said = said_by(world.run(&["create", "901"]), &world);
    assert!(said.contains("error: container 901: no space: the template `"), "{said}");
    assert!(said.contains("was unpacked in part, which is removed again, and `"), "{said}");
    assert!(said.contains("` has no inode left\n"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

#[test]
fn a_copy_that_does_not_fit_is_the_hosts_failure_too() {
    let world = world_with("size=300m,mode=755");
    world.create_by_hand(901, crate::world::Privilege::Privileged, &[]);
    world.write_containers(&json!({ "lxc_configs": { "902": { "name": "copy", "clone_from_ctid": "901" } } }));
    let fill = format!("of={}", world.rootfs(901).join("fill").display());
    Ran::of("dd", &["if=/dev/zero", &fill, "bs=64k"], &[]).exits(1);
    let ran = world.run(&["create", "902"]).exits(10);
    assert!(ran.stderr.contains("error: container 902: container 901 could not be copied\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("found no space left"), "{}", ran.stderr);
    let names: Vec<_> = fs_err::read_dir(world.lxcpath()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["901"]);
}
