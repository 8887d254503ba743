//! Plays `pct` of Proxmox VE for tests: a directory for `/etc/pve` with real sections and pending changes, real liblxc
//! containers underneath; the options' real syntax, and the words and exit codes of pve-container 6.1.10 where it was
//! recorded. None of its code.
//!
//! The directory in `STAND_IN_NODE` holds `pve/` (what is `/etc/pve`), `volumes/` (a directory a pool), `lxc/` (what is
//! `/var/lib/lxc`), `locks/` (what is `/run/lock/lxc`) and `calls` (a line for each call).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program whose output is part of what it plays")]

mod container;
mod file;
mod hookscript;
mod making;
mod node;
mod options;
mod snapshot;
mod storage;
mod worker;

use std::process::ExitCode;

use node::Node;
use options::Arguments;

/// What ends the program: its exit code, and what it says on standard error.
pub(crate) struct Failure {
    code: u8,
    said: String,
}

impl Failure {
    /// A worker's failure: exit code 255.
    pub(crate) fn new(said: impl Into<String>) -> Self {
        Self { code: 255, said: said.into() }
    }

    /// A failure with another exit code, which is whatever `errno` held.
    pub(crate) fn with_code(code: u8, said: impl Into<String>) -> Self {
        Self { code, said: said.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(format!("stand-in: {error}"))
    }
}

fn main() -> ExitCode {
    match play() {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, said }) => {
            eprintln!("{said}");
            ExitCode::from(code)
        }
    }
}

fn play() -> Result<u8, Failure> {
    let words: Vec<String> = std::env::args().collect();
    let node = Node::of_environment()?;
    let is_worker = worker::is_one(&words);
    if !is_worker {
        node.log_call(&words[1..])?;
    }
    if std::env::var("LC_ALL").as_deref() != Ok("C.UTF-8") {
        return Err(Failure::new("stand-in: its arguments are decoded by the locale, and this one loses some"));
    }
    let arguments = Arguments::parse(&words[1..])?;
    if is_worker {
        worker::begin()?;
    } else if let Some(kind) = task(&arguments.verb) {
        return worker::run(&node.own_name()?, kind, arguments.id(), &words[1..]);
    }
    // Held to the end of the call, and so while hookscripts run.
    let _lock = match arguments.verb.as_str() {
        "create" | "clone" => None,
        verb => Some(node.lock(arguments.id(), verb)?),
    };
    match arguments.verb.as_str() {
        "create" => making::create(&node, &arguments),
        "clone" => making::clone(&node, &arguments),
        "destroy" => making::destroy(&node, &arguments),
        "set" => container::set(&node, &arguments),
        "start" => container::start(&node, &arguments),
        "shutdown" => container::shutdown(&node, &arguments),
        "mount" => container::mount(&node, &arguments),
        "unmount" => container::unmount(&node, &arguments),
        "unlock" => container::unlock(&node, &arguments),
        "resize" => storage::resize(&node, &arguments),
        "snapshot" => snapshot::take(&node, &arguments),
        "rollback" => snapshot::go_back(&node, &arguments),
        "delsnapshot" => snapshot::remove(&node, &arguments),
        other => Err(Failure::new(format!("ERROR: unknown command 'pct {other}'"))),
    }
    .map(|()| 0)
}

/// The kind of the task that makes a container, which a killed caller leaves at work.
fn task(verb: &str) -> Option<&'static str> {
    match verb {
        "create" => Some("vzcreate"),
        "clone" => Some("vzclone"),
        _ => None,
    }
}
