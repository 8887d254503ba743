//! From one driver to another, and to none: versions, profiles, methods; nothing of the previous stays, and what was
//! there before comes back.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::job::fixture::{Job, OTHER_VERSION, VERSION};
use crate::test_driver::TestDriver;
use crate::tree;
use crate::world::Privilege;

use super::assert_same;

impl Job {
    /// Installs what is wanted, and compares with a container that has had nothing else before.
    #[track_caller]
    fn changes_to(&self, version: &str, method: &str, profile: &str) {
        self.want(version, method, profile);
        self.run("install").ok();
        let fresh = Job::native_running(Privilege::Unprivileged);
        fresh.cache(&TestDriver::new(version));
        fresh.want(version, method, profile);
        fresh.run("install").ok();
        assert_eq!(tree::differences(&fresh.plain_tree(), &self.plain_tree()), "", "{version} {method} {profile}");
        assert_eq!(fresh.listed(), self.listed(), "{version} {method} {profile}");
    }
}

#[test]
fn another_version_leaves_nothing_of_the_previous() {
    let job = Job::native_running(Privilege::Unprivileged);
    let before = job.plain_tree();
    job.run("install").ok();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.changes_to(OTHER_VERSION, "native", "full");
    job.assert_installed(OTHER_VERSION);
    job.changes_to(VERSION, "native", "full");
    job.run("uninstall").ok();
    assert_same(&before, &job.plain_tree());
}

#[test]
fn another_profile_leaves_nothing_of_the_previous() {
    let job = Job::native_running(Privilege::Unprivileged);
    let before = job.plain_tree();
    job.run("install").ok();
    job.changes_to(VERSION, "native", "compute");
    let tree = job.plain_tree();
    assert!(tree.keys().all(|path| !path.contains("libGLX_nvidia") && !path.contains("nvidia-uninstall")));
    job.assert_installed(VERSION);
    job.changes_to(VERSION, "native", "graphics");
    job.changes_to(VERSION, "native", "compute");
    let ran = job.run("uninstall").ok();
    assert!(ran.stdout.contains(&format!("uninstall driver {VERSION}")), "{}", ran.stdout);
    assert_same(&before, &job.plain_tree());
    assert!(!job.receipt().exists() && !job.rootfs("var/lib/phoenix-nvidia").exists());
}

#[test]
fn another_way_leaves_nothing_of_the_previous() {
    let job = Job::native_running(Privilege::Unprivileged);
    let before = job.plain_tree();
    job.want(VERSION, "runfile", "full");
    job.run("install").ok();
    job.changes_to(VERSION, "native", "compute");
    job.changes_to(VERSION, "runfile", "full");
    job.changes_to(VERSION, "native", "full");
    job.run("uninstall").ok();
    assert_same(&before, &job.plain_tree());
    assert!(job.run("uninstall").ok().stdout.contains("nothing to do"));
}

#[test]
fn a_stopped_container_is_uninstalled_without_being_started() {
    let job = Job::native(Privilege::Privileged);
    let before = job.plain_tree();
    job.run("install").ok();
    let left = job.rootfs("var/lib/phoenix-nvidia/phoenix-nvidia-run-0123456789abcdef");
    fs_err::create_dir_all(&left).unwrap();
    job.run("uninstall").ok();
    assert_eq!(job.status()["state"], "stopped");
    assert_same(&before, &job.plain_tree());
    assert!(!job.receipt().exists() && !job.intent().exists());
}

#[test]
fn what_somebody_had_put_in_the_way_comes_back() {
    for privilege in [Privilege::Privileged, Privilege::Unprivileged] {
        let job = Job::native(privilege);
        let libraries = job.rootfs("usr/lib/x86_64-linux-gnu");
        let old = libraries.join("libcuda.so.535.261.03");
        fs_err::write(&old, "an old driver").unwrap();
        fs_err::set_permissions(&old, std::fs::Permissions::from_mode(0o640)).unwrap();
        let user = if privilege == Privilege::Unprivileged { 100_007 } else { 7 };
        std::os::unix::fs::chown(&old, Some(user), Some(user)).unwrap();
        let link = libraries.join("libcuda.so.1");
        symlink("libcuda.so.535.261.03", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(user), Some(user)).unwrap();
        fs_err::write(job.rootfs("usr/bin/nvidia-smi"), "by hand").unwrap();
        let before = job.plain_tree();
        job.run("install").ok();
        assert!(!old.exists());
        let listed = job.listed();
        let backed_up = |line: &str| assert!(listed.iter().any(|it| it.starts_with(line)), "{line}: {listed:#?}");
        backed_up("2: /usr/lib/x86_64-linux-gnu/libcuda.so.1 = libcuda.so.535.261.03 120777 ");
        backed_up("100: /usr/bin/nvidia-smi = ");
        backed_up("101: /usr/lib/x86_64-linux-gnu/libcuda.so.535.261.03 = ");
        assert!(listed.iter().any(|it| it.ends_with(" 100640 7 7")), "{listed:#?}");
        // Through another version and another profile they stay where they are safe.
        job.cache(&TestDriver::new(OTHER_VERSION));
        job.want(OTHER_VERSION, "native", "compute");
        job.run("install").ok();
        job.run("uninstall").ok();
        assert_same(&before, &job.plain_tree());
    }
}

#[test]
fn a_damaged_installation_is_mended() {
    let job = Job::native_running(Privilege::Unprivileged);
    let before = job.plain_tree();
    job.run("install").ok();
    let whole = job.plain_tree();
    let libraries = job.rootfs("usr/lib/x86_64-linux-gnu");
    fs_err::write(libraries.join(format!("libcuda.so.{VERSION}")), "").unwrap();
    fs_err::write(job.rootfs("usr/bin/nvidia-smi"), "").unwrap();
    fs_err::remove_file(libraries.join("libcuda.so.1")).unwrap();
    fs_err::remove_file(job.rootfs("etc/OpenCL/vendors/nvidia.icd")).unwrap();
    let status = job.status();
    assert_eq!(status["verdict"], "out of sync", "{status:?}");
    job.run("install").ok();
    assert_same(&whole, &job.plain_tree());
    job.run("uninstall").ok();
    assert_same(&before, &job.plain_tree());
}

#[test]
fn a_program_that_has_loaded_the_old_library_goes_on() {
    let job = Job::native_running(Privilege::Unprivileged);
    job.run("install").ok();
    let library = format!("/usr/lib/x86_64-linux-gnu/libcuda.so.{VERSION}");
    job.inside("LD_PRELOAD=libcuda.so.1 nohup sleep 300 > /dev/null 2>&1 & echo $! > /run/user-of-cuda");
    let mapped = "cat /proc/$(cat /run/user-of-cuda)/maps";
    let maps = || job.inside(mapped);
    assert!(maps().contains(&library), "{}", maps());
    // Installed again: the same name, another inode, and the mapped one untouched.
    fs_err::remove_file(job.rootfs("usr/bin/nvidia-smi")).unwrap();
    job.run("install").ok();
    assert!(maps().contains(&format!("{library} (deleted)")), "{}", maps());
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.want(OTHER_VERSION, "native", "full");
    job.run("install").ok();
    assert!(maps().contains(" (deleted)"), "it has died, or maps the new library");
    job.inside("kill -0 $(cat /run/user-of-cuda)");
}

#[test]
fn a_copy_of_a_container_brings_the_driver_along_and_can_lose_it() {
    let job = Job::new();
    job.set("nvidia_install_method", "native");
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    let copy = job.add(job.copy_of(job.ctid, "copy"));
    job.set_of(copy, "nvidia_install_method", "native");
    let ran = job.world.run(&["create", &copy.to_string()]).ok();
    assert!(!ran.stdout.contains("install driver"), "{}", ran.stdout);
    job.world.run(&["uninstall", &copy.to_string()]).ok();
    let left: Vec<String> =
        tree::of(&job.world.rootfs(copy)).into_keys().filter(|path| path.contains("nvidia")).collect();
    assert_eq!(left, [""; 0]);
}
