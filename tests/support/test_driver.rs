//! A small driver in a run file: NVIDIA's manifest and file names, libraries that `ldconfig` knows, a stand-in
//! installer, and an `nvidia-smi` that judges a system without a GPU.
#![allow(dead_code, unreachable_pub, reason = "each test program and example uses a part of it")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::run_file::{Compression, RunFile};
use crate::shared_object::{shared_object, shared_object_of_32_bits};

const NVIDIA_SMI: &str = include_str!("nvidia-smi.sh");
const LIBCUDA: &str = include_str!("libcuda.c");
/// Where `libcuda.c` has room for its version.
const VERSION_OF_LIBCUDA: &[u8; 32] = b"@VERSION OF THE DRIVER, 32 BYTES";
/// What an operator's script tells the installer in a container.
pub const OPTIONS: &str =
    "--silent --no-kernel-module --no-x-check --no-nouveau-check --no-install-compat32-libs --skip-depmod --no-systemd";

/// The ways in which the stand-in installer can be told to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Exit code 1 after an error, with the old driver gone and nothing installed.
    Fail,
    /// Never ends, and has done nothing.
    Hang,
    /// Never ends, with half of the files installed.
    HangAfterHalf,
    /// Dies of SIGBUS, as on a full disk, with half of the files installed.
    Sigbus,
    /// Exit code 0 and the sentence of success, with nothing installed.
    Lie,
    /// Installs what belongs to version 999.99.99.
    WrongVersion,
}

impl Misbehaviour {
    fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Hang => "hang",
            Self::HangAfterHalf => "hang-after-half",
            Self::Sigbus => "sigbus",
            Self::Lie => "lie",
            Self::WrongVersion => "wrong-version",
        }
    }
}

/// A library of the driver and the words that the manifest says of it.
struct Library {
    stem: &'static str,
    file_type: &'static str,
    link_type: &'static str,
    /// The word PATH of the manifest with a blank in front, or nothing.
    path: &'static str,
    soname_end: &'static str,
    /// Whether `<stem>.so` exists too.
    development_link: bool,
}

const fn library(stem: &'static str, types: [&'static str; 2], path: &'static str) -> Library {
    Library { stem, file_type: types[0], link_type: types[1], path, soname_end: ".so.1", development_link: true }
}

const CUDA: [&str; 2] = ["CUDA_LIB", "CUDA_SYMLINK"];
const LIBRARIES: &[Library] = &[
    library("libcuda", CUDA, " /"),
    library("libnvidia-ml", CUDA, " /"),
    library("libnvidia-ptxjitcompiler", CUDA, " /"),
    library("libnvidia-opencl", ["OPENCL_LIB", "OPENCL_LIB_SYMLINK"], " /"),
    library("libnvidia-encode", ["ENCODEAPI_LIB", "ENCODEAPI_LIB_SYMLINK"], ""),
    library("libnvcuvid", ["NVCUVID_LIB", "NVCUVID_LIB_SYMLINK"], ""),
    library("libnvidia-cfg", ["UTILITY_LIB", "UTILITY_LIB_SYMLINK"], ""),
    Library {
        soname_end: ".so.0",
        development_link: false,
        ..library("libGLX_nvidia", ["OPENGL_LIB", "OPENGL_SYMLINK"], "")
    },
    Library { development_link: false, ..library("libvdpau_nvidia", ["VDPAU_LIB", "VDPAU_SYMLINK"], " vdpau/") },
];

/// A driver to be built.
#[derive(Debug, Clone)]
pub struct TestDriver {
    version: String,
    misbehaviour: Option<Misbehaviour>,
    padding: usize,
    compression: Option<Compression>,
    compat32: bool,
    vgpu_kvm: bool,
    grid: bool,
    ending: &'static str,
    supported_gpus: Option<String>,
    nvidia_smi: Option<Vec<u8>>,
}

impl TestDriver {
    /// The driver of this version, small and well-behaved.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            misbehaviour: None,
            padding: 4096,
            compression: None,
            compat32: true,
            vgpu_kvm: false,
            grid: false,
            ending: "",
            supported_gpus: None,
            nvidia_smi: None,
        }
    }

    /// Its installer goes wrong.
    pub fn misbehaving(mut self, how: Misbehaviour) -> Self {
        self.misbehaviour = Some(how);
        self
    }

    /// Each of its libraries has at least this many bytes.
    pub fn library_size(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// It has no 32-bit libraries.
    pub fn without_compat32(mut self) -> Self {
        (self.compat32, self.ending) = (false, "-no-compat32");
        self
    }

    /// It is for guests with a virtual GPU: everything, and the licence daemon.
    pub fn grid(mut self) -> Self {
        (self.grid, self.ending) = (true, "-grid");
        self
    }

    /// Somebody has packed it again, and called it by the version alone.
    pub fn renamed(mut self) -> Self {
        self.ending = "";
        self
    }

    /// Its package says which GPUs it drives, with this JSON.
    pub fn supported_gpus(mut self, list: &str) -> Self {
        self.supported_gpus = Some(list.to_owned());
        self
    }

    /// It is the host's part of a virtual GPU: NVML and its daemon, without CUDA and without 32 bits.
    pub fn vgpu_kvm(mut self) -> Self {
        (self.vgpu_kvm, self.compat32, self.ending) = (true, false, "-vgpu-kvm");
        self
    }

    /// Its `nvidia-smi` is this program, and no shell script.
    pub fn nvidia_smi(mut self, program: Vec<u8>) -> Self {
        self.nvidia_smi = Some(program);
        self
    }

    /// Its payload is compressed otherwise than its version would have it.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The name that NVIDIA would publish it under.
    pub fn file_name(&self) -> String {
        RunFile::new(&self.version).ending(self.ending).file_name()
    }

    /// Where its libraries go in a container of Debian, `libcuda.so.VERSION` for example.
    pub fn library_path(&self, stem: &str) -> String {
        format!("/usr/lib/x86_64-linux-gnu/{stem}.so.{}", self.version)
    }

    /// The run file, ready to be built, written or broken.
    pub fn run_file(&self) -> RunFile {
        let branch = self.version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(0);
        let compression = self.compression.unwrap_or_else(|| Compression::of_branch(branch));
        let mut parts = Parts::new(&self.version);
        let script = || NVIDIA_SMI.replace("@VERSION@", &self.version).into_bytes();
        parts.add_programs(self.nvidia_smi.clone().unwrap_or_else(script));
        for library in LIBRARIES.iter().filter(|library| !self.vgpu_kvm || library.stem == "libnvidia-ml") {
            parts.add_library(library, self.padding);
        }
        if self.vgpu_kvm {
            parts.add("nvidia-vgpu-mgr", 0o755, "UTILITY_BINARY MODULE:vgpu", "#! /bin/sh\nexit 0\n");
        }
        parts.add_data();
        if self.compat32 {
            parts.add_compat32();
        }
        if let Some(list) = &self.supported_gpus {
            let words = "DOCUMENTATION NVIDIA_GLX-1.0/supported-gpus MODULE:installer";
            parts.add("supported-gpus/supported-gpus.json", 0o644, words, list.as_str());
        }
        if self.grid {
            parts.add("nvidia-gridd", 0o755, "UTILITY_BINARY MODULE:vgpu", "#! /bin/sh\nexit 0\n");
        }
        let mut file = RunFile::new(&self.version).ending(self.ending).compression(compression);
        for (path, mode, bytes) in parts.members {
            file = file.member(&path, mode, bytes);
        }
        file = file.member(".manifest", 0o644, parts.manifest);
        if let Some(how) = self.misbehaviour {
            file = file.member("misbehave", 0o644, how.word());
        }
        match compression {
            Compression::Gzip | Compression::None => file,
            // A minimal container has none of these programs; NVIDIA's files bring theirs.
            Compression::Zstd | Compression::Xz | Compression::Bzip2 => file.decompressor(decompressor()),
        }
    }

    /// Writes the run file into a directory under the name that NVIDIA would give it.
    pub fn write_into(&self, directory: &Path) -> PathBuf {
        let path = directory.join(self.file_name());
        self.run_file().write_to(&path).unwrap();
        path
    }
}

/// The manifest and the members as they grow.
struct Parts {
    version: String,
    manifest: String,
    members: Vec<(String, u32, Vec<u8>)>,
}

impl Parts {
    fn new(version: &str) -> Self {
        let manifest = format!(
            "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n{version}\n \nnvidia nvidia-uvm nvidia-modeset \
             nvidia-drm \n \n \n./kernel/\n./kernel/precompiled/\n"
        );
        Self { version: version.to_owned(), manifest, members: Vec::new() }
    }

    fn add(&mut self, path: &str, mode: u32, manifest_words: &str, bytes: impl Into<Vec<u8>>) {
        // The tar has no set-user-ID bit to offer; the manifest decides.
        self.members.push((path.trim_start_matches("./").to_owned(), mode & 0o777, bytes.into()));
        writeln!(self.manifest, "{path} {mode:04o} {manifest_words}").unwrap();
    }

    /// A link exists in the manifest alone.
    fn add_link(&mut self, name: &str, manifest_words: &str) {
        writeln!(self.manifest, "{name} 0000 {manifest_words}").unwrap();
    }

    fn add_programs(&mut self, nvidia_smi: Vec<u8>) {
        self.add("nvidia-smi", 0o755, "UTILITY_BINARY MODULE:gpgpu", nvidia_smi);
        self.add("nvidia-installer", 0o755, "INSTALLER_BINARY MODULE:installer", stand_in_installer());
        self.add_link("nvidia-uninstall", "UTILITY_BIN_SYMLINK nvidia-installer MODULE:installer");
        let nothing = "#! /bin/sh\nexit 0\n";
        self.add("nvidia-persistenced", 0o755, "UTILITY_BINARY MODULE:installer", nothing);
        self.add("nvidia-modprobe", 0o4755, "NVIDIA_MODPROBE /usr/bin/ MODULE:installer", nothing);
    }

    fn add_library(&mut self, library: &Library, padding: usize) {
        let Library { stem, file_type, link_type, path, soname_end, development_link } = library;
        let soname = format!("{stem}{soname_end}");
        let file = format!("{stem}.so.{}", self.version);
        let bytes = match *stem {
            "libcuda" => libcuda(&self.version, padding),
            _ => shared_object(&soname, padding),
        };
        self.add(&file, 0o755, &format!("{file_type} NATIVE{path} MODULE:gpgpu"), bytes);
        self.add_link(&soname, &format!("{link_type} NATIVE{path} {file} MODULE:gpgpu"));
        if *development_link {
            self.add_link(&format!("{stem}.so"), &format!("{link_type} NATIVE{path} {soname} MODULE:gpgpu"));
        }
    }

    fn add_data(&mut self) {
        let version = self.version.clone();
        // Without its libGL, the link `/usr/lib/libGL.so.1` that every installation makes leads nowhere.
        self.add("libGL.so.1.7.0", 0o755, "GLX_CLIENT_LIB NATIVE MODULE:opengl", shared_object("libGL.so.1", 0));
        self.add_link("libGL.so.1", "GLX_CLIENT_SYMLINK NATIVE libGL.so.1.7.0 MODULE:opengl");
        self.add("nvidia.icd", 0o644, "CUDA_ICD MODULE:opencl", "libnvidia-opencl.so.1\n");
        self.add("nvidia-smi.1.gz", 0o644, "MANPAGE man1 MODULE:gpgpu", "no page");
        self.add("README.txt", 0o644, "DOCUMENTATION NVIDIA_GLX-1.0 MODULE:installer", "A driver for tests.\n");
        let profile = format!("nvidia-application-profiles-{version}-rc");
        self.add(&profile, 0o644, "APPLICATION_PROFILE nvidia MODULE:opengl", "{}\n");
        self.add("firmware/gsp_ga10x.bin", 0o644, "FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:resman", "firmware");
        self.add("kernel/nvidia/nv.c", 0o644, "KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman", "int nv;\n");
        self.add("systemd/nvidia-suspend.service", 0o644, "SYSTEMD_UNIT MODULE:powermanagement", "[Unit]\n");
        self.add_link(
            "nvidia-suspend.service",
            "SYSTEMD_UNIT_SYMLINK systemd-suspend.service.requires MODULE:powermanagement",
        );
    }

    /// One that computes, one that draws, and one below the directory of libraries.
    fn add_compat32(&mut self) {
        let version = self.version.clone();
        for (stem, soname, kind, path) in [
            ("libcuda", "libcuda.so.1", "CUDA", " /"),
            ("libGLX_nvidia", "libGLX_nvidia.so.0", "OPENGL", ""),
            ("libvdpau_nvidia", "libvdpau_nvidia.so.1", "VDPAU", " vdpau/"),
        ] {
            let file = format!("{stem}.so.{version}");
            let words = format!("{kind}_LIB COMPAT32{path} MODULE:gpgpu");
            self.add(&format!("./32/{file}"), 0o755, &words, shared_object_of_32_bits(soname, 0));
            self.add_link(soname, &format!("{kind}_SYMLINK COMPAT32{path} {file} MODULE:gpgpu"));
        }
    }
}

/// A `libcuda.so.1` that answers as the driver of this version does, on a pretended GPU.
pub fn libcuda(version: &str, padding: usize) -> Vec<u8> {
    static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
    let mut library = COMPILED.get_or_init(compiled_libcuda).clone();
    let mut room = [0; VERSION_OF_LIBCUDA.len()];
    room[..version.len()].copy_from_slice(version.as_bytes());
    let at = library.windows(room.len()).position(|bytes| bytes == VERSION_OF_LIBCUDA).unwrap();
    library[at..at + room.len()].copy_from_slice(&room);
    library.extend((0..padding as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8));
    library
}

#[expect(clippy::disallowed_methods, reason = "tests and examples prepare their files without the library")]
fn compiled_libcuda() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (source, library) = (directory.path().join("libcuda.c"), directory.path().join("libcuda.so.1"));
    fs_err::write(&source, LIBCUDA).unwrap();
    let options = ["-shared", "-fPIC", "-O1", "-s", "-nostdlib", "-ffreestanding", "-fno-stack-protector"];
    let status = std::process::Command::new("cc")
        .args(options)
        .args(["-Wl,-soname,libcuda.so.1", "-Wl,--build-id=none", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(status.success(), "cc libcuda.c");
    fs_err::read(library).unwrap()
}

/// The stand-in installer without its symbols, as it was built beside this test program.
fn stand_in_installer() -> Vec<u8> {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| without_symbols(&stand_in_installer_path())).clone()
}

/// The example `decompress`, which needs no library of a container.
pub fn decompressor() -> Vec<u8> {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| fs_err::read(built_statically("decompress")).unwrap()).clone()
}

/// Builds an example as `demo/static_program.sh` does, where that has not been done.
#[expect(clippy::disallowed_methods, reason = "tests and examples prepare their files without the library")]
fn built_statically(example: &str) -> PathBuf {
    let profile = cargo_profile();
    let target = profile.parent().unwrap();
    let path = target.join("static-programs").join(example);
    let mut build = std::process::Command::new("sh");
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/static_program.sh")).arg(example).arg(&path);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.env("CARGO_TARGET_DIR", target).status().unwrap();
    assert!(status.success(), "demo/static_program.sh {example}");
    path
}

/// Where cargo puts what it builds for this test program.
fn cargo_profile() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let profile = program.ancestors().find(|path| path.join("examples").is_dir());
    profile.expect("cargo's directory `examples`").to_owned()
}

/// Where cargo puts the example `stand_in_installer`.
pub fn stand_in_installer_path() -> PathBuf {
    let path = cargo_profile().join("examples/stand_in_installer");
    assert!(path.exists(), "`{}` is missing: `cargo build --example stand_in_installer` makes it", path.display());
    path
}

#[expect(clippy::disallowed_methods, reason = "tests and examples prepare their files without the library")]
pub(crate) fn without_symbols(program: &Path) -> Vec<u8> {
    let stripped = tempfile::NamedTempFile::new().unwrap();
    let status = std::process::Command::new("strip").arg("-o").arg(stripped.path()).arg(program).status().unwrap();
    assert!(status.success(), "strip {}", program.display());
    fs_err::read(stripped.path()).unwrap()
}
