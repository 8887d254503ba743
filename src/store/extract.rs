//! Making sure that a driver is extracted: once, by one process at a time, whole or not at all.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::extraction::Extraction;
use super::tree::{FILES, Tree};
use super::{Store, names_in, version_of_temporary};
use crate::cache::VerifiedRunFile;
use crate::error::{Error, Kind, Result};
use crate::event::{Deaf, Listener};
use crate::sys::atomic;

impl Store<'_> {
    /// The tree of a run file: the one that is there, if it is sound and of this very file, or a new one.
    ///
    /// Everybody who wants the same version at the same time waits for one extraction.
    ///
    /// # Errors
    /// [`Kind::Verification`] when the archive is damaged, hostile, or of another driver than its header says;
    /// [`Kind::Busy`], [`Kind::Interrupted`], or the host refused. The store is then as it was.
    pub fn extract(&self, run_file: &VerifiedRunFile) -> Result<Tree> {
        if let Some(tree) = self.matching(run_file, self.listener)? {
            return Ok(tree);
        }
        let version = run_file.version();
        let _alone = self.lock(version, self.patience)?;
        // Whoever held the lock may have extracted it in the meantime.
        if let Some(tree) = self.matching(run_file, &Deaf)? {
            return Ok(tree);
        }
        self.sweep(run_file)?;
        let coming = self.temporary(version)?;
        self.require_space(run_file, coming.path())?;
        let files = coming.path().join(FILES);
        fs_err::create_dir(&files)?;
        let extraction = Extraction { run_file, listener: self.listener, cancel: self.cancel };
        let record = extraction.unpack_to(&files)?;
        // A container's mapped root reads the tree too.
        for directory in [&files, coming.path()] {
            fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
        }
        record.write(coming.path())?;
        atomic::sync_tree(coming.path())?;
        self.remove(version)?;
        let place = self.layout.stored_driver(version);
        atomic::rename_synced(coming.path(), &place)?;
        // It has another name now, under which it stays.
        let _ = coming.keep();
        Tree::open(&place, version)?
            .map_err(|fault| Error::new(Kind::Bug, format!("`{}` is wrong though just made: {fault}", place.display())))
    }

    /// The tree that is there, if it is sound and came from this file.
    fn matching(&self, run_file: &VerifiedRunFile, told: &dyn Listener) -> Result<Option<Tree>> {
        let tree = self.sound_tree(run_file.version(), told)?;
        let is_of =
            |tree: &Tree| tree.run_file_sha256() == run_file.sha256() && tree.architecture() == run_file.architecture();
        Ok(tree.filter(is_of))
    }

    /// Removes what killed processes have left; the lock of the run file's own version is held.
    fn sweep(&self, run_file: &VerifiedRunFile) -> Result<()> {
        for (name, path) in names_in(self.layout)? {
            let Some(version) = version_of_temporary(&name) else { continue };
            let lock = match version == *run_file.version() {
                true => None,
                false => Some(self.lock(&version, Duration::ZERO)),
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

    fn require_space(&self, run_file: &VerifiedRunFile, directory: &Path) -> Result<()> {
        let Some(needed) = run_file.uncompressed_kib().map(|kib| kib.saturating_mul(1024)) else { return Ok(()) };
        let found = rustix::fs::statvfs(directory).map_err(std::io::Error::from)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free >= needed {
            return Ok(());
        }
        let message = format!(
            "driver {} needs {} MB in `{}`, where {} MB are free",
            run_file.version(),
            needed.div_ceil(1_000_000),
            self.layout.store().display(),
            free / 1_000_000
        );
        Err(Error::new(Kind::Host, message).hint("`phoenix-nvidia store prune` removes the drivers that nothing needs"))
    }
}
