//! What sort of system a container is: where NVIDIA's installer would put libraries, and which parts it would leave out.
//!
//! The rules of nvidia-installer 590 (`get_default_prefixes_and_paths` in `files.c`, the check for GLVND), answered by
//! looking at files. Two of its habits are left out: it guesses a directory for modules of an X server that is not
//! there, and it finds 32-bit libraries a place wherever it can, which our options forbid it.

use crate::driver::loader_cache::LoaderCache;
use crate::driver::placement::Target;
use crate::error::Result;
use crate::sys::rootfs::{Found, Rootfs};

use super::placed::Change;

const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// In the installer's order.
const LIBRARY_DIRECTORIES: [&str; 3] = [
    if cfg!(target_arch = "aarch64") { "/usr/lib/aarch64-linux-gnu" } else { "/usr/lib/x86_64-linux-gnu" },
    "/usr/lib64",
    "/usr/lib",
];

/// One of them is enough: the installer's own check takes any of them for a whole GLVND (measured with 550.163.01).
const GLVND: [&str; 3] = ["libGL.so.1", "libGLX.so.0", "libEGL.so.1"];

const X_MODULES: [&str; 3] =
    ["/usr/lib/xorg/modules", "/usr/lib64/xorg/modules", "/usr/lib/x86_64-linux-gnu/xorg/modules"];
const X_CONFIGURATION: &str = "/usr/share/X11/xorg.conf.d";

/// Looks at a container, as it will be when the driver that it has now is gone.
///
/// # Errors
/// Its files cannot be looked at.
pub(super) fn of(rootfs: &Rootfs, change: &Change<'_>) -> Result<Target> {
    let library_directory = library_directory(rootfs)?;
    let glvnd = !has_glvnd(rootfs, change, library_directory)?;
    let x_module_directory = first_directory(rootfs, &X_MODULES)?;
    let x_configuration =
        if x_module_directory.is_some() { first_directory(rootfs, &[X_CONFIGURATION])? } else { None };
    Ok(Target {
        x_module_directory: x_module_directory.map(str::to_owned),
        x_configuration_directory: x_configuration.map(str::to_owned),
        glvnd,
        ..Target::new(library_directory)
    })
}

/// The first that the loader's cache speaks of, or else the first that is there and no link.
fn library_directory(rootfs: &Rootfs) -> Result<&'static str> {
    // A cache that is no file, or far too large, says nothing.
    let cache = rootfs.read(LOADER_CACHE, LoaderCache::LIMIT as u64).ok().flatten().unwrap_or_default();
    let cache = LoaderCache::parse(&cache).unwrap_or_default();
    let speaks_of = |directory: &&str| cache.libraries().any(|library| library.path().starts_with(directory));
    if let Some(directory) = LIBRARY_DIRECTORIES.into_iter().find(speaks_of) {
        return Ok(directory);
    }
    Ok(first_directory(rootfs, &LIBRARY_DIRECTORIES)?.unwrap_or("/usr/lib"))
}

fn has_glvnd(rootfs: &Rootfs, change: &Change<'_>, library_directory: &str) -> Result<bool> {
    for name in GLVND {
        let path = format!("{library_directory}/{name}");
        // A link that leads nowhere is no library.
        if change.has_of_others(&path)? && rootfs.open_file(&path).ok().flatten().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn first_directory<'d>(rootfs: &Rootfs, directories: &[&'d str]) -> Result<Option<&'d str>> {
    for directory in directories {
        if rootfs.look(directory)? == Some(Found::Directory) {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::loader_cache::LibraryFlags;
    use crate::sys::idmap::IdMap;

    fn chosen(directories: &[&str], links: &[(&str, &str)], cached: &str) -> &'static str {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("etc")).unwrap();
        for directory in directories {
            fs_err::create_dir_all(root.path().join(directory)).unwrap();
        }
        for (link, target) in links {
            std::os::unix::fs::symlink(target, root.path().join(link)).unwrap();
        }
        let cache = LoaderCache::default().with("libc.so.6", cached, LibraryFlags::X86_64);
        fs_err::write(root.path().join("etc/ld.so.cache"), cache.to_bytes().unwrap()).unwrap();
        let rootfs = Rootfs::open(root.path(), IdMap::identity(), "container 901").unwrap();
        library_directory(&rootfs).unwrap()
    }

    #[test]
    fn a_directory_that_the_loader_speaks_of_comes_first() {
        let all = ["usr/lib/x86_64-linux-gnu", "usr/lib64"];
        assert_eq!(chosen(&all, &[], "/usr/lib64/libc.so.6"), "/usr/lib64");
        assert_eq!(chosen(&all, &[], "/lib/x86_64-linux-gnu/libc.so.6"), "/usr/lib/x86_64-linux-gnu");
    }

    #[test]
    fn without_the_loaders_word_the_first_real_directory_is_taken() {
        assert_eq!(
            chosen(&["usr/lib/x86_64-linux-gnu", "usr/lib64"], &[], "/opt/libc.so.6"),
            "/usr/lib/x86_64-linux-gnu"
        );
        assert_eq!(chosen(&["usr/lib", "usr/lib64"], &[], "/opt/libc.so.6"), "/usr/lib64");
        assert_eq!(chosen(&["usr/lib"], &[("usr/lib64", "lib")], "/opt/libc.so.6"), "/usr/lib");
        assert_eq!(chosen(&["usr/lib"], &[("usr/lib/x86_64-linux-gnu", "/")], "/opt/libc.so.6"), "/usr/lib");
        assert_eq!(chosen(&[], &[], "/opt/libc.so.6"), "/usr/lib");
    }
}
