//! Where a path of a container really lies: through the links that distributions make, and no others.

use crate::driver::installer;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Result;
use crate::sys::directory::{Directory, split};
use crate::sys::rootfs::{Found, Rootfs};

/// Where NVIDIA's installer keeps its list and the originals of what it replaced.
pub(super) const INSTALLERS_DIRECTORY: &str = "/var/lib/nvidia";

/// What an installation by NVIDIA's installer writes beside its list.
pub(super) const INSTALLERS_LOGS: [&str; 2] = [installer::LOG, installer::UNINSTALL_LOG];

/// Larger files, in bytes, are no driver's; a container could make one that takes hours to read.
pub(super) const LARGEST: u64 = 2 << 30;

/// The links that distributions make of directories that used to be apart, and where they may lead.
const MERGED: [(&str, &[&str]); 6] = [
    ("/lib", &["/usr/lib"]),
    ("/lib64", &["/usr/lib64", "/usr/lib"]),
    ("/lib32", &["/usr/lib32"]),
    ("/bin", &["/usr/bin"]),
    ("/sbin", &["/usr/sbin", "/usr/bin"]),
    ("/usr/lib64", &["/usr/lib"]),
];

/// The paths of one container, and the directories that are open.
pub(super) struct Paths<'a> {
    rootfs: &'a Rootfs,
    merged: Vec<(&'static str, &'static str)>,
    open: RefCell<BTreeMap<String, Rc<Directory<'a>>>>,
}

impl<'a> Paths<'a> {
    pub(super) fn of(rootfs: &'a Rootfs) -> Result<Self> {
        let mut merged = Vec::new();
        for (link, places) in MERGED {
            let Some(Found::Link(target)) = rootfs.look(link)? else { continue };
            let target = target.to_string_lossy();
            let parent = link.rsplit_once('/').map_or("", |(parent, _)| parent);
            let leads = if target.starts_with('/') { target.into_owned() } else { format!("{parent}/{target}") };
            merged.extend(places.iter().find(|place| **place == leads).map(|place| (link, *place)));
        }
        Ok(Self { rootfs, merged, open: RefCell::default() })
    }

    /// The path without a merged directory: `/lib/firmware` is `/usr/lib/firmware` where `/lib` is a link to `/usr/lib`.
    pub(super) fn real(&self, path: &str) -> String {
        let mut path = path.to_owned();
        // `/lib64` may lead to `/usr/lib64`, and that to `/usr/lib`: in this order they stand in the table.
        for (link, place) in &self.merged {
            if let Some(rest) = path.strip_prefix(link).filter(|rest| rest.starts_with('/')) {
                path = format!("{place}{rest}");
            }
        }
        path
    }

    /// A directory, held open; `None` when there is none.
    pub(super) fn directory(&self, path: &str) -> Result<Option<Rc<Directory<'a>>>> {
        if let Some(open) = self.open.borrow().get(path) {
            return Ok(Some(Rc::clone(open)));
        }
        let opened = self.rootfs.directory(path)?.map(Rc::new);
        if let Some(opened) = &opened {
            self.open.borrow_mut().insert(path.to_owned(), Rc::clone(opened));
        }
        Ok(opened)
    }

    /// The directory of a path, and the path's last name.
    pub(super) fn parent<'path>(&self, path: &'path str) -> Result<Option<(Rc<Directory<'a>>, &'path str)>> {
        let (directory, name) = split(path)?;
        Ok(self.directory(directory)?.map(|directory| (directory, name)))
    }

    /// What lies at a path; no link on the way is followed.
    pub(super) fn look(&self, path: &str) -> Result<Option<Found>> {
        match self.parent(path)? {
            Some((directory, name)) => directory.look(name),
            None => Ok(None),
        }
    }
}

/// The name that a file's path ends in.
pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sys::idmap::IdMap;

    fn real(links: &[(&str, &str)], path: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("usr")).unwrap();
        for (link, target) in links {
            symlink(target, root.path().join(link)).unwrap();
        }
        let rootfs = Rootfs::open(root.path(), IdMap::identity(), "container 901").unwrap();
        Paths::of(&rootfs).unwrap().real(path)
    }

    #[test]
    fn the_links_of_distributions_are_seen_through() {
        assert_eq!(real(&[("lib", "usr/lib")], "/lib/firmware/a"), "/usr/lib/firmware/a");
        assert_eq!(real(&[("lib", "/usr/lib")], "/lib/a"), "/usr/lib/a");
        assert_eq!(real(&[("lib64", "usr/lib64"), ("usr/lib64", "lib")], "/lib64/a"), "/usr/lib/a");
        assert_eq!(real(&[], "/lib/a"), "/lib/a");
        assert_eq!(real(&[("lib", "usr/lib")], "/library/a"), "/library/a");
    }

    #[test]
    fn a_planted_link_is_not() {
        assert_eq!(real(&[("lib", "etc")], "/lib/a"), "/lib/a");
        assert_eq!(real(&[("lib", "../../usr/lib")], "/lib/a"), "/lib/a");
    }
}
