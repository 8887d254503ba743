//! Makes a run file of NVIDIA's real user-space files, as Debian's packages hold them, with another installer inside:
//! for demonstrations and measurements on files of true size. It is a pretended package: which file is of which type
//! is our own table, after manifests that NVIDIA has published.
//!
//! `assemble_run_file --version 535.261.03 --files DIR --installer PATH --output FILE`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

mod file_types;
mod library_types;
mod packages;
#[path = "../../tests/support/run_file.rs"]
mod run_file;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use packages::Found;
use run_file::{Compression, RunFile};

#[derive(Parser)]
struct Arguments {
    /// The driver's version; libraries that carry another one in their name are left out
    #[arg(long)]
    version: String,
    /// A directory with NVIDIA's files anywhere below it: unpacked packages
    #[arg(long)]
    files: PathBuf,
    /// The same of 32 bits, of which the libraries are taken
    #[arg(long)]
    files_of_32_bits: Option<PathBuf>,
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
    let found = packages::find(&arguments.files)?;
    let mut parts = Parts::new(&arguments.version, compression(arguments));
    parts.add_installer(&arguments.installer)?;
    parts.add_files(&found)?;
    let libraries = parts.add_libraries(&found, "NATIVE");
    if libraries == 0 {
        return Err(not_found(&format!("no library of {} below", arguments.version), &arguments.files));
    }
    if let Some(directory) = &arguments.files_of_32_bits {
        parts.add_libraries(&packages::find(directory)?, "COMPAT32");
    }
    let entries = parts.manifest.lines().count();
    let mut file = parts.file.member(".manifest", 0o644, parts.manifest);
    if let Some(decompressor) = &arguments.decompressor {
        file = file.decompressor(fs_err::read(decompressor)?);
    }
    file.write_to(&arguments.output)?;
    let size = fs_err::metadata(&arguments.output)?.len();
    println!("{}: {libraries} libraries, {entries} lines, {size} bytes", arguments.output.display());
    Ok(())
}

fn not_found(what: &str, path: &Path) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::NotFound, format!("{what} `{}`", path.display()))
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
        // The tar has no set-user-ID bit to offer; the manifest decides.
        self.file = file.member_from(name.trim_start_matches("./"), mode & 0o777, source);
        self.say(&format!("{name} {mode:04o} {words}"));
    }

    fn say(&mut self, line: &str) {
        let _ = writeln!(self.manifest, "{line}");
    }

    fn add_installer(&mut self, installer: &Path) -> std::io::Result<()> {
        fs_err::metadata(installer)?;
        self.add("nvidia-installer", 0o755, "INSTALLER_BINARY MODULE:installer", installer);
        self.say("nvidia-uninstall 0000 UTILITY_BIN_SYMLINK nvidia-installer MODULE:installer");
        Ok(())
    }

    /// Adds everything that is no library.
    fn add_files(&mut self, found: &[Found]) -> std::io::Result<()> {
        let version = self.version.clone();
        let in_package = |file: &Found| {
            let directory = file_types::of(&file.below, &version)?.directory;
            let is_file = file.target.is_none();
            is_file.then(|| format!("{directory}/{}", file.name()).trim_start_matches('/').to_owned())
        };
        let files = packages::largest_by(found, in_package);
        if !files.contains_key("nvidia-smi") {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no `nvidia-smi`"));
        }
        for (name, file) in &files {
            let Some(described) = file_types::of(&file.below, &version) else { continue };
            self.add(name, described.mode, &described.words, &file.path);
        }
        for (unit, directory) in file_types::UNIT_LINKS {
            if files.contains_key(&format!("systemd/system/{unit}")) {
                self.say(&format!("{unit} 0000 SYSTEMD_UNIT_SYMLINK {directory} MODULE:powermanagement"));
            }
        }
        Ok(())
    }

    /// Adds every library of the driver, and the links that lie beside it; returns how many libraries.
    fn add_libraries(&mut self, found: &[Found], architecture: &str) -> usize {
        let version = self.version.clone();
        let is_library = |file: &Found| file.target.is_none() && library_types::of(file, &version).is_some();
        let libraries = packages::largest_by(found, |file| is_library(file).then(|| file.name().to_owned()));
        let directory = if architecture == "COMPAT32" { "./32/" } else { "" };
        let links = packages::largest_by(found, |file| file.target.as_ref().map(|_| file.name().to_owned()));
        for (name, file) in &libraries {
            let Some(kind) = library_types::of(file, &version) else { continue };
            let architecture = if kind.has_architecture { format!("{architecture} ") } else { String::new() };
            let path = if kind.path.is_empty() { String::new() } else { format!("{} ", kind.path) };
            let words = format!("{} {architecture}{path}MODULE:driver", kind.of_file);
            self.add(&format!("{directory}{name}"), 0o755, &words, &file.path);
            for (link, target) in links.iter().filter_map(|(link, found)| Some((link, found.target.as_ref()?))) {
                if library_types::stem(link) == library_types::stem(name) {
                    let target = target.file_name().unwrap_or_default().to_string_lossy();
                    self.say(&format!("{link} 0000 {} {architecture}{path}{target} MODULE:driver", kind.of_link));
                }
            }
        }
        // The loader of GBM looks for its backends under this name.
        let allocator = format!("libnvidia-allocator.so.{version}");
        if libraries.contains_key(&allocator) {
            self.say(&format!(
                "nvidia-drm_gbm.so 0000 GBM_BACKEND_LIB_SYMLINK {architecture} {allocator} MODULE:driver"
            ));
        }
        libraries.len()
    }
}
