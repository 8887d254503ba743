//! `.manifest`: which files the package has and of which type each is.

use std::path::Path;

use crate::Failure;
use crate::destination::{self, Type};

/// The package as its `.manifest` describes it.
pub(crate) struct Manifest {
    pub(crate) version: String,
    pub(crate) entries: Vec<Entry>,
}

/// Which word size a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    Native,
    Compat32,
}

/// One file of the package.
pub(crate) struct Entry {
    /// The path in the package; of a symbolic link only the name counts.
    pub(crate) file: String,
    pub(crate) mode: u32,
    pub(crate) kind: &'static Type,
    pub(crate) architecture: Architecture,
    /// The word that the type's destination is refined with; empty where the type has none.
    pub(crate) path: String,
    /// What a symbolic link points to.
    pub(crate) target: Option<String>,
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

impl Manifest {
    /// Reads a manifest as nvidia-installer 545 and later do: eight lines of header, then one line a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Self::parse(&fs_err::read_to_string(path)?)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = |line: usize| Failure(format!("Invalid .manifest file; error on line {}.", line + 1));
        let lines: Vec<&str> = text.lines().collect();
        let version = lines.get(1).map(|line| line.trim()).filter(|line| !line.is_empty()).ok_or_else(|| invalid(1))?;
        lines.get(3).filter(|line| !line.trim().is_empty()).ok_or_else(|| invalid(3))?;
        let mut entries = Vec::new();
        for (number, line) in lines.iter().enumerate().skip(8).take_while(|(_, line)| !line.trim().is_empty()) {
            entries.push(Entry::parse(line).ok_or_else(|| invalid(number))?);
        }
        Ok(Self { version: version.to_owned(), entries })
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let file = words.next()?.to_owned();
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        let kind = destination::type_named(words.next()?)?;
        let architecture = match kind.has_architecture.then(|| words.next()) {
            None | Some(Some("NATIVE")) => Architecture::Native,
            Some(Some("COMPAT32")) => Architecture::Compat32,
            Some(_) => return None,
        };
        let path = match (kind.has_path, kind.inherits_path) {
            (true, _) => words.next()?.to_owned(),
            (_, true) => inherited_path(&file, words.next()?)?,
            _ => String::new(),
        };
        let target = match kind.is_link {
            true => Some(words.next()?.to_owned()),
            false => None,
        };
        Some(Self { file, mode, kind, architecture, path, target })
    }
}

/// `INHERIT_PATH_DEPTH:n`: the directory of the file without its first n components.
fn inherited_path(file: &str, word: &str) -> Option<String> {
    let depth: usize = word.strip_prefix("INHERIT_PATH_DEPTH:")?.parse().ok()?;
    let components: Vec<&str> = file.trim_start_matches("./").split('/').collect();
    Some(components.get(depth..components.len() - 1)?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n460.67\n \nnvidia nvidia-uvm \n \n \n\
                          ./kernel/\n./kernel/precompiled/\n";

    fn parse(lines: &str) -> Result<Manifest, String> {
        Manifest::parse(&format!("{HEADER}{lines}")).map_err(|Failure(text)| text)
    }

    #[test]
    fn lines_of_a_real_manifest_are_understood() {
        let manifest = parse(
            "libcuda.so.460.67 0755 CUDA_LIB NATIVE / MODULE:gpgpu\n\
             libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.460.67 MODULE:gpgpu\n\
             ./32/libnvidia-ml.so.460.67 0755 CUDA_LIB COMPAT32 / MODULE:nvml\n\
             nvidia-modprobe 04755 NVIDIA_MODPROBE /usr/bin/ MODULE:installer\n\
             kernel/common/inc/nv.h 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman\n",
        )
        .unwrap_or_else(|text| panic!("{text}"));
        let [cuda, link, compat, modprobe, source] = manifest.entries.as_slice() else { panic!("five entries") };
        assert_eq!((cuda.mode, cuda.name(), cuda.path.as_str()), (0o755, "libcuda.so.460.67", "/"));
        assert_eq!(link.target.as_deref(), Some("libcuda.so.460.67"));
        assert_eq!((compat.architecture, compat.name()), (Architecture::Compat32, "libnvidia-ml.so.460.67"));
        assert_eq!((modprobe.mode, modprobe.path.as_str()), (0o4755, "/usr/bin/"));
        assert_eq!(source.path, "common/inc");
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error_that_names_it() {
        let wrong = parse("libcuda.so.460.67 0755 CUDA_LIB NATIVE /\nx 0644 NEW_TYPE\n").err();
        assert_eq!(wrong.as_deref(), Some("Invalid .manifest file; error on line 10."));
        assert!(parse("libcuda.so.1 0000 CUDA_SYMLINK NATIVE /\n").is_err());
    }
}
