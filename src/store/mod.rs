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

mod archive;
mod digest;
mod extract;
mod extraction;
mod inventory;
mod member;
mod read_ahead;
mod tree;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use inventory::{Entry, Sort};
pub use tree::{FileFacts, Tree};

use crate::config::Layout;
use crate::driver::DriverVersion;
use crate::error::Result;
use crate::event::Listener;
use crate::sys::cancel::Cancel;
use crate::sys::lock::FileLock;

const PATIENCE: Duration = Duration::from_secs(3600);

/// The extracted drivers of one hypervisor.
pub struct Store<'a> {
    layout: &'a Layout,
    listener: &'a dyn Listener,
    cancel: &'a Cancel,
    patience: Duration,
}

impl<'a> Store<'a> {
    /// The store where `layout` says it is; nothing is read or made yet.
    pub fn new(layout: &'a Layout, listener: &'a dyn Listener, cancel: &'a Cancel) -> Self {
        Self { layout, listener, cancel, patience: PATIENCE }
    }

    /// Waits this long, instead of an hour, for somebody else who extracts, checks or removes the same driver.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The tree of a version, if there is a sound one. Looks at every file's size, time and mode and reads none.
    ///
    /// A tree that has changed counts as none, and the listener is told.
    ///
    /// # Errors
    /// The file system refused.
    pub fn open(&self, version: &DriverVersion) -> Result<Option<Tree>> {
        self.sound_tree(version, self.listener)
    }

    /// As [`Store::open`]; `told` hears of what is wrong.
    fn sound_tree(&self, version: &DriverVersion, told: &dyn Listener) -> Result<Option<Tree>> {
        let directory = self.layout.stored_driver(version);
        if !is_there(&directory)? {
            return Ok(None);
        }
        match Tree::open(&directory, version)? {
            Ok(tree) => Ok(Some(tree)),
            Err(fault) => {
                let path = directory.display();
                told.warn(None, format!("the extracted driver in `{path}` is not used: {fault}"));
                Ok(None)
            }
        }
    }

    fn lock(&self, version: &DriverVersion, patience: Duration) -> Result<FileLock> {
        let subject = format!("the extracted driver {version}");
        FileLock::acquire(&self.layout.store_lock(version), &subject, patience, self.listener, self.cancel)
    }

    /// A new directory beside the trees, for one that is coming or going. Removed when it is dropped.
    fn temporary(&self, version: &DriverVersion) -> Result<tempfile::TempDir> {
        let store = self.layout.store();
        fs_err::create_dir_all(&store)?;
        Ok(tempfile::Builder::new().prefix(&format!("{TEMPORARY}{version}-")).tempdir_in(store)?)
    }

    /// Takes a version's directory out of its place and removes it; the caller holds the lock.
    fn remove(&self, version: &DriverVersion) -> Result<()> {
        let place = self.layout.stored_driver(version);
        if !is_there(&place)? {
            return Ok(());
        }
        let aside = self.temporary(version)?;
        crate::sys::atomic::rename_synced(&place, &aside.path().join("removed"))?;
        Ok(aside.close()?)
    }
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

/// The names and paths in the store's directory; none when there is no store yet.
fn names_in(layout: &Layout) -> Result<Vec<(String, PathBuf)>> {
    let directory = match fs_err::read_dir(layout.store()) {
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
