//! One line of a `.manifest`, word for word.

use super::{Architecture, Entry, FileType, GlvndChoice, ManifestFault, Warning};

const INHERITED: &str = "INHERIT_PATH_DEPTH:";
// What the kernel takes for a name and for a path.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4095;
const PERMISSIONS: u32 = 0o7777;
const SET_ID: u32 = 0o6000;

/// Reads a line; one of an unknown type is a warning.
pub(super) fn parse(line: usize, text: &str) -> Result<Result<Entry, Warning>, ManifestFault> {
    let mut words = Words { line, words: text.split_whitespace(), next: None };
    let file = words.require("file")?;
    let mode_text = words.require("mode")?;
    let mode = mode(mode_text).ok_or_else(|| words.wrong("mode", mode_text))?;
    let type_name = words.require("type")?;
    let Some(file_type) = FileType::named(type_name) else {
        return Ok(Err(Warning { line, file_type: shown(type_name) }));
    };
    let file = package_path(file).ok_or_else(|| words.wrong("path of a file in the package", file))?;
    if mode & SET_ID != 0 && file_type != FileType::NvidiaModprobe {
        return Err(words.wrong("mode of a file of this type", mode_text));
    }
    let architecture = if file_type.fields().architecture { Some(words.architecture()?) } else { None };
    if file_type.fields().tls_class {
        words.skip_tls_class();
    }
    let path = words.path(file_type, &file)?;
    let target = words.target(file_type)?;
    let glvnd = words.glvnd();
    Ok(Ok(Entry { line, file, mode, file_type, architecture, path, target, glvnd }))
}

/// The words of one line; one can be looked at before it is taken.
struct Words<'a> {
    line: usize,
    words: std::str::SplitWhitespace<'a>,
    next: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn take(&mut self) -> Option<&'a str> {
        self.next.take().or_else(|| self.words.next())
    }

    fn peek(&mut self) -> Option<&'a str> {
        self.next = self.take();
        self.next
    }

    fn require(&mut self, field: &'static str) -> Result<&'a str, ManifestFault> {
        self.take().ok_or(ManifestFault::Missing { line: self.line, field })
    }

    fn wrong(&self, field: &'static str, word: &str) -> ManifestFault {
        ManifestFault::Wrong { line: self.line, field, word: shown(word) }
    }

    fn architecture(&mut self) -> Result<Architecture, ManifestFault> {
        match self.require("architecture")? {
            "NATIVE" => Ok(Architecture::Native),
            "COMPAT32" => Ok(Architecture::Compat32),
            other => Err(self.wrong("architecture", other)),
        }
    }

    /// Both classes are placed, in the directories that their lines name, so which one it is does not matter.
    fn skip_tls_class(&mut self) {
        if matches!(self.peek(), Some("CLASSIC" | "NEW")) {
            self.take();
        }
    }

    fn path(&mut self, file_type: FileType, file: &str) -> Result<String, ManifestFault> {
        let fields = file_type.fields();
        if fields.inherited_path {
            let word = self.require("path")?;
            return inherited(word, file).ok_or_else(|| self.wrong("depth of an inherited path", word));
        }
        if !fields.path {
            return Ok(String::new());
        }
        if file_type.path_may_be_missing() && self.peek().is_none_or(|word| word.starts_with("MODULE:")) {
            return Ok(String::new());
        }
        let word = self.require("path")?;
        let absolute_enough = word.starts_with('/') || !file_type.names_its_directory();
        if absolute_enough && stays_inside(word) {
            Ok(word.to_owned())
        } else {
            Err(self.wrong("path of a destination", word))
        }
    }

    fn target(&mut self, file_type: FileType) -> Result<Option<String>, ManifestFault> {
        // The word in the target's place is another one there (`MODULE:…`), or is missing.
        if !file_type.is_link() || file_type == FileType::SystemdUnitLink {
            return Ok(None);
        }
        let word = self.require("target")?;
        if word.starts_with('/') || !stays_inside(word) {
            return Err(self.wrong("target of a link", word));
        }
        Ok(Some(word.to_owned()))
    }

    fn glvnd(&mut self) -> Option<GlvndChoice> {
        std::iter::from_fn(|| self.take()).find_map(|word| match word {
            "GLVND" => Some(GlvndChoice::With),
            "NON_GLVND" => Some(GlvndChoice::Without),
            _ => None,
        })
    }
}

fn mode(word: &str) -> Option<u32> {
    let octal = (1..=6).contains(&word.len()) && word.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(word, 8).ok()?;
    (octal && mode & !PERMISSIONS == 0).then_some(mode)
}

/// A path in the package without `./` at its beginning; none when it is absolute or climbs.
fn package_path(word: &str) -> Option<String> {
    let path = word.trim_start_matches("./");
    let plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= LONGEST_NAME;
    (!word.starts_with('/') && path.len() <= LONGEST_PATH && path.split('/').all(plain)).then(|| path.to_owned())
}

/// Whether a path, absolute or not, has no component that leads upwards and only names that can be.
fn stays_inside(path: &str) -> bool {
    path.len() <= LONGEST_PATH && path.split('/').all(|part| part != ".." && part.len() <= LONGEST_NAME)
}

/// The directory of the file without as many of its first components as the word says.
fn inherited(word: &str, file: &str) -> Option<String> {
    let depth: usize = word.strip_prefix(INHERITED)?.parse().ok()?;
    let components: Vec<&str> = file.split('/').collect();
    Some(components.get(depth..components.len() - 1)?.join("/"))
}

/// A word from a file, short enough to be printed; lines with control characters have been refused before.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(80).collect()
}
