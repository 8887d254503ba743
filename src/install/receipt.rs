//! The receipt: what we put into a container. One copy on the host, one in the container for its clones.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Layout, Method};
use crate::container_id::ContainerId;
use crate::driver::backup_log::{BackedUp, plain_path};
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256};
use crate::error::{Error, Kind, Result};
use crate::store::{ImageName, NeededImage};
use crate::sys::atomic;
use crate::sys::readable::Readable;
use crate::sys::rootfs::{Found, Rootfs};

use super::{CURRENT, Guest, OWN_DIRECTORY, SHARED_DIRECTORY};

// 1: without `profile`. 2: `method` was called `way`.
const FORMAT: u32 = 3;
// A receipt of a full driver is about 20 KiB; a container's own copy may be anything.
const LIMIT: u64 = 4 << 20;

/// What we put into a container. Later formats must go on reading this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The number of this format.
    pub format: u32,
    /// The driver's version.
    pub version: DriverVersion,
    /// How it got there.
    #[serde(alias = "way")]
    pub method: Method,
    /// The method that was chosen for it and could not be used; the next run does not try that again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Choice>,
    /// Which part of it; everything, where the receipt is of a release that knew nothing else.
    #[serde(default)]
    pub profile: Profile,
    /// The run file that it came from.
    pub run_file_sha256: Sha256,
    /// When the installation was complete, RFC 3339.
    pub installed_at: String,
    /// Which release of this program wrote the receipt.
    pub written_by: String,
    /// The files, as the installer listed them.
    pub files: Vec<InstalledFile>,
    /// The symbolic links.
    pub links: Vec<InstalledLink>,
    /// The directories that were made for it and go with it when they are empty; NVIDIA's installer lists its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<PathBuf>,
    /// What was in the way and comes back; NVIDIA's installer lists its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backed_up: Vec<BackedUp>,
}

/// What was chosen for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// How the driver was to get there.
    #[serde(alias = "way")]
    pub method: Method,
    /// Which part of it.
    pub profile: Profile,
}

/// A file of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledFile {
    /// Where it lies in the container, absolute.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// A symbolic link of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledLink {
    /// Where it lies in the container, absolute.
    pub path: PathBuf,
    /// What it says.
    pub target: PathBuf,
}

impl Receipt {
    /// A receipt of now.
    pub fn new(
        version: DriverVersion,
        method: Method,
        profile: Profile,
        run_file_sha256: Sha256,
        files: Vec<InstalledFile>,
        links: Vec<InstalledLink>,
    ) -> Self {
        Self {
            format: FORMAT,
            version,
            method,
            instead_of: None,
            profile,
            run_file_sha256,
            installed_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            written_by: concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION")).to_owned(),
            files,
            links,
            directories: Vec::new(),
            backed_up: Vec::new(),
        }
    }

    /// Reads a receipt; one that is damaged, of a later format, or with paths that no installer writes, is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let receipt: Self = serde_json::from_slice(bytes).ok()?;
        let files = receipt.files.iter().map(|file| &file.path);
        let links = receipt.links.iter().map(|link| &link.path);
        let others = receipt.directories.iter().chain(receipt.backed_up.iter().map(|original| &original.path));
        let plain = files.chain(links).chain(others).all(|path| path.to_str().and_then(plain_path).is_some());
        (receipt.format <= FORMAT && plain).then_some(receipt)
    }

    /// What was chosen for the container: what it has, or what could not be had.
    pub fn chosen(&self) -> Choice {
        self.instead_of.unwrap_or(Choice { method: self.method, profile: self.profile })
    }

    /// The image that the container sees; none where the driver's files are its own.
    pub fn image(&self) -> Option<ImageName> {
        let plain = (self.method == Method::Shared).then(|| ImageName::placed(self.version.clone(), self.profile))?;
        let current = self.links.iter().find(|link| link.path == Path::new(SHARED_DIRECTORY).join(CURRENT));
        let linked = current.and_then(|link| link.target.to_str()?.parse::<ImageName>().ok());
        // A container's own copy may say anything.
        let is_it = |name: &ImageName| (&name.version, name.contents) == (&plain.version, plain.contents);
        Some(linked.filter(is_it).unwrap_or(plain))
    }

    /// The same, with the run file that it has to be of.
    pub fn needed_image(&self) -> Option<NeededImage> {
        let run_file_sha256 = self.run_file_sha256;
        self.image().map(|name| NeededImage { name, run_file_sha256 })
    }

    /// What of it is no longer in the container as it was: the first ten paths.
    ///
    /// # Errors
    /// The container's files cannot be examined.
    pub fn missing_in(&self, rootfs: &dyn Readable) -> Result<Vec<PathBuf>> {
        let mut missing = Vec::new();
        for file in &self.files {
            let found = rootfs.look(&file.path.to_string_lossy())?;
            if !matches!(found, Some(Found::File { size, .. }) if size == file.size) {
                missing.push(file.path.clone());
            }
        }
        for link in &self.links {
            if rootfs.look(&link.path.to_string_lossy())? != Some(Found::Link(link.target.clone())) {
                missing.push(link.path.clone());
            }
        }
        missing.truncate(10);
        Ok(missing)
    }
}

/// The receipt of a container: the host's, or else the one that the container itself keeps (a clone brings it along).
///
/// One of the host's that is damaged or of a later release counts as none; whoever writes the next renames it.
///
/// # Errors
/// The host's file is there and cannot be read.
pub fn load(guest: &Guest<'_>, rootfs: &dyn Readable) -> Result<Option<Receipt>> {
    if let Some(receipt) = of_host(guest.context.layout, guest.id)? {
        return Ok(Some(receipt));
    }
    // What a container says of itself is believed no further than looking whether those files are there.
    Ok(rootfs.read(&in_container(), LIMIT).ok().flatten().as_deref().and_then(Receipt::parse))
}

/// The host's receipt of a container; none when there is none that can be read.
///
/// # Errors
/// The file is there and cannot be read.
pub fn of_host(layout: &Layout, id: ContainerId) -> Result<Option<Receipt>> {
    Ok(read_if_there(layout, id)?.as_deref().and_then(Receipt::parse))
}

/// The host's receipts of all containers.
///
/// # Errors
/// One of them cannot be read: it might be of any driver, and its container might need that.
pub fn all(layout: &Layout) -> Result<Vec<Receipt>> {
    Ok(of_containers(layout)?.into_iter().map(|(_, receipt)| receipt).collect())
}

/// The same, in the order of the containers.
///
/// # Errors
/// As [`all`].
pub fn of_containers(layout: &Layout) -> Result<Vec<(ContainerId, Receipt)>> {
    let directory = match fs_err::read_dir(layout.receipts()) {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut receipts = Vec::new();
    for entry in directory {
        let path = entry?.path();
        // What a killed run left beside them is no receipt.
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse().ok()) else { continue };
        let receipt = Receipt::parse(&fs_err::read(&path)?).ok_or_else(|| {
            Error::new(Kind::Host, format!("`{}` is damaged, or was written by a later release", path.display()))
                .hint("remove it if its container no longer exists, or install the container's driver again")
        })?;
        receipts.push((id, receipt));
    }
    receipts.sort_by_key(|(id, _)| *id);
    Ok(receipts)
}

/// Writes both copies.
///
/// # Errors
/// One of them cannot be written.
pub fn save(guest: &Guest<'_>, rootfs: &Rootfs, receipt: &Receipt) -> Result<()> {
    let json = serde_json::to_vec_pretty(receipt)
        .map_err(|error| Error::new(Kind::Bug, "a receipt could not be written as JSON").caused_by(error))?;
    rootfs.make_directory(OWN_DIRECTORY, 0o755)?;
    rootfs.write(&in_container(), &json, 0o644)?;
    rename_if_unreadable(guest)?;
    atomic::write_under_lock(&guest.context.layout.receipt(guest.id), &json, 0o644)
}

/// Makes the host's copy good again for a driver that is wholly there: one that cannot be read is renamed, and the
/// container's own copy takes its place when everything that it lists is there. A copy that can be read stays.
///
/// # Errors
/// A file of the host cannot be read or written, or the container's files cannot be examined.
pub fn restore(guest: &Guest<'_>, rootfs: &Rootfs) -> Result<()> {
    let is_readable =
        read_if_there(guest.context.layout, guest.id)?.is_some_and(|bytes| Receipt::parse(&bytes).is_some());
    let Some(own) = load(guest, rootfs)?.filter(|_| !is_readable) else { return Ok(()) };
    if own.missing_in(rootfs)?.is_empty() { save(guest, rootfs, &own) } else { Ok(()) }
}

/// Gives a receipt of the host's that cannot be read another name, `901.json.unreadable-20261123T100000.000Z`: it may
/// be of a later release, and somebody may want to know what it said.
fn rename_if_unreadable(guest: &Guest<'_>) -> Result<()> {
    if read_if_there(guest.context.layout, guest.id)?.is_none_or(|bytes| Receipt::parse(&bytes).is_some()) {
        return Ok(());
    }
    let path = guest.context.layout.receipt(guest.id);
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let aside = path.with_extension(format!("json.unreadable-{now}"));
    atomic::rename_synced(&path, &aside)?;
    let text = format!("the receipt could not be read and was renamed to `{}`", aside.display());
    guest.context.listener.warn(Some(guest.id), text);
    Ok(())
}

/// The bytes of the host's copy.
fn read_if_there(layout: &Layout, id: ContainerId) -> Result<Option<Vec<u8>>> {
    match fs_err::read(layout.receipt(id)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes both copies: whatever happens from here on, nobody takes the driver for complete.
///
/// # Errors
/// One of them cannot be removed.
pub fn remove(guest: &Guest<'_>, rootfs: &Rootfs) -> Result<()> {
    rename_if_unreadable(guest)?;
    atomic::remove_if_there(&guest.context.layout.receipt(guest.id))?;
    rootfs.remove(&in_container())
}

fn in_container() -> String {
    format!("{OWN_DIRECTORY}/receipt.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written by release 0.1.0. It must parse for ever.
    const FIRST: &str = r#"{
  "format": 1,
  "version": "580.76.05",
  "way": "runfile",
  "run_file_sha256": "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd",
  "installed_at": "2026-11-23T10:00:00Z",
  "written_by": "phoenix-nvidia 0.1.0",
  "files": [{ "path": "/usr/bin/nvidia-smi", "size": 1 }],
  "links": [{ "path": "/usr/lib/libcuda.so.1", "target": "libcuda.so.580.76.05" }]
}"#;

    #[test]
    fn the_first_format_is_still_read() {
        let receipt = Receipt::parse(FIRST.as_bytes()).unwrap();
        assert_eq!(receipt.version.as_str(), "580.76.05");
        assert_eq!((receipt.method, receipt.profile), (Method::Runfile, Profile::Full));
        assert_eq!((receipt.files.len(), receipt.links.len()), (1, 1));
    }

    #[test]
    fn a_damaged_or_later_receipt_is_none() {
        assert_eq!(Receipt::parse(&FIRST.as_bytes()[..100]), None);
        assert_eq!(Receipt::parse(FIRST.replace("\"format\": 1", "\"format\": 4").as_bytes()), None);
    }

    #[test]
    fn a_receipt_with_paths_that_climb_or_steer_a_terminal_is_none() {
        for path in ["/usr/../../etc/shadow", "etc/shadow", "/usr/\\u001b[2J", "/usr/a\\nb"] {
            assert_eq!(Receipt::parse(FIRST.replace("/usr/bin/nvidia-smi", path).as_bytes()), None, "{path}");
        }
    }
}
