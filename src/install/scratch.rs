//! The fresh directory in a container that a run file is put into and unpacked in, or that a package is mounted in, and
//! its certain removal.

use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, Kind, Result};
use crate::sys::mount::{self, DetachedMount};
use crate::sys::processes;
use crate::sys::readable::Readable;
use crate::sys::rootfs::{Found, Rootfs};

use super::{Guest, OWN_DIRECTORY};

/// What every such directory's name begins with, and so what marks the processes that work in one.
const PREFIX: &str = "phoenix-nvidia-run-";
/// What a package is mounted on in it.
const PACKAGE: &str = "package";

/// A fresh directory, removed with everything in it when [`Scratch::remove`] is called, or dropped.
pub(super) struct Scratch<'a> {
    rootfs: &'a Rootfs,
    init: u32,
    path: String,
    removed: bool,
}

impl<'a> Scratch<'a> {
    /// Makes a directory that only the container's root may enter, under a name that nobody can guess.
    pub(super) fn make(rootfs: &'a Rootfs, init: u32, parent: &str) -> Result<Self> {
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Error::new(Kind::Host, "the kernel has no random numbers"))?;
        let path = format!("{parent}/{PREFIX}{:016x}", u64::from_ne_bytes(random));
        rootfs.make_fresh_directory(&path, 0o700)?;
        Ok(Self { rootfs, init, path, removed: false })
    }

    /// Where it lies in the container.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Mounts a package in it; the directory of the package.
    pub(super) fn mount(&self, package: DetachedMount) -> Result<String> {
        let path = format!("{}/{PACKAGE}", self.path);
        self.rootfs.make_fresh_directory(&path, 0o755)?;
        package.attach(self.init, &self.rootfs.directory_handle(&path)?)?;
        Ok(path)
    }

    /// Removes it, and says when that failed.
    pub(super) fn remove(mut self) -> Result<()> {
        self.removed = true;
        remove(self.rootfs, self.init, &self.path)
    }
}

fn remove(rootfs: &Rootfs, init: u32, path: &str) -> Result<()> {
    if rootfs.look(&format!("{path}/{PACKAGE}"))? == Some(Found::Directory) {
        // What is mounted cannot be removed.
        mount::detach_all(init, &rootfs.directory_handle(path)?, PACKAGE)?;
    }
    rootfs.remove(path)
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove(self.rootfs, self.init, &self.path)
        {
            tracing::warn!("{error}: {}", error.causes().join(": "));
        }
    }
}

/// Ends and removes what an earlier run, killed in the middle, has left in the container; `init` is a running one's.
///
/// # Errors
/// Something of it does not go away.
pub(super) fn clear_leftovers(guest: &Guest<'_>, rootfs: &Rootfs, init: Option<u32>) -> Result<()> {
    if init.map(kill_orphans).transpose()?.unwrap_or_default() {
        guest.context.listener.warn(Some(guest.id), "an installation of a killed run was still running and was ended");
    }
    for path in leftovers(rootfs)? {
        match init {
            Some(init) => remove(rootfs, init, &path)?,
            // Where nothing runs, nothing is mounted either.
            None => rootfs.remove(&path)?,
        }
        guest.context.listener.note(Some(guest.id), format!("removed `{path}`, left by an interrupted run"));
    }
    Ok(())
}

/// Ends all processes of an installation that has lost its parent, also those that were made meanwhile; whether there
/// were any.
fn kill_orphans(init: u32) -> Result<bool> {
    let mut any = false;
    while processes::kill_marked(init, PREFIX)? > 0 {
        any = true;
    }
    Ok(any)
}

/// Removes what an interrupted run left, where nothing else is to do in the container.
///
/// # Errors
/// The container cannot be looked into, or something of it does not go away.
pub fn clear_away(guest: &Guest<'_>) -> Result<()> {
    let init = guest.state()?.init();
    clear_leftovers(guest, &guest.root()?, init)
}

/// The directories that installations have made for themselves in a container, and not removed yet.
///
/// # Errors
/// The container's files cannot be examined.
pub fn leftovers(rootfs: &dyn Readable) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for directory in [OWN_DIRECTORY, "/var/tmp", "/tmp", "/root"] {
        if rootfs.look(directory)? != Some(Found::Directory) {
            continue;
        }
        let names = rootfs.names(directory, 100_000)?;
        left.extend(names.iter().filter(|name| is_ours(name)).map(|name| format!("{directory}/{name}")));
    }
    Ok(left)
}

/// Whether it is a name that [`Scratch::make`] gives; a container can make others that only begin like it.
fn is_ours(name: &str) -> bool {
    let digits = name.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_given_here_are_ours() {
        assert!(is_ours("phoenix-nvidia-run-0123456789abcdef"));
        for other in ["phoenix-nvidia-run-", "phoenix-nvidia-run-\u{1b}[2J", "x-0123456789abcdef", "0123456789abcdef"] {
            assert!(!is_ours(other), "{other:?}");
        }
    }
}
