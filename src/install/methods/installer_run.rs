//! One run of NVIDIA's own installer in a container, however it got there: its surroundings, its log, its verdict, and
//! what it put there.

use std::io::Write;
use std::time::Duration;

use crate::config::Method;
use crate::driver::backup_log::Entry;
use crate::driver::manifest::Manifest;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256, installer};
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event};
use crate::hypervisor::Exec;
use crate::sys::atomic;
use crate::sys::command::{Output, last_lines};
use crate::sys::processes;
use crate::sys::rootfs::{Found, Rootfs};
use crate::sys::space::says_full;

use crate::install::files::{self, Change, Foreseen};
use crate::install::methods::shared;
use crate::install::preflight::Ready;
use crate::install::receipt::{self, InstalledFile, InstalledLink, Receipt};
use crate::install::scratch::Scratch;
use crate::install::{Guest, PROGRAM_DIRECTORIES, presence};

// The slowest measured installation took 31 s; slow disks take longer, and one that hangs must end some day.
const DEADLINE: Duration = Duration::from_secs(60 * 60);
const OUTPUT_LIMIT: usize = 4 << 20;
const LOG_LIMIT: u64 = 1 << 20;

/// What is to be installed, and how it came into the container.
pub(in crate::install) struct InstallerRun<'a> {
    pub(in crate::install) guest: &'a Guest<'a>,
    pub(in crate::install) rootfs: &'a Rootfs,
    pub(in crate::install) init: u32,
    pub(in crate::install) version: &'a DriverVersion,
    pub(in crate::install) run_file_sha256: Sha256,
    pub(in crate::install) manifest: &'a Manifest,
    pub(in crate::install) method: Method,
    /// Whether with 32-bit libraries or without them.
    pub(in crate::install) profile: Profile,
}

impl InstallerRun<'_> {
    /// Runs `words`, with the installer's options behind them, and takes stock of what is there afterwards.
    ///
    /// `scratch` is the directory that everything temporary goes to; it is gone when this returns.
    ///
    /// # Errors
    /// The installer failed, or did not what it said; its log is then on the host.
    pub(in crate::install) fn install(self, scratch: Scratch<'_>, ready: &Ready, words: &[&str]) -> Result<Receipt> {
        put_stand_ins(self.rootfs, scratch.path(), ready)?;
        self.make_way()?;
        let output = self.run(scratch.path(), words)?;
        let log = self.fetch_log()?;
        scratch.remove()?;
        match self.judge(&output, &log).and_then(|()| self.take_stock()) {
            Ok(receipt) => {
                receipt::save(self.guest, self.rootfs, &receipt)?;
                files::note_done(self.guest)?;
                Ok(receipt)
            }
            Err(error) => {
                // Half a driver is of no use to anybody; what cannot be taken out now is by the next run.
                if let Err(error) = Change::begin(self.guest, self.rootfs).and_then(Change::take_out) {
                    self.guest
                        .context
                        .listener
                        .warn(Some(self.guest.id), format!("what it left is still there: {error}"));
                }
                Err(error)
            }
        }
    }

    /// Takes the driver out that is there, by the host's own hand: what is interrupted in that, the host brings to its
    /// end. Then notes what the installer is about to do.
    fn make_way(&self) -> Result<()> {
        let (version, method, profile) = (self.version, self.method, self.profile);
        let foreseen = Foreseen { version, method, profile, manifest: self.manifest };
        let change = Change::begin(self.guest, self.rootfs)?;
        change.require_room_for(&foreseen)?;
        change.take_out()?;
        // The installer takes every driver below `/usr/lib` out of the way, and could not do that with a mounted one.
        shared::unmount_all(self.rootfs, self.init)?;
        receipt::remove(self.guest, self.rootfs)?;
        // The log of an earlier installation would speak for this one, should it end before it writes its own.
        self.rootfs.remove(installer::LOG)?;
        Change::begin(self.guest, self.rootfs)?.note(&foreseen)
    }

    fn run(&self, scratch: &str, words: &[&str]) -> Result<Output> {
        let options = installer::install_options(self.version, self.profile.has_compat32());
        let programs = format!("{}:{scratch}/stand-ins", PROGRAM_DIRECTORIES.join(":"));
        let mut exec = Exec::new(words.iter().copied().chain(options))
            .env("TMPDIR", scratch)
            .env("PATH", programs)
            .env("LC_ALL", "C")
            .env("HOME", "/root");
        exec.deadline = DEADLINE;
        exec.output_limit = OUTPUT_LIMIT;
        let mut unpacked = 0;
        // The stub of a run file prints one dot for every file that it unpacks.
        let output = self.guest.exec_watched(&exec, &mut |piece| {
            unpacked += piece.iter().filter(|byte| **byte == b'.').count() as u64;
            self.tell(unpacked, false);
        });
        self.tell(unpacked, true);
        if output.is_err() {
            // Its process group was killed from outside; a process that left the group is found by its environment.
            // The hypervisor is not asked whether `init` still runs: after an interruption it answers nothing any more.
            if let Err(error) = processes::kill_marked(self.init, scratch) {
                tracing::warn!("container {}: {error}", self.guest.id);
            }
        }
        output
    }

    fn tell(&self, done: u64, finished: bool) {
        self.guest.context.listener.hear(&Event::Progress {
            container: Some(self.guest.id),
            activity: Activity::Install,
            subject: format!("driver {}", self.version),
            done,
            total: None,
            finished,
        });
    }

    fn fetch_log(&self) -> Result<String> {
        let log = self.rootfs.read_end(installer::LOG, LOG_LIMIT)?.unwrap_or_default();
        atomic::write(&self.guest.context.layout.installer_log(self.guest.id), log.as_bytes(), 0o644)?;
        Ok(log)
    }

    fn judge(&self, output: &Output, log: &str) -> Result<()> {
        if output.success() {
            return Ok(());
        }
        let (id, version, code) = (self.guest.id, self.version, output.code);
        let shown = if log.trim().is_empty() { output.last_lines() } else { last_lines(log) };
        let (meaning, remedy) = installer::exit_meaning(code, &shown);
        let message = format!("container {id}: installing driver {version} failed with exit code {code}: {meaning}");
        if installer::says_damaged(&shown) {
            return Err(Error::new(Kind::Verification, message).output(shown).hint(
                "the contents of the run file are damaged, not the container: download it again from NVIDIA, and run \
                 `phoenix-nvidia cache replace FILE`",
            ));
        }
        let is_full = installer::means_full(code) || says_full(&shown);
        Err(Error::new(if is_full { Kind::Host } else { Kind::Command }, message)
            .output(shown)
            .hint(format!("{remedy}; the whole log is `{}`", self.guest.context.layout.installer_log(id).display())))
    }

    /// Finds what the installer put there; an exit code of 0 alone proves nothing.
    fn take_stock(&self) -> Result<Receipt> {
        let (version, rootfs) = (self.version, self.rootfs);
        let found = presence::library_versions(rootfs)?;
        if found.len() != 1 || !found.contains(version) {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            let found = if found.is_empty() { "no version".to_owned() } else { found.join(" and ") };
            return Err(self.lied(&format!("the installed libraries are of {found}")));
        }
        let log = presence::backup_log(rootfs)?
            .ok_or_else(|| self.lied(&format!("`{}` is missing", installer::BACKUP_LOG)))?;
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for entry in log.entries {
            let found = rootfs.look(&entry.path().to_string_lossy())?;
            match (entry, found) {
                (Entry::File { path, .. }, Some(Found::File { size, .. })) => files.push(InstalledFile { path, size }),
                (Entry::File { path, .. }, _) => {
                    return Err(self.lied(&format!("`{}` is missing", path.display())));
                }
                // `ldconfig` removes links that lead nowhere, such as libGL.so.1 where glvnd was not installed.
                (Entry::Link { path, target }, Some(Found::Link(there))) if there == target => {
                    links.push(InstalledLink { path, target })
                }
                (Entry::Link { .. } | Entry::BackedUp { .. }, _) => {}
            }
        }
        Ok(Receipt::new(version.clone(), self.method, self.profile, self.run_file_sha256, files, links))
    }

    fn lied(&self, what: &str) -> Error {
        let (id, version) = (self.guest.id, self.version);
        let message = format!("container {id}: the installer reported success for driver {version}, but {what}");
        Error::new(Kind::Verification, message)
            .hint(format!("read its log, `{}`", self.guest.context.layout.installer_log(id).display()))
    }
}

fn put_stand_ins(rootfs: &Rootfs, scratch: &str, ready: &Ready) -> Result<()> {
    rootfs.make_fresh_directory(&format!("{scratch}/stand-ins"), 0o755)?;
    for program in &ready.stand_ins {
        let mut file = rootfs.create_file(&format!("{scratch}/stand-ins/{program}"), 0o755)?;
        file.write_all(b"#!/bin/sh\nexit 0\n")?;
    }
    Ok(())
}
