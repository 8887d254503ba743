//! Observing the host for the doctor: everything that its rules need, read and nothing changed.

use std::path::{Path, PathBuf};

use super::files::FilesState;
use super::kernel::{Dropped, KernelState};
use super::units::UnitsState;
use crate::cache::{Cache, Entry, Sort};
use crate::config::Layout;
use crate::container_id::ContainerId;
use crate::driver::supported_gpus::Support;
use crate::driver::{DriverVersion, Variant};
use crate::error::{Error, Result};
use crate::host::{Boot, Node, NvidiaHost, PciGpu, modules_to_load};
use crate::install::receipt::Receipt;
use crate::store::Store;
use crate::sys::cancel::Cancel;
use crate::sys::held_locks;

// NVIDIA's run files of the releases 470 to 590 have 270 to 400 MB; a part is written beside nothing.
const RUN_FILE: u64 = 450_000_000;
// How the names begin of files that are written beside the one that they replace.
const UNFINISHED: &str = ".phoenix-nvidia-";

/// What the configuration wants of a host.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The versions of drivers that containers ask for, each once.
    pub versions: Vec<DriverVersion>,
    /// The containers to which GPUs are assigned.
    pub with_gpus: Vec<ContainerId>,
}

/// What was observed of a host.
#[derive(Debug, Clone, Default)]
pub struct HostState {
    pub(super) kernel: KernelState,
    pub(super) nodes: Vec<Node>,
    pub(super) files: FilesState,
    pub(super) units: UnitsState,
}

impl HostState {
    /// Observes this host.
    ///
    /// # Errors
    /// The operator interrupted, or `/proc` or `/dev` cannot be read.
    pub fn observe(
        host: &NvidiaHost,
        layout: &Layout,
        cache: &Cache<'_>,
        store: &Store<'_>,
        wishes: &Wishes,
        cancel: &Cancel,
    ) -> Result<Self> {
        let kernel = KernelState {
            loaded: host.loaded.clone(),
            on_disk: host.on_disk(cancel),
            to_load: modules_to_load(host),
            node_mode: host.given_node_mode()?,
            dropped: Vec::new(),
            with_gpus: wishes.with_gpus.clone(),
            boot: Boot::read(cancel)?,
        };
        let kernel = KernelState { dropped: dropped(&kernel.boot.pci_gpus, store, &wishes.versions)?, ..kernel };
        Ok(Self {
            kernel,
            nodes: host.nodes()?,
            files: files(layout, cache, store, &wishes.versions),
            units: UnitsState::observe(Path::new("/"), host.loaded.is_some()),
        })
    }
}

/// The GPUs of this host that a wanted driver drops, as far as it is extracted and so can be asked.
fn dropped(pci_gpus: &[PciGpu], store: &Store<'_>, wanted: &[DriverVersion]) -> Result<Vec<Dropped>> {
    let mut dropped = Vec::new();
    for version in wanted {
        let Some(list) = store.supported_gpus(version)? else { continue };
        for pci_gpu in pci_gpus {
            if let Support::Dropped { name, last_branch } = list.of(&pci_gpu.device) {
                let (version, pci_address) = (version.clone(), pci_gpu.pci_address.clone());
                dropped.push(Dropped { version, pci_address, name, last_branch });
            }
        }
    }
    Ok(dropped)
}

fn files(layout: &Layout, cache: &Cache<'_>, store: &Store<'_>, wanted: &[DriverVersion]) -> FilesState {
    let mut state = FilesState::default();
    state.cache = noted(cache.list(), &mut state.unreadable);
    state.store = noted(store.list(), &mut state.unreadable);
    state.locks = noted(held_locks::held_in(&layout.locks()), &mut state.unreadable);
    state.unwritable = unwritable(&layout.cache());
    let is_there = |version: &DriverVersion| {
        let is_it = |sort: &Sort| matches!(sort, Sort::Trusted { .. } | Sort::Unchecked);
        let is_driver = |entry: &Entry| entry.variant != Some(Variant::VgpuKvm);
        let of_version = |entry: &&Entry| entry.version.as_ref() == Some(version);
        state.cache.iter().filter(of_version).any(|entry| is_driver(entry) && is_it(&entry.sort))
    };
    let to_come = wanted.iter().filter(|version| !is_there(version)).count() as u64;
    state.room = free(&layout.cache()).map(|(path, free)| (path, free, to_come * RUN_FILE));
    receipts(layout, &mut state);
    state
}

/// What could be read; what could not is noted.
fn noted<T: Default>(read: Result<T>, unreadable: &mut Vec<String>) -> T {
    read.unwrap_or_else(|error| {
        unreadable.push(sentence(&error));
        T::default()
    })
}

fn sentence(error: &Error) -> String {
    std::iter::once(error.message().to_owned()).chain(error.causes()).collect::<Vec<_>>().join(": ")
}

/// Why the cache, or the directory that it will be made in, cannot be written.
fn unwritable(cache: &Path) -> Option<String> {
    let place = cache.ancestors().find(|path| path.exists())?;
    let refused = rustix::fs::access(place, rustix::fs::Access::WRITE_OK).err()?;
    Some(format!("`{}` cannot be written: {}", place.display(), std::io::Error::from(refused)))
}

/// The bytes that are free where a directory lies, or will be made.
fn free(directory: &Path) -> Option<(PathBuf, u64)> {
    let place = directory.ancestors().find(|path| path.exists())?;
    let room = rustix::fs::statvfs(place).ok()?;
    Some((place.to_owned(), room.f_bavail.saturating_mul(room.f_frsize)))
}

fn receipts(layout: &Layout, state: &mut FilesState) {
    let directory = match fs_err::read_dir(layout.receipts()) {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return state.unreadable.push(error.to_string()),
    };
    let mut paths: Vec<PathBuf> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(UNFINISHED) {
            state.unfinished.push(path);
        } else if name.contains(".json.unreadable-") {
            state.renamed_receipts.push(path);
        } else if let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse().ok()) {
            match fs_err::read(&path) {
                Ok(bytes) if Receipt::parse(&bytes).is_some() => {}
                Ok(_) => state.receipts.push((id, path)),
                Err(error) => state.unreadable.push(error.to_string()),
            }
        }
    }
}
