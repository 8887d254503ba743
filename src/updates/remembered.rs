//! What NVIDIA's lists said when they were asked last, so that others can say it without the network.

use std::collections::BTreeMap;
use std::io::Read;

use super::ask::Answers;
use crate::config::Layout;
use crate::driver::DriverVersion;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

const FORMAT: u32 = 1;
// A line for each branch; NVIDIA's list had 15 in 2025-07.
const LIMIT: u64 = 64 << 10;

/// The newest version of every branch, and when that was true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// When the lists were asked.
    pub asked: jiff::Timestamp,
    newest: BTreeMap<u32, DriverVersion>,
}

/// The file.
#[derive(serde::Serialize, serde::Deserialize)]
struct File {
    format: u32,
    asked: String,
    newest: BTreeMap<u32, DriverVersion>,
}

impl Remembered {
    /// What these answers say of every branch.
    pub fn of(answers: &Answers, asked: jiff::Timestamp) -> Self {
        let mut newest: BTreeMap<u32, DriverVersion> = BTreeMap::new();
        let listed = answers.releases.iter().flat_map(|list| list.all.iter().map(|release| &release.version));
        for version in listed.chain(&answers.latest) {
            let known = newest.entry(version.branch()).or_insert_with(|| version.clone());
            if version > known {
                *known = version.clone();
            }
        }
        Self { asked, newest }
    }

    /// What is remembered; nothing where nobody has asked yet or the file is damaged. The next time replaces it.
    pub fn read(layout: &Layout) -> Option<Self> {
        let mut text = Vec::new();
        fs_err::File::open(layout.known_releases()).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
        let file: File = serde_json::from_slice(&text).ok().filter(|file: &File| file.format == FORMAT)?;
        Some(Self { asked: file.asked.parse().ok()?, newest: file.newest })
    }

    /// Writes it in place of what was remembered before.
    ///
    /// # Errors
    /// The file system refused.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        let file = File { format: FORMAT, asked: self.asked.to_string(), newest: self.newest.clone() };
        let text = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::new(Kind::Bug, "known releases could not be written as JSON").caused_by(error))?;
        atomic::write(&layout.known_releases(), &text, 0o644)
    }

    /// The newest version of the branch of this one.
    pub fn newest_of_branch(&self, version: &DriverVersion) -> Option<&DriverVersion> {
        self.newest.get(&version.branch()).filter(|newest| newest.branch() == version.branch())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::releases::Releases;

    fn version(text: &str) -> DriverVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_of_every_branch_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        assert_eq!(Remembered::read(&layout), None);
        let list = r#"{ "580": { "driver_info": [ { "release_version": "580.95.05", "architectures": ["x86_64"] },
                                                  { "release_version": "580.105.08", "architectures": ["x86_64"] } ] } }"#;
        let releases = Releases::parse(list, "x86_64").ok();
        let answers = Answers { latest: Some(version("610.43.03")), releases, failures: Vec::new() };
        let remembered = Remembered::of(&answers, "2026-11-23T04:34:56Z".parse().unwrap());
        remembered.write(&layout).unwrap();
        assert_eq!(Remembered::read(&layout), Some(remembered.clone()));
        assert_eq!(remembered.newest_of_branch(&version("580.76.05")), Some(&version("580.105.08")));
        assert_eq!(remembered.newest_of_branch(&version("610.10.01")), Some(&version("610.43.03")));
        assert_eq!(remembered.newest_of_branch(&version("570.133.20")), None);
    }

    #[test]
    fn a_damaged_file_is_nothing_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        let of_format = |format: u32, asked: &str, newest: &str| {
            format!("{{ \"format\": {format}, \"asked\": \"{asked}\", \"newest\": {newest} }}")
        };
        let time = "2026-11-23T04:34:56Z";
        for text in [
            String::new(),
            "{".repeat(200_000),
            of_format(2, time, "{}"),
            of_format(1, "yesterday", "{}"),
            of_format(1, time, "{ \"580\": \"580.\\u001b[2J\" }"),
        ] {
            atomic::write(&layout.known_releases(), text.as_bytes(), 0o644).unwrap();
            assert_eq!(Remembered::read(&layout), None, "{text:.80}");
        }
        let other_branch = of_format(1, time, "{ \"580\": \"610.43.03\" }");
        atomic::write(&layout.known_releases(), other_branch.as_bytes(), 0o644).unwrap();
        assert_eq!(Remembered::read(&layout).unwrap().newest_of_branch(&version("580.76.05")), None);
    }
}
