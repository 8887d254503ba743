//! One extracted driver, and `tree.json`: what every file of it was when it was extracted.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::driver::manifest::Manifest;
use crate::driver::{DriverVersion, Sha256, Variant};
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

/// The directory of the files, and the record beside it.
pub(super) const FILES: &str = "tree";
pub(super) const RECORD: &str = "tree.json";

const FORMAT: u32 = 1;
// A record of a real driver has about 300 KiB.
const RECORD_LIMIT: u64 = 32 << 20;

/// An extracted driver that looks as it did when it was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    path: PathBuf,
    record: Record,
    manifest: Manifest,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its size in bytes.
    pub size: u64,
    /// Its permission bits in the tree; those that it is placed with are the manifest's.
    pub mode: u32,
    /// When it was written, in nanoseconds since 1970.
    pub mtime: i64,
    /// The SHA-256 sum of its contents.
    pub sha256: Sha256,
    /// The sum that NVIDIA's installer keeps in its list: CRC-32/MPEG-2, 0 for an empty file.
    pub crc: u32,
}

/// The format of `tree.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    pub(super) version: DriverVersion,
    pub(super) architecture: String,
    pub(super) run_file_sha256: Sha256,
    pub(super) extracted_at: String,
    pub(super) written_by: String,
    pub(super) files: BTreeMap<String, FileFacts>,
    pub(super) links: BTreeMap<String, String>,
}

/// Why a directory of the store is no sound tree.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeFault {
    #[error("it has no `{RECORD}`")]
    NoRecord,
    #[error("its `{RECORD}` is damaged, or was written by a later release")]
    Record,
    #[error("it is of driver {0}")]
    OtherVersion(DriverVersion),
    #[error("`{0}` is missing")]
    Missing(String),
    #[error("`{0}` has changed")]
    Changed(String),
    #[error("`{0}` is not part of it")]
    Stranger(String),
    #[error("its manifest is damaged")]
    Manifest,
}

impl Tree {
    /// The directory of the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The driver's version.
    pub fn version(&self) -> &DriverVersion {
        &self.record.version
    }

    /// The machine that it is for, as `uname -m` names it.
    pub fn architecture(&self) -> &str {
        &self.record.architecture
    }

    /// For whom NVIDIA has packed it.
    pub fn variant(&self) -> Variant {
        Variant::of_files(self.architecture(), self.record.files.keys().map(String::as_str))
    }

    /// Whether it has 32-bit libraries.
    pub fn has_compat32(&self) -> bool {
        self.record.files.keys().any(|path| path.starts_with("32/"))
    }

    /// The run file that it came from.
    pub fn run_file_sha256(&self) -> Sha256 {
        self.record.run_file_sha256
    }

    /// What the package says of its files.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is known of a file, by its path in the package.
    pub fn file(&self, path: &str) -> Option<&FileFacts> {
        self.record.files.get(path)
    }

    /// All files in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileFacts)> {
        self.record.files.iter().map(|(path, facts)| (path.as_str(), facts))
    }

    /// The paths of the links that the package has, which are few: those of the manifest are made when it is placed.
    pub(super) fn links(&self) -> impl Iterator<Item = &str> {
        self.record.links.keys().map(String::as_str)
    }

    /// How many bytes all files have.
    pub fn bytes(&self) -> u64 {
        self.record.files.values().map(|facts| facts.size).sum()
    }

    /// Reads what lies in a directory of the store and compares every file's size, time and mode with the record.
    ///
    /// # Errors
    /// The file system refused; what is wrong with the tree is the inner fault.
    pub(super) fn open(directory: &Path, version: &DriverVersion) -> Result<Result<Self, TreeFault>> {
        let record = match Record::read(directory, version)? {
            Ok(record) => record,
            Err(fault) => return Ok(Err(fault)),
        };
        let path = directory.join(FILES);
        for (name, facts) in &record.files {
            if let Some(fault) = file_fault(&path, name, facts)? {
                return Ok(Err(fault));
            }
        }
        for (name, target) in &record.links {
            match fs_err::read_link(path.join(name)) {
                Ok(found) if found == Path::new(target) => {}
                Ok(_) => return Ok(Err(TreeFault::Changed(name.clone()))),
                Err(_) => return Ok(Err(TreeFault::Missing(name.clone()))),
            }
        }
        let bytes = fs_err::read(path.join(Manifest::NAME))?;
        match Manifest::parse(&bytes) {
            Ok(manifest) if manifest.version == *version => Ok(Ok(Self { path, record, manifest })),
            _ => Ok(Err(TreeFault::Manifest)),
        }
    }
}

impl Record {
    pub(super) fn new(version: DriverVersion, architecture: String, run_file_sha256: Sha256) -> Self {
        Self {
            format: FORMAT,
            version,
            architecture,
            run_file_sha256,
            extracted_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            written_by: concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION")).to_owned(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Bug, "a tree could not be described as JSON").caused_by(error))?;
        json.push(b'\n');
        atomic::write(&directory.join(RECORD), &json, 0o644)
    }

    fn read(directory: &Path, version: &DriverVersion) -> Result<Result<Self, TreeFault>> {
        let file = match fs_err::File::open(directory.join(RECORD)) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(Err(TreeFault::NoRecord)),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(RECORD_LIMIT).read_to_end(&mut bytes)?;
        let usable = |record: &Self| record.format == FORMAT && record.files.contains_key(Manifest::NAME);
        let record = serde_json::from_slice::<Self>(&bytes).ok().filter(usable);
        Ok(match record {
            None => Err(TreeFault::Record),
            Some(record) if record.version != *version => Err(TreeFault::OtherVersion(record.version)),
            Some(record) => Ok(record),
        })
    }
}

fn file_fault(root: &Path, name: &str, facts: &FileFacts) -> Result<Option<TreeFault>> {
    let metadata = match fs_err::symlink_metadata(root.join(name)) {
        Ok(metadata) => metadata,
        Err(error) if is_absence(&error) => return Ok(Some(TreeFault::Missing(name.to_owned()))),
        Err(error) => return Err(error.into()),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let same =
        metadata.is_file() && (metadata.len(), modified(&metadata), mode) == (facts.size, facts.mtime, facts.mode);
    Ok((!same).then(|| TreeFault::Changed(name.to_owned())))
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// When a file's contents changed, in nanoseconds since 1970.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{
  "format": 1,
  "version": "580.76.05",
  "architecture": "x86_64",
  "run_file_sha256": "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd",
  "extracted_at": "2026-11-23T10:00:00Z",
  "written_by": "phoenix-nvidia 0.1.0",
  "files": {
    ".manifest": {
      "size": 1, "mode": 420, "mtime": 1, "crc": 0,
      "sha256": "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd"
    },
    "nvidia-smi": {
      "size": 1, "mode": 493, "mtime": 1, "crc": 2513996479,
      "sha256": "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd"
    }
  },
  "links": { "libcuda.so.1": "libcuda.so.580.76.05" }
}"#;

    fn read(text: &str, version: &str) -> Result<Record, TreeFault> {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join(RECORD), text).unwrap();
        Record::read(directory.path(), &version.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_first_format_is_still_read() {
        let record = read(FIRST, "580.76.05").unwrap();
        assert_eq!((record.files["nvidia-smi"].mode, record.files["nvidia-smi"].crc), (0o755, 2_513_996_479));
        assert_eq!(record.links["libcuda.so.1"], "libcuda.so.580.76.05");
    }

    #[test]
    fn a_damaged_later_or_other_record_is_none() {
        assert!(matches!(read(&FIRST[..100], "580.76.05"), Err(TreeFault::Record)));
        let later = FIRST.replace("\"format\": 1", "\"format\": 2");
        assert!(matches!(read(&later, "580.76.05"), Err(TreeFault::Record)));
        assert!(matches!(read(FIRST, "580.76.5"), Err(TreeFault::OtherVersion(_))));
        let empty = tempfile::tempdir().unwrap();
        let none = Record::read(empty.path(), &"580.76.05".parse().unwrap()).unwrap();
        assert!(matches!(none, Err(TreeFault::NoRecord)));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let version: DriverVersion = "580.76.05".parse().unwrap();
        let sha256 = Sha256::from_bytes([7; 32]);
        let mut record = Record::new(version.clone(), "x86_64".to_owned(), sha256);
        record.files.insert(Manifest::NAME.to_owned(), FileFacts { size: 1, mode: 0o644, mtime: 2, sha256, crc: 3 });
        record.links.insert("a".to_owned(), "b".to_owned());
        record.write(directory.path()).unwrap();
        assert_eq!(Record::read(directory.path(), &version).unwrap().unwrap(), record);
    }
}
