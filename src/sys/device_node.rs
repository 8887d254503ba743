//! Device nodes of this host: looked at without following links, and made so that they are old or new.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chmod, chownat, makedev, mknodat};

use crate::error::{Error, Kind, Result};

/// The numbers and the access of a character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CharacterDevice {
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// What lies at a path; a symbolic link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A character device.
    Device(CharacterDevice),
    /// A regular file with this many bytes.
    File(u64),
    /// Anything else, in words.
    Other(&'static str),
}

/// Looks what lies at `path`; `None` when nothing does.
///
/// # Errors
/// The file system refused.
pub fn look(path: &Path) -> Result<Option<Found>> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let sort = metadata.file_type();
    Ok(Some(if sort.is_char_device() {
        Found::Device(CharacterDevice {
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
            mode: metadata.mode() & 0o7777,
            user: metadata.uid(),
            group: metadata.gid(),
        })
    } else if sort.is_file() {
        Found::File(metadata.len())
    } else if sort.is_symlink() {
        Found::Other("a symbolic link")
    } else if sort.is_dir() {
        Found::Other("a directory")
    } else {
        Found::Other("neither a file nor a character device")
    }))
}

/// Makes the node, or replaces what is at `path`, in one rename; missing directories are made (mode 0755).
///
/// # Errors
/// The file system refused; what was there is then untouched.
pub fn make(path: &Path, device: &CharacterDevice) -> Result<()> {
    let new = beside(path)?;
    let failed = |error: rustix::io::Errno| could_not("made", path, error);
    let mode = Mode::from_raw_mode(device.mode);
    let number = makedev(device.major, device.minor);
    // Closed to all until it has its owner.
    mknodat(CWD, &new, FileType::CharacterDevice, Mode::empty(), number).map_err(failed)?;
    let made = own(&new, device).and_then(|()| chmod(&new, mode)).and_then(|()| rustix::fs::rename(&new, path));
    made.map_err(|error| {
        let _ = fs_err::remove_file(&new);
        failed(error)
    })
}

/// Gives an existing node its mode and owner.
///
/// # Errors
/// The file system refused.
pub fn set_access(path: &Path, device: &CharacterDevice) -> Result<()> {
    let set = own(path, device).and_then(|()| chmod(path, Mode::from_raw_mode(device.mode)));
    set.map_err(|error| could_not("given its mode and owner", path, error))
}

/// Makes the symbolic link, or replaces another symbolic link at `path`, in one rename.
///
/// # Errors
/// Something else than a link is there, or the file system refused.
pub fn link(path: &Path, target: &str) -> Result<()> {
    if let Some(Found::Device(_) | Found::File(_)) = look(path)? {
        return Err(Error::new(Kind::Host, format!("`{}` is not a symbolic link", path.display()))
            .hint(format!("inspect it; it should be a link to `{target}`")));
    }
    let new = beside(path)?;
    let made = rustix::fs::symlink(target, &new).and_then(|()| rustix::fs::rename(&new, path));
    made.map_err(|error| {
        let _ = fs_err::remove_file(&new);
        could_not("made", path, error)
    })
}

/// A fresh name in the same directory, which is made where it is missing.
fn beside(path: &Path) -> Result<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(Kind::Bug, format!("`{}` names no device node", path.display())));
    };
    make_directory(directory)?;
    Ok(directory.join(format!(".{}.{:016x}", name.to_string_lossy(), fastrand::u64(..))))
}

/// A directory that all may enter, whatever the umask, with those above it; one that is there is left as it is.
fn make_directory(directory: &Path) -> Result<()> {
    match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) => chmod(directory, Mode::from_raw_mode(0o755)).map_err(|error| could_not("made", directory, error)),
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(rustix::io::Errno::NOENT) if directory.parent().is_some() => {
            directory.parent().map_or(Ok(()), make_directory).and_then(|()| make_directory(directory))
        }
        Err(error) => Err(could_not("made", directory, error)),
    }
}

fn own(path: &Path, device: &CharacterDevice) -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(device.user), Gid::from_raw(device.group));
    chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

fn could_not(what: &str, path: &Path, error: rustix::io::Errno) -> Error {
    let refused = Error::new(Kind::Host, format!("`{}` could not be {what}", path.display()));
    let refused = refused.caused_by(std::io::Error::from(error));
    match error {
        rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => {
            refused.hint("run it as root on the host itself; a container cannot create device nodes")
        }
        rustix::io::Errno::BUSY => {
            refused.hint(format!("something is mounted there; `umount {}` first", path.display()))
        }
        _ => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The numbers of /dev/null, which every machine may make.
    const NULL: CharacterDevice = CharacterDevice { major: 1, minor: 3, mode: 0o640, user: 0, group: 0 };

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs_err::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_node_is_made_with_its_directory_and_replaces_what_was_there() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nvidia/caps/node");
        make(&path, &NULL).unwrap();
        assert_eq!(look(&path).unwrap(), Some(Found::Device(NULL)));
        let zero = CharacterDevice { minor: 5, mode: 0o666, ..NULL };
        make(&path, &zero).unwrap();
        assert_eq!(look(&path).unwrap(), Some(Found::Device(zero)));
        set_access(&path, &CharacterDevice { mode: 0o600, ..zero }).unwrap();
        assert_eq!(look(&path).unwrap(), Some(Found::Device(CharacterDevice { mode: 0o600, ..zero })));
        assert_eq!(names(path.parent().unwrap()), ["node"]);
    }

    #[test]
    fn a_directory_is_not_replaced_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node");
        fs_err::create_dir(&path).unwrap();
        assert!(make(&path, &NULL).is_err());
        assert!(link(&path, "../node").is_err());
        assert_eq!(names(directory.path()), ["node"]);
    }

    #[test]
    fn a_link_replaces_a_link_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("char/195:0");
        link(&path, "../old").unwrap();
        link(&path, "../nvidia0").unwrap();
        assert_eq!(fs_err::read_link(&path).unwrap(), Path::new("../nvidia0"));
        let file = directory.path().join("file");
        fs_err::write(&file, "mine").unwrap();
        assert_eq!(
            link(&file, "../nvidia0").unwrap_err().message(),
            format!("`{}` is not a symbolic link", file.display())
        );
        assert_eq!(look(&directory.path().join("nothing")).unwrap(), None);
        assert_eq!(look(&path).unwrap(), Some(Found::Other("a symbolic link")));
    }
}
