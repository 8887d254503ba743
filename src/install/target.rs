//! What sort of system a container is: where NVIDIA's installer would put libraries, and which parts it would leave out.
//!
//! The rules of nvidia-installer 590 (`get_default_prefixes_and_paths` in `files.c`, the check for GLVND), answered by
//! looking at files. One of its habits is left out: it guesses a directory for modules of an X server that is not there.

use std::path::Path;

use crate::driver::loader_cache::LoaderCache;
use crate::driver::placement::Target;
use crate::error::Result;
use crate::sys::rootfs::{Found, Rootfs};

use super::SHARED_DIRECTORY;
use super::files::change::Change;

const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// In the installer's order.
const LIBRARY_DIRECTORIES: [&str; 3] = [
    if cfg!(target_arch = "aarch64") { "/usr/lib/aarch64-linux-gnu" } else { "/usr/lib/x86_64-linux-gnu" },
    "/usr/lib64",
    "/usr/lib",
];

/// Of 32 bits, in the installer's order.
const COMPAT32_DIRECTORIES: [&str; 3] = ["/usr/lib/i386-linux-gnu", "/usr/lib32", "/usr/lib"];

/// One of them is enough: the installer's own check takes any of them for a whole GLVND (measured with 550.163.01).
const GLVND: [&str; 3] = ["libGL.so.1", "libGLX.so.0", "libEGL.so.1"];

const X_MODULES: [&str; 3] =
    ["/usr/lib/xorg/modules", "/usr/lib64/xorg/modules", "/usr/lib/x86_64-linux-gnu/xorg/modules"];
const X_CONFIGURATION: &str = "/usr/share/X11/xorg.conf.d";

/// Looks at a container, as it will be when the driver that it has now is gone.
///
/// # Errors
/// Its files cannot be examined.
pub(super) fn of(rootfs: &Rootfs, change: &Change<'_>) -> Result<Target> {
    let cache = loader_cache(rootfs);
    let library_directory = library_directory(rootfs, &cache)?;
    let glvnd = !has_glvnd(rootfs, change, library_directory)?;
    // What the outgoing driver has made for itself does not say that there is an X server.
    let x_modules: Vec<&str> = X_MODULES.into_iter().filter(|directory| !change.has_made(directory)).collect();
    let x_module_directory = first_directory(rootfs, &x_modules)?;
    let x_configuration =
        if x_module_directory.is_some() { first_directory(rootfs, &[X_CONFIGURATION])? } else { None };
    Ok(Target {
        x_module_directory: x_module_directory.map(str::to_owned),
        x_configuration_directory: x_configuration.map(str::to_owned),
        glvnd,
        compat32_directory: compat32_directory(rootfs, &cache, library_directory)?.map(str::to_owned),
        ..Target::new(library_directory)
    })
}

/// Whether a container has a place for 32-bit libraries.
///
/// # Errors
/// Its files cannot be examined.
pub(super) fn has_compat32(rootfs: &Rootfs) -> Result<bool> {
    let cache = loader_cache(rootfs);
    let native = library_directory(rootfs, &cache)?;
    Ok(compat32_directory(rootfs, &cache, native)?.is_some())
}

/// What the container's loader finds, but for the images of the method `shared`, which lie below `/usr/lib` everywhere.
/// A cache that is no file, or far too large, says nothing.
fn loader_cache(rootfs: &Rootfs) -> LoaderCache {
    let bytes = rootfs.read(LOADER_CACHE, LoaderCache::LIMIT as u64).ok().flatten().unwrap_or_default();
    LoaderCache::parse(&bytes).unwrap_or_default().without(|path| path.starts_with(SHARED_DIRECTORY))
}

fn library_directory(rootfs: &Rootfs, cache: &LoaderCache) -> Result<&'static str> {
    Ok(spoken_of_or_there(rootfs, cache, &LIBRARY_DIRECTORIES)?.unwrap_or("/usr/lib"))
}

/// None that is or holds the directory of native libraries.
fn compat32_directory(rootfs: &Rootfs, cache: &LoaderCache, native: &str) -> Result<Option<&'static str>> {
    let candidates: Vec<&str> =
        COMPAT32_DIRECTORIES.into_iter().filter(|directory| !Path::new(native).starts_with(directory)).collect();
    spoken_of_or_there(rootfs, cache, &candidates)
}

/// The first that the loader's cache speaks of, or else the first that is there and no link.
fn spoken_of_or_there<'d>(rootfs: &Rootfs, cache: &LoaderCache, directories: &[&'d str]) -> Result<Option<&'d str>> {
    let speaks_of = |directory: &&&str| cache.libraries().any(|library| library.path().starts_with(directory));
    match directories.iter().find(speaks_of) {
        Some(directory) => Ok(Some(directory)),
        None => first_directory(rootfs, directories),
    }
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
        both_chosen(directories, links, cached).0
    }

    fn both_chosen(directories: &[&str], links: &[(&str, &str)], cached: &str) -> (&'static str, Option<&'static str>) {
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
        let cache = loader_cache(&rootfs);
        let native = library_directory(&rootfs, &cache).unwrap();
        (native, compat32_directory(&rootfs, &cache, native).unwrap())
    }

    #[test]
    fn a_directory_that_the_loader_speaks_of_comes_first() {
        let all = ["usr/lib/x86_64-linux-gnu", "usr/lib64"];
        assert_eq!(chosen(&all, &[], "/usr/lib64/libc.so.6"), "/usr/lib64");
        assert_eq!(chosen(&all, &[], "/lib/x86_64-linux-gnu/libc.so.6"), "/usr/lib/x86_64-linux-gnu");
        let of_an_image = "/usr/lib/phoenix-nvidia/current/lib/libcuda.so.1";
        assert_eq!(chosen(&all, &[], of_an_image), "/usr/lib/x86_64-linux-gnu");
    }

    #[test]
    fn libraries_of_32_bits_never_share_the_native_ones_directory() {
        let debian = ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib/i386-linux-gnu"];
        let native = "/usr/lib/x86_64-linux-gnu";
        assert_eq!(both_chosen(&debian, &[], "/opt/libc.so.6"), (native, Some("/usr/lib/i386-linux-gnu")));
        assert_eq!(both_chosen(&debian[..2], &[], "/opt/libc.so.6"), (native, None));
        assert_eq!(
            both_chosen(&["usr/lib", "usr/lib64"], &[], "/usr/lib64/libc.so.6"),
            ("/usr/lib64", Some("/usr/lib"))
        );
        let arch = ["usr/lib", "usr/lib32"];
        assert_eq!(both_chosen(&arch, &[], "/usr/lib/libc.so.6"), ("/usr/lib", Some("/usr/lib32")));
        assert_eq!(both_chosen(&arch[..1], &[], "/usr/lib/libc.so.6"), ("/usr/lib", None));
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
