//! A world for one test: a base directory with the two configuration files, a directory of LXC containers, and an end
//! to all of it when the test ends.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;

/// Whether a container has its own user namespace, with uid and gid 0 mapped to 100000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    Privileged,
    Unprivileged,
}

/// See the module.
///
/// It lies in `/var/tmp`: on a real disk, and reachable for the mapped root of a container. The environment variable
/// `PHOENIX_NVIDIA_TEST_DIRECTORY` names another place: on ext4 without a journal, files that are made soon after
/// others were removed take long (5 s instead of 0.4 s for the template, kernel 6.18), and a tmpfs has no such trouble.
pub struct World {
    directory: tempfile::TempDir,
    is_kept: Cell<bool>,
}

impl World {
    /// An empty world. Fails the test where `tests/prepare.sh` has not been run.
    pub fn new() -> Self {
        Self::new_in(std::env::var_os("PHOENIX_NVIDIA_TEST_DIRECTORY").unwrap_or("/var/tmp".into()))
    }

    /// The same below another directory, which the mapped root of a container must be able to reach.
    pub fn new_in(parent: impl AsRef<Path>) -> Self {
        let template = template();
        assert!(template.exists(), "`{}` is missing: `sh tests/prepare.sh` makes it", template.display());
        let prefix = format!("phoenix-nvidia-test-{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).unwrap();
        for path in ["", "base", "base/etc", "base/cache", "lxc"] {
            let path = directory.path().join(path);
            fs_err::create_dir_all(&path).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { directory, is_kept: Cell::new(false) }
    }

    /// The base directory: `etc/` and `cache/` are in it.
    pub fn base(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    /// Where the run files are cached.
    pub fn cache(&self) -> PathBuf {
        self.base().join("cache")
    }

    /// LXC's directory of containers.
    pub fn lxcpath(&self) -> PathBuf {
        self.directory.path().join("lxc")
    }

    /// Where the program logs.
    pub fn log_file(&self) -> PathBuf {
        self.directory.path().join("phoenix_hypervisor.log")
    }

    /// A place for what a test needs beside base and containers.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The tarball that containers are made from.
    pub fn template(&self) -> PathBuf {
        template()
    }

    /// A CTID that nobody else on this machine uses.
    pub fn ctid(&self) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        1_000_000 + (std::process::id() % 900_000) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Leaves everything where it is when the test ends, to be looked at.
    pub fn keep(&self) {
        self.is_kept.set(true);
    }

    /// Writes `phoenix_lxc_configs.json`.
    pub fn write_containers(&self, file: &serde_json::Value) {
        self.write_json("etc/phoenix_lxc_configs.json", file);
    }

    /// Writes `phoenix_hypervisor_config.json`.
    pub fn write_hypervisor(&self, file: &serde_json::Value) {
        self.write_json("etc/phoenix_hypervisor_config.json", file);
    }

    fn write_json(&self, name: &str, file: &serde_json::Value) {
        fs_err::write(self.base().join(name), serde_json::to_vec_pretty(file).unwrap()).unwrap();
    }

    /// Runs the program in this world, on a host as it is.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(PROGRAM, arguments, &self.environment())
    }

    /// Runs the program in this world, on a host that seems to have GPUs.
    pub fn run_on(&self, host: &PretendedGpuHost, arguments: &[&str]) -> Ran {
        host.run(PROGRAM, arguments, &self.environment())
    }

    /// Runs the program in this world with more in its environment, on a host that seems to have GPUs where one is given.
    pub fn run_with(
        &self,
        host: Option<&PretendedGpuHost>,
        arguments: &[&str],
        more: &[(&'static str, OsString)],
    ) -> Ran {
        let environment = [&self.environment()[..], more].concat();
        match host {
            Some(host) => host.run(PROGRAM, arguments, &environment),
            None => Ran::of(PROGRAM, arguments, &environment),
        }
    }

    /// How many bytes a container's files have; what is mounted in it does not count.
    pub fn disk_usage(&self, ctid: u32) -> u64 {
        fn bytes(path: &Path) -> u64 {
            use std::os::unix::fs::MetadataExt;
            let metadata = fs_err::symlink_metadata(path).unwrap();
            let below = if metadata.is_dir() { fs_err::read_dir(path).ok() } else { None };
            let children = below.into_iter().flatten().map(|entry| bytes(&entry.unwrap().path()));
            metadata.blocks() * 512 + children.sum::<u64>()
        }
        bytes(&self.rootfs(ctid))
    }

    /// Where something is mounted on this host below the base directory.
    pub fn mounts(&self) -> Vec<PathBuf> {
        self.mounts_below(&self.base())
    }

    fn mounts_below(&self, directory: &Path) -> Vec<PathBuf> {
        let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        points.filter(|point| point.starts_with(directory)).collect()
    }

    /// How the program is reported where this world is.
    pub fn environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("PHOENIX_BASE", self.base().into_os_string()),
            ("PHOENIX_LXCPATH", self.lxcpath().into_os_string()),
            ("PHOENIX_LOG_FILE", self.log_file().into_os_string()),
        ]
    }

    /// Runs one of LXC's own tools on a container of this world.
    pub fn lxc(&self, tool: &str, ctid: impl Display, arguments: &[&str]) -> Ran {
        Ran::of(tool, &self.lxc_arguments(ctid, arguments), &[])
    }

    /// As [`World::lxc`], on a host that seems to have GPUs.
    pub fn lxc_on(&self, host: &PretendedGpuHost, tool: &str, ctid: impl Display, arguments: &[&str]) -> Ran {
        host.run(tool, &self.lxc_arguments(ctid, arguments), &[])
    }

    /// Runs a shell script in a running container.
    pub fn inside(&self, ctid: impl Display, script: &str) -> Ran {
        self.lxc("lxc-attach", ctid, &["--clear-env", "--", "sh", "-c", script])
    }

    /// A container's root directory as the host sees it.
    pub fn rootfs(&self, ctid: impl Display) -> PathBuf {
        self.lxcpath().join(ctid.to_string()).join("rootfs")
    }

    /// Makes a container with nothing but LXC's and tar's help: for tests of these tools, and for those who want one
    /// that the program has not made. `lines` are added to its configuration.
    pub fn create_by_hand(&self, ctid: impl Display, privilege: Privilege, lines: &[&str]) {
        self.create_by_hand_from(&template(), ctid, privilege, lines);
    }

    /// The same from another template.
    pub fn create_by_hand_from(&self, template: &Path, ctid: impl Display, privilege: Privilege, lines: &[&str]) {
        let rootfs = self.rootfs(ctid);
        fs_err::create_dir_all(&rootfs).unwrap();
        let as_whom = match privilege {
            Privilege::Privileged => "",
            Privilege::Unprivileged => {
                std::os::unix::fs::chown(&rootfs, Some(100_000), Some(100_000)).unwrap();
                "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 --"
            }
        };
        // Opened by the shell: the mapped root may not reach the template.
        let unpack = format!("{as_whom} tar --zstd --exclude='./dev/*' --directory \"$1\" -xf - < \"$2\"");
        Ran::of("sh", &["-c", &unpack, "unpack", text(&rootfs), text(template)], &[]).ok();
        fs_err::write(rootfs.with_file_name("config"), configuration(&rootfs, privilege, lines)).unwrap();
    }

    /// Says which version the kernel module has that `nvidia-smi` of a test driver shall find in a container.
    pub fn pretend_kernel_module(&self, ctid: impl Display, version: &str) {
        fs_err::write(self.rootfs(ctid).join("etc/pretended-kernel-module"), version).unwrap();
    }

    fn lxc_arguments(&self, ctid: impl Display, arguments: &[&str]) -> Vec<OsString> {
        let lxcpath = self.lxcpath().into_os_string();
        let mut all = vec!["--lxcpath".into(), lxcpath, "--name".into(), ctid.to_string().into()];
        all.extend(arguments.iter().map(OsString::from));
        all
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

impl Drop for World {
    fn drop(&mut self) {
        if self.is_kept.get() {
            self.directory.disable_cleanup(true);
            return;
        }
        let containers = fs_err::read_dir(self.lxcpath()).into_iter().flatten().flatten();
        for name in containers.map(|entry| entry.file_name()) {
            let lxcpath = self.lxcpath();
            let arguments: [&OsStr; 5] =
                ["--lxcpath".as_ref(), lxcpath.as_ref(), "--name".as_ref(), &name, "--kill".as_ref()];
            // One that does not run cannot be stopped, and need not be.
            let _ = Ran::of("lxc-stop", &arguments, &[]);
        }
        remove_locks(&self.lxcpath());
        for point in self.mounts_below(self.directory.path()) {
            let _ = Ran::of("umount", &["--lazy".as_ref(), point.as_os_str()], &[]);
        }
        // Not `lxc-destroy`: it wants a sound configuration, and a broken one must not be left either.
    }
}

/// The files of liblxc's locks lie in a directory that is named after the lxcpath.
fn remove_locks(lxcpath: &Path) {
    let locks = Path::new("/run/lxc/lock").join(lxcpath.strip_prefix("/").unwrap_or(lxcpath));
    let _ = fs_err::remove_dir_all(&locks);
    // The world's own, which is empty then.
    let _ = locks.parent().map(fs_err::remove_dir);
}

/// Where `tests/prepare.sh` puts the template: in cargo's target directory, wherever that is.
fn template() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().find(|path| path.join("test-template").is_dir());
    target.unwrap_or(Path::new("target")).join("test-template/debian.tar.zst")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn configuration(rootfs: &Path, privilege: Privilege, lines: &[&str]) -> String {
    let mut all = vec!["lxc.include = /usr/share/lxc/config/common.conf".to_owned()];
    if privilege == Privilege::Unprivileged {
        all.push("lxc.include = /usr/share/lxc/config/userns.conf".to_owned());
        all.extend(["u", "g"].map(|kind| format!("lxc.idmap = {kind} 0 100000 65536")));
    }
    all.push(format!("lxc.rootfs.path = dir:{}", rootfs.display()));
    let fixed = [
        "lxc.arch = linux64",
        "lxc.uts.name = test",
        "lxc.net.0.type = empty",
        "lxc.apparmor.profile = unconfined",
        "lxc.init.cmd = /bin/sleep infinity",
    ];
    all.extend(fixed.iter().chain(lines).map(|line| (*line).to_owned()));
    all.join("\n") + "\n"
}
