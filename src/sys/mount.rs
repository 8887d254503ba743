//! Mounts: images on the host, and what is brought into and out of the mount namespace of a running container.
//!
//! A mount that goes into a container is cloned detached (`open_tree(2)`), carried there by a thread that alone has
//! entered the container's namespace, and attached to a handle that the in-root door gave (`move_mount(2)`): no path
//! of the container is ever looked up by name. Linux 5.2 and later.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::error::{Error, Kind, Result};
use crate::sys::cancel::Cancel;
use crate::sys::command::Command;

const DEADLINE: Duration = Duration::from_secs(120);
/// Nobody but a container that means harm mounts so much on one directory.
const MOUNTS_LIMIT: usize = 100;
/// How the kernel marks the name of a file that was removed.
const REMOVED: &str = " (deleted)";

/// A mount of this process's namespace, as `/proc/self/mountinfo` tells of it (`proc_pid_mountinfo(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is mounted.
    pub point: PathBuf,
    /// What is mounted: a device for a file system that lies on one.
    pub source: String,
    /// The file system's type.
    pub file_system: String,
    /// The options of the mount itself, not those of its file system.
    pub options: Vec<String>,
}

impl Mounted {
    /// The file behind the loop device that is mounted; none when it is another device, or the file was removed.
    pub fn backing_file(&self) -> Option<PathBuf> {
        let name = self.source.strip_prefix("/dev/loop")?;
        let path = fs_err::read_to_string(format!("/sys/block/loop{name}/loop/backing_file")).ok()?;
        let path = path.trim_end_matches('\n');
        (!path.ends_with(REMOVED)).then(|| PathBuf::from(path))
    }
}

/// The mount on top at a path; none when nothing is mounted there.
///
/// # Errors
/// `/proc` cannot be read.
pub fn at(point: &Path) -> Result<Option<Mounted>> {
    Ok(below(point)?.into_iter().rfind(|mounted| mounted.point == point))
}

/// All mounts at a path and below it, in the order in which they were made.
///
/// # Errors
/// `/proc` cannot be read.
pub fn below(directory: &Path) -> Result<Vec<Mounted>> {
    let table = fs_err::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(parse).filter(|mounted| mounted.point.starts_with(directory)).collect())
}

/// Mounts an image file read-only, without set-user-ID and devices, on a loop device that goes with the last mount.
///
/// Nothing that is mounted later, here or there, propagates through it.
///
/// # Errors
/// `mount(8)` refused; nothing is then mounted.
pub fn mount_image(image: &Path, file_system: &str, point: &Path, cancel: &Cancel) -> Result<()> {
    let mount = Command::new("mount").args(["-t", file_system, "-o", "loop,ro,nosuid,nodev"]).arg(image).arg(point);
    mount
        .deadline(DEADLINE)
        .run_ok(cancel)
        .map_err(|error| error.within(format!("the image `{}` could not be mounted", image.display())))?;
    rustix::mount::mount_change(point, MountPropagationFlags::PRIVATE).map_err(|error| {
        let _ = unmount(point);
        failed(&format!("the mount at `{}` could not be made private", point.display()), error)
    })
}

/// Takes away what is mounted on top at a path of the host, at once for newcomers; those who use it keep it until they
/// let go.
///
/// # Errors
/// The kernel refused.
pub fn unmount(point: &Path) -> Result<()> {
    rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|error| failed(&format!("`{}` could not be unmounted", point.display()), error))
}

/// Whether this kernel can mount file systems of a type; a module that it has for it is loaded.
///
/// # Errors
/// `/proc` cannot be read, or the operator interrupted.
pub fn is_known(file_system: &str, cancel: &Cancel) -> Result<bool> {
    let is_listed = || -> Result<bool> { Ok(lists(&fs_err::read_to_string("/proc/filesystems")?, file_system)) };
    if is_listed()? {
        return Ok(true);
    }
    // A host without modules, or without `modprobe`, has what it has.
    let loaded = Command::new("modprobe").args(["-q", file_system]).run(cancel);
    cancel.check()?;
    if let Err(error) = loaded {
        tracing::debug!("{error}");
    }
    is_listed()
}

/// A copy of a mount that is nowhere yet. Dropped without having been attached, it is gone.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// The mount at a directory, from this directory on, with its options: read-only where that is.
    ///
    /// # Errors
    /// There is no such directory, or the kernel refused.
    pub fn of(directory: &Path) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let flags = flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        rustix::mount::open_tree(CWD, directory, flags)
            .map(Self)
            .map_err(|error| failed(&format!("the mount at `{}` could not be copied", directory.display()), error))
    }

    /// Attaches it to a directory of a container, given by a handle of its in-root door; `init` is the container's.
    ///
    /// # Errors
    /// The kernel refused, or the container has stopped.
    pub fn attach(self, init: u32, target: &OwnedFd) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        let attach = || rustix::mount::move_mount(&self.0, "", target, "", flags);
        inside(init, attach)?.map_err(|error| failed("a mount could not be attached in the container", error))
    }
}

/// Takes away what is mounted on `name` in a directory of a container, given by a handle of its in-root door; false
/// when nothing is. Processes that have files of it open keep them.
///
/// # Errors
/// The kernel refused, or the container has stopped.
pub fn detach(init: u32, directory: &OwnedFd, name: &str) -> Result<bool> {
    let detach = || {
        // This thread's own working directory: the name is looked up there, and nowhere else.
        rustix::process::fchdir(directory)?;
        rustix::mount::unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
    };
    match inside(init, detach)? {
        Ok(()) => Ok(true),
        // Nothing is mounted there, or nothing is there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(failed(&format!("`{name}` could not be unmounted in the container"), error)),
    }
}

/// As [`detach`], until nothing is mounted there; true when something was.
///
/// # Errors
/// As [`detach`]; or somebody in the container mounts something there again and again.
pub fn detach_all(init: u32, directory: &OwnedFd, name: &str) -> Result<bool> {
    for count in 0..MOUNTS_LIMIT {
        if !detach(init, directory, name)? {
            return Ok(count > 0);
        }
    }
    Err(Error::new(Kind::Verification, format!("more than {MOUNTS_LIMIT} mounts lie on `{name}` in the container"))
        .hint("look at them from inside the container with `cat /proc/mounts`"))
}

/// Does something in the mount namespace of a container: a thread enters it, and ends with what it did.
fn inside<T: Send>(init: u32, work: impl FnOnce() -> rustix::io::Result<T> + Send) -> Result<rustix::io::Result<T>> {
    let path = PathBuf::from(format!("/proc/{init}/ns/mnt"));
    let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed("the container's mount namespace could not be opened", error))?;
    let entered = || {
        own_working_directory()?;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
    };
    let worked = std::thread::scope(|scope| scope.spawn(|| entered().map(|()| work())).join());
    match worked {
        Ok(Ok(worked)) => Ok(worked),
        Ok(Err(error)) => Err(failed("the container's mount namespace could not be entered", error)),
        Err(_) => Err(Error::new(Kind::Bug, "a thread in a container's mount namespace has panicked")),
    }
}

/// Gives this thread a root and a working directory of its own; without that the kernel lets it into no namespace.
#[expect(deprecated, reason = "its successor guards against sharing no files, which is not asked for here")]
fn own_working_directory() -> rustix::io::Result<()> {
    rustix::thread::unshare(UnshareFlags::FS)
}

fn failed(what: &str, error: rustix::io::Errno) -> Error {
    Error::new(Kind::Host, what).caused_by(std::io::Error::from(error))
}

/// Reads a line of mountinfo: `36 35 98:0 /below /point ro,noatime shared:1 - ext4 /dev/sda1 rw`.
fn parse(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let mut file_system = file_system.split(' ');
    Some(Mounted {
        point: PathBuf::from(unescaped(mount.next()?)),
        options: mount.next()?.split(',').map(str::to_owned).collect(),
        file_system: file_system.next()?.to_owned(),
        source: unescaped(file_system.next()?),
    })
}

/// A field without the octal escapes that stand for blanks, tabs, line breaks and backslashes.
fn unescaped(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

/// Whether `/proc/filesystems` has a line of this type: `nodev` or nothing, a tab, the type.
fn lists(table: &str, file_system: &str) -> bool {
    table.lines().any(|line| line.split('\t').nth(1) == Some(file_system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_and_without_optional_fields() {
        // Linux 6.18.
        let line = "42 27 7:0 / /srv/a\\040b/m ro,nosuid,nodev,relatime - erofs /dev/loop0 ro,user_xattr,acl";
        let mounted = parse(line).unwrap();
        assert_eq!(mounted.point, Path::new("/srv/a b/m"));
        assert_eq!((mounted.source.as_str(), mounted.file_system.as_str()), ("/dev/loop0", "erofs"));
        assert_eq!(mounted.options, ["ro", "nosuid", "nodev", "relatime"]);
        let shared = line.replace("relatime - ", "relatime shared:12 master:3 - ");
        assert_eq!(parse(&shared), Some(mounted));
        assert_eq!(parse("42 27 7:0"), None);
    }

    #[test]
    fn an_escaped_backslash_is_not_read_twice() {
        assert_eq!(unescaped("a\\134040b"), "a\\040b");
    }

    #[test]
    fn file_systems_are_listed_by_their_whole_name() {
        let table = "nodev\tsysfs\n\text4\n\terofs\n";
        assert!(lists(table, "erofs") && lists(table, "sysfs"));
        assert!(!lists(table, "ero") && !lists(table, "squashfs"));
    }

    #[test]
    fn the_root_is_a_mount_and_a_directory_of_ours_is_none() {
        assert!(at(Path::new("/")).unwrap().is_some());
        assert_eq!(at(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }
}
