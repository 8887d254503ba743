//! Docker inside a container: files merged, links and damage refused, nothing half done.

use super::world;
use crate::shown::assert_shown;
use crate::world::{Privilege, World};

const TOOLKIT: &str =
    "disable-require = false\n\n[nvidia-container-cli]\n# as delivered\nload-kmods = true\n#no-cgroups = false\n";
const DAEMON: &str =
    "{\n  \"log-driver\": \"journald\",\n  \"runtimes\": { \"kata\": { \"path\": \"/opt/kata\" } }\n}\n";
const ARGUMENTS: [&str; 2] = ["docker", "901"];

/// A world whose container 901 is there, stopped, without and with the toolkit.
fn container() -> World {
    let world = world();
    world.create_by_hand(901, Privilege::Unprivileged, &[]);
    world
}

fn with_toolkit(world: &World) {
    let runtime = world.rootfs(901).join("usr/bin/nvidia-container-runtime");
    fs_err::write(&runtime, "#!/bin/sh\n").unwrap();
    fs_err::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn plant(world: &World, path: &str, text: &str) {
    let path = world.rootfs(901).join(path);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

fn read(world: &World, path: &str) -> String {
    fs_err::read_to_string(world.rootfs(901).join(path)).unwrap()
}

#[test]
fn both_files_are_merged_once_and_kept_as_they_were() {
    let world = container();
    assert_shown("docker_without_the_toolkit", &world, &ARGUMENTS, &world.run(&ARGUMENTS));
    with_toolkit(&world);
    plant(&world, "etc/nvidia-container-runtime/config.toml", TOOLKIT);
    plant(&world, "etc/docker/daemon.json", DAEMON);
    let before = crate::tree::of(&world.rootfs(901));
    let dry = ["docker", "--dry-run", "901"];
    assert_shown("docker_a_dry_run", &world, &dry, &world.run(&dry));
    assert_eq!(crate::tree::differences(&before, &crate::tree::of(&world.rootfs(901))), "");
    assert_shown("docker", &world, &ARGUMENTS, &world.run(&ARGUMENTS));
    let toolkit = read(&world, "etc/nvidia-container-runtime/config.toml");
    assert!(TOOLKIT.lines().all(|line| toolkit.lines().any(|new| new == line)), "{toolkit}");
    assert!(toolkit.contains("\nno-cgroups = true\n"), "{toolkit}");
    let daemon: serde_json::Value = serde_json::from_str(&read(&world, "etc/docker/daemon.json")).unwrap();
    assert_eq!((&daemon["log-driver"], &daemon["runtimes"]["kata"]["path"]), (&"journald".into(), &"/opt/kata".into()));
    assert_eq!(daemon["runtimes"]["nvidia"]["path"], "nvidia-container-runtime");
    assert_eq!(read(&world, "etc/docker/daemon.json.before-phoenix-nvidia"), DAEMON);
    assert_eq!(read(&world, "etc/nvidia-container-runtime/config.toml.before-phoenix-nvidia"), TOOLKIT);
    let metadata = fs_err::metadata(world.rootfs(901).join("etc/docker/daemon.json")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 100_000, "it belongs to the container's root");
    let after = crate::tree::of(&world.rootfs(901));
    assert_shown("docker_again", &world, &ARGUMENTS, &world.run(&ARGUMENTS));
    assert_eq!(crate::tree::differences(&after, &crate::tree::of(&world.rootfs(901))), "");
}

#[test]
fn files_that_are_not_there_are_made() {
    let world = container();
    with_toolkit(&world);
    world.run(&ARGUMENTS).ok();
    assert_eq!(read(&world, "etc/nvidia-container-runtime/config.toml"), "[nvidia-container-cli]\nno-cgroups = true\n");
    assert!(read(&world, "etc/docker/daemon.json").contains("nvidia-container-runtime"));
}

#[test]
fn damage_and_planted_links_are_reported_and_neither_file_is_changed() {
    let world = container();
    with_toolkit(&world);
    plant(&world, "etc/nvidia-container-runtime/config.toml", TOOLKIT);
    plant(&world, "etc/docker/daemon.json", "{ \"runtimes\": [] }\n");
    let refuses = |code: i32, said: &str| {
        let before = crate::tree::of(&world.rootfs(901));
        let ran = world.run(&ARGUMENTS).exits(code);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        assert_eq!(crate::tree::differences(&before, &crate::tree::of(&world.rootfs(901))), "");
    };
    refuses(7, "`/etc/docker/daemon.json` cannot be changed: `runtimes` is not an object");
    let outside = world.scratch("outside.json");
    fs_err::write(&outside, "{}\n").unwrap();
    let daemon = world.rootfs(901).join("etc/docker/daemon.json");
    fs_err::remove_file(&daemon).unwrap();
    std::os::unix::fs::symlink(&outside, &daemon).unwrap();
    refuses(7, "`/etc/docker/daemon.json` is not a regular file");
    fs_err::remove_file(&daemon).unwrap();
    fs_err::remove_dir(daemon.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/var/lib", daemon.parent().unwrap()).unwrap();
    refuses(7, "`/etc/docker` is not a directory");
    assert!(!world.rootfs(901).join("var/lib/daemon.json").exists(), "no link is followed");
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "{}\n");
}
