//! What a container lacks, and what of it does not matter: room, rights to execute, programs, the C library.

use serde_json::json;

use super::fixture::{Job, VERSION};
use crate::ran::Ran;
use crate::shared_object::shared_object;
use crate::test_driver::TestDriver;
use crate::tree;

impl Job {
    /// The container without a driver, and from then on a driver that is wanted.
    fn created_without_driver(&self) {
        self.set("features", json!([]));
        self.run("create").ok();
        self.set("features", json!(["nvidia"]));
    }

    /// Installs in vain: the exit code, and what is told from `error` on. Nothing in the container changes.
    #[track_caller]
    fn refuses(&self, code: i32) -> String {
        let before = self.tree();
        let ran = self.run("create").exits(code);
        assert_eq!(tree::differences(&before, &self.tree()), "");
        ran.stderr[ran.stderr.find("error: ").unwrap()..].to_owned()
    }
}

/// A small file system for the containers of a job; it goes with them.
struct SmallDisk<'a>(&'a Job);

impl<'a> SmallDisk<'a> {
    fn below(job: &'a Job, megabytes: u32) -> Self {
        let size = format!("size={megabytes}m,mode=0755");
        Ran::of(
            "mount",
            &[
                "-t".as_ref(),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                size.as_ref(),
                "tmpfs".as_ref(),
                job.world.lxcpath().as_os_str(),
            ],
            &[],
        )
        .ok();
        Self(job)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        self.0.world.lxc("lxc-stop", self.0.ctid, &["--kill"]);
        Ran::of("umount", &["--lazy".as_ref(), self.0.world.lxcpath().as_os_str()], &[]);
    }
}

#[test]
fn too_little_room_is_found_before_anything_is_copied() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).library_size(8 << 20));
    let disk = SmallDisk::below(&job, 190);
    job.created_without_driver();
    let said = job.refuses(10);
    let start = format!(
        "error: container {}: no directory has enough space to install from: `/var/lib/phoenix-nvidia`, \
         `/var/tmp`, `/tmp`, `/root`: ",
        job.ctid
    );
    let end = " MB free and 156 MB needed\n\nhint: 156 MB are needed in total; make the container's disk larger, or \
               free some space in it\n";
    let free = said.strip_prefix(&start).and_then(|rest| rest.strip_suffix(end)).unwrap_or_else(|| panic!("{said}"));
    assert!((1..156).contains(&free.parse().unwrap()), "{said}");
    drop(disk);
}

#[test]
fn a_directory_that_nothing_may_be_executed_in_is_passed_over() {
    let job = Job::privileged();
    let noexec = |directory: &str| format!("lxc.mount.entry = tmpfs {directory} tmpfs noexec,create=dir 0 0");
    job.set("lxc_options", json!(["var/lib/phoenix-nvidia", "var/tmp", "tmp", "root"].map(noexec)));
    let said = job.run("create").exits(10).stderr;
    let message = format!(
        "error: container {}: no directory has enough space to install from: `/var/lib/phoenix-nvidia`, \
         `/var/tmp`, `/tmp`, `/root`: mounted noexec\n",
        job.ctid
    );
    assert!(said.contains(&message), "{said}");
    job.set("lxc_options", json!(["var/lib/phoenix-nvidia", "var/tmp"].map(noexec)));
    job.run("create").ok();
    job.assert_nothing_is_left();
    let log = fs_err::read_to_string(job.rootfs("var/log/nvidia-installer.log")).unwrap();
    assert!(log.lines().any(|line| line.starts_with("PATH: ") && line.contains("/tmp/phoenix-nvidia-run-")), "{log}");
}

#[test]
fn what_a_container_must_have_is_named_and_stand_ins_do_for_the_rest() {
    let job = Job::new();
    job.created_without_driver();
    let loader = job.rootfs("lib64/ld-linux-x86-64.so.2");
    let (away, ldconfig) = (job.world.scratch("away"), job.rootfs("usr/sbin/ldconfig"));
    fs_err::rename(&loader, &away).unwrap();
    let message = format!(
        "error: container {}: NVIDIA's driver needs glibc, which the container lacks (`/lib64/ld-linux-x86-64.so.2` is \
         missing)\n\nhint: use a template of Debian, Ubuntu, Fedora or similar, then create it again with `phoenix-nvidia create`\n",
        job.ctid
    );
    assert_eq!(job.refuses(3), message);
    fs_err::rename(&away, &loader).unwrap();

    let ldconfig = if ldconfig.exists() { ldconfig } else { job.rootfs("sbin/ldconfig") };
    fs_err::rename(&ldconfig, &away).unwrap();
    let said = job.refuses(3);
    let message = format!("error: container {}: the installer needs `ldconfig`, which it lacks\n", job.ctid);
    assert!(said.starts_with(&message), "{said}");
    fs_err::rename(&away, &ldconfig).unwrap();

    job.inside(
        "rm -f /usr/sbin/modprobe /usr/sbin/rmmod /usr/sbin/lsmod /usr/sbin/depmod /usr/bin/lsmod /usr/bin/kmod \
         /sbin/modprobe /sbin/rmmod /sbin/lsmod /sbin/depmod /bin/lsmod /bin/kmod /bin/dmesg",
    );
    job.run("create").ok();
    job.assert_installed(VERSION);
    job.assert_nothing_is_left();
    assert_eq!(job.inside("command -v modprobe dmesg || :"), "");
}

#[test]
fn an_alpine_with_gcompat_is_not_taken_for_glibc_and_a_nixos_not_for_a_system_without_it() {
    let job = Job::new();
    job.created_without_driver();
    let loader = job.rootfs("lib64/ld-linux-x86-64.so.2");
    fs_err::rename(&loader, job.world.scratch("away")).unwrap();
    let put = |bytes: &[u8]| {
        fs_err::write(&loader, bytes).unwrap();
        fs_err::set_permissions(&loader, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    // gcompat has a program of its own in the loader's place; libc6-compat leads from there to musl's loader.
    for bytes in [fs_err::read("/usr/bin/true").unwrap(), shared_object("libc.musl-x86_64.so.1", 0)] {
        put(&bytes);
        let said = job.refuses(3);
        assert!(said.contains("the container's C library is not glibc") && said.contains("(gcompat)"), "{said}");
    }
    fs_err::write(job.rootfs("etc/NIXOS"), "").unwrap();
    let said = job.refuses(3);
    assert!(said.contains("the container is NixOS") && said.contains("`hardware.nvidia.package`"), "{said}");
    let doctor = job.run("doctor").stdout;
    assert!(doctor.contains("no-glibc") && doctor.contains("the container is NixOS"), "{doctor}");
}
