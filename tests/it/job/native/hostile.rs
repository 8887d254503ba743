//! What a hostile container may plant where the driver goes: the host is never touched, and the reason is told.

use std::os::unix::fs::symlink;

use crate::job::fixture::{Job, VERSION};
use crate::ran::Ran;
use crate::tree;
use crate::world::Privilege;

/// A stopped container in which something was planted, with a directory beside it that must not change.
fn planted(plant: impl FnOnce(&Job)) -> (Job, Ran) {
    let job = Job::native(Privilege::Unprivileged);
    let outside = job.world.lxcpath().join(job.ctid.to_string()).join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("libcuda.so.1"), "of the host").unwrap();
    plant(&job);
    let before = tree::with_times_of(&outside);
    let hosts =
        || ["/etc", "/usr/lib/x86_64-linux-gnu"].map(|path| fs_err::metadata(path).unwrap().modified().unwrap());
    let hosts_before = hosts();
    let ran = job.run("install");
    assert_eq!(tree::differences(&before, &tree::with_times_of(&outside)), "");
    assert_eq!(hosts_before, hosts());
    assert!(!job.intent().exists(), "{}", ran.stderr);
    (job, ran)
}

fn replace(job: &Job, path: &str, target: &str) {
    let path = job.rootfs(path);
    if path.exists() {
        fs_err::rename(&path, path.with_extension("away")).unwrap();
    }
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

#[test]
fn a_directory_that_is_a_link_is_not_followed() {
    for (path, target) in [
        ("etc/OpenCL", "/etc"),
        ("etc/OpenCL", "../../outside"),
        ("usr/share/nvidia", "../../../outside"),
        ("var/lib/nvidia", "/etc"),
    ] {
        let (job, ran) = planted(|job| replace(job, path, target));
        ran.clone().exits(10);
        assert!(ran.stderr.contains(&format!("container {}: `/{path}", job.ctid)), "{}", ran.stderr);
        let left: Vec<String> = job.tree().into_keys().filter(|path| path.contains("phoenix-nvidia-")).collect();
        assert_eq!(left, [""; 0], "{path}");
    }
}

#[test]
fn a_library_directory_that_leads_away_is_no_library_directory() {
    let (job, ran) = planted(|job| {
        replace(job, "usr/lib/x86_64-linux-gnu", "/");
        // Debian's loader is found through it.
        let away = job.rootfs("usr/lib/x86_64-linux-gnu.away");
        let loader = job.rootfs("usr/lib64/ld-linux-x86-64.so.2");
        let _ = fs_err::remove_file(&loader);
        fs_err::copy(away.join("ld-linux-x86-64.so.2"), loader).unwrap();
    });
    ran.ok();
    assert!(!job.rootfs(&format!("libcuda.so.{VERSION}")).exists());
}

#[test]
fn a_fifo_a_device_node_or_a_directory_in_a_files_place_is_refused() {
    for (command, what) in [
        ("mkfifo \"$1\"", "a FIFO, a socket or a block device"),
        ("mknod \"$1\" c 1 5", "a device node"),
        ("mkdir \"$1\"", "a directory"),
    ] {
        let mut before = None;
        let (job, ran) = planted(|job| {
            let path = job.rootfs("usr/bin/nvidia-smi");
            Ran::of("sh", &["-c", command, "plant", path.to_str().unwrap()], &[]).ok();
            before = Some(job.tree());
        });
        let ran = ran.exits(7);
        let reason = format!("error: container {}: `/usr/bin/nvidia-smi` is {what}, which conflicts with", job.ctid);
        assert!(ran.stderr.contains(&reason), "{}", ran.stderr);
        super::assert_same(&before.unwrap(), &job.tree());
    }
}

#[test]
fn a_lying_list_and_receipt_only_harm_the_container_itself() {
    let (job, ran) = planted(|job| {
        let directory = job.rootfs("var/lib/nvidia");
        fs_err::create_dir(&directory).unwrap();
        symlink("../../outside/libcuda.so.1", job.rootfs("usr/bin/planted")).unwrap();
        let list = "1.0-1 (580.76.05)\nx\n1: /usr/bin/planted\n5\n0: /usr/bin/planted\n../../outside/libcuda.so.1\n";
        fs_err::write(directory.join("log"), list).unwrap();
        fs_err::write(directory.join("dirs"), "/../outside\n/etc\n").unwrap();
    });
    ran.ok();
    assert!(job.rootfs("etc/passwd").exists());
}

#[test]
fn a_system_without_glibc_is_refused_with_the_reason() {
    let job = Job::native(Privilege::Unprivileged);
    fs_err::remove_file(job.rootfs("usr/lib64/ld-linux-x86-64.so.2")).unwrap();
    let ran = job.run("install").exits(3);
    assert!(ran.stderr.contains("needs glibc, which the container lacks"), "{}", ran.stderr);
}
