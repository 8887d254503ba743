//! Letting a container's loader know of the libraries that came and went: by its own `ldconfig`, or from outside where
//! nothing can be run in it yet.

use std::path::{Path, PathBuf};

use crate::driver::elf::SharedObject;
use crate::driver::loader_cache::LoaderCache;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Exec;

use super::Change;
use crate::install::SHARED_DIRECTORY;

const CACHE: &str = "/etc/ld.so.cache";

/// A directory of libraries that a container sees from outside.
#[derive(Debug, Clone)]
pub struct LoaderDirectory {
    /// Where it lies on the host.
    pub on_host: PathBuf,
    /// Where the container's loader finds it.
    pub inside: String,
}

impl Change<'_> {
    /// Lets the container's loader know, where it runs.
    ///
    /// A stopped one needs nothing: the libraries lie in directories that glibc looks into without its cache, every
    /// link by a SONAME is made, and what a cache names that is gone is passed over (glibc 2.36, `_dl_map_object`).
    pub(super) fn tell_the_loader(&self, directories: &[LoaderDirectory]) -> Result<()> {
        if !self.running {
            return Ok(());
        }
        if self.site.hypervisor.is_being_started(self.site.id) {
            return if directories.is_empty() { Ok(()) } else { self.write_the_cache(directories) };
        }
        let output = self.site.exec(&Exec::new(["ldconfig"]).env("LC_ALL", "C"))?;
        if output.success() {
            return Ok(());
        }
        let id = self.site.id;
        Err(Error::new(Kind::Command, format!("container {id}: `ldconfig` failed with exit code {}", output.code))
            .output(output.last_lines())
            .hint("mend the container's glibc, then run the same command again"))
    }

    /// Writes what `ldconfig` would: the libraries of these directories before all others.
    fn write_the_cache(&self, directories: &[LoaderDirectory]) -> Result<()> {
        let bytes = self.rootfs.read(CACHE, LoaderCache::LIMIT as u64)?.unwrap_or_default();
        let written = LoaderCache::parse(&bytes).and_then(|cache| {
            let cache = cache.without(|path| path.starts_with(SHARED_DIRECTORY));
            directories.iter().rev().fold(cache, with_libraries_of).to_bytes()
        });
        match written {
            Ok(bytes) => self.rootfs.write(CACHE, &bytes, 0o644),
            Err(fault) => {
                let text = format!("`{CACHE}` was left as it is, because {fault}; run `ldconfig` in the container");
                self.site.listener.warn(Some(self.site.id), text);
                Ok(())
            }
        }
    }
}

/// The cache with the libraries of a directory, which has a link by every SONAME.
fn with_libraries_of(cache: LoaderCache, directory: &LoaderDirectory) -> LoaderCache {
    let entries = fs_err::read_dir(&directory.on_host).into_iter().flatten().flatten();
    entries.fold(cache, |cache, entry| {
        let Some((name, library)) = library_at(&entry.path()) else { return cache };
        cache.with_first(&name, format!("{}/{name}", directory.inside), library.flags)
    })
}

/// The name that a file is looked up by, as `ldconfig` has it: its SONAME, and that of a link for linkers its own.
fn library_at(path: &Path) -> Option<(String, SharedObject)> {
    let own = path.file_name()?.to_str()?;
    if !own.starts_with("lib") || !own.contains(".so") {
        return None;
    }
    let library = SharedObject::read(&mut fs_err::File::open(path).ok()?).ok()?;
    let name = match own.ends_with(".so") && path.is_symlink() {
        true => own.to_owned(),
        false => library.soname.clone().unwrap_or_else(|| own.to_owned()),
    };
    Some((name, library))
}
