//! The beginning of a file that is being downloaded, with a note of where it comes from, so that it can be continued.

use std::io::Write;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;

use super::beside;
use crate::error::Result;
use crate::sys::atomic;

/// What a later process needs to know to go on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Source {
    /// The URL that was asked, before any redirect.
    pub(super) url: String,
    /// What the server calls this very state of the file: a strong `ETag`, or `Last-Modified`.
    pub(super) validator: Option<String>,
    /// How long the whole file is said to be, in bytes.
    pub(super) total: Option<u64>,
}

/// A file that is being downloaded.
#[derive(Debug)]
pub(super) struct Partial {
    file: fs_err::File,
    note: PathBuf,
    length: u64,
    source: Option<Source>,
}

/// The name of the note beside a partial file.
fn note_of(path: &Path) -> PathBuf {
    beside(path, ".json")
}

impl Partial {
    /// Opens what is there of it, or makes it empty.
    ///
    /// # Errors
    /// The file system refused, or something that is no file is in its place.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let no_links = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = fs_err::OpenOptions::new();
        let file = options.append(true).create(true).mode(0o644).custom_flags(no_links).open(path)?;
        let length = file.metadata()?.len();
        let note = note_of(path);
        let source = fs_err::read(&note).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Ok(Self { file, note, length, source })
    }

    /// How much is there, in bytes; nothing when there is no such file.
    pub(super) fn length_of(path: &Path) -> u64 {
        fs_err::metadata(path).map_or(0, |metadata| metadata.len())
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where it comes from, if more of it can be asked for there.
    pub(super) fn continuation(&self, url: &str) -> Option<&Source> {
        let known = self.source.as_ref().filter(|source| source.url == url && source.validator.is_some());
        known.filter(|source| self.length > 0 && source.total.is_none_or(|total| self.length < total))
    }

    /// Begins it anew, from this source.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn restart(&mut self, source: Source) -> Result<()> {
        self.file.set_len(0)?;
        self.length = 0;
        atomic::write(&self.note, &serde_json::to_vec(&source).map_err(std::io::Error::from)?, 0o644)?;
        self.source = Some(source);
        Ok(())
    }

    /// Adds what has come.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Removes it and its note.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn discard(path: &Path) -> Result<()> {
        atomic::remove_if_there(path)?;
        atomic::remove_if_there(&note_of(path))
    }

    /// Gives the whole and checked file its name, on disk too.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn complete(path: &Path, name: &Path) -> Result<()> {
        atomic::rename_synced(path, name)?;
        atomic::remove_if_there(&note_of(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(total: Option<u64>) -> Source {
        Source { url: "https://a/b.run".into(), validator: Some("\"1\"".into()), total }
    }

    #[test]
    fn a_later_process_can_go_on_where_it_comes_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.run.partial");
        let mut partial = Partial::open(&path).unwrap();
        assert_eq!(partial.continuation("https://a/b.run"), None);
        partial.restart(source(Some(100))).unwrap();
        assert_eq!(partial.continuation("https://a/b.run"), None);
        partial.append(b"some").unwrap();
        drop(partial);
        let again = Partial::open(&path).unwrap();
        assert_eq!((again.length(), again.continuation("https://a/b.run")), (4, Some(&source(Some(100)))));
        assert_eq!(again.continuation("https://other/b.run"), None);
    }

    #[test]
    fn what_is_already_too_long_or_without_a_note_is_not_continued() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.run.partial");
        let mut partial = Partial::open(&path).unwrap();
        partial.restart(source(Some(3))).unwrap();
        partial.append(b"some").unwrap();
        assert_eq!(partial.continuation("https://a/b.run"), None);
        fs_err::write(note_of(&path), "{").unwrap();
        assert_eq!(Partial::open(&path).unwrap().continuation("https://a/b.run"), None);
    }

    #[test]
    fn a_link_in_its_place_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.run.partial");
        fs_err::write(directory.path().join("precious"), "x").unwrap();
        fs_err::os::unix::fs::symlink("precious", &path).unwrap();
        assert!(Partial::open(&path).is_err());
    }

    #[test]
    fn nothing_is_left_of_what_is_discarded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.run.partial");
        Partial::open(&path).unwrap().restart(source(None)).unwrap();
        Partial::discard(&path).unwrap();
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
    }
}
