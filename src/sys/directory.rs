//! One directory of a container, held open: what lies in it is made, renamed and removed by its bare name.
//!
//! A directory is reached once, without following any symbolic link; what a container does to the path afterwards
//! changes nothing about where the work happens.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pathrs::flags::OpenFlags;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::rootfs::{Found, Rootfs};
use super::temporary_name::temporary_name;
use crate::error::{Error, Kind, Result};

/// A directory of a container. Names are those in it, without any slash.
pub struct Directory<'a> {
    rootfs: &'a Rootfs,
    // Only a place to start from (`O_PATH`): it is neither read nor written.
    place: File,
    path: String,
}

/// Whose something is and what its permissions are, in the container's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ownership {
    /// Kind and permission bits, as `stat` gives them.
    pub mode: u32,
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl Rootfs {
    /// Holds a directory open, to work on what is in it by bare names; `None` when there is none.
    ///
    /// # Errors
    /// Something on the way is a symbolic link, or the file system refused.
    pub fn directory(&self, path: &str) -> Result<Option<Directory<'_>>> {
        match self.open_without_links(path) {
            Ok(place) => Ok(Some(Directory::new(self, place, path))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self
                .failed(path, "reached without symbolic links", error)
                .hint("inspect it from inside the container; symbolic links are not followed")),
        }
    }
}

impl<'a> Directory<'a> {
    pub(super) fn new(rootfs: &'a Rootfs, place: File, path: &str) -> Self {
        Self { rootfs, place, path: path.to_owned() }
    }

    /// Where it lies in the container, absolute.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A file system's number: two directories with the same number share their room.
    ///
    /// # Errors
    /// The file system refused.
    pub fn device(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.place).map_err(|error| self.failed("", "looked at", error))?;
        Ok(stat.st_dev)
    }

    /// What has this name; `None` when nothing does.
    ///
    /// # Errors
    /// The file system refused.
    pub fn look(&self, name: &str) -> Result<Option<Found>> {
        let Some(stat) = self.stat(name)? else { return Ok(None) };
        let link = || {
            let target = rustix::fs::readlinkat(&self.place, name, Vec::new());
            let target = target.map_err(|error| self.failed(name, "read", error))?;
            Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
        };
        Found::of(&stat, link).map(Some)
    }

    /// Whose the thing of this name is, and its permissions; `None` when there is none.
    ///
    /// # Errors
    /// The file system refused.
    pub fn ownership(&self, name: &str) -> Result<Option<Ownership>> {
        // Owners that the idmap does not cover look like this inside, too (`overflowuid`).
        const NOBODY: u32 = 65_534;
        let idmap = self.rootfs.idmap();
        Ok(self.stat(name)?.map(|stat| Ownership {
            mode: stat.st_mode,
            user: idmap.user_inside(stat.st_uid).unwrap_or(NOBODY),
            group: idmap.group_inside(stat.st_gid).unwrap_or(NOBODY),
        }))
    }

    /// The names in it, at most `limit`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self, limit: usize) -> Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.place, ".", flags, Mode::empty());
        let entries = opened.and_then(rustix::fs::Dir::new).map_err(|error| self.failed("", "listed", error))?;
        let mut names = Vec::new();
        for entry in entries.take(limit.saturating_add(2)) {
            let entry = entry.map_err(|error| self.failed("", "listed", error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Makes a file that must not exist yet, for writing, owned by the container's root and closed to all others.
    ///
    /// # Errors
    /// Something has the name already, or the file system refused.
    pub fn create_file(&self, name: &str) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.place, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.failed(name, "made", error))?;
        self.rootfs.own(&file).map_err(|error| self.failed(name, "given to the container's root", error))?;
        Ok(File::from(file))
    }

    /// Replaces a small file's contents as a whole. It is not synced: see [`Rootfs::write`] for that.
    ///
    /// # Errors
    /// The file system refused; the old file is then untouched.
    pub fn replace(&self, name: &str, contents: &[u8], mode: u32) -> Result<()> {
        let new = temporary_name();
        let mut file = self.create_file(&new)?;
        let path = format!("{}/{name}", self.path);
        let written = file.write_all(contents).map_err(|error| self.rootfs.failed(&path, "written", error));
        let written = written.and_then(|()| self.settle(&file, name, mode)).and_then(|()| self.rename(&new, name));
        if written.is_err() {
            let _ = self.remove(&new);
        }
        written
    }

    /// Gives a file that has its contents the permissions that it is to have.
    ///
    /// # Errors
    /// The file system refused.
    pub fn settle(&self, file: &File, name: &str, mode: u32) -> Result<()> {
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(|error| self.failed(name, "settled", error))
    }

    /// Makes a symbolic link that must not exist yet, owned by the container's root.
    ///
    /// # Errors
    /// Something has the name already, or the file system refused.
    pub fn create_link(&self, name: &str, target: &str) -> Result<()> {
        rustix::fs::symlinkat(target, &self.place, name).map_err(|error| self.failed(name, "made", error))?;
        self.give(name, 0, 0)
    }

    /// Gives the thing of this name to a user and a group of the container; a link itself, not what it leads to.
    ///
    /// # Errors
    /// The idmap does not cover them, or the file system refused.
    pub fn give(&self, name: &str, user: u32, group: u32) -> Result<()> {
        let given = self.rootfs.owner(user, group).and_then(|(user, group)| {
            rustix::fs::chownat(&self.place, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        });
        given.map_err(|error| self.failed(name, "given to its owner", error))
    }

    /// Renames within the directory; what had the new name is replaced at that moment.
    ///
    /// # Errors
    /// The file system refused; both names are then as they were.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.place, from, &self.place, to).map_err(|error| self.failed(to, "replaced", error))
    }

    /// Moves into another directory of the container; false when that lies on another file system.
    ///
    /// # Errors
    /// The file system refused.
    pub fn move_to(&self, name: &str, other: &Self, new: &str) -> Result<bool> {
        self.unless_far(name, rustix::fs::renameat(&self.place, name, &other.place, new))
    }

    /// Gives a file a second name in another directory; false when that lies on another file system.
    ///
    /// # Errors
    /// The new name is taken, or the file system refused.
    pub fn link_to(&self, name: &str, other: &Self, new: &str) -> Result<bool> {
        self.unless_far(name, rustix::fs::linkat(&self.place, name, &other.place, new, AtFlags::empty()))
    }

    /// Removes a file or a link; nothing there is fine.
    ///
    /// # Errors
    /// It is a directory, or the file system refused.
    pub fn remove(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.place, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed(name, "removed", error)),
        }
    }

    /// Opens a regular file for reading; `None` when there is none, or something else.
    ///
    /// # Errors
    /// The file system refused.
    pub fn open_file(&self, name: &str) -> Result<Option<File>> {
        if self.stat(name)?.is_none() {
            return Ok(None);
        }
        // Held before it is opened: opening a FIFO waits, and opening some device nodes does things.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(&self.place, name, flags, Mode::empty());
        let held = held.map_err(|error| self.failed(name, "opened", error))?;
        let stat = rustix::fs::fstat(&held).map_err(|error| self.failed(name, "looked at", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_CLOEXEC | OpenFlags::O_NOCTTY;
        let opened = pathrs::Handle::from_fd(held).reopen(flags);
        opened.map(Some).map_err(|error| self.rootfs.failed(&format!("{}/{name}", self.path), "opened", error))
    }

    fn unless_far(&self, name: &str, done: rustix::io::Result<()>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::XDEV) => Ok(false),
            Err(error) => Err(self.failed(name, "moved", error)),
        }
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match rustix::fs::statat(&self.place, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed(name, "looked at", error)),
        }
    }

    fn failed(&self, name: &str, what: &str, error: rustix::io::Errno) -> Error {
        let path = format!("{}/{name}", self.path);
        let failure = self.rootfs.failed(path.trim_end_matches('/'), what, error);
        match error {
            rustix::io::Errno::BUSY | rustix::io::Errno::XDEV => {
                failure.hint("something is mounted there: remove the mount from the container's configuration")
            }
            rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT => failure.hint("make the container's disk larger"),
            _ => failure,
        }
    }
}

impl Found {
    /// What a `stat` says; `link` reads the target where it is a link.
    pub(super) fn of(stat: &Stat, link: impl FnOnce() -> Result<PathBuf>) -> Result<Self> {
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File { size: stat.st_size as u64, mode: stat.st_mode & 0o7777 },
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link(link()?),
            FileType::CharacterDevice => {
                Self::CharacterDevice { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) }
            }
            _ => Self::Other,
        })
    }
}

/// The directory and the name of an absolute path.
///
/// # Errors
/// The path ends in a slash or has none, which the program's own logic excludes.
pub fn split(path: &str) -> Result<(&str, &str)> {
    path.rsplit_once('/')
        .filter(|(_, name)| !name.is_empty())
        .ok_or_else(|| Error::new(Kind::Bug, format!("`{path}` is not the path of a file")))
}
