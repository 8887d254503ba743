//! What the root of a container can do to the image that it sees: nothing that the host or another container notices.

use super::fixture::{Job, VERSION};
use super::shared::OWN;
use crate::world::Privilege;

/// Everything that a root might try, each in its own shell; what it prints is for whoever reads a failed test.
const ATTACKS: &[(&str, &str)] = &[
    ("write", "echo owned > $d/lib/libcuda.so.$v"),
    ("create", "echo owned > $d/owned"),
    ("remove", "rm $d/lib/libcuda.so.$v"),
    ("change the mode", "chmod 4777 $d/usr/bin/nvidia-smi"),
    ("change the owner", "chown 1:1 $d/usr/bin/nvidia-smi"),
    ("remount", "mount -o remount,rw $d; echo owned > $d/owned"),
    ("remount the bind", "mount -o remount,bind,rw $d; echo owned > $d/owned"),
    ("bind it elsewhere", "mkdir -p /x; mount --bind $d /x && { mount -o remount,bind,rw /x; echo owned > /x/owned; }"),
    ("recursive bind", "mkdir -p /y; mount --rbind $d /y && { mount -o remount,rw /y; echo owned > /y/owned; }"),
    ("own namespace", "unshare -m sh -c 'mount -o remount,bind,rw $d; echo owned > $d/owned'"),
    ("by way of proc", "echo owned > /proc/self/root$d/owned; echo owned > /proc/1/root$d/lib/libcuda.so.$v"),
    (
        "write to the device",
        "n=$(awk -v d=$d '$5 == d { print $3 }' /proc/self/mountinfo); mknod /image b ${n%:*} ${n#*:} && \
         { echo owned | dd of=/image conv=notrunc bs=4096 seek=1; head -c 1 /image > /read; }",
    ),
    (
        "mount the device writable",
        "n=$(awk -v d=$d '$5 == d { print $3 }' /proc/self/mountinfo); mknod /image2 b ${n%:*} ${n#*:}; mkdir -p /z; \
         mount -t erofs -o rw /image2 /z && echo owned > /z/owned",
    ),
];

fn attacked(attacker: Job, other: u32) {
    let job = attacker;
    let directory = format!("{OWN}/{VERSION}-compute");
    let read = format!("cd {OWN}/current && find . -type f | sort | xargs sha256sum");
    let before = (job.image_sum(), job.world.inside(other, &read).ok().stdout);
    job.give_mount_programs();
    for (name, attack) in ATTACKS {
        let ran = job.world.inside(job.ctid, &format!("d={directory}; v={VERSION}; export d v; {attack}"));
        assert_eq!(job.image_sum(), before.0, "{name} has changed the image: {}", ran.stderr);
        assert_eq!(job.world.inside(other, &read).ok().stdout, before.1, "{name}: another container reads other bytes");
        assert_eq!(job.inside("find / -xdev -name owned -size +0"), "", "{name} has written");
        assert!(!std::path::Path::new(&format!("{}/owned", job.on_host())).exists(), "{name}");
    }
    assert_eq!(job.inside("touch /read; cat /read"), "", "the device could be read");
    // Whoever takes it away and mounts it again harms himself alone.
    job.world
        .inside(job.ctid, &format!("umount -l {directory}; mount --bind /tmp {directory}; echo owned > {directory}/x"));
    assert_eq!((job.image_sum(), job.world.inside(other, &read).ok().stdout), before);
    assert!(!std::path::Path::new(&format!("{}/x", job.on_host())).exists());
    // Neither side has seen the other's mounts.
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.lines().any(|line| line.contains(&format!(" {directory} "))), "a mount has leaked to the host");
    let inside = job.world.inside(other, "cat /proc/self/mountinfo").ok().stdout;
    assert!(!inside.contains("lib/mounts/"), "{inside}");
    job.run("create").ok();
    job.assert_shared(VERSION);
}

impl Job {
    fn image_sum(&self) -> String {
        let image = self.world.base().join(format!("lib/images/{VERSION}-compute/image"));
        crate::ran::Ran::of("sha256sum", &[image], &[]).ok().stdout
    }

    fn on_host(&self) -> String {
        self.world.base().join(format!("lib/mounts/{VERSION}-compute/driver")).display().to_string()
    }

    /// A second container that sees the same image.
    fn with_neighbour(self) -> (Self, u32) {
        self.run("create").ok();
        let other = self.add(self.entry("neighbour"));
        self.world.run(&["create", &other.to_string()]).ok();
        (self, other)
    }
}

#[test]
fn the_attacks_that_an_image_withstands_succeed_on_a_directory() {
    let job = Job::privileged();
    let directory = job.world.scratch("bound");
    fs_err::create_dir_all(&directory).unwrap();
    let line = format!("lxc.mount.entry = {} srv none bind,ro,nosuid,nodev,create=dir 0 0", directory.display());
    job.world.create_by_hand(job.ctid, Privilege::Privileged, &[&line]);
    job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
    job.give_mount_programs();
    assert_ne!(job.world.inside(job.ctid, "echo owned > /srv/owned").code, 0);
    let (_, attack) = ATTACKS.iter().find(|(name, _)| *name == "remount the bind").unwrap();
    job.inside(&format!("d=/srv; {attack}"));
    assert!(directory.join("owned").exists());
}

#[test]
fn the_root_of_an_unprivileged_container_cannot_change_the_image() {
    let (job, other) = Job::new().shared().with_neighbour();
    attacked(job, other);
}

#[test]
fn the_root_of_a_privileged_container_cannot_change_the_image() {
    let (job, other) = Job::privileged().shared().with_neighbour();
    attacked(job, other);
}

#[test]
fn the_root_of_a_privileged_container_cannot_change_the_image_after_a_restart() {
    let (job, other) = Job::privileged().shared().with_neighbour();
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
    attacked(job, other);
}

#[test]
fn nothing_in_an_image_makes_anybody_root_or_is_a_device() {
    for job in [Job::new(), Job::privileged()] {
        let job = job.shared();
        job.run("create").ok();
        let directory = format!("{OWN}/{VERSION}-compute");
        for _ in 0..2 {
            let options = job.inside(&format!("awk -v d={directory} '$5 == d {{ print $6 }}' /proc/self/mountinfo"));
            for option in ["ro", "nosuid", "nodev"] {
                assert!(options.trim().split(',').any(|it| it == option), "{options}");
            }
            assert_eq!(job.inside(&format!("find {directory} -perm /7000 -o -type b -o -type c")), "");
            // The second time as the configuration mounts it.
            job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
            job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
        }
    }
}

#[test]
fn links_and_devices_in_the_place_of_our_directories_are_refused_and_lead_nowhere() {
    let job = Job::privileged().shared();
    job.set("features", serde_json::json!([]));
    job.run("create").ok();
    job.set("features", serde_json::json!(["nvidia"]));
    let marker = job.world.scratch("marker");
    fs_err::create_dir_all(marker.join(format!("{VERSION}-compute"))).unwrap();
    let before = crate::tree::of(&marker);
    let conf = "/etc/ld.so.conf.d/00-phoenix-nvidia.conf";
    let planted = [
        (format!("ln -s {} {OWN}", marker.display()), format!("rm {OWN}")),
        (format!("ln -s /etc {OWN}"), format!("rm {OWN}")),
        (format!("mkdir -p {OWN}; ln -s /etc {OWN}/{VERSION}-compute"), format!("rm -r {OWN}")),
        (format!("mkfifo {conf}"), format!("rm {conf}")),
        (format!("mkdir {conf}"), format!("rmdir {conf}")),
    ];
    for (plant, weed) in planted {
        job.inside(&plant);
        let ran = job.run("install");
        assert_ne!(ran.code, 0, "{plant}: {}", ran.stderr);
        assert_eq!(crate::tree::differences(&before, &crate::tree::of(&marker)), "", "{plant}");
        assert_eq!(job.inside("ls /etc | grep -c compute || :"), "0\n", "{plant}");
        job.inside(&weed);
    }
    job.run("install").ok();
    job.assert_shared(VERSION);
}
