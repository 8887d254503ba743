//! The specification by which engines in a container (Podman, Docker) give its driver and its GPUs on to their own
//! containers: written beside the driver, and gone with it.

use std::path::Path;

use crate::driver::cdi::{self, FILE, Placed};
use crate::driver::placement::image::{COMPAT32_LIBRARIES, LIBRARIES};
use crate::error::{Error, Kind, Result};
use crate::sys::readable::Readable;
use crate::sys::rootfs::{Found, Rootfs};

use super::receipt::Receipt;
use super::{CURRENT, Guest, SHARED_DIRECTORY};

const DIRECTORY: &str = "/etc/cdi";
const NAMES_LIMIT: usize = 1000;
// One of a full driver has some 60 KiB.
const LIMIT: u64 = 4 << 20;
/// Programs that read specifications.
const ENGINES: [&str; 4] = ["/usr/bin/podman", "/usr/bin/dockerd", "/usr/local/bin/dockerd", "/usr/bin/containerd"];

/// What lies where the specification belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// One that this program has written.
    Ours(Vec<u8>),
    /// Somebody else's, or no file at all.
    Foreign,
}

/// Looks.
///
/// # Errors
/// The container's files cannot be examined.
pub fn look(rootfs: &dyn Readable) -> Result<There> {
    match rootfs.look(FILE)? {
        None => Ok(There::Nothing),
        Some(Found::File { .. }) => {
            let text = rootfs.read(FILE, LIMIT)?.unwrap_or_default();
            Ok(if cdi::is_ours(&text) { There::Ours(text) } else { There::Foreign })
        }
        Some(_) => Ok(There::Foreign),
    }
}

/// The specification of somebody else that engines take the GPUs from, or that stands in the way of ours: in the place of
/// ours, or beside it, for engines refuse a device that two files of one directory describe (measured with Podman 4.3.1).
///
/// # Errors
/// The container's files cannot be examined.
pub fn of_others(rootfs: &dyn Readable) -> Result<Option<String>> {
    if look(rootfs)? == There::Foreign {
        return Ok(Some(FILE.to_owned()));
    }
    for name in rootfs.names(DIRECTORY, NAMES_LIMIT)? {
        let path = format!("{DIRECTORY}/{name}");
        let is_specification = name.ends_with(".json") || name.ends_with(".yaml");
        if path == FILE || !is_specification || !matches!(rootfs.look(&path)?, Some(Found::File { .. })) {
            continue;
        }
        let text = rootfs.read(&path, LIMIT)?.unwrap_or_default();
        if String::from_utf8_lossy(&text).contains(cdi::KIND) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether an engine that reads specifications is in the container.
///
/// # Errors
/// The container's files cannot be examined.
pub fn has_engine(rootfs: &dyn Readable) -> Result<bool> {
    for program in ENGINES {
        if matches!(rootfs.look(program)?, Some(Found::File { .. } | Found::Link(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the specification.
///
/// # Errors
/// A link is on the way, or the file system refused.
pub fn write(guest: &Guest<'_>, rootfs: &Rootfs, text: &str) -> Result<()> {
    let written = rootfs.make_directory(DIRECTORY, 0o755).and_then(|()| rootfs.write(FILE, text.as_bytes(), 0o644));
    written.map_err(|error| error.about(format_args!("container {}", guest.id)))
}

/// Removes the specification where it is ours, and its directory where nothing else is in it.
///
/// # Errors
/// The file system refused.
pub fn remove(rootfs: &Rootfs) -> Result<bool> {
    if !matches!(look(rootfs)?, There::Ours(_)) {
        return Ok(false);
    }
    rootfs.remove(FILE)?;
    rootfs.remove_if_empty(DIRECTORY);
    Ok(true)
}

/// The error about a specification of somebody else.
pub fn foreign(guest: &Guest<'_>, path: &str) -> Error {
    let message = format!("container {}: `{path}` is there and not written by phoenix-nvidia, so it is kept", guest.id);
    Error::new(Kind::Configuration, message)
        .hint("remove it in the container to get one that follows the driver; or set `nvidia_cdi` to false")
}

/// What a receipt says is in the container, and of an image that the container sees what is in that; nothing is known of
/// one that is not mounted on this host.
///
/// # Errors
/// The host's image cannot be read.
pub fn placed(guest: &Guest<'_>, receipt: &Receipt) -> Result<Option<Vec<Placed>>> {
    if let Some(image) = receipt.image() {
        let directory = image.mounted_driver(guest.context.layout);
        return if directory.is_dir() { of_image(&directory).map(Some) } else { Ok(None) };
    }
    let paths = receipt.files.iter().map(|file| &file.path).chain(receipt.links.iter().map(|link| &link.path));
    let placed = paths.map(|path| path.display().to_string()).map(|path| Placed { source: path.clone(), path });
    Ok(Some(placed.collect()))
}

/// What is in an image, by the link that always leads to the one that is used.
fn of_image(directory: &Path) -> Result<Vec<Placed>> {
    let mut placed = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory_in) = open.pop() {
        for entry in fs_err::read_dir(&directory_in)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
                continue;
            }
            let path = entry.path();
            let Some(below) = path.strip_prefix(directory).ok().and_then(Path::to_str) else { continue };
            placed.push(Placed { path: in_system(below), source: format!("{SHARED_DIRECTORY}/{CURRENT}/{below}") });
        }
    }
    Ok(placed)
}

/// Where a system would have what an image has.
fn in_system(below: &str) -> String {
    match below.split_once('/') {
        Some((LIBRARIES, name)) => format!("/usr/lib/x86_64-linux-gnu/{name}"),
        Some((COMPAT32_LIBRARIES, name)) => format!("/usr/lib/i386-linux-gnu/{name}"),
        _ => format!("/{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_has_is_found_where_a_system_looks() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["lib/libcuda.so.1", "lib/gbm/nvidia-drm_gbm.so", "lib32/libcuda.so.1", "usr/bin/nvidia-smi"] {
            let path = directory.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        }
        let mut placed = of_image(directory.path()).unwrap();
        placed.sort();
        let pairs: Vec<String> = placed.iter().map(|it| format!("{} {}", it.path, it.source)).collect();
        let of = |path: &str, below: &str| format!("{path} /usr/lib/phoenix-nvidia/current/{below}");
        assert_eq!(
            pairs,
            [
                of("/usr/bin/nvidia-smi", "usr/bin/nvidia-smi"),
                of("/usr/lib/i386-linux-gnu/libcuda.so.1", "lib32/libcuda.so.1"),
                of("/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so", "lib/gbm/nvidia-drm_gbm.so"),
                of("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "lib/libcuda.so.1"),
            ]
        );
    }
}
