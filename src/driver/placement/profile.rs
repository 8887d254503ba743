//! Which part of a driver a container gets: what computes, what also draws, or everything.

use std::str::FromStr;

use crate::driver::manifest::{Entry, FileType as Type};

/// Which part of the driver a container gets, where the way to install it leaves a choice.
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
    /// Everything that NVIDIA's installer would place.
    #[default]
    Full,
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
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Compute, Self::Graphics, Self::Full];

    /// Its name in configuration files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Graphics => "graphics",
            Self::Full => "full",
        }
    }

    /// Whether an entry belongs to it.
    pub fn has(self, entry: &Entry) -> bool {
        match self {
            Self::Full => true,
            Self::Compute => computes(entry),
            Self::Graphics => computes(entry) || draws(entry),
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
