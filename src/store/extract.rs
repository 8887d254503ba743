//! Making sure that a driver is extracted: once, by one process at a time, whole or not at all.

use std::os::unix::fs::PermissionsExt;

use super::extraction::Extraction;
use super::tree::{FILES, Tree};
use super::{Store, temporary};
use crate::cache::VerifiedRunFile;
use crate::error::{Error, Kind, Result};
use crate::event::{Listener, NoListener};
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
        if let Some(tree) = self.matching(run_file, self.context.listener)? {
            return Ok(tree);
        }
        let version = run_file.version();
        let _alone = self.lock(version, self.patience)?;
        // Whoever held the lock may have extracted it in the meantime.
        if let Some(tree) = self.matching(run_file, &NoListener)? {
            return Ok(tree);
        }
        let store = self.context.layout.store();
        self.sweep(&store, version)?;
        let coming = temporary(&store, version)?;
        if let Some(kib) = run_file.uncompressed_kib() {
            self.require_space(version, coming.path(), kib.saturating_mul(1024))?;
        }
        let files = coming.path().join(FILES);
        fs_err::create_dir(&files)?;
        let extraction = Extraction { run_file, listener: self.context.listener, cancel: self.context.cancel };
        let record = extraction.unpack_to(&files)?;
        // A container's mapped root reads the tree too.
        for directory in [&files, coming.path()] {
            fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
        }
        record.write(coming.path())?;
        atomic::sync_tree(coming.path())?;
        self.remove(version)?;
        let place = self.context.layout.stored_driver(version);
        atomic::rename_synced(coming.path(), &place)?;
        // It has another name now, under which it stays.
        let _ = coming.keep();
        Tree::open(&place, version)?.map_err(|fault| {
            Error::new(Kind::Bug, format!("`{}` is wrong although it was just made: {fault}", place.display()))
        })
    }

    /// The tree that is there, if it is sound and came from this file.
    fn matching(&self, run_file: &VerifiedRunFile, listener: &dyn Listener) -> Result<Option<Tree>> {
        let tree = self.sound_tree(run_file.version(), listener)?;
        let is_of =
            |tree: &Tree| tree.run_file_sha256() == run_file.sha256() && tree.architecture() == run_file.architecture();
        Ok(tree.filter(is_of))
    }
}
