//! A file system in a loop file, which tells how much is written to it and how much is in use.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::path::Path;

use crate::ran::Ran;

/// Larger than what the most wasteful way needs: cache, store, containers, and the installer's scratch space. The file
/// has holes where nothing was written.
const SIZE: u64 = 16 << 30;
const SECTOR: u64 = 512;

/// Mounted as long as it lives.
pub(crate) struct Disk {
    kind: &'static str,
    directory: tempfile::TempDir,
    device: String,
}

impl Disk {
    /// Makes and mounts one; says why it cannot.
    pub(crate) fn new(kind: &'static str) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("phoenix-nvidia-bench-").tempdir_in("/var/tmp").unwrap();
        let (image, mounted) = (directory.path().join("image"), directory.path().join("mounted"));
        fs_err::File::create(&image).unwrap().set_len(SIZE).unwrap();
        fs_err::create_dir(&mounted).unwrap();
        let image = image.to_str().unwrap();
        said(&format!("mkfs.{kind}"), &[quiet(kind), image])?;
        said("mount", &["-o", "loop", image, mounted.to_str().unwrap()])?;
        let device = said("findmnt", &["-n", "-o", "SOURCE", mounted.to_str().unwrap()])?;
        let device = device.trim().trim_start_matches("/dev/").to_owned();
        Ok(Self { kind, directory, device })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Where it is mounted.
    pub(crate) fn directory(&self) -> std::path::PathBuf {
        self.directory.path().join("mounted")
    }

    /// Waits until everything is on the disk.
    pub(crate) fn sync(&self) {
        Ran::of("sync", &["-f".as_ref(), self.directory().as_os_str()], &[]).ok();
    }

    /// How many bytes were written to it since it is there (the seventh field of the device's `stat`).
    pub(crate) fn written(&self) -> u64 {
        let path = Path::new("/sys/block").join(&self.device).join("stat");
        let text = fs_err::read_to_string(path).unwrap();
        text.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * SECTOR
    }

    /// How many bytes are in use, with those that wait for their place on the disk. btrfs counts what was freed and
    /// taken only when it commits, so its peaks are too low.
    pub(crate) fn used(&self) -> u64 {
        let space = rustix::fs::statvfs(self.directory()).unwrap();
        (space.f_blocks - space.f_bfree) * space.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let directory = self.directory();
        // What is not mounted need not be unmounted; what is busy stays, and its image with it.
        let _ = Ran::of("umount", &[directory.as_os_str()], &[]);
    }
}

fn quiet(kind: &str) -> &'static str {
    if kind == "ext4" { "-qF" } else { "-q" }
}

/// What a program has printed, or why it has failed.
fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = Ran::of(program, arguments, &[]);
    if ran.code == 0 { Ok(ran.stdout) } else { Err(format!("{}: {}", ran.command, ran.stderr.trim())) }
}
