//! What of this host's own driver Podman and Docker on the host can give on: its files as the loader's cache knows them, its
//! GPUs and their nodes.

use std::path::{Path, PathBuf};

use crate::driver::DriverVersion;
use crate::driver::cdi::{DATA, Gpu, PROGRAMS, Placed, is_of_driver, specification};
use crate::driver::device::COMPANIONS;
use crate::driver::loader_cache::{LibraryFlags, LoaderCache};
use crate::error::{Error, Kind, Result};

use super::NvidiaHost;

const LOADER_CACHE: &str = "etc/ld.so.cache";
/// Where a system has the libraries, as [`specification`] knows it.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

impl NvidiaHost {
    /// The CDI specification of this host's GPUs.
    ///
    /// # Errors
    /// No module is loaded, a node has the wrong number, or the host has no user-space driver of the module's version.
    pub fn specification(&self) -> Result<String> {
        let Some(version) = &self.loaded else {
            return Err(Error::new(Kind::Host, self.no_module())
                .hint("load it with `modprobe nvidia`; `phoenix-nvidia doctor` says why it is missing"));
        };
        let mut gpus = Vec::new();
        for gpu in &self.gpus {
            let node = self.gpu_node(gpu.minor)?;
            gpus.extend(node.map(|node| Gpu { uuid: gpu.uuid.clone(), node: node.path }));
        }
        let mut others = Vec::new();
        for companion in &COMPANIONS {
            others.extend(self.companion_node(companion)?.map(|node| node.path));
        }
        let placed = placed(Path::new("/"), version)?;
        if placed.is_empty() {
            let message = format!("this host has no libraries of driver {version} in its loader's cache");
            return Err(Error::new(Kind::Host, message)
                .hint("install the host's user-space driver of the same version, and run `ldconfig`"));
        }
        specification(version, &placed, &gpus, &others).ok_or_else(|| {
            Error::new(Kind::Host, "this host has no GPU whose device node exists")
                .hint("make the nodes with `phoenix-nvidia host prepare`")
        })
    }
}

/// The driver's libraries that the loader finds and that are of this version, under the names that programs open; and its
/// programs and descriptions.
fn placed(root: &Path, version: &DriverVersion) -> Result<Vec<Placed>> {
    let cache = LoaderCache::parse(&fs_err::read(root.join(LOADER_CACHE))?).unwrap_or_default();
    let mut placed = Vec::new();
    for library in cache.libraries().filter(|library| library.flags() == LibraryFlags::X86_64) {
        let path = root.join(library.path().strip_prefix("/").unwrap_or(library.path()));
        let Some(soname) = library.soname().to_str().filter(|soname| is_of_driver(soname)) else { continue };
        let Ok(file) = fs_err::canonicalize(&path) else { continue };
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.ends_with(&format!(".so.{version}")) {
            continue;
        }
        let unversioned = soname.split(".so").next().map(|stem| format!("{stem}.so")).unwrap_or_default();
        for name in [soname, name, &unversioned] {
            placed.push(Placed { path: format!("{LIBRARIES}/{name}"), source: library.path().display().to_string() });
        }
    }
    if placed.is_empty() {
        return Ok(placed);
    }
    let programs = PROGRAMS.iter().map(|name| PathBuf::from("/usr/bin").join(name));
    let described = DATA.iter().flat_map(|directory| descriptions(root, directory));
    let others = programs.chain(described).filter(|path| root.join(path.strip_prefix("/").unwrap_or(path)).exists());
    placed.extend(others.map(|path| path.display().to_string()).map(|path| Placed { source: path.clone(), path }));
    Ok(placed)
}

/// The files of NVIDIA's in a directory of descriptions, and one level below.
fn descriptions(root: &Path, directory: &str) -> Vec<PathBuf> {
    let names = |directory: &Path| -> Vec<PathBuf> {
        let entries =
            fs_err::read_dir(root.join(directory.strip_prefix("/").unwrap_or(directory))).into_iter().flatten();
        entries.flatten().map(|entry| directory.join(entry.file_name())).collect()
    };
    let first = names(Path::new(directory));
    let second: Vec<PathBuf> = first.iter().flat_map(|path| names(path)).collect();
    let is_of_nvidia = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("nvidia"));
    first.into_iter().chain(second).filter(is_of_nvidia).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_the_modules_version_are_found_by_the_loaders_cache_wherever_they_lie() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = root.path().join(path.trim_start_matches('/'));
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        };
        let alternatives = "/usr/lib/x86_64-linux-gnu/nvidia/current";
        put(&format!("{alternatives}/libcuda.so.550.163.01"));
        put("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03");
        put("/usr/bin/nvidia-smi");
        put("/usr/share/vulkan/icd.d/nvidia_icd.json");
        put("/usr/share/vulkan/icd.d/intel_icd.json");
        let link = root.path().join("usr/lib/x86_64-linux-gnu/libcuda.so.1");
        std::os::unix::fs::symlink("nvidia/current/libcuda.so.550.163.01", link).unwrap();
        let cache = LoaderCache::default()
            .with("libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1", LibraryFlags::X86_64)
            .with("libnvidia-ml.so.1", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03", LibraryFlags::X86_64)
            .with("libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6", LibraryFlags::X86_64);
        fs_err::create_dir_all(root.path().join("etc")).unwrap();
        fs_err::write(root.path().join(LOADER_CACHE), cache.to_bytes().unwrap()).unwrap();
        let found = placed(root.path(), &"550.163.01".parse().unwrap()).unwrap();
        let mut paths: Vec<&str> = found.iter().map(|it| it.path.as_str()).collect();
        paths.sort_unstable();
        let of_cuda = ["libcuda.so", "libcuda.so.1", "libcuda.so.550.163.01"].map(|name| format!("{LIBRARIES}/{name}"));
        let mut expected = vec!["/usr/bin/nvidia-smi", "/usr/share/vulkan/icd.d/nvidia_icd.json"];
        expected.splice(1..1, of_cuda.iter().map(String::as_str));
        assert_eq!(paths, expected);
        assert!(placed(root.path(), &"580.76.05".parse().unwrap()).unwrap().is_empty());
    }
}
