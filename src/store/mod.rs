//! Extracted drivers on this host, one tree a version: extracted once, placed into all containers.
//!
//! ```text
//! lib/nvidia/580.76.05/tree/…       the files of the run file
//! lib/nvidia/580.76.05/tree.json    what each of them was: size, mode, time, SHA-256, the installer's CRC
//! ```
//!
//! The directory of a version is renamed to its place when all of it has reached the disk. While a driver is extracted,
//! and while one is removed, it is called `.phoenix-nvidia-VERSION-…`; what a killed process leaves under such a name
//! is removed by the next extraction.
//!
//! From a tree, images are made: file systems in a file, read-only by their nature, that containers can see.
//!
//! ```text
//! lib/images/580.76.05-compute/image         an EROFS (or Squashfs) file system with one directory, `driver`
//! lib/images/580.76.05-compute/image.json    what it is of, its size, time and SHA-256
//! lib/mounts/580.76.05-compute/driver/…      where it is mounted on this host
//! ```

mod digest;
mod extract;
mod extraction;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image;
mod image_build;
mod image_inventory;
mod image_mount;
mod image_staging;
mod inventory;
mod manifest_of;
mod read_ahead;
mod tree;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use image::{Contents, Edition, FileSystem, Image, ImageName, NeededImage};
pub use image_inventory::{ImageEntry, ImageSort};
pub use inventory::{Entry, Sort};
pub use manifest_of::manifest_of;
pub use tree::{FileFacts, Tree};

use crate::config::Context;
use crate::driver::DriverVersion;
use crate::driver::supported_gpus::SupportedGpus;
use crate::error::{Error, Kind, Result};
use crate::event::Listener;
use crate::sys::lock::FileLock;

const PATIENCE: Duration = Duration::from_secs(3600);

/// The extracted drivers of one hypervisor.
pub struct Store<'a> {
    context: Context<'a>,
    patience: Duration,
}

impl<'a> Store<'a> {
    /// The store where the layout says it is; nothing is read or made yet.
    pub fn new(context: Context<'a>) -> Self {
        Self { context, patience: PATIENCE }
    }

    /// Waits this long, instead of an hour, for somebody else who extracts, checks or removes the same driver.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Which GPUs a driver drives; `None` where it is not in the store here, or its package does not say.
    ///
    /// # Errors
    /// As [`Store::open`], or its list cannot be read.
    pub fn supported_gpus(&self, version: &DriverVersion) -> Result<Option<SupportedGpus>> {
        let Some(tree) = self.open(version)? else { return Ok(None) };
        let name = tree.files().map(|(path, _)| path).find(|path| path.ends_with("supported-gpus.json"));
        let Some(name) = name else { return Ok(None) };
        let mut text = Vec::new();
        let file = fs_err::File::open(tree.path().join(name))?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, SupportedGpus::LIMIT), &mut text)?;
        Ok(SupportedGpus::parse(&text))
    }

    /// The tree of a version, if there is a sound one. Looks at every file's size, time and mode and reads none.
    ///
    /// A tree that has changed counts as none, and the listener is warned.
    ///
    /// # Errors
    /// The file system refused.
    pub fn open(&self, version: &DriverVersion) -> Result<Option<Tree>> {
        self.sound_tree(version, self.context.listener)
    }

    /// As [`Store::open`]; `listener` hears of what is wrong.
    fn sound_tree(&self, version: &DriverVersion, listener: &dyn Listener) -> Result<Option<Tree>> {
        let directory = self.context.layout.stored_driver(version);
        if !is_there(&directory)? {
            return Ok(None);
        }
        match Tree::open(&directory, version)? {
            Ok(tree) => Ok(Some(tree)),
            Err(fault) => {
                let path = directory.display();
                listener.warn(None, format!("the extracted driver in `{path}` is not used: {fault}"));
                Ok(None)
            }
        }
    }

    fn lock(&self, version: &DriverVersion, patience: Duration) -> Result<FileLock> {
        let subject = format!("the extracted driver {version}");
        FileLock::acquire(
            &self.context.layout.store_lock(version),
            &subject,
            patience,
            self.context.listener,
            self.context.cancel,
        )
    }

    /// Takes a version's directory out of its place and removes it; the caller holds the lock.
    fn remove(&self, version: &DriverVersion) -> Result<()> {
        rename_and_remove(&self.context.layout.stored_driver(version), version)
    }

    /// Removes what killed processes have left in a directory; the lock of `version` is held.
    fn sweep(&self, directory: &Path, version: &DriverVersion) -> Result<()> {
        for (name, path) in names_in(directory)? {
            let Some(others) = version_of_temporary(&name) else { continue };
            let lock = match others == *version {
                true => None,
                false => Some(self.lock(&others, Duration::ZERO)),
            };
            match lock.transpose() {
                Ok(_alone) => fs_err::remove_dir_all(&path)?,
                // Somebody is just making it.
                Err(error) if error.kind() == Kind::Busy => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// That a directory's file system has room for what is to be made there.
    fn require_space(&self, version: &DriverVersion, directory: &Path, needed: u64) -> Result<()> {
        let found = rustix::fs::statvfs(directory).map_err(std::io::Error::from)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free >= needed {
            return Ok(());
        }
        let place = directory.parent().unwrap_or(directory);
        let message = format!(
            "driver {version} needs {} MB in `{}`, where {} MB are free",
            needed.div_ceil(1_000_000),
            place.display(),
            free / 1_000_000
        );
        Err(Error::new(Kind::Host, message).hint("`phoenix-nvidia store prune` removes unused drivers"))
    }
}

/// A new directory in `parent`, for something of a version that is coming or going. Removed when it is dropped.
fn temporary(parent: &Path, version: &DriverVersion) -> Result<tempfile::TempDir> {
    fs_err::create_dir_all(parent)?;
    Ok(tempfile::Builder::new().prefix(&format!("{TEMPORARY}{version}-")).tempdir_in(parent)?)
}

/// Takes a directory out of its place and removes it; the caller holds the version's lock.
fn rename_and_remove(place: &Path, version: &DriverVersion) -> Result<()> {
    let (true, Some(parent)) = (is_there(place)?, place.parent()) else { return Ok(()) };
    let aside = temporary(parent, version)?;
    crate::sys::atomic::rename_synced(place, &aside.path().join("removed"))?;
    Ok(aside.close()?)
}

/// Whether something has this name; an error names the path, which `Path::try_exists` does not.
fn is_there(path: &Path) -> Result<bool> {
    match fs_err::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How the names of directories begin that are coming or going.
const TEMPORARY: &str = ".phoenix-nvidia-";

/// The version whose coming or going directory this is.
fn version_of_temporary(name: &str) -> Option<DriverVersion> {
    name.strip_prefix(TEMPORARY)?.rsplit_once('-')?.0.parse().ok()
}

/// The names and paths in a directory of the store's; none when there is none yet.
fn names_in(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let directory = match fs_err::read_dir(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let named = |entry: std::io::Result<fs_err::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let mut names = directory.map(named).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
