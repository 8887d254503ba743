//! Asking CUDA's driver in a running container whether it can start, as root and as an ordinary user, by a small program
//! that is put there for the question and removed.

use std::io::Write;
use std::time::Duration;

use crate::driver::cuda::{self, Answer, Asked, LIBRARY, PROBE};
use crate::driver::nvidia_smi::GIVEN_UP;
use crate::error::{Error, Kind, Result};
use crate::sys::rootfs::{Found, Rootfs};

use super::scratch::Scratch;
use super::{Guest, OWN_DIRECTORY};

// Starting CUDA takes a second a GPU where no process keeps the GPUs awake; a host has up to 16.
const DEADLINE: Duration = Duration::from_secs(120);
/// Whom an ordinary user may be, in the order in which they are tried: one that owns nothing, then any that the idmap has.
const ORDINARY_USERS: [u32; 3] = [65534, 1000, 1];
/// Room for the probe's copy.
const NEEDED: u64 = 1 << 20;
/// What a shell and `lxc-attach` say of a program that cannot be started.
const NOT_STARTED: [i32; 2] = [126, 127];

/// What CUDA's driver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It starts, for every user who was asked about.
    Starts,
    /// It was not asked.
    NotAsked {
        /// Why not, in one phrase.
        reason: String,
    },
    /// The driver is not whole: it, or what it needs, is not found.
    NoLibrary(Fault),
    /// It does not start.
    Fails(Fault),
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// One phrase.
    pub(super) reason: String,
    /// What to do.
    pub(super) hint: String,
}

/// Asks, in a running container to which so many GPUs are assigned.
///
/// # Errors
/// The probe cannot be put there, run or removed.
pub(super) fn ask(guest: &Guest<'_>, rootfs: &Rootfs, gpus: usize) -> Result<Outcome> {
    let init = guest.require_running()?;
    let Some(place) = place(rootfs)? else {
        return Ok(not_asked("no directory of the container can hold the program that checks CUDA"));
    };
    let users = users(rootfs);
    let scratch = Scratch::make(rootfs, init, place)?;
    let output = run(guest, rootfs, scratch.path(), &users);
    scratch.remove()?;
    let output = output?;
    if output.code == GIVEN_UP {
        let reason = format!("CUDA does not finish initializing within {} s", DEADLINE.as_secs());
        return Ok(Outcome::Fails(Fault { reason, hint: cuda::remedy(999).to_owned() }));
    }
    if NOT_STARTED.contains(&output.code) && output.stdout.is_empty() {
        return Ok(not_asked("no glibc program starts in the container"));
    }
    Ok(judge(guest, &cuda::read(&output.stdout_text()), users.len(), gpus))
}

fn run(guest: &Guest<'_>, rootfs: &Rootfs, directory: &str, users: &[u32]) -> Result<crate::sys::command::Output> {
    let path = format!("{directory}/cuda-probe");
    let mut file = rootfs.create_file(&path, 0o700)?;
    let written = file.write_all(PROBE);
    // A file that is open for writing is not executed.
    drop(file);
    written.map_err(|error| {
        Error::new(Kind::Host, format!("container {}: `{path}` could not be written", guest.id)).caused_by(error)
    })?;
    let words = std::iter::once(path).chain(users.iter().map(u32::to_string));
    let words: Vec<String> = words.collect();
    guest.ask(&words.iter().map(String::as_str).collect::<Vec<_>>(), DEADLINE)
}

/// A directory in which a program can be put and run.
fn place(rootfs: &Rootfs) -> Result<Option<&'static str>> {
    for directory in [OWN_DIRECTORY, "/var/tmp", "/tmp", "/root"] {
        if rootfs.look(directory)? != Some(Found::Directory) {
            continue;
        }
        let space = rootfs.space(directory)?;
        if !space.read_only && !space.noexec && space.available > NEEDED {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// Root, and an ordinary user where the idmap has one.
fn users(rootfs: &Rootfs) -> Vec<u32> {
    let idmap = rootfs.idmap();
    let is_mapped = |user: &&u32| idmap.user(**user).is_some() && idmap.group(**user).is_some();
    std::iter::once(0).chain(ORDINARY_USERS.iter().find(is_mapped).copied()).collect()
}

fn not_asked(reason: impl Into<String>) -> Outcome {
    Outcome::NotAsked { reason: reason.into() }
}

/// What follows from the answers; of several faults the first is reported, which is root's.
fn judge(guest: &Guest<'_>, asked: &[Asked], users: usize, gpus: usize) -> Outcome {
    if asked.len() != users {
        return not_asked("the program that checks CUDA printed nothing");
    }
    asked.iter().map(|asked| judge_one(guest, asked, gpus)).find(|it| *it != Outcome::Starts).unwrap_or(Outcome::Starts)
}

fn judge_one(guest: &Guest<'_>, asked: &Asked, gpus: usize) -> Outcome {
    let (whose, though) = match asked.user {
        0 => ("as root".to_owned(), ""),
        user => (format!("as the user {user}"), ", though it does as root"),
    };
    let library = asked.library.as_deref().unwrap_or(LIBRARY);
    let fails = format!("CUDA does not start {whose}{though}");
    let fault = |reason: String, hint: &str| Fault { reason, hint: hint.to_owned() };
    match &asked.answer {
        Answer::Starts { gpus: seen } if *seen < gpus => {
            let reason = format!("{gpus} GPUs are assigned and CUDA sees {seen} {whose}");
            Outcome::Fails(fault(reason, cuda::remedy(100)))
        }
        Answer::Starts { .. } | Answer::NoSuchUser => Outcome::Starts,
        Answer::Fails(result) => {
            let reason = format!("{fails}: `cuInit` of `{library}` returns {result}: {}", cuda::meaning(*result));
            let closed = format!("see with `phoenix-nvidia doctor {}` which device node is closed to it", guest.id);
            Outcome::Fails(fault(reason, if asked.user == 0 { cuda::remedy(*result) } else { &closed }))
        }
        Answer::NoLibrary(said) => {
            let install = format!("install the driver again with `phoenix-nvidia install {}`", guest.id);
            Outcome::NoLibrary(fault(format!("{fails}: the loader says `{said}`"), &install))
        }
        Answer::Killed(signal) => {
            let reason = format!("{fails}: `{library}` ends its program by signal {signal}");
            Outcome::Fails(fault(reason, cuda::remedy(999)))
        }
        Answer::Unfinished => not_asked("the program that asks CUDA did not finish"),
    }
}
