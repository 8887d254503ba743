//! The store against archives, processes and disks that misbehave.

mod contents;
mod damage;
mod hostile;
mod image_processes;
mod images;
mod inventory;
mod printed;
mod processes;

use std::path::PathBuf;
use std::sync::Mutex;

use phoenix_nvidia::cache::{Cache, Settings, VerifiedRunFile};
use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::Error;
use phoenix_nvidia::event::{Activity, Event, Listener, NoListener};
use phoenix_nvidia::store::{Store, Tree};
use phoenix_nvidia::sys::cancel::Cancel;

use crate::run_file::{Compression, RunFile};

const VERSION: &str = "580.76.05";

/// A hypervisor's base directory with nothing in it.
struct World {
    _directory: tempfile::TempDir,
    layout: Layout,
    cancel: Cancel,
    heard: Heard,
}

/// Remembers what it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Listener for Heard {
    fn hear(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    /// The warnings, one a line.
    fn warnings(&self) -> String {
        let text = |event: &Event| match event {
            Event::Warning { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(text).collect::<Vec<_>>().join("\n")
    }

    /// How often an extraction came to its end.
    fn extractions(&self) -> usize {
        let is_end = |event: &&Event| matches!(event, Event::Progress { finished: true, .. } if is_extraction(event));
        self.0.lock().unwrap().iter().filter(is_end).count()
    }
}

fn is_extraction(event: &Event) -> bool {
    matches!(event, Event::Progress { activity: Activity::Extract, .. })
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("base"));
        fs_err::create_dir_all(layout.cache()).unwrap();
        Self { _directory: directory, layout, cancel: Cancel::new().unwrap(), heard: Heard::default() }
    }

    fn store(&self) -> Store<'_> {
        Store::new(Context::new(&self.layout, &self.heard, &self.cancel))
    }

    /// Takes a run file into the cache, which checks it.
    fn verified(&self, run_file: &RunFile) -> VerifiedRunFile {
        self.imported(run_file).unwrap()
    }

    fn imported(&self, run_file: &RunFile) -> Result<VerifiedRunFile, Error> {
        let source = self.layout.base().join(run_file.file_name());
        run_file.write_to(&source).unwrap();
        let settings = Settings { offline: true, ..Settings::default() };
        Cache::new(Context::new(&self.layout, &NoListener, &self.cancel), settings).import(&source, None)
    }

    fn extract(&self, run_file: &RunFile) -> Result<Tree, Error> {
        self.store().extract(&self.imported(run_file)?)
    }

    fn place(&self) -> PathBuf {
        self.layout.stored_driver(&version())
    }

    /// The names in the store's directory, in order.
    fn names(&self) -> Vec<String> {
        let Ok(directory) = fs_err::read_dir(self.layout.store()) else { return Vec::new() };
        let mut names: Vec<_> = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn version() -> DriverVersion {
    VERSION.parse().unwrap()
}

fn manifest(version: &str) -> String {
    format!(
        "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n{version}\n \nnvidia nvidia-uvm \n \n \n./kernel/\n\
         ./kernel/precompiled/\n\
         nvidia-smi 0755 UTILITY_BINARY MODULE:gpgpu\n\
         libcuda.so.{version} 0755 CUDA_LIB NATIVE / MODULE:gpgpu\n\
         libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.{version} MODULE:gpgpu\n\
         ./32/libcuda.so.{version} 0755 CUDA_LIB COMPAT32 / MODULE:gpgpu\n\
         nvidia.icd 0644 CUDA_ICD MODULE:opencl\n\
         kernel/common/nv.h 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n"
    )
}

fn noise(length: usize) -> Vec<u8> {
    let mut generator = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| generator.u8(..)).take(length).collect()
}

/// A small driver: every sort of member, more than one piece long, the manifest somewhere in the middle.
fn driver(version: &str) -> RunFile {
    RunFile::new(version)
        .member("nvidia-smi", 0o755, "#! /bin/sh\n")
        .member("kernel/common/nv.h", 0o640, "int nv;\n")
        .member(&format!("libcuda.so.{version}"), 0o755, noise(1_300_000))
        .member(".manifest", 0o600, manifest(version))
        .member(&format!("32/libcuda.so.{version}"), 0o755, noise(70_000))
        .member("nvidia.icd", 0o644, "")
        .link("libcuda.so", &format!("libcuda.so.{version}"))
}

const ALL_COMPRESSIONS: [Compression; 5] =
    [Compression::Zstd, Compression::Xz, Compression::Gzip, Compression::Bzip2, Compression::None];
