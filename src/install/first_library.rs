//! Which `libcuda.so.1` and `libnvidia-ml.so.1` programs in a container get, by its loader's cache: the driver's, or others
//! that come before them.

use crate::driver::DriverVersion;
use crate::driver::cuda::LIBRARY;
use crate::driver::loader_cache::{LibraryFlags, LoaderCache};
use crate::error::Result;
use crate::sys::readable::Readable;

use super::LIBRARY_DIRECTORIES;
use super::files::is_of_image;

const CACHE: &str = "/etc/ld.so.cache";
const CONFIGURATIONS: &str = "/etc/ld.so.conf.d";
// A line a directory; NVIDIA's and distributions' have one or two.
const CONFIGURATION_LIMIT: u64 = 64 << 10;
const CONFIGURATIONS_LIMIT: usize = 1000;
const FLAGS: LibraryFlags = if cfg!(target_arch = "aarch64") { LibraryFlags::AARCH64 } else { LibraryFlags::X86_64 };

/// What programs load: those that compute, and those that look after GPUs, as `nvidia-smi`. With the stem of its file.
const LIBRARIES: [(&str, &str); 2] = [(LIBRARY, "libcuda.so."), ("libnvidia-ml.so.1", "libnvidia-ml.so.")];
/// Where programs that came without a package have their libraries: what names them names more than one driver.
const SHARED_WITH_OTHERS: [&str; 3] = ["/usr/local/lib", "/lib", "/usr/lib"];

/// A library that is not the driver's, and that programs get for one of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLibrary {
    /// What programs ask for.
    pub name: &'static str,
    /// Where the loader finds it.
    pub path: String,
    /// The file that tells the loader to look there.
    pub named_by: Option<String>,
}

impl ForeignLibrary {
    /// What is wrong, in one phrase.
    pub fn cause(&self) -> String {
        format!("programs get `{}` for `{}`, which is not the driver's", self.path, self.name)
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match &self.named_by {
            Some(file) => format!(
                "remove the package that brings it (`cuda-compat-*`), or `{file}`, which puts it first; then run `ldconfig` in the \
                 container"
            ),
            // `ldconfig` makes a link again whose file it finds.
            None => {
                format!("remove `{}` and the file that it leads to, then run `ldconfig` in the container", self.path)
            }
        }
    }
}

/// Looks which one programs get, where a driver of this version is installed; nothing where it is the driver's, or where
/// that cannot be known: without a cache the loader looks into its own directories.
///
/// # Errors
/// The container's files cannot be examined.
pub fn foreign_library(rootfs: &dyn Readable, installed: &DriverVersion) -> Result<Option<ForeignLibrary>> {
    let cache = rootfs.read(CACHE, LoaderCache::LIMIT as u64).ok().flatten();
    let Some(cache) = cache.and_then(|bytes| LoaderCache::parse(&bytes).ok()) else { return Ok(None) };
    for (name, stem) in LIBRARIES {
        if let Some(foreign) = foreign(rootfs, &cache, name, &format!("{stem}{installed}"))? {
            return Ok(Some(foreign));
        }
    }
    Ok(None)
}

fn foreign(
    rootfs: &dyn Readable,
    cache: &LoaderCache,
    name: &'static str,
    file: &str,
) -> Result<Option<ForeignLibrary>> {
    let listed = cache.libraries().filter(|it| it.soname() == name && it.flags() == FLAGS);
    for library in listed {
        let path = library.path().to_string_lossy().into_owned();
        // What an image holds is seen only while the container runs.
        if is_of_image(&path) {
            return Ok(None);
        }
        // The loader goes on where there is no file.
        let Some(taken) = rootfs.identity(&path)? else { continue };
        for directory in LIBRARY_DIRECTORIES {
            if rootfs.identity(&format!("{directory}/{file}"))?.as_ref() == Some(&taken) {
                return Ok(None);
            }
        }
        return Ok(Some(ForeignLibrary { name, named_by: named_by(rootfs, &path)?, path }));
    }
    Ok(None)
}

/// The file that brings the directory in, where nobody else needs it for that.
fn named_by(rootfs: &dyn Readable, path: &str) -> Result<Option<String>> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    if is_shared_with_others(directory) {
        return Ok(None);
    }
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

/// `/usr/local/lib` and its like, as they are or for one architecture.
fn is_shared_with_others(directory: &str) -> bool {
    let is_below = |shared: &&str| {
        let rest = directory.strip_prefix(*shared);
        rest.is_some_and(|rest| ["", "64"].contains(&rest) || rest.ends_with("-linux-gnu"))
    };
    SHARED_WITH_OTHERS.iter().any(is_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_the_directories_of_the_system_is_never_to_be_removed() {
        for shared in
            ["/usr/local/lib", "/usr/local/lib/x86_64-linux-gnu", "/usr/lib64", "/lib", "/usr/lib/aarch64-linux-gnu"]
        {
            assert!(is_shared_with_others(shared), "{shared}");
        }
        for own in ["/usr/local/cuda/compat", "/usr/local/cuda/lib64/stubs", "/usr/lib/wsl/lib", "/opt/lib"] {
            assert!(!is_shared_with_others(own), "{own}");
        }
    }
}
