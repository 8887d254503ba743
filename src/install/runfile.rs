//! The way `runfile`: the verified run file goes into the container, NVIDIA's own installer runs there, the file goes.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crate::cache::VerifiedRunFile;
use crate::config::Way;
use crate::driver::backup_log::Entry;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256, installer};
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event};
use crate::hypervisor::Exec;
use crate::sys::atomic;
use crate::sys::command::{Output, last_lines};
use crate::sys::processes;
use crate::sys::rootfs::{Found, Rootfs};

use super::preflight::{self, Needs, Ready};
use super::receipt::{self, InstalledFile, InstalledLink, Receipt};
use super::scratch::{self, Scratch};
use super::{OWN_DIRECTORY, PROGRAM_DIRECTORIES, Site, presence};

// The slowest measured installation took 31 s; slow disks take longer, and one that hangs must end some day.
const DEADLINE: Duration = Duration::from_secs(60 * 60);
const OUTPUT_LIMIT: usize = 4 << 20;
const LOG_LIMIT: u64 = 1 << 20;
const PIECE: usize = 256 << 10;

/// Installs the driver of this run file; a driver of another version is replaced.
///
/// # Errors
/// Something stands against it. The run file and everything temporary is then gone from the container.
pub fn install(site: &Site<'_>, run_file: &VerifiedRunFile) -> Result<Receipt> {
    let init = site.require_running()?;
    let rootfs = site.hypervisor.rootfs(site.id)?;
    scratch::clear_leftovers(site, &rootfs, init)?;
    let installed = install_into(site, &rootfs, init, run_file);
    if installed.is_err() {
        rootfs.remove_if_empty(OWN_DIRECTORY);
    }
    installed
}

fn install_into(site: &Site<'_>, rootfs: &Rootfs, init: u32, run_file: &VerifiedRunFile) -> Result<Receipt> {
    let ready = preflight::check(
        site,
        rootfs,
        Needs::of(run_file.bytes(), run_file.uncompressed_kib().map(|kib| kib.saturating_mul(1024))),
    )?;
    let scratch = Scratch::make(rootfs, ready.workplace)?;
    let path = format!("{}/{}", scratch.path(), file_name(run_file));
    copy_in(site, rootfs, run_file, &path)?;
    put_stand_ins(rootfs, scratch.path(), &ready)?;
    receipt::remove(site, rootfs)?;
    // The log of an earlier installation would speak for this one, should it end before it writes its own.
    rootfs.remove(installer::LOG)?;
    let output = run(site, init, run_file.version(), scratch.path(), &path)?;
    let log = fetch_log(site, rootfs)?;
    scratch.remove()?;
    judge(site, run_file.version(), &output, &log)?;
    let receipt = take_stock(site, rootfs, run_file)?;
    receipt::save(site, rootfs, &receipt)?;
    Ok(receipt)
}

fn file_name(run_file: &VerifiedRunFile) -> String {
    // The stub fails on a path with a blank, so the name is ours and not the cached file's.
    format!("NVIDIA-Linux-{}-{}.run", run_file.architecture(), run_file.version())
}

fn copy_in(site: &Site<'_>, rootfs: &Rootfs, run_file: &VerifiedRunFile, path: &str) -> Result<()> {
    let mut copy = rootfs.create_file(path, 0o500)?;
    let gone = || Error::new(Kind::Verification, format!("container {}: `{path}` is gone again", site.id));
    let there = rootfs.open_file(path)?.ok_or_else(gone)?;
    let arrived = std::thread::scope(|scope| {
        let (written, progress) = std::sync::mpsc::channel();
        // What arrived is read back and summed while the rest is still on its way.
        let sum = scope.spawn(move || sum_of(&there, &progress));
        let copied = write_all(site, run_file, &mut copy, path, &written);
        drop(written);
        let sum = sum.join().map_err(|_| Error::new(Kind::Bug, "the sum of a copy could not be computed"))?;
        copied.and(Ok(sum?))
    })?;
    progress(site, Activity::Copy, path, run_file.bytes(), Some(run_file.bytes()), true);
    if arrived != run_file.sha256() {
        return Err(Error::new(
            Kind::Verification,
            format!("container {}: the run file did not arrive as it was sent: its SHA-256 is {arrived}", site.id),
        )
        .hint("look for a failing disk, or for somebody in the container who changes files"));
    }
    Ok(())
}

/// Copies the run file, shared with the cache's where the file system can, and tells `written` how far it has come.
fn write_all(
    site: &Site<'_>,
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
        site.cancel.check()?;
        let count = source.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        copy.write_all(&piece[..count]).map_err(|error| {
            Error::from(error).within(format!("container {}: the run file could not be copied into it", site.id))
        })?;
        done += count as u64;
        tell(done);
        progress(site, Activity::Copy, path, done, Some(run_file.bytes()), false);
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

fn put_stand_ins(rootfs: &Rootfs, scratch: &str, ready: &Ready) -> Result<()> {
    rootfs.make_fresh_directory(&format!("{scratch}/stand-ins"), 0o755)?;
    for program in &ready.stand_ins {
        let mut file = rootfs.create_file(&format!("{scratch}/stand-ins/{program}"), 0o755)?;
        file.write_all(b"#!/bin/sh\nexit 0\n")?;
    }
    Ok(())
}

fn run(site: &Site<'_>, init: u32, version: &DriverVersion, scratch: &str, path: &str) -> Result<Output> {
    let words = ["sh", path].into_iter().chain(installer::install_options(version));
    let programs = format!("{}:{scratch}/stand-ins", PROGRAM_DIRECTORIES.join(":"));
    let mut exec =
        Exec::new(words).env("TMPDIR", scratch).env("PATH", programs).env("LC_ALL", "C").env("HOME", "/root");
    exec.deadline = DEADLINE;
    exec.output_limit = OUTPUT_LIMIT;
    let mut unpacked = 0;
    // The stub prints one dot for every file that it unpacks.
    let output = site.hypervisor.exec(site.id, &exec, &mut |piece| {
        unpacked += piece.iter().filter(|byte| **byte == b'.').count() as u64;
        progress(site, Activity::Install, path, unpacked, None, false);
    });
    progress(site, Activity::Install, path, unpacked, None, true);
    if output.is_err() {
        // Its process group was killed from outside; a process that left the group is found by its environment. The
        // hypervisor is not asked whether `init` still runs: after an interruption it answers nothing any more.
        if let Err(error) = processes::kill_marked(init, scratch) {
            tracing::warn!("container {}: {error}", site.id);
        }
    }
    output
}

fn fetch_log(site: &Site<'_>, rootfs: &Rootfs) -> Result<String> {
    let log = rootfs.read_end(installer::LOG, LOG_LIMIT)?.unwrap_or_default();
    atomic::write(&site.layout.installer_log(site.id), log.as_bytes(), 0o644)?;
    Ok(log)
}

fn judge(site: &Site<'_>, version: &DriverVersion, output: &Output, log: &str) -> Result<()> {
    if output.success() {
        return Ok(());
    }
    let (meaning, remedy) = installer::exit_meaning(output.code);
    let shown = if log.trim().is_empty() { output.last_lines() } else { last_lines(log) };
    Err(Error::new(
        Kind::Command,
        format!("container {}: installing driver {version} failed with exit code {}: {meaning}", site.id, output.code),
    )
    .output(shown)
    .hint(format!("{remedy}; the whole log is `{}`", site.layout.installer_log(site.id).display())))
}

/// Finds what the installer put there; an exit code of 0 alone proves nothing.
fn take_stock(site: &Site<'_>, rootfs: &Rootfs, run_file: &VerifiedRunFile) -> Result<Receipt> {
    let version = run_file.version();
    let lied = |what: String| {
        Error::new(
            Kind::Verification,
            format!("container {}: the installer reported success for driver {version}, but {what}", site.id),
        )
        .hint(format!("read its log, `{}`", site.layout.installer_log(site.id).display()))
    };
    let found = presence::library_versions(rootfs)?;
    if found.len() != 1 || !found.contains(version) {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let found = if found.is_empty() { "no version".to_owned() } else { found.join(" and ") };
        return Err(lied(format!("the libraries that are there are of {found}")));
    }
    let log = presence::backup_log(rootfs)?.ok_or_else(|| lied(format!("`{}` is not there", installer::BACKUP_LOG)))?;
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for entry in log.entries {
        let found = rootfs.look(&entry.path().to_string_lossy())?;
        match (entry, found) {
            (Entry::File { path, .. }, Some(Found::File { size, .. })) => files.push(InstalledFile { path, size }),
            (Entry::File { path, .. }, _) => return Err(lied(format!("`{}` is not there", path.display()))),
            // `ldconfig` removes links that lead nowhere, such as libGL.so.1 where glvnd was not installed.
            (Entry::Link { path, target }, Some(Found::Link(there))) if there == target => {
                links.push(InstalledLink { path, target })
            }
            (Entry::Link { .. } | Entry::BackedUp { .. }, _) => {}
        }
    }
    Ok(Receipt::new(version.clone(), Way::Runfile, Profile::Full, run_file.sha256(), files, links))
}

fn progress(site: &Site<'_>, activity: Activity, path: &str, done: u64, total: Option<u64>, finished: bool) {
    let subject = path.rsplit('/').next().unwrap_or(path).to_owned();
    site.listener.hear(&Event::Progress { container: Some(site.id), activity, subject, done, total, finished });
}
