//! Which type the manifest gives to a library, by the name before `.so`.

use crate::packages::Found;

/// The types of a library and of its links in the manifest, and the word PATH where the types have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LibraryType {
    pub(crate) of_file: &'static str,
    pub(crate) of_link: &'static str,
    pub(crate) path: &'static str,
    /// Whether the type says for which word size it is.
    pub(crate) has_architecture: bool,
}

const fn library(of_file: &'static str, of_link: &'static str) -> LibraryType {
    LibraryType { of_file, of_link, path: "", has_architecture: true }
}

const fn below(of_file: &'static str, of_link: &'static str, path: &'static str) -> LibraryType {
    LibraryType { path, ..library(of_file, of_link) }
}

const fn module_of_x(of_file: &'static str, of_link: &'static str, path: &'static str) -> LibraryType {
    LibraryType { has_architecture: false, ..below(of_file, of_link, path) }
}

const CUDA: LibraryType = below("CUDA_LIB", "CUDA_SYMLINK", "/");
const OPENGL: LibraryType = library("OPENGL_LIB", "OPENGL_SYMLINK");
const GLVND: LibraryType = library("GLVND_LIB", "GLVND_SYMLINK");
const EGL_CLIENT: LibraryType = library("EGL_CLIENT_LIB", "EGL_CLIENT_SYMLINK");
const UTILITY: LibraryType = library("UTILITY_LIB", "UTILITY_LIB_SYMLINK");

/// Those that are not `UTILITY_LIB`. After the manifests of 390.48 and 460.67; libraries that came later have the type
/// of those that they were split from.
const BY_STEM: &[(&str, LibraryType)] = &[
    ("libcuda", CUDA),
    ("libcudadebugger", CUDA),
    ("libnvidia-ml", CUDA),
    ("libnvidia-nvvm", CUDA),
    ("libnvidia-ptxjitcompiler", CUDA),
    ("libnvidia-opencl", below("OPENCL_LIB", "OPENCL_LIB_SYMLINK", "/")),
    ("libOpenCL", below("OPENCL_WRAPPER_LIB", "OPENCL_WRAPPER_SYMLINK", "/")),
    ("libnvidia-encode", library("ENCODEAPI_LIB", "ENCODEAPI_LIB_SYMLINK")),
    ("libnvcuvid", library("NVCUVID_LIB", "NVCUVID_LIB_SYMLINK")),
    ("libnvidia-tls", below("TLS_LIB", "TLS_SYMLINK", "/")),
    ("libvdpau_nvidia", below("VDPAU_LIB", "VDPAU_SYMLINK", "vdpau/")),
    ("libEGL_nvidia", OPENGL),
    ("libGLESv1_CM_nvidia", OPENGL),
    ("libGLESv2_nvidia", OPENGL),
    ("libGLX_nvidia", OPENGL),
    ("libnvidia-eglcore", OPENGL),
    ("libnvidia-glcore", OPENGL),
    ("libnvidia-glsi", OPENGL),
    ("libnvidia-glvkspirv", OPENGL),
    ("libnvidia-gpucomp", OPENGL),
    ("libnvidia-rtcore", OPENGL),
    ("libGL", library("GLX_CLIENT_LIB", "GLX_CLIENT_SYMLINK")),
    ("libEGL", EGL_CLIENT),
    ("libGLESv1_CM", EGL_CLIENT),
    ("libGLESv2", EGL_CLIENT),
    ("libGLX", GLVND),
    ("libGLdispatch", GLVND),
    ("libOpenGL", GLVND),
    ("libnvidia-egl-wayland", OPENGL),
    ("nvidia_drv", module_of_x("XMODULE_SHARED_LIB", "XMODULE_SYMLINK", "drivers")),
    ("libglxserver_nvidia", module_of_x("GLX_MODULE_SHARED_LIB", "GLX_MODULE_SYMLINK", "extensions")),
];

/// Libraries of a package that have versions of their own.
const OF_OTHER_VERSIONS: &[&str] = &[
    "libEGL",
    "libGL",
    "libGLESv1_CM",
    "libGLESv2",
    "libGLX",
    "libGLdispatch",
    "libOpenCL",
    "libOpenGL",
    "libnvidia-api",
    "libnvidia-egl-wayland",
    "nvidia_drv",
];

/// The name before `.so`, if it is the name of a library.
pub(crate) fn stem(name: &str) -> Option<&str> {
    let (stem, rest) = name.split_once(".so")?;
    (rest.is_empty() || rest.starts_with('.')).then_some(stem)
}

/// The type of a library of this driver; none for everything else.
pub(crate) fn of(found: &Found, version: &str) -> Option<LibraryType> {
    let stem = stem(found.name())?;
    let is_of_driver = found.name().ends_with(&format!(".so.{version}")) || OF_OTHER_VERSIONS.contains(&stem);
    let by_stem = BY_STEM.iter().find(|(known, _)| *known == stem);
    is_of_driver.then(|| by_stem.map_or(UTILITY, |(_, library_type)| *library_type))
}
