//! Which names the loader finds in a driver's directories of libraries: what `ldconfig` would list, without running it.
//!
//! The rules of glibc 2.36 (`search_dir` in `elf/ldconfig.c`): a library is listed by its SONAME, and links that compilers
//! use (`libcuda.so`) by their own names.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::driver::elf::SharedObject;
use crate::driver::loader_cache::LibraryFlags;

// The kernel's own limit is 40; a driver's links lead over two others at most.
const LINKS_LIMIT: usize = 8;

/// A name that the loader finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loadable {
    /// What programs ask for.
    pub(super) name: String,
    /// The directory of the library, absolute in the container.
    pub(super) directory: String,
    /// For which loader it is.
    pub(super) flags: LibraryFlags,
}

/// One file or link of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    /// A file, with its place on this host.
    File(PathBuf),
    /// A link, with what it says.
    Link(String),
}

/// What libraries on this host say of themselves; each is read once.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    read: HashMap<PathBuf, Option<SharedObject>>,
}

impl Libraries {
    /// What a library says of itself; none of what is no library for this machine's loaders.
    pub(super) fn of(&mut self, library: &Path) -> Option<&SharedObject> {
        let read = || SharedObject::read(&mut fs_err::File::open(library).ok()?).ok();
        self.read.entry(library.to_owned()).or_insert_with(read).as_ref()
    }

    /// What the loader finds right in these directories, of members by their absolute paths.
    pub(super) fn loadable(&mut self, members: &BTreeMap<String, Member>, directories: &[&str]) -> Vec<Loadable> {
        let mut found = BTreeMap::new();
        for path in members.keys() {
            let Some((directory, name)) = path.rsplit_once('/').filter(|(place, _)| directories.contains(place)) else {
                continue;
            };
            if !is_name_of_library(name) {
                continue;
            }
            let Some(library) = file_behind(members, path).and_then(|file| self.of(file)) else { continue };
            let soname = library.soname.as_deref().unwrap_or(name);
            let is_link = matches!(members.get(path), Some(Member::Link(_)));
            let listed = if is_link && is_for_compilers(name, soname) { name } else { soname };
            found.insert((directory, listed.to_owned()), library.flags);
        }
        let loadable =
            |((directory, name), flags): ((&str, _), _)| Loadable { name, directory: directory.to_owned(), flags };
        found.into_iter().map(loadable).collect()
    }
}

/// Whether the loader looks at a name at all.
pub(super) fn is_name_of_library(name: &str) -> bool {
    name.starts_with("lib") && name.contains(".so")
}

fn is_for_compilers(name: &str, soname: &str) -> bool {
    name.ends_with(".so") && soname.starts_with(name)
}

/// The file on this host that a path leads to over links among the members.
fn file_behind<'m>(members: &'m BTreeMap<String, Member>, path: &str) -> Option<&'m PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_LIMIT {
        match members.get(&path)? {
            Member::File(file) => return Some(file),
            Member::Link(target) if target.starts_with('/') => path.clone_from(target),
            Member::Link(target) => path = format!("{}/{target}", path.rsplit_once('/')?.0),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_listed_by_its_own_name_only_when_it_is_for_compilers() {
        assert!(is_for_compilers("libcuda.so", "libcuda.so.1"));
        assert!(!is_for_compilers("libcuda.so.1", "libcuda.so.1"));
        assert!(!is_for_compilers("libGL.so", "libOpenGL.so.0"));
    }

    #[test]
    fn links_lead_to_files_and_never_round_in_circles() {
        let link = |target: &str| Member::Link(target.to_owned());
        let members = BTreeMap::from([
            ("/lib/vdpau/libv.so.5".to_owned(), Member::File("/store/libv.so.5".into())),
            ("/lib/libv.so".to_owned(), link("vdpau/libv.so.5")),
            ("/lib/libabsolute.so".to_owned(), link("/lib/libv.so")),
            ("/lib/libcircle.so".to_owned(), link("libcircle.so")),
            ("/lib/libnowhere.so".to_owned(), link("libgone.so")),
        ]);
        let behind = |path| file_behind(&members, path).map(|path| path.to_str().unwrap());
        assert_eq!(behind("/lib/libabsolute.so"), Some("/store/libv.so.5"));
        assert_eq!(behind("/lib/libcircle.so"), None);
        assert_eq!(behind("/lib/libnowhere.so"), None);
    }
}
