//! `.manifest`: the list of a package's files, each with its mode, its type and what the type's destination needs.
//!
//! The grammar of nvidia-installer 346 to 590 (`install-from-cwd.c`), checked with manifests of 390, 460 and 550:
//!
//! ```text
//! 1 description    2 version    3 ignored    4 kernel modules    5 … 8 ignored
//! 9 … FILE MODE TYPE [NATIVE|COMPAT32] [CLASSIC|NEW] [PATH|INHERIT_PATH_DEPTH:n] [TARGET] [GLVND|NON_GLVND] ignored …
//! ```
//!
//! An ignored line of the header holds one blank: the installer's reader skips lines with nothing in them, so they do
//! not count here either. The text comes from an archive and may be anything.

mod entry;
mod file_type;

pub use file_type::FileType;

use super::DriverVersion;

/// What a whole manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `NVIDIA Accelerated Graphics Driver for Linux-x86_64`.
    pub description: String,
    /// The driver's version.
    pub version: DriverVersion,
    /// The names of the kernel modules that the package has the sources of.
    pub kernel_modules: Vec<String>,
    /// The files and links, in the manifest's order, without those of unknown types.
    pub entries: Vec<Entry>,
    /// What was not understood and left out.
    pub warnings: Vec<Warning>,
}

/// One file or link of the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line that it stands in, counted from 1.
    pub line: usize,
    /// The path in the package, relative, without `./` at its beginning; the bare name of a link.
    pub file: String,
    /// The permission bits; zero for links.
    pub mode: u32,
    /// What decides where it goes.
    pub file_type: FileType,
    /// The word size that it belongs to, where the type says one.
    pub architecture: Option<Architecture>,
    /// The directory that refines or is the type's destination, as written; empty where the type has none.
    pub path: String,
    /// What a link points to. None for a file, and for `SYSTEMD_UNIT_SYMLINK`, whose target follows from its name.
    pub target: Option<String>,
    /// Which of the two OpenGL clients of releases up to 390 it belongs to.
    pub glvnd: Option<GlvndChoice>,
}

/// The word size of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// That of the machine.
    Native,
    /// 32 bits on a machine of 64.
    Compat32,
}

/// Releases up to 390 have two OpenGL clients; the installer takes the one with GLVND unless an option says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GlvndChoice {
    /// Used with GLVND.
    With,
    /// Used without.
    Without,
}

/// Something that this release does not understand and that does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is skipped: `{file_type}` is an unknown type")]
pub struct Warning {
    /// The line, counted from 1.
    pub line: usize,
    /// The type.
    pub file_type: String,
}

/// Why a text is not a manifest; every fault names its line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// More bytes than any manifest has.
    #[error("it has more than {} bytes", Manifest::LIMIT)]
    TooLong,
    /// More entries than any driver has.
    #[error("line {line}: it has more than {} entries", Manifest::ENTRIES)]
    TooManyEntries {
        /// The first line too many.
        line: usize,
    },
    /// Bytes that no text has.
    #[error("line {line} is not text")]
    NotText {
        /// The line.
        line: usize,
    },
    /// The text ends before the header does.
    #[error("it ends within its header, after {lines} lines")]
    Truncated {
        /// How many lines of the header are there.
        lines: usize,
    },
    /// Line 2 is something else.
    #[error("line {line}: `{text}` is not a driver version")]
    NotAVersion {
        /// The line.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A word that must be there is not.
    #[error("line {line} has no {field}")]
    Missing {
        /// The line.
        line: usize,
        /// What is missing.
        field: &'static str,
    },
    /// A word is there and cannot be what it should be.
    #[error("line {line}: `{word}` cannot be the {field}")]
    Wrong {
        /// The line.
        line: usize,
        /// What it should be.
        field: &'static str,
        /// What it is.
        word: String,
    },
}

impl Manifest {
    /// The name of the manifest in a package.
    pub const NAME: &str = ".manifest";
    /// The most bytes that are read; real manifests have about 100 KiB.
    pub const LIMIT: usize = 4 << 20;
    /// The most entries that are read; real manifests have about 1250.
    pub const ENTRIES: usize = 20_000;

    /// Reads a manifest.
    ///
    /// # Errors
    /// The bytes are not a manifest, or one that climbs out of its directories; each cause has its [`ManifestFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestFault> {
        if bytes.len() > Self::LIMIT {
            return Err(ManifestFault::TooLong);
        }
        let lines = bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line));
        let mut lines = lines.filter(|(_, line)| !line.is_empty()).map(|(line, bytes)| text_of(line, bytes));
        let header = Header::read(&mut lines)?;
        let mut entries = Vec::new();
        let mut warnings = Vec::new();
        for line in lines {
            let (line, text) = line?;
            if entries.len() + warnings.len() == Self::ENTRIES {
                return Err(ManifestFault::TooManyEntries { line });
            }
            match entry::parse(line, text)? {
                Ok(entry) => entries.push(entry),
                Err(warning) => warnings.push(warning),
            }
        }
        let Header { description, version, kernel_modules } = header;
        Ok(Self { description, version, kernel_modules, entries, warnings })
    }

    /// The entries that are files, which the package therefore has to have.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.file_type.is_link())
    }
}

impl Entry {
    /// The name without its directories.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

type Line<'a> = Result<(usize, &'a str), ManifestFault>;

fn text_of(line: usize, bytes: &[u8]) -> Line<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|character| character.is_control() && character != '\t') => Ok((line, text)),
        _ => Err(ManifestFault::NotText { line }),
    }
}

/// What the first eight lines say.
struct Header {
    description: String,
    version: DriverVersion,
    kernel_modules: Vec<String>,
}

impl Header {
    const LINES: usize = 8;

    fn read<'a>(lines: &mut impl Iterator<Item = Line<'a>>) -> Result<Self, ManifestFault> {
        let header = lines.take(Self::LINES).collect::<Result<Vec<_>, _>>()?;
        let truncated = ManifestFault::Truncated { lines: header.len() };
        let [description, version, _, modules, ..] = header.as_slice() else { return Err(truncated) };
        if header.len() < Self::LINES {
            return Err(truncated);
        }
        let (line, text) = *version;
        let version =
            text.trim().parse().map_err(|_| ManifestFault::NotAVersion { line, text: entry::shown(text.trim()) })?;
        let kernel_modules: Vec<String> = modules.1.split_whitespace().map(str::to_owned).collect();
        if kernel_modules.is_empty() {
            return Err(ManifestFault::Missing { line: modules.0, field: "kernel module" });
        }
        Ok(Self { description: description.1.trim().to_owned(), version, kernel_modules })
    }
}

#[cfg(test)]
mod tests;
