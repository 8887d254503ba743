//! Installations that go wrong: what is told, that nothing is left behind, and that another run mends it.

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::test_driver::{Misbehaviour, TestDriver};

impl Job {
    /// Lets the container want a version whose installer misbehaves.
    fn want_misbehaving(&self, how: Misbehaviour) {
        self.cache(&TestDriver::new(VERSION).misbehaving(how));
        self.set_for_all("nvidia_driver_version", VERSION);
    }

    /// Lets the container want a good driver, and has it.
    #[track_caller]
    fn converges_to(&self, version: &str) {
        self.cache(&TestDriver::new(version));
        self.set_for_all("nvidia_driver_version", version);
        self.run("create").ok();
        self.assert_installed(version);
        self.assert_nothing_is_left();
    }

    /// Where the host keeps the installer's last log.
    fn installer_log(&self) -> String {
        self.world.base().join(format!("lib/logs/{}-nvidia-installer.log", self.ctid)).display().to_string()
    }
}

#[test]
fn whatever_an_installer_does_wrong_is_reported_and_cleared_away_and_mended_by_another_run() {
    let job = Job::without_driver();
    let (ctid, log) = (job.ctid, job.installer_log());
    let cases = [
        (
            Misbehaviour::Fail,
            6,
            format!("container {ctid}: installing driver {VERSION} failed with exit code 1: the installer gave up"),
            format!("the reason is in the last lines of its log; the whole log is `{log}`"),
        ),
        (
            Misbehaviour::Sigbus,
            10,
            format!(
                "container {ctid}: installing driver {VERSION} failed with exit code 135: the installer died of \
                 SIGBUS: the container's disk filled up while it copied"
            ),
            format!("make the container's disk larger; the whole log is `{log}`"),
        ),
        (
            Misbehaviour::Lie,
            7,
            format!(
                "container {ctid}: the installer reported success for driver {VERSION}, but the installed libraries \
                 are of no version"
            ),
            format!("read its log, `{log}`"),
        ),
        (
            Misbehaviour::WrongVersion,
            7,
            format!(
                "container {ctid}: the installer reported success for driver {VERSION}, but the installed libraries \
                 are of 999.99.99"
            ),
            format!("read its log, `{log}`"),
        ),
    ];
    for (how, code, message, hint) in cases {
        job.want_misbehaving(how);
        let ran = job.run("create").exits(code);
        assert!(ran.stderr.contains(&format!("error: {message}\n")), "{how:?}: {}", ran.stderr);
        assert!(ran.stderr.ends_with(&format!("\n\nhint: {hint}\n")), "{how:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{how:?}");
        job.assert_nothing_is_left();
        assert!(!job.receipt().exists(), "{how:?}");
        assert!(!job.rootfs("var/lib/phoenix-nvidia").exists(), "{how:?}");
        assert_ne!(job.status()["verdict"], "installed, not verified live", "{how:?}");
        job.run("verify").exits(7);
        job.converges_to(OTHER_VERSION);
    }
    job.converges_to(VERSION);
}

#[test]
fn a_failure_shows_the_last_lines_of_the_installers_log() {
    let job = Job::without_driver();
    job.want_misbehaving(Misbehaviour::Fail);
    let ran = job.run("create").exits(6);
    let shown: Vec<&str> = ran.stderr.lines().filter_map(|line| line.strip_prefix("  | ")).collect();
    assert_eq!(shown.last(), Some(&"ERROR: The installation was told to fail."), "{}", ran.stderr);
    let log = fs_err::read_to_string(job.installer_log()).unwrap();
    let log: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(shown, log[log.len() - shown.len()..]);
    let json = job.run_with("create", &["--output", "json"]).exits(6).stdout;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report[0]["error"]["kind"], &report[0]["error"]["exit_code"]), (&"command".into(), &6.into()));
}

#[test]
fn an_installer_that_never_ends_is_ended_by_an_interruption() {
    let job = Job::without_driver();
    job.want_misbehaving(Misbehaviour::Hang);
    let mut process = job.start("create");
    process.wait_until("the installer runs", |_| job.rootfs("var/log/nvidia-installer.log").exists());
    process.interrupt();
    let ran = process.end().exits(130);
    assert!(ran.stderr.contains("error: interrupted\n"), "{}", ran.stderr);
    job.assert_nothing_is_left();
    assert!(!job.receipt().exists());
    job.converges_to(VERSION);
}

#[test]
fn a_container_that_is_stopped_during_the_installation_is_reported_and_cleared_away() {
    let job = Job::without_driver();
    job.want_misbehaving(Misbehaviour::HangAfterHalf);
    let mut process = job.start("create");
    process.wait_until("half of it is installed", |_| job.rootfs("usr/bin/nvidia-smi").exists());
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    let ran = process.end().exits(6);
    let message = format!("error: container {} does not run, so `sh` could not be run in it\n", job.ctid);
    assert!(ran.stderr.contains(&message), "{}", ran.stderr);
    job.assert_nothing_is_left();
    job.converges_to(VERSION);
}

#[test]
fn a_wrong_sum_of_one_container_names_its_entry_and_leaves_the_run_file_to_all_others() {
    let job = Job::new();
    let other = job.add(job.entry("other"));
    job.set("nvidia_runfile_sha256", "0".repeat(64));
    let said = job.run("create").exits(7).stderr;
    let origin = format!("according to `lxc_configs.{}.nvidia_runfile_sha256` in `", job.ctid);
    assert!(said.contains(&origin), "{said}");
    assert!(said.contains("\nhint: the file is intact and stays for everybody else: correct or remove"), "{said}");
    job.world.run(&["create", &other.to_string()]).ok();
}
