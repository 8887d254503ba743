//! The cache against servers, files and other processes that misbehave.

mod downloads;
mod errors;
mod files;
mod inventory;
mod processes;
mod replace;
mod trust;
mod unwanted;
mod variants;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use phoenix_nvidia::cache::{Cache, Request, Settings};
use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::driver::{Sha256, Variant};
use phoenix_nvidia::event::{Event, Listener};
use phoenix_nvidia::sys::cancel::Cancel;

use crate::http_server::{Answer, Asked};
use crate::run_file::RunFile;

pub(crate) const VERSION: &str = "580.76.05";
pub(crate) const PATH: &str = "/NVIDIA-Linux-x86_64-580.76.05.run";
const ETAG: &str = "\"one\"";

/// Remembers what it hears.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Event>>);

impl Listener for Heard {
    fn hear(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// How often somebody has begun to wait.
    fn waits(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, Event::Waiting { .. })).count()
    }

    /// Notes and warnings, one per line.
    fn sayings(&self) -> String {
        let text = |event: Event| match event {
            Event::Note { text, .. } | Event::Warning { text, .. } => Some(text),
            _ => None,
        };
        self.events().into_iter().filter_map(text).collect::<Vec<_>>().join("\n")
    }
}

/// A hypervisor's base directory with nothing in it.
pub(crate) struct World {
    _directory: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) cancel: Cancel,
    pub(crate) heard: Heard,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        Self { _directory: directory, layout, cancel: Cancel::new().unwrap(), heard: Heard::default() }
    }

    pub(crate) fn cache(&self) -> Cache<'_> {
        self.cache_with(settings())
    }

    fn cache_with(&self, settings: Settings) -> Cache<'_> {
        Cache::new(Context::new(&self.layout, &self.heard, &self.cancel), settings)
    }

    fn offline(&self) -> Cache<'_> {
        self.cache_with(Settings { offline: true, ..settings() })
    }

    /// Where the run file lies, or is to lie.
    fn path(&self) -> PathBuf {
        self.layout.cache().join(&PATH[1..])
    }

    /// What the cache makes of the run file, beside it.
    fn beside(&self, ending: &str) -> PathBuf {
        self.layout.cache().join(format!("{}{ending}", &PATH[1..]))
    }

    /// Puts a file into the cache as an operator would.
    fn put(&self, bytes: &[u8]) {
        fs_err::create_dir_all(self.layout.cache()).unwrap();
        fs_err::write(self.path(), bytes).unwrap();
    }

    /// The names in the cache's directory, in order.
    fn names(&self) -> Vec<String> {
        let Ok(directory) = fs_err::read_dir(self.layout.cache()) else { return Vec::new() };
        let mut names: Vec<_> = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Settings that fail fast.
pub(crate) fn settings() -> Settings {
    Settings {
        allow_http: vec!["127.0.0.1".to_owned()],
        pause: Duration::from_millis(1),
        attempts: 3,
        ..Settings::default()
    }
}

pub(crate) fn request(urls: &[&str]) -> Request {
    Request {
        version: VERSION.parse().unwrap(),
        architecture: "x86_64".to_owned(),
        variant: Variant::Full,
        compat32: false,
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        sha256: None,
    }
}

/// A run file to be, of some 300 KB that cannot be compressed.
pub(crate) fn driver(version: &str) -> RunFile {
    let mut generator = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = std::iter::repeat_with(|| generator.u8(..)).take(300_000).collect();
    RunFile::new(version).member("nvidia-installer", 0o755, noise).member("32/libcuda.so", 0o755, "")
}

fn sha256(bytes: &[u8]) -> Sha256 {
    let mut sum = [0; 32];
    sum.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    Sha256::from_bytes(sum)
}

/// A good server that publishes no sums.
fn well(asked: &Asked, bytes: &[u8]) -> Answer {
    if asked.path.ends_with(".sha256sum") { Answer::new(404, "") } else { Answer::file(asked, bytes, ETAG) }
}
