//! An ext4 file system on a volume that nobody has mounted, read by this process itself.
//!
//! The kernel mounts nothing, so nothing is written, locked or logged, and nobody is kept from the volume. In
//! particular no loop device is made of a file: Proxmox VE would take one that is there, and it is read-only, for its
//! own container (`run_with_loopdev`, pve-container 6.1.10).

mod superblock;

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Metadata};
use rustix::fs::OFlags;

use crate::error::{Error, Kind, Result};
use crate::sys::idmap::IdMap;
use crate::sys::readable::Readable;
use crate::sys::rootfs::Found;

use superblock::Superblock;

/// A volume with an ext4 file system, to be read.
pub struct Volume {
    file: File,
    system: Ext4,
    stamp: Stamp,
    idmap: IdMap,
    name: String,
    has_failed: Cell<bool>,
}

/// What changes when anybody writes.
#[derive(PartialEq, Eq)]
struct Stamp {
    superblock: Superblock,
    /// Inode, size and times of a volume that is a file.
    file: Option<(u64, u64, [i64; 4])>,
}

impl Volume {
    /// Opens a block device or a file with a container's file system in it; `name` is how errors call the container.
    ///
    /// `None` where it cannot be read as it lies there: it is not there, not ext4, mounted by somebody, or was not
    /// unmounted before its host went down. Whoever has it mounted properly learns more.
    pub fn open(path: &Path, idmap: IdMap, name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        match Self::open_clean(path, idmap, &name) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!("{name}: its volume `{}` is not read: {error}", path.display());
                None
            }
        }
    }

    fn open_clean(path: &Path, idmap: IdMap, name: &str) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        // Whatever lies there, opening it neither waits nor makes it this process's terminal.
        let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let Some(stamp) = Stamp::of(&file)?.filter(|stamp| stamp.superblock.is_clean()) else { return Ok(None) };
        let reader = Reader { file: file.try_clone()?, superblock: stamp.superblock.clone() };
        let system = Ext4::load(Box::new(reader))?;
        Ok(Some(Self { file, system, stamp, idmap, name: name.to_owned(), has_failed: Cell::new(false) }))
    }

    /// What lies at a path; `None` where nothing does.
    fn found<T>(&self, path: &str, what: &str, found: Result<T, Ext4Error>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => Ok(None),
            Err(error) => {
                self.has_failed.set(true);
                Err(failed(&self.name, path, what, error))
            }
        }
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>> {
        self.found(path, "reached", self.system.metadata(absolute(path).as_str()))
    }

    /// A regular file, opened, and its length.
    fn file(&self, path: &str) -> Result<Option<(ext4_view::File, u64)>> {
        let Some(metadata) = self.metadata(path)? else { return Ok(None) };
        if !metadata.file_type().is_regular_file() {
            return Err(refused(&self.name, path, "is not a regular file"));
        }
        let opened = self.found(path, "opened", self.system.open(absolute(path).as_str()))?;
        Ok(opened.map(|file| (file, metadata.len())))
    }

    fn contents(&self, path: &str, mut file: ext4_view::File) -> Result<Vec<u8>> {
        let (mut contents, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match self.found(path, "read", file.read_bytes(&mut piece))?.unwrap_or(0) {
                0 => return Ok(contents),
                count => contents.extend_from_slice(&piece[..count]),
            }
        }
    }
}

impl Readable for Volume {
    /// The numbers of a device node are not read: it is [`Found::Other`].
    fn look(&self, path: &str) -> Result<Option<Found>> {
        let path = absolute(path);
        let Some(metadata) = self.found(&path, "reached", self.system.symlink_metadata(path.as_str()))? else {
            return Ok(None);
        };
        Ok(Some(match metadata.file_type() {
            FileType::Regular => Found::File { size: metadata.len(), mode: u32::from(metadata.mode()) & 0o7777 },
            FileType::Directory => Found::Directory,
            FileType::Symlink => match self.found(&path, "read", self.system.read_link(path.as_str()))? {
                Some(target) => Found::Link(OsString::from_vec(target.as_ref().to_vec()).into()),
                None => return Ok(None),
            },
            _ => Found::Other,
        }))
    }

    fn names(&self, directory: &str, limit: usize) -> Result<Vec<String>> {
        let opened = self.system.read_dir(absolute(directory).as_str());
        let mut names = Vec::new();
        for entry in self.found(directory, "listed", opened)?.into_iter().flatten() {
            let Some(entry) = self.found(directory, "listed", entry)? else { continue };
            let name = entry.file_name().display().to_string();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() >= limit {
                break;
            }
        }
        Ok(names)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.file(path)? {
            Some((_, length)) if length > limit => {
                Err(refused(&self.name, path, &format!("is larger than {limit} bytes")))
            }
            Some((file, _)) => self.contents(path, file).map(Some),
            None => Ok(None),
        }
    }

    fn read_end(&self, path: &str, limit: u64) -> Result<Option<String>> {
        let Some((mut file, length)) = self.file(path)? else { return Ok(None) };
        self.found(path, "read", file.seek_to(length.saturating_sub(limit)))?;
        let contents = self.contents(path, file)?;
        Ok(Some(String::from_utf8_lossy(&contents).into_owned()))
    }

    fn is_executable(&self, path: &str) -> Result<bool> {
        let found = self.metadata(path)?;
        Ok(found.is_some_and(|it| it.file_type().is_regular_file() && it.mode() & 0o111 != 0))
    }

    fn access(&self, path: &str) -> Result<Option<(u32, u32, u32)>> {
        let path = absolute(path);
        let found = self.found(&path, "reached", self.system.symlink_metadata(path.as_str()))?;
        Ok(found.map(|it| (u32::from(it.mode()) & 0o7777, it.uid(), it.gid())))
    }

    fn identity(&self, path: &str) -> Result<Option<String>> {
        match self.metadata(path)? {
            Some(found) if found.file_type().is_regular_file() => {
                let real = self.found(path, "reached", self.system.canonicalize(absolute(path).as_str()))?;
                Ok(real.map(|real| real.display().to_string()))
            }
            _ => Ok(None),
        }
    }

    fn available(&self, directory: &str) -> Result<u64> {
        match self.look(directory)? {
            Some(Found::Directory) => Ok(self.stamp.superblock.available()),
            _ => Err(refused(&self.name, directory, "is not a directory")),
        }
    }

    fn idmap(&self) -> &IdMap {
        &self.idmap
    }

    fn may_be_believed(&self) -> bool {
        !self.has_failed.get() && Stamp::of(&self.file).is_ok_and(|now| now.as_ref() == Some(&self.stamp))
    }
}

impl Stamp {
    /// `None` for what is neither a file nor a block device, or too short.
    fn of(file: &File) -> std::io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            return Ok(None);
        }
        let mut bytes = [0; superblock::LENGTH];
        match file.read_exact_at(&mut bytes, superblock::PLACE) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        let file = metadata.is_file().then(|| (metadata.ino(), metadata.size(), times));
        Ok(Some(Self { superblock: Superblock(bytes), file }))
    }
}

/// Reads the volume for the reader of file systems, which is shown another superblock.
struct Reader {
    file: File,
    superblock: Superblock,
}

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if start == superblock::PLACE && into.len() == superblock::LENGTH {
            into.copy_from_slice(&self.superblock.without_mount_protection());
            return Ok(());
        }
        Ok(self.file.read_exact_at(into, start)?)
    }
}

fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

fn failed(name: &str, path: &str, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Host, format!("{name}: `{path}` could not be {what}")).caused_by(error)
}

fn refused(name: &str, path: &str, why: &str) -> Error {
    Error::new(Kind::Verification, format!("{name}: `{path}` {why}")).hint("inspect it from inside the container")
}

#[cfg(test)]
mod tests;
