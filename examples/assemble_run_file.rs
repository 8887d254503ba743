//! Makes a run file of NVIDIA's real user-space files, as Debian's packages hold them, with another installer inside:
//! for demonstrations and measurements on files of true size.
//!
//! `assemble_run_file --version 535.261.03 --files DIR --installer PATH --output FILE`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

#[path = "../tests/support/run_file.rs"]
mod run_file;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use run_file::{Compression, RunFile};

#[derive(Parser)]
struct Arguments {
    /// The driver's version; files that carry another one in their name are left out
    #[arg(long)]
    version: String,
    /// A directory with NVIDIA's files anywhere below it, such as unpacked packages
    #[arg(long)]
    files: PathBuf,
    /// The program that becomes `nvidia-installer`
    #[arg(long)]
    installer: PathBuf,
    /// The run file to be written
    #[arg(long)]
    output: PathBuf,
    /// What its payload is compressed with
    #[arg(long, value_parser = ["zstd", "xz", "gzip", "bzip2", "none"], default_value = "zstd")]
    compression: String,
    /// The same as `--compression none`
    #[arg(long)]
    uncompressed: bool,
    /// A decompressor to embed for containers that have none
    #[arg(long)]
    decompressor: Option<PathBuf>,
}

/// The types of a library and of its links in the manifest, and the word PATH where the type has one.
type LibraryType = (&'static str, &'static str, &'static str);

const OTHER_LIBRARY: LibraryType = ("UTILITY_LIB", "UTILITY_LIB_SYMLINK", "");

fn library_type(stem: &str) -> LibraryType {
    match stem {
        "libcuda" | "libcudadebugger" | "libnvidia-ml" | "libnvidia-ptxjitcompiler" | "libnvidia-nvvm" => {
            ("CUDA_LIB", "CUDA_SYMLINK", " /")
        }
        "libnvidia-opencl" => ("OPENCL_LIB", "OPENCL_LIB_SYMLINK", " /"),
        "libnvidia-encode" => ("ENCODEAPI_LIB", "ENCODEAPI_LIB_SYMLINK", ""),
        "libnvcuvid" => ("NVCUVID_LIB", "NVCUVID_LIB_SYMLINK", ""),
        _ => OTHER_LIBRARY,
    }
}

fn main() -> ExitCode {
    match assemble(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn assemble(arguments: &Arguments) -> std::io::Result<()> {
    let found = find_files(&arguments.files)?;
    let mut parts = Parts::new(&arguments.version, compression(arguments));
    parts.add_programs(&found, &arguments.installer)?;
    let libraries = parts.add_libraries(&found);
    if libraries == 0 {
        let message = format!("no library of {} below `{}`", arguments.version, arguments.files.display());
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, message));
    }
    let mut file = parts.file.member(".manifest", 0o644, parts.manifest);
    if let Some(decompressor) = &arguments.decompressor {
        file = file.decompressor(fs_err::read(decompressor)?);
    }
    file.write_to(&arguments.output)?;
    let size = fs_err::metadata(&arguments.output)?.len();
    println!("{}: {libraries} libraries, {size} bytes", arguments.output.display());
    Ok(())
}

fn compression(arguments: &Arguments) -> Compression {
    match arguments.compression.as_str() {
        _ if arguments.uncompressed => Compression::None,
        "zstd" => Compression::Zstd,
        "xz" => Compression::Xz,
        "gzip" => Compression::Gzip,
        "bzip2" => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// Every file or link below the directory by its name. Of several with one name the largest counts: packages have small
/// files named after them.
fn find_files(directory: &Path) -> std::io::Result<BTreeMap<String, PathBuf>> {
    let mut found: BTreeMap<String, (u64, PathBuf)> = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let mut entries = fs_err::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs_err::DirEntry::path);
        for entry in entries {
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                left.push(entry.path());
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let largest = found.entry(name).or_insert_with(|| (metadata.len(), entry.path()));
            if metadata.len() > largest.0 {
                *largest = (metadata.len(), entry.path());
            }
        }
    }
    Ok(found.into_iter().map(|(name, (_, path))| (name, path)).collect())
}

/// The manifest and the run file as they grow.
struct Parts {
    version: String,
    manifest: String,
    file: RunFile,
}

impl Parts {
    fn new(version: &str, compression: Compression) -> Self {
        let manifest = format!(
            "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n{version}\n \nnvidia nvidia-uvm nvidia-modeset \
             nvidia-drm \n \n \n./kernel/\n./kernel/precompiled/\n"
        );
        Self { version: version.to_owned(), manifest, file: RunFile::new(version).compression(compression) }
    }

    fn add(&mut self, name: &str, mode: u32, words: &str, source: &Path) {
        let file = std::mem::replace(&mut self.file, RunFile::new(""));
        self.file = file.member_from(name, mode, source);
        self.say(&format!("{name} {mode:04o} {words}"));
    }

    fn say(&mut self, line: &str) {
        let _ = writeln!(self.manifest, "{line}");
    }

    fn add_programs(&mut self, found: &BTreeMap<String, PathBuf>, installer: &Path) -> std::io::Result<()> {
        fs_err::metadata(installer)?;
        self.add("nvidia-installer", 0o755, "INSTALLER_BINARY MODULE:installer", installer);
        self.say("nvidia-uninstall 0000 UTILITY_BIN_SYMLINK nvidia-installer MODULE:installer");
        let program = found.get("nvidia-smi").filter(|path| path.is_file());
        let program = program.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "no `nvidia-smi`"))?;
        self.add("nvidia-smi", 0o755, "UTILITY_BINARY MODULE:gpgpu", program);
        if let Some(page) = found.get("nvidia-smi.1.gz").filter(|path| path.is_file()) {
            self.add("nvidia-smi.1.gz", 0o644, "MANPAGE man1 MODULE:gpgpu", page);
        }
        if let Some(icd) = found.get("nvidia.icd").filter(|path| path.is_file()) {
            self.add("nvidia.icd", 0o644, "CUDA_ICD MODULE:opencl", icd);
        }
        Ok(())
    }

    /// Adds every library of the version, and the links that lie beside it; returns how many libraries.
    fn add_libraries(&mut self, found: &BTreeMap<String, PathBuf>) -> usize {
        let end = format!(".so.{}", self.version);
        let mut number = 0;
        for (name, path) in found.iter().filter(|(_, path)| path.is_file() && !path.is_symlink()) {
            let Some(stem) = name.strip_suffix(&end) else { continue };
            let (file_type, link_type, directory) = library_type(stem);
            self.add(name, 0o755, &format!("{file_type} NATIVE{directory} MODULE:gpgpu"), path);
            number += 1;
            for link in found.iter().filter(|(_, path)| path.is_symlink()).map(|(link, _)| link) {
                if link.strip_prefix(stem).is_some_and(|rest| rest == ".so" || rest.starts_with(".so.")) {
                    self.say(&format!("{link} 0000 {link_type} NATIVE{directory} {name} MODULE:gpgpu"));
                }
            }
        }
        number
    }
}
