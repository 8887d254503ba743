//! The method `runfile`: the verified run file goes into the container, NVIDIA's own installer runs there, the file
//! goes.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender};

use crate::cache::VerifiedRunFile;
use crate::config::Method;
use crate::driver::Sha256;
use crate::driver::manifest::Manifest;
use crate::driver::placement::Profile;
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event};
use crate::sys::rootfs::Rootfs;

use super::installer_run::InstallerRun;
use crate::install::preflight::{self, Needs};
use crate::install::receipt::Receipt;
use crate::install::scratch::{self, Scratch};
use crate::install::{Guest, OWN_DIRECTORY};

const PIECE: usize = 256 << 10;

/// Installs the driver of this run file, whose manifest this is; a driver of another version is replaced.
///
/// # Errors
/// It is not possible. The run file and everything temporary is then gone from the container.
pub fn install(
    guest: &Guest<'_>,
    run_file: &VerifiedRunFile,
    manifest: &Manifest,
    profile: Profile,
) -> Result<Receipt> {
    let init = guest.require_running()?;
    let rootfs = guest.root()?;
    scratch::clear_leftovers(guest, &rootfs, Some(init))?;
    let installed = install_into(guest, &rootfs, init, run_file, manifest, profile);
    if installed.is_err() {
        rootfs.remove_if_empty(OWN_DIRECTORY);
    }
    installed
}

fn install_into(
    guest: &Guest<'_>,
    rootfs: &Rootfs,
    init: u32,
    run_file: &VerifiedRunFile,
    manifest: &Manifest,
    profile: Profile,
) -> Result<Receipt> {
    preflight::require_cuda(guest, manifest)?;
    let unpacked = run_file.uncompressed_kib().map(|kib| kib.saturating_mul(1024));
    let ready = preflight::check(guest, rootfs, Needs::of_run_file(run_file.bytes(), unpacked), profile)?;
    let scratch = Scratch::make(rootfs, init, ready.workplace)?;
    let path = format!("{}/{}", scratch.path(), file_name(run_file));
    copy_in(guest, rootfs, run_file, &path)?;
    let (version, run_file_sha256) = (run_file.version(), run_file.sha256());
    let run =
        InstallerRun { guest, rootfs, init, version, run_file_sha256, manifest, method: Method::Runfile, profile };
    run.install(scratch, &ready, &["sh", &path])
}

fn file_name(run_file: &VerifiedRunFile) -> String {
    // The stub fails on a path with a blank, so the name is ours and not the cached file's.
    format!("NVIDIA-Linux-{}-{}.run", run_file.architecture(), run_file.version())
}

fn copy_in(guest: &Guest<'_>, rootfs: &Rootfs, run_file: &VerifiedRunFile, path: &str) -> Result<()> {
    let mut copy = rootfs.create_file(path, 0o500)?;
    let gone = || Error::new(Kind::Verification, format!("container {}: `{path}` has disappeared", guest.id));
    let there = rootfs.open_file(path)?.ok_or_else(gone)?;
    let arrived = std::thread::scope(|scope| {
        let (written, progress) = std::sync::mpsc::channel();
        // What arrived is read back and summed while the rest is still on its way.
        let sum = scope.spawn(move || sum_of(&there, &progress));
        let copied = write_all(guest, run_file, &mut copy, path, &written);
        drop(written);
        let sum = sum.join().map_err(|_| Error::new(Kind::Bug, "the sum of a copy could not be computed"))?;
        copied.and(Ok(sum?))
    })?;
    progress(guest, path, run_file.bytes(), run_file.bytes(), true);
    if arrived != run_file.sha256() {
        return Err(Error::new(
            Kind::Verification,
            format!(
                "container {}: the run file was changed on its way into the container: its SHA-256 is {arrived}",
                guest.id
            ),
        )
        .hint("check for a failing disk, or a process in the container that changes files"));
    }
    Ok(())
}

/// Copies the run file, shared with the cache's where the file system can, and reports to `written` how far it has come.
fn write_all(
    guest: &Guest<'_>,
    run_file: &VerifiedRunFile,
    copy: &mut std::fs::File,
    path: &str,
    written: &Sender<u64>,
) -> Result<()> {
    let tell = |done| {
        // Nobody hears it when the other side has failed, which then says why.
        let _ = written.send(done);
    };
    if rustix::fs::ioctl_ficlone(&*copy, run_file.file()).is_ok() {
        tell(run_file.bytes());
        return Ok(());
    }
    let mut source = run_file.reader();
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    loop {
        guest.context.cancel.check()?;
        let count = source.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        copy.write_all(&piece[..count]).map_err(|error| {
            Error::from(error).within(format!("container {}: the run file could not be copied into it", guest.id))
        })?;
        done += count as u64;
        tell(done);
        progress(guest, path, done, run_file.bytes(), false);
    }
}

/// The sum of a file that grows: `written` tells how far it may be read, and hangs up at its end.
fn sum_of(file: &std::fs::File, written: &Receiver<u64>) -> Result<Sha256> {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut piece = vec![0; PIECE];
    let mut position = 0;
    for end in written {
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(PIECE).min(PIECE);
            let count = file.read_at(&mut piece[..wanted], position)?;
            if count == 0 {
                break;
            }
            digest.update(&piece[..count]);
            position += count as u64;
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    Ok(Sha256::from_bytes(bytes))
}

fn progress(guest: &Guest<'_>, path: &str, done: u64, total: u64, finished: bool) {
    let subject = path.rsplit('/').next().unwrap_or(path).to_owned();
    let (container, total) = (Some(guest.id), Some(total));
    guest.context.listener.hear(&Event::Progress {
        container,
        activity: Activity::Copy,
        subject,
        done,
        total,
        finished,
    });
}
