//! One image of a driver, and `image.json`: what it is of and what its file was when it was made.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::Layout;
use crate::driver::placement::Profile;
use crate::driver::{DriverVersion, Sha256};
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

use super::tree::modified;
use super::{Store, is_there};

/// The names in an image's directory.
pub(super) const FILE: &str = "image";
pub(super) const RECORD: &str = "image.json";
/// The one directory in an image. What mounts a path that ends with it fails where the image is not mounted, instead
/// of showing an empty directory.
pub(super) const DRIVER: &str = "driver";

// Raised when images are made otherwise, too: those of another number are made again.
const FORMAT: u32 = 1;
const RECORD_LIMIT: u64 = 1 << 20;

/// What of a driver an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contents {
    /// The package as NVIDIA's installer wants it around itself.
    Package,
    /// The placed form of a profile, in the layout of [`crate::driver::placement::image`].
    Placed(Profile),
}

impl Contents {
    /// Its name in the names of images.
    pub fn word(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Placed(profile) => profile.word(),
        }
    }
}

impl FromStr for Contents {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == Self::Package.word() { Ok(Self::Package) } else { text.parse().map(Self::Placed) }
    }
}

/// Which image: of which driver, with what of it. Written `580.76.05-compute`, and `580.76.05-compute-219be636` where an
/// image of another run file has that name already: what a container sees never changes under its links.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName {
    /// The driver's version.
    pub version: DriverVersion,
    /// What of it.
    pub contents: Contents,
    /// The beginning of the run file's sum, where the name alone would be another one's.
    pub edition: Option<Edition>,
}

/// The beginning of a run file's SHA-256 sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edition(u32);

impl From<Sha256> for Edition {
    fn from(sum: Sha256) -> Self {
        let [a, b, c, d, ..] = *sum.as_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

/// The image that a container sees, and the run file that its links were made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeededImage {
    /// Which one.
    pub name: ImageName,
    /// The run file that it has to be of.
    pub run_file_sha256: Sha256,
}

impl ImageName {
    /// The image of the placed form of a profile.
    pub fn placed(version: DriverVersion, profile: Profile) -> Self {
        Self { version, contents: Contents::Placed(profile), edition: None }
    }

    /// The name of the same, with the run file in it.
    pub(super) fn of_edition(&self, run_file_sha256: Sha256) -> Self {
        Self { edition: Some(run_file_sha256.into()), ..self.clone() }
    }

    /// The directory of this host below which the driver's files are while the image is mounted.
    pub fn mounted_driver(&self, layout: &Layout) -> PathBuf {
        self.mount_point(layout).join(DRIVER)
    }

    pub(super) fn directory(&self, layout: &Layout) -> PathBuf {
        layout.images().join(self.to_string())
    }

    pub(super) fn mount_point(&self, layout: &Layout) -> PathBuf {
        layout.mounts().join(self.to_string())
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.version, self.contents.word())?;
        self.edition.map_or(Ok(()), |Edition(edition)| write!(f, "-{edition:08x}"))
    }
}

impl FromStr for ImageName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (version, rest) = text.split_once('-').ok_or(())?;
        let (word, edition) = rest.split_once('-').map_or((rest, None), |(word, edition)| (word, Some(edition)));
        let edition = match edition {
            Some(text) => Some(Edition(u32::from_str_radix(text, 16).map_err(|_| ())?)),
            None => None,
        };
        let name = Self { version: version.parse().map_err(|_| ())?, contents: word.parse()?, edition };
        // Of several texts of one number one alone is the name.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

impl Serialize for ImageName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The file systems that images are made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// EROFS without compression: its pages are those of the file.
    Erofs,
    /// Squashfs without compression, where the kernel knows no EROFS.
    Squashfs,
}

impl FileSystem {
    /// The kernel's name for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
        }
    }
}

/// An image that looks as it did when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    name: ImageName,
    path: PathBuf,
    record: Record,
}

/// The format of `image.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    pub(super) run_file_sha256: Sha256,
    pub(super) file_system: FileSystem,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) sha256: Sha256,
    pub(super) made_at: String,
    pub(super) written_by: String,
}

/// Why a directory holds no sound image.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageFault {
    #[error("its `{RECORD}` is missing, damaged, or was written by another release")]
    Record,
    #[error("its file is missing")]
    Missing,
    #[error("its file has changed")]
    Changed,
}

impl Image {
    /// Which one it is.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// The file that is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds.
    pub fn file_system(&self) -> FileSystem {
        self.record.file_system
    }

    /// The size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.record.size
    }

    /// The sum that the file had when it was made.
    pub fn sha256(&self) -> Sha256 {
        self.record.sha256
    }

    /// The run file that the driver came from.
    pub fn run_file_sha256(&self) -> Sha256 {
        self.record.run_file_sha256
    }

    /// Reads the record and compares the file's size and time with it; what is wrong is the inner fault.
    pub(super) fn open(name: &ImageName, directory: &Path) -> Result<Result<Self, ImageFault>> {
        let Some(record) = Record::read(directory)? else { return Ok(Err(ImageFault::Record)) };
        let path = directory.join(FILE);
        let metadata = match fs_err::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Err(ImageFault::Missing)),
            Err(error) => return Err(error.into()),
        };
        if !metadata.is_file() || (metadata.len(), modified(&metadata)) != (record.size, record.mtime) {
            return Ok(Err(ImageFault::Changed));
        }
        Ok(Ok(Self { name: name.clone(), path, record }))
    }
}

impl Record {
    pub(super) fn new(file: &Path, file_system: FileSystem, run_file_sha256: Sha256, sha256: Sha256) -> Result<Self> {
        let metadata = fs_err::metadata(file)?;
        Ok(Self {
            format: FORMAT,
            run_file_sha256,
            file_system,
            size: metadata.len(),
            mtime: modified(&metadata),
            sha256,
            made_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            written_by: concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "an image could not be described as JSON").caused_by(error))?;
        json.push(b'\n');
        atomic::write(&directory.join(RECORD), &json, 0o644)
    }

    pub(super) fn read(directory: &Path) -> Result<Option<Self>> {
        let file = match fs_err::File::open(directory.join(RECORD)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(RECORD_LIMIT).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice::<Self>(&bytes).ok().filter(|record| record.format == FORMAT))
    }
}

impl Store<'_> {
    /// The image of this name, if there is a sound one. Looks at its file's size and time and does not read it.
    ///
    /// An image that has changed counts as none, and the listener is warned.
    ///
    /// # Errors
    /// The file system refused.
    pub fn open_image(&self, name: &ImageName) -> Result<Option<Image>> {
        let directory = name.directory(self.context.layout);
        if !is_there(&directory)? {
            return Ok(None);
        }
        match Image::open(name, &directory)? {
            Ok(image) => Ok(Some(image)),
            Err(fault) => {
                let path = directory.display();
                self.context.listener.warn(None, format!("the image in `{path}` is not used: {fault}"));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_no_other() {
        for text in [
            "580.76.05-full-0000beef",
            "580.76.05-package",
            "580.76.05-compute+compat32",
            "470.256.02-graphics",
            "390.157-full",
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), text);
        }
        for text in [
            "580.76.05-full-beef",
            "580.76.05-full-0000BEEF",
            "580.76.05-full-+000beef",
            "580.76.05",
            "580.76.05-",
            "580.76.05-all",
            "-full",
            "../x-full",
            "580.76.05-full/",
        ] {
            assert_eq!(text.parse::<ImageName>(), Err(()), "{text}");
        }
    }

    // Written by release 0.1.0. An image that it describes must not be made again without a reason.
    const FIRST: &str = r#"{
  "format": 1,
  "run_file_sha256": "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd",
  "file_system": "erofs",
  "size": 4,
  "mtime": 1,
  "sha256": "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd",
  "made_at": "2026-11-23T10:00:00Z",
  "written_by": "phoenix-nvidia 0.1.0"
}"#;

    #[test]
    fn the_first_format_is_still_read_and_a_later_or_damaged_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            fs_err::write(directory.path().join(RECORD), text).unwrap();
            Record::read(directory.path()).unwrap()
        };
        assert_eq!(read(FIRST).unwrap().file_system, FileSystem::Erofs);
        assert_eq!(read(&FIRST.replace("\"format\": 1", "\"format\": 2")), None);
        assert_eq!(read(&FIRST[..100]), None);
    }

    #[test]
    fn a_file_of_another_size_or_time_is_no_image() {
        let directory = tempfile::tempdir().unwrap();
        let name: ImageName = "580.76.05-full".parse().unwrap();
        let open = || Image::open(&name, directory.path()).unwrap();
        assert!(matches!(open(), Err(ImageFault::Record)));
        fs_err::write(directory.path().join(RECORD), FIRST).unwrap();
        assert!(matches!(open(), Err(ImageFault::Missing)));
        fs_err::write(directory.path().join(FILE), "four").unwrap();
        assert!(matches!(open(), Err(ImageFault::Changed)));
        let sum = Sha256::from_bytes([1; 32]);
        let record = Record::new(&directory.path().join(FILE), FileSystem::Erofs, sum, sum).unwrap();
        record.write(directory.path()).unwrap();
        assert_eq!(open().unwrap().bytes(), 4);
    }
}
