//! The types that a `.manifest` gives to the files of a package, and which words follow each in its line.

use std::fmt;

/// Which words a line of a type has behind the type, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    /// `NATIVE` or `COMPAT32`.
    pub(super) architecture: bool,
    /// `CLASSIC` or `NEW`, up to release 390 alone.
    pub(super) tls_class: bool,
    /// A directory.
    pub(super) path: bool,
    /// `INHERIT_PATH_DEPTH:n` in the place of a directory.
    pub(super) inherited_path: bool,
    /// It is a symbolic link, whose target follows.
    pub(super) link: bool,
}

const NONE: Fields = Fields { architecture: false, tls_class: false, path: false, inherited_path: false, link: false };

/// One table for everything that depends on the type alone, so that a new type is one line.
macro_rules! file_types {
    ($($variant:ident $name:literal $($field:ident)*;)*) => {
        /// What sort of file an entry is; decides where it goes.
        ///
        /// The types of nvidia-installer 346 to 590 (`manifest.c`, `nvidia-installer.h`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FileType {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl FileType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The type of this name, as a manifest writes it.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name, as a manifest writes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            pub(super) fn fields(self) -> Fields {
                match self {
                    $(Self::$variant => Fields { $($field: true,)* ..NONE },)*
                }
            }
        }
    };
}

file_types! {
    ApplicationProfile "APPLICATION_PROFILE" path;
    CudaIcd "CUDA_ICD";
    CudaLibrary "CUDA_LIB" architecture path;
    CudaLink "CUDA_SYMLINK" architecture path link;
    DesktopEntry "DOT_DESKTOP" path;
    DkmsConfiguration "DKMS_CONF" inherited_path;
    Documentation "DOCUMENTATION" path;
    EglClientLibrary "EGL_CLIENT_LIB" architecture;
    EglClientLink "EGL_CLIENT_SYMLINK" architecture link;
    EglExternalPlatform "EGL_EXTERNAL_PLATFORM_JSON";
    EncodeLibrary "ENCODEAPI_LIB" architecture;
    EncodeLink "ENCODEAPI_LIB_SYMLINK" architecture link;
    ExplicitPath "EXPLICIT_PATH" path;
    Firmware "FIRMWARE" inherited_path;
    FlexeraLibrary "FLEXERA_LIB" path;
    FlexeraLink "FLEXERA_LIB_SYMLINK" path link;
    GbmBackendLibrary "GBM_BACKEND_LIB" architecture;
    GbmBackendLink "GBM_BACKEND_LIB_SYMLINK" architecture link;
    GlvndEglIcd "GLVND_EGL_ICD_JSON";
    GlvndLibrary "GLVND_LIB" architecture;
    GlvndLink "GLVND_SYMLINK" architecture link;
    GlxClientLibrary "GLX_CLIENT_LIB" architecture;
    GlxClientLink "GLX_CLIENT_SYMLINK" architecture link;
    GlxModule "GLX_MODULE_SHARED_LIB" path;
    GlxModuleLink "GLX_MODULE_SYMLINK" path link;
    GridLibrary "GRID_LIB" path;
    GridLink "GRID_LIB_SYMLINK" path link;
    Icon "ICON" path;
    InstallerBinary "INSTALLER_BINARY";
    InternalBinary "INTERNAL_UTILITY_BINARY" architecture;
    InternalData "INTERNAL_UTILITY_DATA";
    InternalLibrary "INTERNAL_UTILITY_LIB" architecture;
    KernelModule "KERNEL_MODULE";
    KernelModuleSource "KERNEL_MODULE_SRC" inherited_path;
    LibtoolArchive "LIBGL_LA" architecture;
    ManualPage "MANPAGE" path;
    ModprobeManualPage "NVIDIA_MODPROBE_MANPAGE" path;
    ModuleSigningKey "MODULE_SIGNING_KEY";
    NvcuvidLibrary "NVCUVID_LIB" architecture;
    NvcuvidLink "NVCUVID_LIB_SYMLINK" architecture link;
    NvidiaModprobe "NVIDIA_MODPROBE" path;
    NvifrLibrary "NVIFR_LIB" architecture;
    NvifrLink "NVIFR_LIB_SYMLINK" architecture link;
    OpenclLibrary "OPENCL_LIB" architecture path;
    OpenclLink "OPENCL_LIB_SYMLINK" architecture path link;
    OpenclWrapper "OPENCL_WRAPPER_LIB" architecture path;
    OpenclWrapperLink "OPENCL_WRAPPER_SYMLINK" architecture path link;
    OpenglData "OPENGL_DATA" path;
    OpenglHeader "OPENGL_HEADER" path;
    OpenglLibrary "OPENGL_LIB" architecture;
    OpenglLink "OPENGL_SYMLINK" architecture link;
    SandboxFileList "SANDBOXUTILS_FILELIST_JSON" path;
    SystemdSleepScript "SYSTEMD_SLEEP_SCRIPT";
    SystemdUnit "SYSTEMD_UNIT";
    SystemdUnitLink "SYSTEMD_UNIT_SYMLINK" path link;
    TlsLibrary "TLS_LIB" architecture tls_class path;
    TlsLink "TLS_SYMLINK" architecture tls_class path link;
    UtilityBinary "UTILITY_BINARY";
    UtilityBinaryLink "UTILITY_BIN_SYMLINK" link;
    UtilityLibrary "UTILITY_LIB" architecture;
    UtilityLink "UTILITY_LIB_SYMLINK" architecture link;
    VdpauLibrary "VDPAU_LIB" architecture path;
    VdpauLink "VDPAU_SYMLINK" architecture path link;
    VgxLibrary "VGX_LIB";
    VgxLink "VGX_LIB_SYMLINK" link;
    VulkanIcd "VULKAN_ICD_JSON" path;
    VulkanScIcd "VULKANSC_ICD_JSON" path;
    WineLibrary "WINE_LIB" architecture;
    XModule "XMODULE_SHARED_LIB" path;
    XModuleLink "XMODULE_SYMLINK" path link;
    XModuleNewLink "XMODULE_NEWSYM" path link;
    XorgOutputClass "XORG_OUTPUTCLASS_CONFIG";
}

impl FileType {
    /// Whether entries of this type are symbolic links, which exist in the manifest alone and not in the package.
    pub fn is_link(self) -> bool {
        self.fields().link
    }

    /// Whether the PATH of this type is the destination itself, and not a part of it.
    pub(super) fn names_its_directory(self) -> bool {
        matches!(self, Self::NvidiaModprobe | Self::ExplicitPath | Self::OpenglData | Self::OpenglHeader)
    }

    /// Whether the PATH came to this type later than the type itself, so that it may be missing.
    pub(super) fn path_may_be_missing(self) -> bool {
        matches!(self, Self::VulkanIcd)
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for FileType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name_and_no_name_is_there_twice() {
        let names: std::collections::BTreeSet<_> = FileType::ALL.iter().map(|file_type| file_type.name()).collect();
        assert_eq!(names.len(), FileType::ALL.len());
        for file_type in FileType::ALL {
            assert_eq!(FileType::named(file_type.name()), Some(*file_type));
        }
        assert_eq!(FileType::named("cuda_lib"), None);
    }

    #[test]
    fn every_type_that_nvidia_calls_a_symlink_is_one() {
        for file_type in FileType::ALL {
            let called = file_type.name().contains("SYM");
            assert_eq!(file_type.is_link(), called, "{file_type}");
        }
    }
}
