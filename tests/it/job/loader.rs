//! The loader's cache in a container: written as `ldconfig` would write it, and by `ldconfig` where only that can.

use std::os::unix::fs::PermissionsExt;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::shared_object::shared_object;
use crate::world::Privilege;

const RAN: &str = "etc/ldconfig-ran";

impl Job {
    /// Lets the container note when its `ldconfig` runs.
    fn watch_ldconfig(&self) {
        let program = self.rootfs("usr/sbin/ldconfig");
        fs_err::rename(&program, self.rootfs("usr/sbin/ldconfig.watched")).unwrap();
        fs_err::write(&program, "#!/bin/sh\ntouch /etc/ldconfig-ran\nexec /usr/sbin/ldconfig.watched \"$@\"\n")
            .unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Whether it has run since this was asked last.
    fn ldconfig_ran(&self) -> bool {
        fs_err::remove_file(self.rootfs(RAN)).is_ok()
    }

    /// What the cache says, one library a line, in the order in which the loader finds them. `/usr/lib/libGL.so.1` is a
    /// link to a library that is listed anyway, and only `ldconfig` lists it twice.
    fn cached(&self) -> Vec<String> {
        let printed = self.inside("/usr/sbin/ldconfig.watched -p");
        let lines = printed.lines().filter(|line| line.contains(" => ") && !line.ends_with(" => /lib/libGL.so.1"));
        lines.map(|line| line.trim().to_owned()).collect()
    }

    /// Fails unless the cache is what `ldconfig` makes of the container as it is, and was not made by it.
    #[track_caller]
    fn assert_in_line(&self, when: &str) {
        assert!(!self.ldconfig_ran(), "{when}: `ldconfig` ran");
        let ours = self.cached();
        self.inside("/usr/sbin/ldconfig.watched");
        assert_same(&ours, &self.cached(), when);
    }
}

/// Compares all, and shows what differs.
#[track_caller]
fn assert_same(ours: &[String], theirs: &[String], when: &str) {
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    let (more, less) = (only(ours, theirs), only(theirs, ours));
    assert!(ours == theirs, "{when}: more than expected: {more:#?}; less: {less:#?}");
}

#[test]
fn the_cache_is_written_as_ldconfig_would_write_it() {
    for privilege in [Privilege::Privileged, Privilege::Unprivileged] {
        for method in ["native", "shared"] {
            let job = Job::native_running(privilege);
            job.watch_ldconfig();
            let before = job.cached();
            job.want(OTHER_VERSION, method, "compute");
            job.run("install").ok();
            job.assert_in_line(&format!("{method}, fresh"));
            assert!(job.cached().len() > before.len() + 5);
            job.want(VERSION, method, "full");
            job.run("install").ok();
            job.assert_in_line(&format!("{method}, another version and profile"));
            job.want(VERSION, if method == "native" { "shared" } else { "native" }, "full");
            job.run("install").ok();
            job.assert_in_line(&format!("from {method} to the other method"));
            job.run("uninstall").ok();
            job.assert_in_line("uninstalled");
            assert_same(&job.cached(), &before, "as before");
        }
    }
}

#[test]
fn a_stopped_container_starts_with_a_cache_that_knows_its_driver() {
    let job = Job::native(Privilege::Unprivileged);
    job.watch_ldconfig();
    job.run("install").ok();
    job.start_container();
    assert!(job.cached().iter().any(|line| line.contains("libcuda.so.1 ")));
    job.assert_in_line("installed while it was stopped");
}

#[test]
fn ldconfig_makes_a_cache_that_is_not_there_or_not_to_be_understood() {
    for damage in ["rm /etc/ld.so.cache", "echo nonsense > /etc/ld.so.cache"] {
        let job = Job::native_running(Privilege::Unprivileged);
        job.watch_ldconfig();
        job.inside(damage);
        job.run("install").ok();
        assert!(job.ldconfig_ran(), "{damage}");
        assert!(job.cached().iter().any(|line| line.contains("libcuda.so.1 ")), "{damage}");
    }
}

#[test]
fn ldconfig_lists_originals_that_come_back() {
    let job = Job::native_running(Privilege::Privileged);
    job.watch_ldconfig();
    let foreign = job.rootfs("usr/lib/x86_64-linux-gnu/libcuda.so.535.1");
    fs_err::write(&foreign, shared_object("libcuda.so.1", 0)).unwrap();
    job.inside("/usr/sbin/ldconfig.watched");
    let before = job.cached();
    assert!(before.iter().any(|line| line.contains("libcuda.so.1 ")));
    job.run("install").ok();
    job.assert_in_line("the foreign library set aside");
    job.run("uninstall").ok();
    assert!(job.ldconfig_ran());
    assert_same(&job.cached(), &before, "the original is back");
}

#[test]
fn a_cache_that_was_being_written_when_the_program_was_killed_leaves_nothing_beside_it() {
    let job = Job::native(Privilege::Unprivileged);
    // Its own already, so that nothing of the driver but the cache is made right in `/etc`.
    fs_err::create_dir_all(job.rootfs("etc/OpenCL/vendors")).unwrap();
    job.world.run(&["store", "extract", VERSION]).ok();
    let temporary = || {
        let names =
            fs_err::read_dir(job.rootfs("etc")).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".phoenix-nvidia-")).count()
    };
    for verb in ["install", "uninstall"] {
        let killed = (1..).take_while(|number| job.killed_at(verb, "fsync", *number)).any(|_| temporary() > 0);
        assert!(killed, "`{verb}` was never killed while it wrote the cache");
        job.run(verb).ok();
        assert_eq!(temporary(), 0, "{verb}");
    }
}
