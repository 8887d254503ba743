//! Which `libcuda.so.1` programs in a container get, by its loader's cache: the driver's, or another that comes before it.

use crate::driver::DriverVersion;
use crate::driver::cuda::LIBRARY;
use crate::driver::loader_cache::{LibraryFlags, LoaderCache};
use crate::error::Result;
use crate::sys::readable::Readable;

use super::LIBRARY_DIRECTORIES;
use super::placed::is_of_image;

const CACHE: &str = "/etc/ld.so.cache";
const CONFIGURATIONS: &str = "/etc/ld.so.conf.d";
// A line a directory; NVIDIA's and distributions' have one or two.
const CONFIGURATION_LIMIT: u64 = 64 << 10;
const CONFIGURATIONS_LIMIT: usize = 1000;
const FLAGS: LibraryFlags = if cfg!(target_arch = "aarch64") { LibraryFlags::AARCH64 } else { LibraryFlags::X86_64 };

/// A `libcuda.so.1` that is not the driver's, and that programs get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLibrary {
    /// Where the loader finds it.
    pub path: String,
    /// The file that tells the loader to look there.
    pub named_by: Option<String>,
}

impl ForeignLibrary {
    /// What is wrong, in one phrase.
    pub fn cause(&self) -> String {
        format!("programs get `{}` for `{LIBRARY}`, which is not the driver's", self.path)
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match &self.named_by {
            Some(file) => format!(
                "remove the package that brings it (`cuda-compat-*`), or `{file}`, which puts it first; then run `ldconfig` in the \
                 container"
            ),
            None => "remove it, then run `ldconfig` in the container".to_owned(),
        }
    }
}

/// Looks which one programs get, where a driver of this version is installed; nothing where it is the driver's, or where
/// that cannot be known: without a cache the loader looks into its own directories.
///
/// # Errors
/// The container's files cannot be looked at.
pub fn foreign_library(rootfs: &dyn Readable, installed: &DriverVersion) -> Result<Option<ForeignLibrary>> {
    let cache = rootfs.read(CACHE, LoaderCache::LIMIT as u64).ok().flatten();
    let Some(cache) = cache.and_then(|bytes| LoaderCache::parse(&bytes).ok()) else { return Ok(None) };
    let listed = cache.libraries().filter(|it| it.soname() == LIBRARY && it.flags() == FLAGS);
    for library in listed {
        let path = library.path().to_string_lossy().into_owned();
        // What an image holds is seen only while the container runs.
        if is_of_image(&path) {
            return Ok(None);
        }
        // The loader goes on where there is no file.
        let Some(taken) = rootfs.identity(&path)? else { continue };
        for directory in LIBRARY_DIRECTORIES {
            if rootfs.identity(&format!("{directory}/libcuda.so.{installed}"))?.as_ref() == Some(&taken) {
                return Ok(None);
            }
        }
        return Ok(Some(ForeignLibrary { named_by: named_by(rootfs, &path)?, path }));
    }
    Ok(None)
}

fn named_by(rootfs: &dyn Readable, path: &str) -> Result<Option<String>> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut names = rootfs.names(CONFIGURATIONS, CONFIGURATIONS_LIMIT)?;
    names.sort();
    let in_directory =
        names.iter().filter(|name| name.ends_with(".conf")).map(|name| format!("{CONFIGURATIONS}/{name}"));
    let mut files = std::iter::once("/etc/ld.so.conf".to_owned()).chain(in_directory);
    Ok(files.find(|file| {
        let text = rootfs.read(file, CONFIGURATION_LIMIT).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&text).lines().any(|line| line.trim().trim_end_matches('/') == directory)
    }))
}
