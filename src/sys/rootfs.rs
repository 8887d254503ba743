//! The in-root door: the only way in which files of a container are read or written from the host.
//!
//! Everything in a container's root may be planted there. Paths are resolved inside the root by the kernel
//! (`openat2`, `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`, through libpathrs), files are made with
//! `O_CREAT | O_EXCL | O_NOFOLLOW`, and only regular files are ever opened: a FIFO would hang us, and a device node
//! that a guest made would be the host's device.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use pathrs::flags::{OpenFlags, RenameFlags, ResolverFlags};
use pathrs::{Root, error::ErrorKind as PathErrorKind};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, StatVfsMountFlags, Uid};

use crate::error::{Error, Kind, Result};
use crate::sys::idmap::IdMap;
use crate::sys::temporary_name::temporary_name;

/// A handle on a container's root. Paths are the container's, absolute or relative to its root.
pub struct Rootfs {
    root: Root,
    idmap: IdMap,
    name: String,
    // The last field, so that the root is closed before what it needs goes.
    _kept: Option<Box<dyn std::any::Any + Send>>,
}

/// What lies at a path of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A regular file: its size in bytes and its permission bits.
    File {
        /// Size in bytes.
        size: u64,
        /// Permission bits with set-user-id, set-group-id and sticky.
        mode: u32,
    },
    /// A directory.
    Directory,
    /// A symbolic link and what it says.
    Link(PathBuf),
    /// A character device's numbers.
    CharacterDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A FIFO, a socket or a block device.
    Other,
}

/// Room and rules of the file system below a directory of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an ordinary process can still write.
    pub available: u64,
    /// Nothing can be executed from it.
    pub noexec: bool,
    /// Nothing can be written to it.
    pub read_only: bool,
    /// Which file system it is: two directories with the same number share their room.
    pub device: u64,
}

impl Rootfs {
    /// Opens a container's root: its directory on the host, or `/proc/<init>/root` of a running one.
    ///
    /// `name` is how errors call it: `container 901`.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(directory: &Path, idmap: IdMap, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        // `/proc/<init>/root` is a link of the kernel's, and the one that is followed.
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty()).map(Root::from_fd).map_err(|error| {
            Error::new(Kind::Host, format!("{name}: its root `{}` could not be opened", directory.display()))
                .caused_by(error)
        })?;
        Ok(Self { root, idmap, name, _kept: None })
    }

    /// The same door, which keeps something alive that it needs: a mount that ends with it.
    #[must_use]
    pub fn keeping(mut self, needed: impl std::any::Any + Send) -> Self {
        self._kept = Some(Box::new(needed));
        self
    }

    /// The container's idmap.
    pub fn idmap(&self) -> &IdMap {
        &self.idmap
    }

    /// What lies at `path`; a symbolic link at its end is not followed. `None` when nothing does.
    ///
    /// # Errors
    /// The path cannot be looked up.
    pub fn look(&self, path: &str) -> Result<Option<Found>> {
        let Some(handle) = self.missing_is_none(path, self.root.resolve_nofollow(path))? else { return Ok(None) };
        let link = || {
            let target = rustix::fs::readlinkat(&handle, "", Vec::new());
            let target = target.map_err(|error| self.failed(path, "read", error))?;
            Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
        };
        Found::of(&self.stat(path, &handle)?, link).map(Some)
    }

    /// The permission bits and the owner and group, as the host numbers them, of what lies at `path`; a symbolic link at
    /// its end is not followed. `None` when nothing lies there.
    ///
    /// # Errors
    /// The path cannot be looked up.
    pub fn access(&self, path: &str) -> Result<Option<(u32, u32, u32)>> {
        let Some(handle) = self.missing_is_none(path, self.root.resolve_nofollow(path))? else { return Ok(None) };
        let stat = self.stat(path, &handle)?;
        Ok(Some((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)))
    }

    /// Whether a regular file that may be executed lies at `path`; symbolic links are followed inside the root.
    ///
    /// # Errors
    /// The path cannot be looked up.
    pub fn is_executable(&self, path: &str) -> Result<bool> {
        let Some(handle) = self.missing_is_none(path, self.root.resolve(path))? else { return Ok(false) };
        let stat = self.stat(path, &handle)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0)
    }

    /// Opens a regular file for reading, following symbolic links inside the root.
    ///
    /// # Errors
    /// There is none, or something else lies there.
    pub fn open_file(&self, path: &str) -> Result<Option<File>> {
        let Some(handle) = self.missing_is_none(path, self.root.resolve(path))? else { return Ok(None) };
        // Looked at before it is opened: opening some device nodes does things, and opening a FIFO waits.
        let stat = self.stat(path, &handle)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(Kind::Verification, format!("{}: `{path}` is not a regular file", self.name))
                .hint("inspect it from inside the container"));
        }
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_CLOEXEC | OpenFlags::O_NOCTTY;
        handle.reopen(flags).map(Some).map_err(|error| self.failed(path, "opened", error))
    }

    /// The contents of a small file; `None` when there is none.
    ///
    /// # Errors
    /// It is larger than `limit` bytes, or not a regular file.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(path)? else { return Ok(None) };
        let mut contents = Vec::new();
        file.take(limit + 1).read_to_end(&mut contents).map_err(|error| self.failed(path, "read", error))?;
        if contents.len() as u64 > limit {
            return Err(Error::new(
                Kind::Verification,
                format!("{}: `{path}` is larger than {limit} bytes", self.name),
            )
            .hint("inspect it from inside the container"));
        }
        Ok(Some(contents))
    }

    /// The last `limit` bytes of a file, as text; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not a regular file.
    pub fn read_end(&self, path: &str, limit: u64) -> Result<Option<String>> {
        use std::io::{Seek, SeekFrom};
        let Some(mut file) = self.open_file(path)? else { return Ok(None) };
        let size = file.metadata().map_err(|error| self.failed(path, "read", error))?.len();
        let mut contents = Vec::new();
        file.seek(SeekFrom::Start(size.saturating_sub(limit)))
            .and_then(|_| file.take(limit).read_to_end(&mut contents))
            .map_err(|error| self.failed(path, "read", error))?;
        Ok(Some(String::from_utf8_lossy(&contents).into_owned()))
    }

    /// The names in a directory, at most `limit`; none when it does not exist.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self, directory: &str, limit: usize) -> Result<Vec<String>> {
        let opened =
            self.root.open_subpath(directory, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY | OpenFlags::O_CLOEXEC);
        let Some(opened) = self.missing_is_none(directory, opened)? else { return Ok(Vec::new()) };
        let entries = rustix::fs::Dir::read_from(&opened).map_err(|error| self.failed(directory, "listed", error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(directory, "listed", error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() >= limit {
                break;
            }
        }
        Ok(names)
    }

    /// Makes a directory and its missing parents, owned by the container's root; one that exists is left as it is.
    ///
    /// No symbolic link on the way is followed, not even inside the root: what we make must be where we say.
    ///
    /// # Errors
    /// Something on the way is no directory, or the file system refused.
    pub fn make_directory(&self, path: &str, mode: u32) -> Result<()> {
        let mut so_far = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            so_far.push('/');
            so_far.push_str(part);
            match self.make_new_directory(&so_far, mode) {
                Ok(()) => {}
                Err(error) if already_there(&error) => self.require_directory(&so_far)?,
                Err(error) => return Err(self.failed(&so_far, "made", error)),
            }
        }
        Ok(())
    }

    /// Makes one directory that must not exist yet, owned by the container's root.
    ///
    /// # Errors
    /// Something has that name already, a symbolic link is on the way, or the file system refused.
    pub fn make_fresh_directory(&self, path: &str, mode: u32) -> Result<()> {
        self.make_new_directory(path, mode).map_err(|error| self.failed(path, "made", error))
    }

    /// A handle on a directory, for mounting and unmounting there; nothing can be read or written through it.
    ///
    /// No symbolic link on the way is followed.
    ///
    /// # Errors
    /// There is no such directory, or a symbolic link is on the way.
    pub fn directory_handle(&self, path: &str) -> Result<OwnedFd> {
        let (directory, _) = self.parent_without_links(&format!("{}/", path.trim_end_matches('/')))?;
        Ok(directory.into())
    }

    /// Makes a file that must not exist yet, for writing, owned by the container's root.
    ///
    /// # Errors
    /// Something has that name already, a symbolic link is on the way, or the file system refused.
    pub fn create_file(&self, path: &str, mode: u32) -> Result<File> {
        let (parent, name) = self.parent_without_links(path)?;
        let flags = rustix::fs::OFlags::WRONLY
            | rustix::fs::OFlags::CREATE
            | rustix::fs::OFlags::EXCL
            | rustix::fs::OFlags::NOFOLLOW
            | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.failed(path, "made", error))?;
        let settled = self.own(&file).and_then(|()| rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)));
        settled.map_err(|error| self.failed(path, "given to the container's root", error))?;
        Ok(File::from(file))
    }

    /// Replaces a file's contents as a whole: a new file beside it, synced, renamed over it.
    ///
    /// # Errors
    /// A symbolic link is on the way, or the file system refused; the old file is then untouched.
    pub fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result<()> {
        let (parent, _) = path.rsplit_once('/').unwrap_or_default();
        let new = format!("{parent}/{}", temporary_name());
        let mut file = self.create_file(&new, mode)?;
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        let written = written.map_err(|error| self.failed(path, "written", error)).and_then(|()| {
            self.root.rename(&new, path, RenameFlags::empty()).map_err(|error| self.failed(path, "replaced", error))
        });
        if written.is_err() {
            let _ = self.root.remove_file(&new);
        }
        written
    }

    /// Removes a file, a link, or a directory with everything below it; nothing there is fine.
    ///
    /// # Errors
    /// The file system refused.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.missing_is_none(path, self.root.remove_all(path)).map(|_| ())
    }

    /// Removes a directory if nothing is in it; says whether it is gone.
    pub fn remove_if_empty(&self, path: &str) -> bool {
        self.root.remove_dir(path).is_ok()
    }

    /// Room and rules of the file system that a directory lies on.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn space(&self, directory: &str) -> Result<Space> {
        let handle = self.root.resolve(directory).map_err(|error| self.failed(directory, "looked at", error))?;
        let room = rustix::fs::fstatvfs(handle.as_fd()).map_err(|error| self.failed(directory, "measured", error))?;
        Ok(Space {
            available: room.f_bavail.saturating_mul(room.f_frsize),
            noexec: room.f_flag.contains(StatVfsMountFlags::NOEXEC),
            read_only: room.f_flag.contains(StatVfsMountFlags::RDONLY),
            device: self.stat(directory, &handle)?.st_dev,
        })
    }

    fn make_new_directory(&self, path: &str, mode: u32) -> rustix::io::Result<()> {
        let (parent, name) = self.open_parent_without_links(path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        let made = rustix::fs::openat(&parent, name, flags | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
        self.own(&made)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))
    }

    fn require_directory(&self, path: &str) -> Result<()> {
        match self.look(path)? {
            Some(Found::Directory) => Ok(()),
            _ => Err(Error::new(Kind::Verification, format!("{}: `{path}` is not a directory", self.name))
                .hint("inspect it from inside the container; symbolic links are not followed")),
        }
    }

    fn parent_without_links<'path>(&self, path: &'path str) -> Result<(File, &'path str)> {
        self.open_parent_without_links(path).map_err(|error| self.failed(path, "reached without symbolic links", error))
    }

    fn open_parent_without_links<'path>(&self, path: &'path str) -> rustix::io::Result<(File, &'path str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.open_without_links(if parent.is_empty() { "/" } else { parent })?, name))
    }

    pub(super) fn open_without_links(&self, directory: &str) -> rustix::io::Result<File> {
        let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_CLOEXEC;
        let strict = self.root.as_ref().with_resolver_flags(ResolverFlags::NO_SYMLINKS);
        strict.open_subpath(directory, flags).map_err(|error| errno(&error))
    }

    pub(super) fn own(&self, file: impl AsFd) -> rustix::io::Result<()> {
        let (user, group) = self.owner(0, 0)?;
        rustix::fs::fchown(file, Some(user), Some(group))
    }

    pub(super) fn owner(&self, user: u32, group: u32) -> rustix::io::Result<(Uid, Gid)> {
        match (self.idmap.user(user), self.idmap.group(group)) {
            (Some(user), Some(group)) => Ok((Uid::from_raw(user), Gid::from_raw(group))),
            _ => Err(rustix::io::Errno::OVERFLOW),
        }
    }

    fn stat(&self, path: &str, handle: &pathrs::Handle) -> Result<Stat> {
        rustix::fs::statat(handle.as_fd(), "", AtFlags::EMPTY_PATH)
            .map_err(|error| self.failed(path, "looked at", error))
    }

    fn missing_is_none<T>(&self, path: &str, result: Result<T, pathrs::error::Error>) -> Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(errno(&error), rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.failed(path, "reached", error)),
        }
    }

    pub(super) fn failed(
        &self,
        path: &str,
        what: &str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        Error::new(Kind::Host, format!("{}: `{path}` could not be {what}", self.name)).caused_by(error)
    }
}

fn already_there(error: &rustix::io::Errno) -> bool {
    *error == rustix::io::Errno::EXIST
}

fn errno(error: &pathrs::error::Error) -> rustix::io::Errno {
    match error.kind() {
        PathErrorKind::OsError(Some(number)) => rustix::io::Errno::from_raw_os_error(number),
        _ => rustix::io::Errno::XDEV,
    }
}

#[cfg(test)]
#[path = "rootfs_tests.rs"]
mod tests;
