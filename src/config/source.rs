//! The text of a configuration file, with the positions that an operator knows: lines and columns.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// A file that was read, and where its lines begin.
pub(super) struct Source {
    path: PathBuf,
    text: String,
    line_starts: Vec<usize>,
}

/// A line and a column, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Source {
    /// The largest configuration file that is read, in bytes. Real ones have some tens of kilobytes.
    pub(super) const MAXIMUM: u64 = 16 << 20;

    /// A text that is, or pretends to be, the contents of `path`.
    pub(super) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: path.into(), text, line_starts }
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// It is no regular file, has more than [`Source::MAXIMUM`] bytes, is not UTF-8, or cannot be read.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let wrong = |what: String| Error::new(Kind::Configuration, format!("`{}` {what}", path.display()));
        match fs_err::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(metadata) if !metadata.is_file() => return Err(wrong("is not a regular file".into())),
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        fs_err::File::open(path)?.take(Self::MAXIMUM + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > Self::MAXIMUM {
            return Err(wrong(format!(
                "is larger than {} MiB, so it is not a configuration file",
                Self::MAXIMUM >> 20
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
            wrong(format!("is not UTF-8 text: line {line} has a byte that belongs to no character"))
                .hint(format!("`iconv -f latin1 -t utf-8 {}` shows it in UTF-8", path.display()))
        })?;
        Ok(Some(Self::new(path, text)))
    }

    /// The path that the text was read from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where a byte of the text stands.
    pub(super) fn position(&self, byte: usize) -> Position {
        let line = self.line_of(byte);
        let start = self.line_starts[line];
        let column = self.text.get(start..byte.min(self.text.len())).map_or(1, |before| before.chars().count() + 1);
        Position { line: line + 1, column }
    }

    /// The line that holds a byte, without its end, and the byte at which it starts.
    pub(super) fn line_around(&self, byte: usize) -> (usize, &str) {
        let line = self.line_of(byte);
        let start = self.line_starts[line];
        let end = self.line_starts.get(line + 1).copied().unwrap_or(self.text.len());
        (start, self.text[start..end].trim_end_matches(['\n', '\r']))
    }

    /// The bytes of `line` and `column`, both from 1, as other parsers name a place; an empty range.
    pub(super) fn range_at(&self, line: usize, column_bytes: usize) -> Range<usize> {
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let mut at = (start + column_bytes.saturating_sub(1)).min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at..at
    }

    fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }
}

/// The text is left out: it can be long.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let source = Source::new("x.json", "a\r\nüü:1\n");
        assert_eq!(source.position(7), Position { line: 2, column: 3 });
        assert_eq!(source.line_around(7), (3, "üü:1"));
        assert_eq!(source.position(10_000), Position { line: 3, column: 1 });
    }

    #[test]
    fn a_missing_file_is_not_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Source::read(&directory.path().join("none.json")).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large.json");
        fs_err::File::create(&path).unwrap().set_len(Source::MAXIMUM + 1).unwrap();
        let error = Source::read(&path).unwrap_err();
        assert!(error.message().ends_with("is larger than 16 MiB, so it is not a configuration file"), "{error}");
    }

    #[test]
    fn a_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Source::read(directory.path()).unwrap_err().message().ends_with("is not a regular file"));
    }

    #[test]
    fn a_byte_that_is_no_text_is_reported_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("latin1.json");
        crate::sys::atomic::write(&path, b"{\n\"name\": \"M\xfcnchen\"}", 0o644).unwrap();
        let error = Source::read(&path).unwrap_err();
        assert!(error.message().contains("line 2 has a byte that belongs to no character"), "{error}");
    }
}
