//! The driver that a container has now, and what of the container's files belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::Method;
use crate::driver::backup_log::{BackedUp, Entry, Original, Sum, plain_path};
use crate::driver::{DriverVersion, installer};
use crate::error::Result;
use crate::install::{Guest, presence, receipt};
use crate::store::ImageName;
use crate::sys::rootfs::{Found, Rootfs};

use super::intent::Intent;
use super::paths::Paths;
use super::paths::{INSTALLERS_DIRECTORY, LARGEST, name_of};

const DIRECTORIES_LIMIT: u64 = 1 << 20;

/// The driver that is there now: of a receipt, of NVIDIA's list, and of an intent that was not brought to its end.
#[derive(Debug, Default)]
pub struct Previous {
    /// Its versions: more than one when an installation was interrupted.
    pub versions: BTreeSet<DriverVersion>,
    /// How it came; absent when somebody else ran NVIDIA's installer.
    pub method: Option<Method>,
    pub(super) image: Option<ImageName>,
    pub(super) traces: BTreeMap<String, Trace>,
    pub(super) backed_up: Vec<BackedUp>,
    pub(super) directories: BTreeSet<String>,
    pub(super) intent: Option<Intent>,
    pub(super) is_listed: bool,
}

/// What was put at a path.
#[derive(Debug, Default, Clone)]
pub(super) struct Trace {
    size: Option<u64>,
    crc: Option<u32>,
    target: Option<PathBuf>,
    /// Whatever is there now is ours: it was being changed when that was interrupted.
    anything: bool,
}

impl Previous {
    /// The paths of everything that it put there.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.traces.keys().map(String::as_str)
    }

    pub(super) fn load(guest: &Guest<'_>, rootfs: &Rootfs, paths: &Paths<'_>) -> Result<Self> {
        let mut previous = Self::default();
        if let Some(receipt) = receipt::load(guest, rootfs)? {
            previous.method = Some(receipt.method);
            previous.image = receipt.image();
            previous.versions.insert(receipt.version);
            for file in receipt.files {
                previous.trace(paths, &file.path).size = Some(file.size);
            }
            for link in receipt.links {
                previous.trace(paths, &link.path).target = Some(link.target);
            }
            previous.add_directories(paths, &receipt.directories);
            previous.backed_up = receipt.backed_up;
        }
        previous.add_list(rootfs, paths)?;
        if let Some(intent) = Intent::load(guest)? {
            previous.add_intent(intent);
            previous.find_originals(paths)?;
        }
        previous.forget_what_is_back(paths)?;
        Ok(previous)
    }

    /// Whether nothing is known of any driver.
    pub fn is_nothing(&self) -> bool {
        self.traces.is_empty() && self.intent.is_none() && !self.is_listed
    }

    /// Whether what was found at a path is what this driver put there.
    ///
    /// What has become shorter was damaged, and what has its version in its name is nobody else's; anything else that
    /// has changed was replaced by somebody, and is theirs.
    pub(super) fn owns(&self, paths: &Paths<'_>, path: &str, found: &Found) -> Result<bool> {
        let Some(trace) = self.traces.get(path) else { return Ok(self.is_loaders_link(path, found)) };
        if trace.anything {
            return Ok(matches!(found, Found::File { .. } | Found::Link(_)));
        }
        match found {
            Found::Link(target) => Ok(trace.target.as_ref() == Some(target) || self.names(&target.to_string_lossy())),
            Found::File { size, .. } => match (trace.size, trace.crc) {
                (None, None) => Ok(false),
                _ if self.names(name_of(path)) => Ok(true),
                (Some(expected), _) => Ok(*size <= expected),
                (None, Some(crc)) => Ok(sum_of(paths, path)? == Some(crc)),
            },
            Found::Directory | Found::CharacterDevice { .. } | Found::Other => Ok(false),
        }
    }

    /// Whether it is a link that `ldconfig` has made to a library of this driver; nobody lists those.
    fn is_loaders_link(&self, path: &str, found: &Found) -> bool {
        let (Found::Link(target), Some((directory, name))) = (found, path.rsplit_once('/')) else { return false };
        name.contains(".so") && self.traces.contains_key(&format!("{directory}/{}", target.display()))
    }

    fn names(&self, text: &str) -> bool {
        self.versions.iter().any(|version| text.contains(version.as_str()))
    }

    fn trace(&mut self, paths: &Paths<'_>, path: &Path) -> &mut Trace {
        self.traces.entry(paths.real(&path.to_string_lossy())).or_default()
    }

    fn add_directories(&mut self, paths: &Paths<'_>, directories: &[PathBuf]) {
        self.directories.extend(directories.iter().map(|path| paths.real(&path.to_string_lossy())));
    }

    fn add_list(&mut self, rootfs: &Rootfs, paths: &Paths<'_>) -> Result<()> {
        let Some(list) = presence::backup_log(rootfs)? else { return Ok(()) };
        self.is_listed = true;
        self.versions.extend(list.version.parse::<DriverVersion>().ok());
        for entry in list.entries {
            match entry {
                Entry::File { path, crc } => self.trace(paths, &path).crc = Some(crc),
                Entry::Link { path, target } => self.trace(paths, &path).target = Some(target),
                Entry::BackedUp(original) if self.backed_up.contains(&original) => {}
                Entry::BackedUp(original) => self.backed_up.push(original),
            }
        }
        let directories = rootfs.read(installer::BACKUP_DIRECTORIES, DIRECTORIES_LIMIT).ok().flatten();
        let directories = String::from_utf8_lossy(&directories.unwrap_or_default()).into_owned();
        let directories: Vec<PathBuf> = directories.lines().filter_map(plain_path).collect();
        self.add_directories(paths, &directories);
        Ok(())
    }

    fn add_intent(&mut self, intent: Intent) {
        self.versions.extend(intent.versions.iter().cloned());
        for path in &intent.paths {
            self.traces.entry(path.clone()).or_default().anything = true;
        }
        self.directories.extend(intent.directories.iter().cloned());
        for original in &intent.backed_up {
            if !self.backed_up.contains(original) {
                self.backed_up.push(original.clone());
            }
        }
        self.intent = Some(intent);
    }

    /// An original that is not in its place of safety was not backed up yet, or is back: it is at its path, and not
    /// ours.
    fn forget_what_is_back(&mut self, paths: &Paths<'_>) -> Result<()> {
        let mut kept = Vec::new();
        for original in std::mem::take(&mut self.backed_up) {
            let path = paths.real(&original.path.to_string_lossy());
            let is_back = match &original.original {
                Original::File { number, .. } => {
                    let aside = paths.look(&format!("{INSTALLERS_DIRECTORY}/{number}"))?;
                    !matches!(aside, Some(Found::File { .. }))
                }
                Original::Link { target } => paths.look(&path)? == Some(Found::Link(target.clone())),
            };
            if is_back {
                self.traces.remove(&path);
            } else {
                kept.push(original);
            }
        }
        self.backed_up = kept;
        Ok(())
    }
}

/// The sum of a file in NVIDIA's list; `None` when there is no such file, or none that could be a driver's.
pub(super) fn sum_of(paths: &Paths<'_>, path: &str) -> Result<Option<u32>> {
    let Some((directory, name)) = paths.parent(path)? else { return Ok(None) };
    let Some(mut file) = directory.open_file(name)? else { return Ok(None) };
    let mut sum = Sum::new();
    let mut read = 0;
    let mut piece = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(Some(sum.finish()));
        }
        read += count as u64;
        if read > LARGEST {
            return Ok(None);
        }
        sum.update(&piece[..count]);
    }
}
