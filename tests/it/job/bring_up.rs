//! What `create` makes sure of when it has started a container: attempts, systemd, network.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::fixture::Job;
use crate::gpu_host::PretendedGpuHost;
use crate::plain_lxc::Bridge;
use crate::ran::Ran;

/// A job whose container wants no driver.
fn plain() -> Job {
    let job = Job::without_driver();
    job.set("features", json!([]));
    job
}

/// Lets a hook of liblxc fail at so many starts; says how many there were.
fn fail_starts(job: &Job, count: usize) -> impl Fn() -> usize {
    let (script, starts) = (job.world.scratch("hook.sh"), job.world.scratch("starts"));
    let text = format!("#!/bin/sh\necho >> {0}\n[ $(wc -l < {0}) -gt {count} ]\n", starts.display());
    fs_err::write(&script, text).unwrap();
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    job.set("lxc_options", json!([format!("lxc.hook.pre-start={}", script.display())]));
    move || fs_err::read_to_string(&starts).unwrap_or_default().lines().count()
}

#[test]
fn a_start_is_attempted_three_times() {
    let job = plain();
    let starts = fail_starts(&job, 2);
    let ran = job.run("create").ok();
    for attempt in [1, 2] {
        let told = format!("{}: warning: attempt {attempt} of 3 to start it failed: ", job.ctid);
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    }
    assert_eq!(starts(), 3);
    assert_eq!(job.status()["state"], "running");

    let job = plain();
    let starts = fail_starts(&job, 9);
    let ran = job.run("create").exits(6);
    let reason = format!("error: container {} does not start: Script exited with status 1\n", job.ctid);
    assert!(ran.stderr.contains(&reason), "{}", ran.stderr);
    assert_eq!(starts(), 3);
    // The next run goes on where this one has ended.
    let _ = fail_starts(&job, 0);
    let ran = job.run("create").ok();
    assert_eq!(ran.stdout, format!("{} gpu-test: start\n", job.ctid));
}

#[test]
fn a_container_that_stops_again_is_no_success() {
    let job = plain();
    job.set("lxc_options", json!(["lxc.init.cmd=/bin/true"]));
    let said = job.run("create").exits(6).stderr;
    let id = job.ctid;
    assert!(
        [format!("error: container {id} stopped right after its start\n"), format!("container {id} does not")]
            .iter()
            .any(|told| said.contains(told)),
        "{said}"
    );
}

/// Makes a container whose init is called systemd, and whose `systemctl` says what is in `/says`.
fn with_systemd(job: &Job, says: &str) {
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    let program = |path: &str, text: &str| {
        let path = job.rootfs(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("usr/lib/stand-in/systemd", "while :; do sleep 1000; done");
    program(
        "usr/bin/systemctl",
        "echo >> /asked\n[ $(wc -l < /asked) -gt 3 ] && { cat /says; exit 1; }\necho starting; exit 1",
    );
    fs_err::write(job.rootfs("says"), format!("{says}\n")).unwrap();
    // The questions are counted by the container's root.
    std::os::unix::fs::chown(job.rootfs("says"), Some(100_000), Some(100_000)).unwrap();
    job.set("lxc_options", json!(["lxc.init.cmd=/usr/lib/stand-in/systemd"]));
}

#[test]
fn a_start_has_ended_when_systemd_has_settled_and_no_later_than_the_operator_waits() {
    let job = plain();
    with_systemd(&job, "degraded");
    let ran = job.run("create").ok();
    assert!(
        ran.stderr.contains("note: some of its systemd units failed: see `systemctl --failed` in the container\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(job.inside("wc -l < /asked"), "4\n");

    let job = plain();
    with_systemd(&job, "running");
    assert!(!job.run("create").ok().stderr.contains("systemd"));

    let job = plain();
    with_systemd(&job, "maintenance");
    let ran = job.run_with("create", &["--boot-timeout", "1"]).ok();
    let told = "warning: after 1 s, its systemd is in another state: see `systemctl list-jobs` in the container\n";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
}

#[test]
fn a_systemd_that_does_not_answer_in_time_is_asked_again() {
    let job = plain();
    with_systemd(&job, "running");
    let systemctl = "#!/bin/sh\necho >> /asked\n[ $(wc -l < /asked) -gt 1 ] || exec sleep 1000\necho running\n";
    fs_err::write(job.rootfs("usr/bin/systemctl"), systemctl).unwrap();
    assert!(!job.run("create").ok().stderr.contains("systemd"));
    assert_eq!(job.inside("wc -l < /asked"), "2\n");
}

#[test]
fn a_network_that_does_not_come_up_is_reported_by_every_run_until_it_does() {
    let Some(bridge) = Bridge::new() else { return };
    Ran::of("ip", &["link", "set", &bridge.0, "up"], &[]).ok();
    let job = plain();
    job.set("network_config", json!({ "name": "eth0", "bridge": bridge.0, "ip": "dhcp" }));
    let id = job.ctid;
    for _ in 0..2 {
        let said = job.run_with("create", &["--boot-timeout", "1"]).exits(7).stderr;
        let told = format!("error: container {id}: after 1 s, its network has no address from DHCP on `eth0`\n");
        assert!(said.contains(&told), "{said}");
    }
    job.set("network_config", json!({ "name": "eth0", "bridge": bridge.0, "ip": "10.98.0.2/24", "gw": "10.98.0.1" }));
    assert_eq!(job.run("create").ok().stdout, format!("{id} gpu-test: configure, restart\n"));
    assert_eq!(job.run("create").ok().stdout, format!("{id} gpu-test: nothing to do\n"));
}

#[test]
fn a_container_that_newuidmap_refuses_is_reported_with_the_line_that_is_missing() {
    let (job, host) = (plain(), PretendedGpuHost::with_one_gpu("580.76.05"));
    job.run("create").ok();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    let given = job.world.scratch("subuid");
    fs_err::write(&given, "somebody:100000:65536\nroot:165536:65536\n").unwrap();
    host.sh(&format!("mount --bind {} /etc/subuid", given.display())).ok();

    let line = "echo root:100000:65536 >> /etc/subuid";
    let doctor = || job.run_on(&host, "doctor").stdout;
    assert!(doctor().contains("ids-not-assigned") && doctor().contains(line), "{}", doctor());
    let said = job.run_on(&host, "create").exits(6).stderr;
    let reason = format!("error: container {} does not start: newuidmap failed to write mapping ", job.ctid);
    assert!(said.contains(&reason), "{said}");
    assert!(said.contains("uid range [0-65536) -> [100000-165536) not allowed"), "{said}");
    assert!(said.contains(&format!("hint: add them with `{line}`")), "{said}");

    host.sh(line).ok();
    assert!(!doctor().contains("ids-not-assigned"), "{}", doctor());
    job.run_on(&host, "create").ok();
    let directory = fs_err::read_dir(job.world.lxcpath().join(job.ctid.to_string())).unwrap();
    let names: Vec<_> = directory.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".log")), "{names:?}");
}

#[test]
fn a_log_that_the_operator_has_asked_for_stays_his() {
    let job = plain();
    let log = job.world.scratch("mine.log");
    job.set(
        "lxc_options",
        json!([format!("lxc.log.file={}", log.display()), "lxc.log.level=ERROR", "lxc.init.cmd=/no/such/init"]),
    );
    let said = job.run("create").exits(6).stderr;
    assert!(said.contains("lxc-start -P"), "{said}");
    // liblxc 5 writes errors into it; liblxc 6.0.4 makes it and writes none, with `lxc.log.level` in the settings too.
    assert!(log.exists() && !said.contains(".log"), "{said}");
}
