//! The verbs around `create`: `install` alone, `uninstall`, `destroy`; and `--dry-run` of all that change something.

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::ran::Ran;
use crate::test_driver::{Misbehaviour, TestDriver};
use crate::tree::{self, Tree};
use crate::world::Privilege;

// Its init does not know the signal that asks it to end, and would be waited for in vain.
const ENDS_AT_ONCE: &str = "lxc.signal.halt = SIGKILL";

#[test]
fn uninstall_leaves_the_container_as_it_was_before() {
    let job = Job::new();
    job.set("features", json!([]));
    job.run("create").ok();
    let before = job.tree();
    job.set("features", json!(["nvidia"]));
    job.run("install").ok();
    job.assert_installed(VERSION);
    let ran = job.run("uninstall").ok();
    assert_eq!(ran.stdout, format!("{} gpu-test: uninstall driver {VERSION}\n", job.ctid));
    assert_eq!(tree::differences(&without_loader_caches(before), &without_loader_caches(job.tree())), "");
    assert!(!job.receipt().exists());
    assert_eq!(job.status()["verdict"], "not installed");
    let again = job.run("uninstall").ok();
    assert_eq!(again.stdout, format!("{} gpu-test: nothing to do\n", job.ctid));
}

/// Without what `ldconfig` writes anew whenever it runs: the loader's cache, and its own cache of what it has read,
/// which is only made by the first run. Neither names a file that is not there.
fn without_loader_caches(mut tree: Tree) -> Tree {
    for path in ["/etc/ld.so.cache", "/var/cache/ldconfig/aux-cache"] {
        tree.remove(path);
    }
    tree
}

#[test]
fn install_works_on_containers_that_are_there_and_leaves_them_stopped_or_running() {
    let job = Job::new();
    let missing = job.run("install").exits(6);
    assert!(missing.stderr.contains(&format!("error: container {} does not exist\n", job.ctid)));
    job.world.create_by_hand(job.ctid, Privilege::Unprivileged, &[ENDS_AT_ONCE]);
    let ran = job.run("install").ok();
    let done = format!("{} gpu-test: start, install driver {VERSION}, stop again; driver {VERSION} ", job.ctid);
    assert!(ran.stdout.starts_with(&done), "{}", ran.stdout);
    assert_eq!(job.status()["state"], "stopped");
    assert_eq!(job.status()["installed"], VERSION);
    job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
    assert_only_settings_differ(&job, VERSION);
    assert!(job.run("install").ok().stdout.contains(" gpu-test: nothing to do; driver "));
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    assert!(job.run("install").ok().stdout.contains(&format!(" gpu-test: install driver {OTHER_VERSION}; driver ")));
    assert_eq!(job.status()["state"], "running");
    assert_only_settings_differ(&job, OTHER_VERSION);
}

/// `install` brings in the driver and nothing else: the settings are those of whoever has made the container.
#[track_caller]
fn assert_only_settings_differ(job: &Job, version: &str) {
    let status = job.status();
    assert_eq!(status["installed"], version, "{status:?}");
    assert_eq!(status["reason"], "its settings differ from the configuration", "{status:?}");
    assert!(job.inside("nvidia-smi --help | head -n 1").ends_with(&format!("v{version}\n")));
}

#[test]
fn a_stopped_container_is_stopped_again_when_its_installation_fails_or_is_interrupted() {
    let job = Job::without_driver();
    job.world.create_by_hand(job.ctid, Privilege::Unprivileged, &[ENDS_AT_ONCE]);
    job.cache(&TestDriver::new(VERSION).misbehaving(Misbehaviour::Fail));
    let ran = job.run("install").exits(6);
    assert!(ran.stderr.contains("the installer gave up\n"), "{}", ran.stderr);
    assert_eq!(job.status()["state"], "stopped");
    assert!(!job.rootfs("var/log/nvidia-installer.log").exists(), "the log is on the host");
    job.cache(&TestDriver::new(VERSION).misbehaving(Misbehaviour::Hang));
    let mut process = job.start("install");
    process.wait_until("the installer runs", |_| job.rootfs("var/log/nvidia-installer.log").exists());
    process.interrupt();
    let ran = process.end().exits(130);
    assert!(ran.stderr.contains("error: interrupted\n"), "{}", ran.stderr);
    assert_eq!(job.status()["state"], "stopped");
    job.assert_nothing_is_left();
}

#[test]
fn destroy_wants_to_be_sure_and_knows_only_what_is_configured() {
    let job = Job::new();
    job.set("features", json!([]));
    job.run("create").ok();
    let asked = job.run("destroy").exits(2);
    assert_eq!(
        asked.stderr,
        "error: `destroy` needs a confirmation, and standard input is not a terminal\n\nhint: add `--yes` to destroy \
         without a confirmation\n"
    );
    let unknown = job.world.run(&["destroy", "--yes", &job.ctid.to_string(), "999999999"]).exits(3);
    assert!(unknown.stderr.contains("999999999"), "{}", unknown.stderr);
    assert_eq!(job.status()["state"], "running", "one unknown CTID destroys none");
    let typed = |answer: &str| {
        let program = env!("CARGO_BIN_EXE_phoenix-nvidia");
        let script = format!("echo {answer} | script -qec '{program} destroy {}' /dev/null", job.ctid);
        Ran::of("sh", &["-c", &script], &job.world.environment())
    };
    let no = typed("no").exits(130);
    assert!(no.stdout.contains(&format!("This destroys {} (gpu-test) with all their data.", job.ctid)));
    assert_eq!(job.status()["state"], "running");
    typed("yes").ok();
    assert_eq!(job.status()["state"], "absent");
    assert_eq!(fs_err::read_dir(job.world.lxcpath()).unwrap().count(), 0);
    assert!(job.run_with("destroy", &["--yes"]).ok().stdout.ends_with(" gpu-test: nothing to do\n"));
}

#[test]
fn the_feature_script_of_the_orchestrator_takes_a_ctid_and_anything() {
    let job = Job::new();
    job.world.create_by_hand(job.ctid, Privilege::Unprivileged, &[ENDS_AT_ONCE]);
    let script = job.world.scratch("phoenix_hypervisor_feature_install_nvidia.sh");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_phoenix-nvidia"), &script).unwrap();
    let ctid = job.ctid.to_string();
    // The orchestrator passed two arguments where its script took one, and no GPU container could be built.
    let ran = Ran::of(&script, &[ctid.as_str(), "{\"name\": \"gpu-test\"}"], &job.world.environment()).ok();
    assert!(ran.stdout.contains(&format!("install driver {VERSION}")), "{}", ran.stdout);
    Ran::of(&script, &[ctid.as_str()], &job.world.environment()).ok();
    assert_eq!(job.status()["installed"], VERSION);
}

#[test]
fn a_dry_run_of_every_verb_writes_nothing() {
    let job = Job::new();
    let whole = || tree::with_times_of(&job.world.scratch(""));
    let ctid = job.ctid.to_string();
    let dry = |words: &[&str]| {
        let before = whole();
        let ran = job.world.run(&[words, &["--dry-run"]].concat()).ok();
        assert_eq!(tree::differences(&before, &whole()), "", "{words:?}");
        ran.stdout
    };
    let planned = dry(&["create", &ctid]);
    assert!(planned.contains(&format!("  install driver {VERSION}\n")), "{planned}");
    job.run("create").ok();
    job.cache(&TestDriver::new(OTHER_VERSION));
    job.set_for_all("nvidia_driver_version", OTHER_VERSION);
    job.set("memory_mb", 600);
    let planned = dry(&["create", &ctid]);
    assert!(planned.contains("  configure\n") && planned.contains(&format!("      replaces {VERSION}\n")), "{planned}");
    let planned = dry(&["install", &ctid]);
    assert!(planned.contains(&format!("  install driver {OTHER_VERSION}\n")), "{planned}");
    assert!(!planned.contains("configure"), "`install` does not configure: {planned}");
    for verb in ["uninstall", "destroy"] {
        assert!(dry(&[verb, &ctid]).contains(VERSION));
    }
    dry(&["cache", "prune"]);
    dry(&["cache", "fetch"]);
    let file = job.world.cache().join(TestDriver::new(VERSION).file_name());
    dry(&["cache", "import", file.to_str().unwrap()]);
}
