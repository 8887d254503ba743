//! Run files on this host: got once, verified always.
//!
//! A run file lies in the cache under NVIDIA's name for what is inside, so that the variants of a version lie side by side;
//! beside them `SHA256SUMS` and `stamps.json`. While one comes it is called `….run.partial`; one that turned out wrong is
//! renamed to `….run.wrong`.

pub(crate) mod archive;
mod check;
mod choice;
mod contents;
mod download;
mod ensure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod import;
mod inventory;
pub(crate) mod member;
mod origin;
mod partial;
mod payload;
mod record;
mod replace;
mod sum_list;
mod sums;
mod verified;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use inventory::{Entry, Sort};
pub use origin::{ExpectedSum, Origin};
pub use replace::Replacement;
pub use verified::{Section, VerifiedRunFile};

use crate::config::Context;
use crate::driver::{DriverVersion, Sha256, Variant};
use crate::sys::http::{Http, Limits};

/// A run file that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The driver's version.
    pub version: DriverVersion,
    /// The machine it is for, as `uname -m` names it.
    pub architecture: String,
    /// For whom NVIDIA has packed it.
    pub variant: Variant,
    /// Whether its 32-bit libraries are needed.
    pub compat32: bool,
    /// Where it may be downloaded, best first.
    pub urls: Vec<String>,
    /// The sum that it has to have, where the operator says so.
    pub sha256: Option<ExpectedSum>,
}

impl Request {
    /// The variants that do, the wanted one first.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        let stand_ins = self.variant.stand_ins(self.compat32).iter().copied();
        std::iter::once(self.variant).chain(stand_ins)
    }

    /// Whether a file of this variant does.
    pub fn takes(&self, variant: Variant) -> bool {
        self.variants().any(|it| it == variant)
    }
}

/// How the cache behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Hosts, or hosts with ports, that may be asked without TLS.
    pub allow_http: Vec<String>,
    /// Nothing is downloaded, nobody is asked.
    pub offline: bool,
    /// How long connecting to a server may take.
    pub connect_timeout: Duration,
    /// How long nothing may come before a download counts as stalled.
    pub stall_timeout: Duration,
    /// How often one URL is tried without getting any further.
    pub attempts: u32,
    /// How long to pause before the second attempt; it doubles from attempt to attempt, up to 30 seconds.
    pub pause: Duration,
    /// How long to wait for somebody else who is getting the same file.
    pub lock_patience: Duration,
    /// The operator's own list of sums, in the format of `sha256sum`.
    pub checksums: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_http: Vec::new(),
            offline: false,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            attempts: 5,
            pause: Duration::from_millis(500),
            lock_patience: Duration::from_secs(3600),
            checksums: None,
        }
    }
}

/// What is there of a run file, seen without reading it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "presence", rename_all = "snake_case")]
pub enum Presence {
    /// Nothing.
    Absent,
    /// It is there and looks as it did when all of it was checked.
    Trusted {
        /// Where it lies.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Its sum.
        sha256: Sha256,
    },
    /// It is there, and will be checked before it is used.
    Unchecked {
        /// Where it lies.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The beginning of it is there, from a download that was broken off.
    Partial {
        /// How much of it.
        bytes: u64,
    },
}

/// The run files of one hypervisor.
pub struct Cache<'a> {
    context: Context<'a>,
    settings: Settings,
    http: Http,
}

impl<'a> Cache<'a> {
    /// The cache where the layout says it is; nothing is read or made yet.
    pub fn new(context: Context<'a>, settings: Settings) -> Self {
        let http = Http::new(Limits {
            allow_http: settings.allow_http.clone(),
            connect_timeout: settings.connect_timeout,
            stall_timeout: settings.stall_timeout,
        });
        Self { context, settings, http }
    }
}

/// The path with more at its end: what is made of a file lies beside it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
