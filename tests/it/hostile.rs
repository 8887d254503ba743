//! Containers whose root plants links, FIFOs, device nodes, giant files and lies where the program is going to look:
//! nothing on the host is followed or written, nothing hangs, and what is wrong is named.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::tree::tree;
use crate::world::{Privilege, World};

const VERSION: &str = "580.76.05";
/// No run may take longer; most take a tenth of a second.
const PATIENCE: &str = "40";
const OWN: &str = "/var/lib/phoenix-nvidia";

/// A running container in which somebody else is root, and a directory of the host that must stay as it is.
struct Guest {
    world: World,
    ctid: u32,
    marker: PathBuf,
    before: String,
}

impl Guest {
    fn new(privilege: Privilege) -> Self {
        let world = World::new();
        let ctid = world.ctid();
        world.write_containers(&json!({
            "nvidia_driver_version": VERSION,
            "lxc_configs": { ctid.to_string(): {
                "name": "hostile", "template": world.template(), "features": ["nvidia"], "gpu_assignment": "none",
            } },
        }));
        world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
        TestDriver::new(VERSION).write_into(&world.cache());
        world.create_by_hand(ctid, privilege, &[]);
        world.lxc("lxc-start", ctid, &["--daemon"]).ok();
        let marker = world.scratch("marker");
        // Whoever follows a link to here finds what he looks for, and shows it by believing or changing it.
        fs_err::create_dir_all(marker.join("x86_64-linux-gnu")).unwrap();
        for name in ["receipt.json", "nvidia-installer.log", "log", "libcuda.so.1.2", "hostname", "nvidia-smi"] {
            fs_err::write(marker.join(name), "of the host\n").unwrap();
        }
        let before = tree(&marker);
        Self { world, ctid, marker, before }
    }

    #[track_caller]
    fn sh(&self, script: &str) -> Ran {
        self.world.inside(self.ctid, &format!("marker={}; {script}", self.marker.display())).ok()
    }

    /// Runs a subcommand on the container, with an end to it, and looks after the host.
    #[track_caller]
    fn program(&self, verb: &[&str]) -> Ran {
        let ctid = self.ctid.to_string();
        let mut words: Vec<OsString> = vec![PATIENCE.into(), env!("CARGO_BIN_EXE_phoenix-nvidia").into()];
        words.extend(verb.iter().map(OsString::from));
        words.push(ctid.into());
        let ran = Ran::of("timeout", &words, &self.world.environment());
        assert_ne!(ran.code, 124, "`{}` hangs\n{}{}", ran.command, ran.stdout, ran.stderr);
        assert_eq!(tree(&self.marker), self.before, "`{}` has changed the host", ran.command);
        ran
    }

    /// Runs a subcommand that must fail with this exit code and name this in its error.
    #[track_caller]
    fn fails(&self, verb: &[&str], code: i32, names: &str) -> Ran {
        let ran = self.program(verb).exits(code);
        assert!(ran.stderr.contains(names), "`{names}` is not named:\n{}", ran.stderr);
        self.leaves_nothing();
        ran
    }

    /// Nothing of an installation that failed may stay in the container.
    #[track_caller]
    fn leaves_nothing(&self) {
        let left = self.sh("find / -xdev -name 'phoenix-nvidia-run-*' -o -xdev -name '*.run'").stdout;
        assert_eq!(left, "");
    }
}

#[test]
fn links_to_the_hosts_paths_stay_inside_the_container() {
    let guest = Guest::new(Privilege::Privileged);
    guest.sh(&format!("ln -s $marker {OWN}"));
    guest.fails(&["install"], 7, &format!("`{OWN}` is not a directory"));
    guest.sh(&format!("rm {OWN}; ln -s /etc {OWN}; cp -a /etc /etc.before"));
    guest.fails(&["install"], 7, &format!("`{OWN}` is not a directory"));
    guest.sh("diff -r /etc /etc.before && rm -r /etc.before");
    guest.sh(&format!("rm {OWN}; echo a file > {OWN}"));
    guest.fails(&["install"], 7, &format!("`{OWN}` is not a directory"));
    // These are only other places to work in, and are passed over.
    guest.sh(&format!("rm {OWN}; rm -rf /tmp /var/tmp; ln -s /etc /tmp; ln -s $marker /var/tmp"));
    guest.sh("mkdir -p /usr/lib64; ln -s $marker /usr/lib64/x; ln -s ../../../../../../$marker /usr/lib/out");
    guest.program(&["install"]).ok();
    guest.leaves_nothing();
    guest.sh(&format!("test ! -e /etc/receipt.json && test -f {OWN}/receipt.json"));
    guest.sh(&format!("mv {OWN}/receipt.json /root/; ln -s $marker/receipt.json {OWN}/receipt.json"));
    guest.program(&["status"]).ok();
    guest.program(&["uninstall"]).ok();
}

#[test]
fn fifos_and_device_nodes_are_named_and_not_opened() {
    let guest = Guest::new(Privilege::Privileged);
    for plant in ["mkfifo", "mknod_b() { mknod $1 b 7 0; }; mknod_b"] {
        for path in ["/var/log/nvidia-installer.log", "/var/lib/nvidia/log", "/usr/bin/nvidia-smi"] {
            guest.sh(&format!("mkdir -p /var/lib/nvidia; {plant} {path}"));
            guest.fails(&["install"], 7, &format!("`{path}` is not a regular file"));
            guest.program(&["verify"]);
            guest.program(&["uninstall"]);
            guest.sh(&format!("rm -f {path}; rmdir /var/lib/nvidia || true"));
        }
    }
    guest.sh(&format!("mkdir -p {OWN}; mkfifo {OWN}/receipt.json"));
    guest.program(&["status"]).ok();
    guest.program(&["install"]).ok();
    guest.sh(&format!("test -f {OWN}/receipt.json"));
}

#[test]
fn giant_files_are_not_read_to_their_end() {
    let guest = Guest::new(Privilege::Unprivileged);
    guest.sh(&format!("mkdir -p {OWN} /var/lib/nvidia; truncate -s 1T {OWN}/receipt.json"));
    guest.sh("truncate -s 1T /var/log/nvidia-installer.log /usr/lib/libcuda.so.1.2");
    guest.program(&["status"]).ok();
    guest.sh("rm /usr/lib/libcuda.so.1.2");
    guest.sh("{ echo '1.0-1 (580.76.05)'; echo title; yes '1: /a' | head -n 10000000; } > /var/lib/nvidia/log");
    guest.fails(&["install"], 7, "`/var/lib/nvidia/log` is larger than");
    guest.sh("rm -r /var/lib/nvidia");
    guest.program(&["install"]).ok();
    guest.leaves_nothing();
}

#[test]
fn lists_that_name_files_of_the_host_harm_nobody() {
    let guest = Guest::new(Privilege::Privileged);
    let climbing = "../../../../../../../../..";
    guest.sh(&format!(
        "mkdir -p {OWN} /var/lib/nvidia; printf '1.0-1 (580.76.05)\\nx\\n1: {climbing}%s/log\\n1\\n' $marker > /var/lib/nvidia/log"
    ));
    guest.program(&["uninstall"]);
    guest.sh("printf '1.0-1 (580.76.05)\\nx\\n1: %s/log\\n1\\n' $marker > /var/lib/nvidia/log");
    guest.program(&["uninstall"]).ok();
    let receipt = json!({
        "format": 1, "version": VERSION, "way": "runfile", "run_file_sha256": "0".repeat(64),
        "installed_at": "2026-11-23T10:00:00Z", "written_by": "somebody", "links": [],
        "files": [{ "path": format!("{climbing}{}/log", guest.marker.display()), "size": 12 }],
    });
    guest.sh(&format!("rm -r /var/lib/nvidia; mkdir -p {OWN}; echo '{receipt}' > {OWN}/receipt.json"));
    let status = guest.program(&["status"]).ok().stdout;
    assert!(!status.contains("verified"), "{status}");
    guest.program(&["uninstall"]).ok();
}

#[test]
fn a_receipt_of_the_container_without_libraries_installs_nothing() {
    let guest = Guest::new(Privilege::Privileged);
    let receipt = json!({
        "format": 1, "version": VERSION, "way": "runfile", "run_file_sha256": "0".repeat(64),
        "installed_at": "2026-11-23T10:00:00Z", "written_by": "somebody", "files": [], "links": [],
    });
    guest.sh(&format!("mkdir -p {OWN}; echo '{receipt}' > {OWN}/receipt.json"));
    guest.fails(&["verify"], 7, "there is a receipt, but the libraries are missing");
    let installed = guest.program(&["install"]).ok().stdout;
    assert!(installed.contains("install driver 580.76.05"), "{installed}");
}

#[test]
fn programs_that_lie_or_flood_are_found_out() {
    let guest = Guest::new(Privilege::Privileged);
    guest.program(&["install"]).ok();
    // No program of the container is asked to take the driver out.
    guest.sh("printf '#! /bin/sh\\ntouch /root/ran\\nexec yes\\n' > /usr/bin/nvidia-installer");
    guest.program(&["uninstall"]).ok();
    guest.sh("test ! -e /root/ran && test ! -e /usr/bin/nvidia-installer");
    guest.sh("printf '#! /bin/sh\\nexec yes\\n' > /usr/bin/nvidia-smi; chmod 755 /usr/bin/nvidia-smi");
    guest.fails(&["verify"], 6, "printed more than");
    let status = guest.program(&["status", "--live"]).ok().stdout;
    assert!(status.contains("printed more than"), "{status}");
}

#[test]
fn names_and_outputs_cannot_steer_the_operators_terminal() {
    let guest = Guest::new(Privilege::Privileged);
    let receipt = json!({
        "format": 1, "version": VERSION, "way": "runfile", "run_file_sha256": "0".repeat(64),
        "installed_at": "2026-11-23T10:00:00Z", "written_by": "somebody", "links": [],
        "files": [{ "path": "/a\u{1b}]0;owned\u{7}\nerror: forged", "size": 1 }, { "path": "/etc/hostname", "size": 1 }],
    });
    fs_err::create_dir_all(guest.world.rootfs(guest.ctid).join(&OWN[1..])).unwrap();
    let path = guest.world.rootfs(guest.ctid).join(&OWN[1..]).join("receipt.json");
    fs_err::write(path, receipt.to_string()).unwrap();
    guest.sh("touch /usr/lib/libcuda.so.580.76.05");
    guest.sh("mkdir -p \"$(printf '/var/tmp/phoenix-nvidia-run-\\033[2J\\nforged')\"");
    for verb in ["status", "verify", "install"] {
        // A terminal, because colours are taken out for a pipe and the rest might go with them.
        let command = format!("{} {verb} {}", env!("CARGO_BIN_EXE_phoenix-nvidia"), guest.ctid);
        let ran = Ran::of("script", &["-qec", &command, "/dev/null"], &guest.world.environment());
        let shown = ran.stdout.replace("\u{1b}[0m", "");
        let colours = ["\u{1b}[1m\u{1b}[31m", "\u{1b}[1m\u{1b}[36m"];
        let shown = colours.iter().fold(shown, |shown, colour| shown.replace(colour, ""));
        assert!(!shown.contains("\u{1b}]") && !shown.contains('\u{7}') && !shown.contains("\u{1b}[2J"), "{shown:?}");
        assert!(!shown.lines().any(|line| line.trim_start().starts_with("error: forged")), "{shown}");
    }
    let log = fs_err::read_to_string(guest.world.log_file()).unwrap();
    assert!(!log.contains(['\u{1b}', '\u{7}']), "{log:?}");
    assert!(log.lines().all(|line| line.starts_with("20") && line.contains("] phoenix-nvidia: ")), "{log}");
}

#[test]
fn a_stopped_container_is_looked_at_through_its_own_root() {
    let guest = Guest::new(Privilege::Unprivileged);
    guest.world.lxc("lxc-stop", guest.ctid, &["--kill"]).ok();
    let rootfs = guest.world.rootfs(guest.ctid);
    fs_err::rename(rootfs.join("usr/lib"), rootfs.join("usr/lib.before")).unwrap();
    std::os::unix::fs::symlink("/", rootfs.join("usr/lib")).unwrap();
    std::os::unix::fs::symlink(&guest.marker, rootfs.join("usr/lib64x")).unwrap();
    fs_err::remove_dir_all(rootfs.join("var/lib")).unwrap();
    std::os::unix::fs::symlink(&guest.marker, rootfs.join("var/lib")).unwrap();
    let started = Instant::now();
    let status = guest.program(&["status"]).ok().stdout;
    assert!(status.contains("not installed"), "{status}");
    guest.program(&["plan"]).ok();
    assert!(started.elapsed() < Duration::from_secs(20));
}
