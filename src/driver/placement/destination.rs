//! The destination of each type (nvidia-installer 590, `set_destinations` in `files.c`).

use super::{Content, Kind, Target};
use crate::driver::DriverVersion;
use crate::driver::manifest::{Architecture, Entry, FileType as Type};

const UNITS: &str = "/usr/lib/systemd/system";
const TEMPLATE: &str = ".template";

/// Where an entry goes; none where it is not placed.
pub(super) fn of(entry: &Entry, target: &Target, version: &DriverVersion) -> Option<String> {
    let directory = directory_of(entry, target, version)?;
    let name = if content_of(entry) == Content::VulkanIcd { without_template(entry.name()) } else { entry.name() };
    Some(joined(&[&directory, name]))
}

/// What is made of an entry.
pub(super) fn kind_of(entry: &Entry, target: &Target) -> Kind {
    if !entry.file_type.is_link() {
        return Kind::File { source: entry.file.clone(), mode: entry.mode, content: content_of(entry) };
    }
    let says = entry.target.as_deref().unwrap_or_default();
    let says = match entry.file_type {
        Type::SystemdUnitLink => joined(&[UNITS, entry.name()]),
        Type::GbmBackendLink => joined(&[libraries(entry, target).unwrap_or_default(), says]),
        _ => says.to_owned(),
    };
    Kind::Link { target: says, keeps_existing: entry.file_type == Type::XModuleNewLink }
}

fn directory_of(entry: &Entry, target: &Target, version: &DriverVersion) -> Option<String> {
    let path = entry.path.as_str();
    let below = |directory: &str| Some(joined(&[directory, path]));
    let fixed = |directory: &str| Some(directory.to_owned());
    match entry.file_type {
        Type::OpenglLibrary
        | Type::OpenglLink
        | Type::GlvndLibrary
        | Type::GlvndLink
        | Type::GlxClientLibrary
        | Type::GlxClientLink
        | Type::EglClientLibrary
        | Type::EglClientLink
        | Type::UtilityLibrary
        | Type::UtilityLink
        | Type::NvcuvidLibrary
        | Type::NvcuvidLink
        | Type::EncodeLibrary
        | Type::EncodeLink
        | Type::VgxLibrary
        | Type::VgxLink
        | Type::NvifrLibrary
        | Type::NvifrLink => libraries(entry, target).map(str::to_owned),
        Type::CudaLibrary
        | Type::CudaLink
        | Type::OpenclLibrary
        | Type::OpenclLink
        | Type::OpenclWrapper
        | Type::OpenclWrapperLink
        | Type::TlsLibrary
        | Type::TlsLink
        | Type::VdpauLibrary
        | Type::VdpauLink
        | Type::GridLibrary
        | Type::GridLink
        | Type::FlexeraLibrary
        | Type::FlexeraLink => below(libraries(entry, target)?),
        Type::WineLibrary => libraries(entry, target).map(|directory| joined(&[directory, "nvidia/wine"])),
        Type::GbmBackendLibrary | Type::GbmBackendLink => {
            libraries(entry, target).map(|directory| joined(&[directory, "gbm"]))
        }
        Type::GlxModule | Type::GlxModuleLink | Type::XModule | Type::XModuleLink | Type::XModuleNewLink => {
            below(target.x_module_directory.as_deref()?)
        }
        Type::XorgOutputClass => target.x_configuration_directory.clone(),
        Type::UtilityBinary | Type::UtilityBinaryLink | Type::InstallerBinary => fixed("/usr/bin"),
        Type::NvidiaModprobe | Type::ExplicitPath | Type::OpenglData => fixed(path),
        Type::ManualPage | Type::ModprobeManualPage => below("/usr/share/man"),
        Type::Documentation => below("/usr/share/doc"),
        Type::ApplicationProfile => fixed("/usr/share/nvidia"),
        Type::SandboxFileList => fixed("/usr/share/nvidia/files.d"),
        Type::DesktopEntry => fixed("/usr/share/applications"),
        Type::Icon => below("/usr/share/icons/hicolor"),
        Type::CudaIcd => fixed("/etc/OpenCL/vendors"),
        Type::VulkanIcd if path.is_empty() => fixed("/etc/vulkan/icd.d"),
        Type::VulkanIcd => below("/etc/vulkan"),
        Type::VulkanScIcd => below("/etc/vulkansc"),
        Type::GlvndEglIcd => fixed("/usr/share/glvnd/egl_vendor.d"),
        Type::EglExternalPlatform => fixed("/usr/share/egl/egl_external_platform.d"),
        Type::InternalBinary | Type::InternalLibrary | Type::InternalData => match entry.architecture {
            Some(Architecture::Compat32) => fixed("/usr/lib/nvidia/32"),
            _ => fixed("/usr/lib/nvidia"),
        },
        Type::Firmware => Some(joined(&["/lib/firmware/nvidia", version.as_str(), path])),
        Type::SystemdUnit => fixed(UNITS),
        Type::SystemdUnitLink => below("/etc/systemd/system"),
        Type::SystemdSleepScript => fixed("/usr/lib/systemd/system-sleep"),
        Type::KernelModule
        | Type::KernelModuleSource
        | Type::DkmsConfiguration
        | Type::ModuleSigningKey
        | Type::OpenglHeader
        | Type::LibtoolArchive => None,
    }
}

fn libraries<'a>(entry: &Entry, target: &'a Target) -> Option<&'a str> {
    match entry.architecture {
        Some(Architecture::Compat32) => target.compat32_directory.as_deref(),
        Some(Architecture::Native) | None => Some(&target.library_directory),
    }
}

fn content_of(entry: &Entry) -> Content {
    match entry.file_type {
        Type::DesktopEntry => Content::DesktopEntry,
        Type::VulkanIcd if entry.name().ends_with(TEMPLATE) => Content::VulkanIcd,
        _ => Content::AsIs,
    }
}

fn without_template(name: &str) -> &str {
    name.strip_suffix(TEMPLATE).unwrap_or(name)
}

/// One absolute path of all components, with single slashes.
fn joined(parts: &[&str]) -> String {
    let components = parts.iter().flat_map(|part| part.split('/')).filter(|part| !matches!(*part, "" | "."));
    components.fold(String::new(), |path, component| path + "/" + component)
}
