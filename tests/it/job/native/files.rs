//! Which files are there: as many, as large, whose and where as NVIDIA's installer leaves them.

use crate::job::fixture::{Job, VERSION};
use crate::tree::{self, Tree};
use crate::world::Privilege;

/// What changed from `before` to now, and NVIDIA's list.
fn outcome(job: &Job, before: &Tree) -> (String, Vec<String>) {
    (tree::differences(before, &job.plain_tree()), job.listed())
}

fn by_the_installer(privilege: Privilege) -> (String, Vec<String>) {
    let job = Job::native_running(privilege);
    job.set("nvidia_install_method", "runfile");
    let before = job.plain_tree();
    job.run("install").ok();
    outcome(&job, &before)
}

#[track_caller]
fn assert_as_by_the_installer(privilege: Privilege) {
    let (expected, listed) = by_the_installer(privilege);
    assert!(expected.contains("/usr/bin/nvidia-smi 100755 "), "{expected}");
    for runs in [true, false] {
        let job = if runs { Job::native_running(privilege) } else { Job::native(privilege) };
        let before = job.plain_tree();
        job.run("install").ok();
        let (found, listed_here) = outcome(&job, &before);
        assert_eq!(found, expected, "running: {runs}");
        assert_eq!(listed_here, listed, "running: {runs}");
        let (status, state) = (job.status(), if runs { "running" } else { "stopped" });
        assert_eq!((&status["state"], &status["installed"]), (&state.into(), &VERSION.into()));
    }
}

#[test]
fn a_privileged_container_gets_the_files_that_the_installer_makes() {
    assert_as_by_the_installer(Privilege::Privileged);
}

#[test]
fn an_unprivileged_container_gets_the_files_that_the_installer_makes() {
    assert_as_by_the_installer(Privilege::Unprivileged);
}

#[test]
fn nvidias_own_tools_take_the_driver_for_theirs() {
    let job = Job::native_running(Privilege::Unprivileged);
    let before = job.plain_tree();
    job.run("install").ok();
    let said = job.inside("nvidia-installer --sanity");
    assert!(said.contains("as it was installed"), "{said}");
    job.inside("nvidia-uninstall --silent --skip-depmod");
    super::assert_same(&before, &job.plain_tree());
    // Our receipt names what is gone: nobody takes the driver for there.
    assert_eq!(job.status()["verdict"], "not installed");
    job.run("install").ok();
    job.assert_installed(VERSION);
}

#[test]
fn a_container_that_was_stopped_starts_with_its_driver() {
    let job = Job::native(Privilege::Unprivileged);
    let ran = job.run("install").ok();
    let done = format!("{} gpu-test: install driver {VERSION} by method `native`; driver {VERSION} ", job.ctid);
    assert!(ran.stdout.starts_with(&done), "{}", ran.stdout);
    assert_eq!(job.status()["state"], "stopped");
    job.start_container();
    job.assert_installed(VERSION);
    // The loader finds the library, though nobody has run `ldconfig`.
    let found =
        job.inside("LD_PRELOAD=libcuda.so.1 /bin/true 2>&1; LD_DEBUG=libs LD_PRELOAD=libcuda.so.1 /bin/true 2>&1");
    assert!(found.contains("libcuda.so.1") && !found.contains("cannot be preloaded"), "{found}");
}
