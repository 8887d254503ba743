//! Where the files of each type go.

use std::path::{Path, PathBuf};

use crate::manifest::{Architecture, Entry};
use crate::options::Options;
use crate::system;

/// What the manifest says about files of a type, and the rule for their place.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) has_architecture: bool,
    pub(crate) has_path: bool,
    pub(crate) inherits_path: bool,
    pub(crate) is_link: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The library directory.
    Library,
    /// A directory below the library directory, which the manifest names.
    LibraryBelow,
    /// This directory below the library directory.
    LibraryIn(&'static str),
    /// This directory.
    In(&'static str),
    /// A directory below this one, which the manifest names.
    Below(&'static str),
    /// The directory that the manifest names.
    Named,
    /// `/usr/lib/nvidia`, or `/usr/lib/nvidia/32`.
    Internal,
    /// `/lib/firmware/nvidia/VERSION`.
    Firmware,
    /// Belongs to kernel modules or the X server, neither of which this program installs.
    Nowhere,
}

const fn kind(name: &'static str, fields: &'static str, place: Place) -> Type {
    let (mut architecture, mut path, mut inherits, mut link) = (false, false, false, false);
    let bytes = fields.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        match bytes[index] {
            b'A' => architecture = true,
            b'P' => path = true,
            b'I' => inherits = true,
            _ => link = true,
        }
        index += 1;
    }
    Type { name, has_architecture: architecture, has_path: path, inherits_path: inherits, is_link: link, place }
}

/// A: NATIVE or COMPAT32 follows; P: a path; I: the depth of an inherited path; L: it is a link, its target follows.
const TYPES: &[Type] = &[
    kind("OPENGL_LIB", "A", Place::Library),
    kind("OPENGL_SYMLINK", "AL", Place::Library),
    kind("GLVND_LIB", "A", Place::Library),
    kind("GLVND_SYMLINK", "AL", Place::Library),
    kind("GLX_CLIENT_LIB", "A", Place::Library),
    kind("GLX_CLIENT_SYMLINK", "AL", Place::Library),
    kind("EGL_CLIENT_LIB", "A", Place::Library),
    kind("EGL_CLIENT_SYMLINK", "AL", Place::Library),
    kind("UTILITY_LIB", "A", Place::Library),
    kind("UTILITY_LIB_SYMLINK", "AL", Place::Library),
    kind("NVCUVID_LIB", "A", Place::Library),
    kind("NVCUVID_LIB_SYMLINK", "AL", Place::Library),
    kind("ENCODEAPI_LIB", "A", Place::Library),
    kind("ENCODEAPI_LIB_SYMLINK", "AL", Place::Library),
    kind("VGX_LIB", "", Place::Library),
    kind("VGX_LIB_SYMLINK", "L", Place::Library),
    kind("NVIFR_LIB", "A", Place::Library),
    kind("NVIFR_LIB_SYMLINK", "AL", Place::Library),
    kind("CUDA_LIB", "AP", Place::LibraryBelow),
    kind("CUDA_SYMLINK", "APL", Place::LibraryBelow),
    kind("OPENCL_LIB", "AP", Place::LibraryBelow),
    kind("OPENCL_LIB_SYMLINK", "APL", Place::LibraryBelow),
    kind("OPENCL_WRAPPER_LIB", "AP", Place::LibraryBelow),
    kind("OPENCL_WRAPPER_SYMLINK", "APL", Place::LibraryBelow),
    kind("TLS_LIB", "AP", Place::LibraryBelow),
    kind("TLS_SYMLINK", "APL", Place::LibraryBelow),
    kind("VDPAU_LIB", "AP", Place::LibraryBelow),
    kind("VDPAU_SYMLINK", "APL", Place::LibraryBelow),
    kind("GRID_LIB", "P", Place::LibraryBelow),
    kind("GRID_LIB_SYMLINK", "PL", Place::LibraryBelow),
    kind("FLEXERA_LIB", "P", Place::LibraryBelow),
    kind("FLEXERA_LIB_SYMLINK", "PL", Place::LibraryBelow),
    kind("WINE_LIB", "A", Place::LibraryIn("nvidia/wine")),
    kind("GBM_BACKEND_LIB", "A", Place::LibraryIn("gbm")),
    kind("GBM_BACKEND_LIB_SYMLINK", "AL", Place::LibraryIn("gbm")),
    kind("XMODULE_SHARED_LIB", "P", Place::Below("/usr/lib64/xorg/modules")),
    kind("GLX_MODULE_SHARED_LIB", "P", Place::Below("/usr/lib64/xorg/modules")),
    kind("GLX_MODULE_SYMLINK", "PL", Place::Below("/usr/lib64/xorg/modules")),
    kind("UTILITY_BINARY", "", Place::In("/usr/bin")),
    kind("INSTALLER_BINARY", "", Place::In("/usr/bin")),
    kind("UTILITY_BIN_SYMLINK", "L", Place::In("/usr/bin")),
    kind("NVIDIA_MODPROBE", "P", Place::Named),
    kind("EXPLICIT_PATH", "P", Place::Named),
    kind("OPENGL_DATA", "P", Place::Named),
    kind("MANPAGE", "P", Place::Below("/usr/share/man")),
    kind("NVIDIA_MODPROBE_MANPAGE", "P", Place::Below("/usr/share/man")),
    kind("DOCUMENTATION", "P", Place::Below("/usr/share/doc")),
    kind("APPLICATION_PROFILE", "P", Place::In("/usr/share/nvidia")),
    kind("DOT_DESKTOP", "P", Place::In("/usr/share/applications")),
    kind("ICON", "P", Place::Below("/usr/share/icons/hicolor")),
    kind("CUDA_ICD", "", Place::In("/etc/OpenCL/vendors")),
    kind("VULKAN_ICD_JSON", "P", Place::Below("/etc/vulkan")),
    kind("VULKANSC_ICD_JSON", "P", Place::Below("/etc/vulkansc")),
    kind("GLVND_EGL_ICD_JSON", "", Place::In("/usr/share/glvnd/egl_vendor.d")),
    kind("EGL_EXTERNAL_PLATFORM_JSON", "", Place::In("/usr/share/egl/egl_external_platform.d")),
    kind("INTERNAL_UTILITY_BINARY", "A", Place::Internal),
    kind("INTERNAL_UTILITY_LIB", "A", Place::Internal),
    kind("INTERNAL_UTILITY_DATA", "", Place::In("/usr/lib/nvidia")),
    kind("FIRMWARE", "I", Place::Firmware),
    kind("SYSTEMD_UNIT", "", Place::In("/usr/lib/systemd/system")),
    kind("SYSTEMD_UNIT_SYMLINK", "PL", Place::Below("/etc/systemd/system")),
    kind("SYSTEMD_SLEEP_SCRIPT", "", Place::In("/usr/lib/systemd/system-sleep")),
    kind("SANDBOXUTILS_FILELIST_JSON", "P", Place::In("/usr/share/nvidia/files.d")),
    kind("KERNEL_MODULE_SRC", "I", Place::Nowhere),
    kind("DKMS_CONF", "I", Place::Nowhere),
    kind("XORG_OUTPUTCLASS_CONFIG", "", Place::Nowhere),
];

/// The type of this name, if there is one.
pub(crate) fn type_named(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|known| known.name == name)
}

/// The directories and choices that hold for a whole installation.
pub(crate) struct Destinations {
    version: String,
    pub(crate) native: PathBuf,
    compat32: Option<PathBuf>,
    glvnd: bool,
    systemd: bool,
    modprobe: bool,
}

impl Destinations {
    /// Looks at the system and the options.
    pub(crate) fn find(version: &str, options: &Options) -> Self {
        let native = ["lib/x86_64-linux-gnu", "lib64", "lib"]
            .iter()
            .map(|name| Path::new("/usr").join(name))
            .find(|path| path.is_dir())
            .unwrap_or_else(|| PathBuf::from("/usr/lib"));
        let compat32 = ["lib/i386-linux-gnu", "lib32", "lib"].iter().map(|name| Path::new("/usr").join(name));
        let compat32 = compat32
            .filter(|path| path.is_dir() && !native.starts_with(path))
            .find(|_| !options.has("no-install-compat32-libs"));
        // The packaged check of NVIDIA's takes any GLVND library for a whole GLVND.
        let has_glvnd = ["libGL.so.1", "libEGL.so.1"].iter().any(|name| native.join(name).exists());
        Self {
            version: version.to_owned(),
            native,
            compat32,
            glvnd: options.has("install-libglvnd") || (!options.has("no-install-libglvnd") && !has_glvnd),
            systemd: !options.has("no-systemd") && (options.has("systemd") || system::find("systemctl").is_some()),
            modprobe: !options.has("no-nvidia-modprobe"),
        }
    }

    /// Where a file of the package goes; none where it is not installed.
    pub(crate) fn of(&self, entry: &Entry) -> Option<PathBuf> {
        let name = entry.kind.name;
        let of_glvnd = ["GLVND_", "GLX_CLIENT_", "EGL_CLIENT_"].iter().any(|prefix| name.starts_with(prefix));
        if (of_glvnd && !self.glvnd)
            || (name.starts_with("SYSTEMD_") && !self.systemd)
            || (name.starts_with("NVIDIA_MODPROBE") && !self.modprobe)
        {
            return None;
        }
        Some(self.directory_of(entry)?.join(entry.name()))
    }

    /// What a link will point to.
    pub(crate) fn target_of(&self, entry: &Entry) -> Option<String> {
        let target = entry.target.as_ref()?;
        Some(match entry.kind.name {
            "GBM_BACKEND_LIB_SYMLINK" => self.native.join(target).display().to_string(),
            // The manifest has no target for these: the word in its place says something else.
            "SYSTEMD_UNIT_SYMLINK" => format!("/usr/lib/systemd/system/{}", entry.name()),
            _ => target.clone(),
        })
    }

    fn directory_of(&self, entry: &Entry) -> Option<PathBuf> {
        let below = entry.path.trim_matches('/');
        let libraries = match entry.architecture {
            Architecture::Native => Some(self.native.clone()),
            Architecture::Compat32 => self.compat32.clone(),
        };
        match entry.kind.place {
            Place::Library => libraries,
            Place::LibraryBelow => libraries.map(|directory| directory.join(below)),
            Place::LibraryIn(part) => libraries.map(|directory| directory.join(part)),
            Place::In(directory) => Some(PathBuf::from(directory)),
            Place::Below(directory) => Some(Path::new(directory).join(below)),
            Place::Named => Some(PathBuf::from(&entry.path)),
            Place::Internal if entry.architecture == Architecture::Native => Some(PathBuf::from("/usr/lib/nvidia")),
            Place::Internal => Some(PathBuf::from("/usr/lib/nvidia/32")),
            Place::Firmware => Some(Path::new("/lib/firmware/nvidia").join(&self.version).join(below)),
            Place::Nowhere => None,
        }
    }
}
