//! Which part of a driver a container gets: what computes, what also draws, or everything; with or without 32 bits.

use std::str::FromStr;

use crate::driver::manifest::{Architecture, Entry, FileType as Type};

/// Which part of the driver a container gets, where the method to install it leaves a choice.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// CUDA, NVML, `nvidia-smi`, OpenCL, NVENC, NVDEC, and what they load while they run.
    Compute,
    /// That, and OpenGL, EGL, Vulkan, GLVND, VDPAU, GBM and the X server's modules.
    Graphics,
    /// Everything that NVIDIA's installer would place, but for 32-bit libraries.
    #[default]
    Full,
    /// `compute`, and the same for 32-bit programs.
    #[serde(rename = "compute+compat32")]
    ComputeCompat32,
    /// `graphics`, and the same for 32-bit programs.
    #[serde(rename = "graphics+compat32")]
    GraphicsCompat32,
    /// Everything that NVIDIA's installer would place in a system that runs 32-bit programs, too.
    #[serde(rename = "full+compat32")]
    FullCompat32,
}

/// Libraries without a type of their own that computing needs: those that are opened by libcuda, libnvidia-opencl,
/// libnvidia-ml and `nvidia-smi`, under the names that they have had since 390.
const COMPUTE_LIBRARIES: &[&str] = &[
    "libnvidia-allocator",
    "libnvidia-cfg",
    "libnvidia-compiler",
    "libnvidia-compiler-next",
    "libnvidia-fatbinaryloader",
    "libnvidia-gpucomp",
    "libnvidia-nscq",
    "libnvidia-nvvm",
    "libnvidia-nvvm70",
    "libnvidia-opticalflow",
    "libnvidia-pkcs11",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-ptxjitcompiler",
    "libnvidia-sandboxutils",
    "libnvidia-tileiras",
];

const COMPUTE_PROGRAMS: &[&str] =
    &["nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"];

/// Libraries of `nvidia-settings`, which only the full driver has.
const SETTINGS_LIBRARIES: &[&str] = &["libnvidia-gtk2", "libnvidia-gtk3", "libnvidia-wayland-client"];

impl Profile {
    /// All of them, the smallest first, and those with 32 bits last.
    pub const ALL: [Self; 6] =
        [Self::Compute, Self::Graphics, Self::Full, Self::ComputeCompat32, Self::GraphicsCompat32, Self::FullCompat32];

    /// All their names, as a sentence has them.
    pub const WORDS: &str = "`compute`, `graphics` or `full`, each also with `+compat32`";

    /// Its name in configuration files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Graphics => "graphics",
            Self::Full => "full",
            Self::ComputeCompat32 => "compute+compat32",
            Self::GraphicsCompat32 => "graphics+compat32",
            Self::FullCompat32 => "full+compat32",
        }
    }

    /// Whether 32-bit libraries belong to it.
    pub fn has_compat32(self) -> bool {
        matches!(self, Self::ComputeCompat32 | Self::GraphicsCompat32 | Self::FullCompat32)
    }

    /// Whether what draws belongs to it.
    pub fn draws(self) -> bool {
        !matches!(self, Self::Compute | Self::ComputeCompat32)
    }

    /// What NVIDIA's installer, which installs everything, makes of it: it has a choice of 32 bits alone.
    #[must_use]
    pub fn of_installer(self) -> Self {
        if self.has_compat32() { Self::FullCompat32 } else { Self::Full }
    }

    /// Whether an entry belongs to it.
    pub fn has(self, entry: &Entry) -> bool {
        if entry.architecture == Some(Architecture::Compat32) && !self.has_compat32() {
            return false;
        }
        match self {
            Self::Full | Self::FullCompat32 => true,
            Self::Compute | Self::ComputeCompat32 => computes(entry),
            Self::Graphics | Self::GraphicsCompat32 => computes(entry) || draws(entry),
        }
    }
}

impl FromStr for Profile {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|profile| profile.word() == text).ok_or(())
    }
}

fn computes(entry: &Entry) -> bool {
    match entry.file_type {
        Type::CudaLibrary
        | Type::CudaLink
        | Type::CudaIcd
        | Type::OpenclLibrary
        | Type::OpenclLink
        | Type::OpenclWrapper
        | Type::OpenclWrapperLink
        | Type::EncodeLibrary
        | Type::EncodeLink
        | Type::NvcuvidLibrary
        | Type::NvcuvidLink
        | Type::SandboxFileList => true,
        // Some of them have changed their type from release to release.
        Type::UtilityLibrary | Type::UtilityLink | Type::OpenglLibrary | Type::OpenglLink => {
            COMPUTE_LIBRARIES.contains(&stem(entry))
        }
        Type::UtilityBinary => COMPUTE_PROGRAMS.contains(&entry.name()),
        Type::NvidiaModprobe => true,
        _ => false,
    }
}

fn draws(entry: &Entry) -> bool {
    match entry.file_type {
        Type::UtilityLibrary | Type::UtilityLink => !SETTINGS_LIBRARIES.contains(&stem(entry)),
        Type::OpenglLibrary
        | Type::OpenglLink
        | Type::OpenglData
        | Type::TlsLibrary
        | Type::TlsLink
        | Type::GlvndLibrary
        | Type::GlvndLink
        | Type::GlvndEglIcd
        | Type::GlxClientLibrary
        | Type::GlxClientLink
        | Type::EglClientLibrary
        | Type::EglClientLink
        | Type::EglExternalPlatform
        | Type::GbmBackendLibrary
        | Type::GbmBackendLink
        | Type::GlxModule
        | Type::GlxModuleLink
        | Type::XModule
        | Type::XModuleLink
        | Type::XModuleNewLink
        | Type::XorgOutputClass
        | Type::VdpauLibrary
        | Type::VdpauLink
        | Type::NvifrLibrary
        | Type::NvifrLink
        | Type::VulkanIcd
        | Type::VulkanScIcd
        | Type::WineLibrary
        | Type::ApplicationProfile => true,
        _ => false,
    }
}

/// The name of a library before `.so`.
fn stem(entry: &Entry) -> &str {
    entry.name().split_once(".so").map_or(entry.name(), |(stem, _)| stem)
}
