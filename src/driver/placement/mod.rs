//! Where the files of a package go in a system: what NVIDIA's installer decides, decided without it.
//!
//! The rules of nvidia-installer 590 (`files.c`, `command-list.c`), compared with what the real one made of drivers
//! 470, 535 and 550 in Debian 12: the same files with the same modes. Never placed are kernel modules and their sources
//! (as with `--no-kernel-module`), headers for OpenGL (wanted only with `--opengl-headers`) and libtool's archives.

mod destination;
pub mod image;
mod profile;

use std::collections::BTreeMap;

pub use profile::Profile;

use super::manifest::{Architecture, Entry, GlvndChoice, Manifest};

/// The system that a driver is placed in. Directories are absolute paths in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where native libraries go: `/usr/lib/x86_64-linux-gnu`, `/usr/lib64` or `/usr/lib`.
    pub library_directory: String,
    /// Where 32-bit libraries go; without one they are left out.
    pub compat32_directory: Option<String>,
    /// The X server's directory of modules; without one they are left out.
    pub x_module_directory: Option<String>,
    /// The X server's directory of configuration snippets (`/usr/share/X11/xorg.conf.d`), if it reads any.
    pub x_configuration_directory: Option<String>,
    /// Whether the package's own GLVND is placed: where the system has none.
    pub glvnd: bool,
    /// Whether units of systemd are placed.
    pub systemd: bool,
    /// Whether `nvidia-modprobe` is placed, which sets the user to root and loads modules.
    pub nvidia_modprobe: bool,
}

impl Target {
    /// A system with this directory of libraries, without X, GLVND of its own, systemd and 32 bits.
    pub fn new(library_directory: impl Into<String>) -> Self {
        Self {
            library_directory: library_directory.into(),
            compat32_directory: None,
            x_module_directory: None,
            x_configuration_directory: None,
            glvnd: true,
            systemd: false,
            nvidia_modprobe: false,
        }
    }

    /// A system with places for all libraries; for questions to which its directories do not matter.
    pub fn of_any_system() -> Self {
        Self { compat32_directory: Some("/usr/lib32".to_owned()), ..Self::new("/usr/lib64") }
    }
}

/// One file or link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Where, as an absolute path in the target.
    pub destination: String,
    /// What.
    pub kind: Kind,
}

/// What is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file from the package, owned by root.
    File {
        /// Its path in the package.
        source: String,
        /// Exactly these permission bits.
        mode: u32,
        /// Whether its contents are changed on the way.
        content: Content,
    },
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
        /// Something that is already installed stays.
        keeps_existing: bool,
    },
}

/// Whether a file is placed as it lies in the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// As it is: size and sums are the package's.
    AsIs,
    /// `__UTILS_PATH__` becomes the directory of programs.
    DesktopEntry,
    /// `__NV_VK_ICD__` becomes the name of the Vulkan driver's library (releases up to 390).
    VulkanIcd,
}

impl Content {
    /// The bytes to place for these bytes of the package.
    pub fn rendered(self, bytes: Vec<u8>) -> Vec<u8> {
        let (token, value) = match self {
            Self::AsIs => return bytes,
            Self::DesktopEntry => ("__UTILS_PATH__", "/usr/bin"),
            Self::VulkanIcd => ("__NV_VK_ICD__", "libGLX_nvidia.so.0"),
        };
        match String::from_utf8(bytes) {
            Ok(text) => text.replace(token, value).into_bytes(),
            Err(binary) => binary.into_bytes(),
        }
    }
}

/// What of a manifest is placed in a target, in the installer's order: files in the manifest's order, then links.
///
/// Of several with one destination the last counts, as it would overwrite the others.
pub fn placements(manifest: &Manifest, target: &Target, profile: Profile) -> Vec<Placement> {
    let chosen = manifest.entries.iter().filter(|entry| profile.has(entry) && target.takes(entry));
    let placed = chosen.filter_map(|entry| {
        let destination = destination::of(entry, target, &manifest.version)?;
        Some((entry.file_type.is_link(), Placement { destination, kind: destination::kind_of(entry, target) }))
    });
    let (links, files): (Vec<_>, Vec<_>) = placed.partition(|(is_link, _)| *is_link);
    let mut ordered: Vec<Placement> = files.into_iter().chain(links).map(|(_, placement)| placement).collect();
    ordered.extend(abi_link(target, profile));
    without_overwritten(ordered)
}

/// How many bytes the files take; `size_of` knows the size of each by its path in the package.
///
/// None when `size_of` does not know one of them: the package is not the manifest's.
pub fn bytes_of(placements: &[Placement], size_of: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    placements.iter().try_fold(0_u64, |sum, placement| match &placement.kind {
        Kind::File { source, .. } => sum.checked_add(size_of(source)?),
        Kind::Link { .. } => Some(sum),
    })
}

impl Target {
    /// The directories in which the loader finds libraries by itself.
    pub fn loader_directories(&self) -> Vec<&str> {
        std::iter::once(self.library_directory.as_str()).chain(self.compat32_directory.as_deref()).collect()
    }

    /// Whether the loader finds by itself what is placed right in this directory.
    pub fn has_libraries_in(&self, directory: &str) -> bool {
        self.loader_directories().contains(&directory)
    }

    fn takes(&self, entry: &Entry) -> bool {
        use super::manifest::FileType as Type;
        if entry.architecture == Some(Architecture::Compat32) && self.compat32_directory.is_none() {
            return false;
        }
        match entry.file_type {
            // Releases up to 390 have two clients; the one without GLVND is only taken on the operator's word.
            _ if entry.glvnd == Some(GlvndChoice::Without) => false,
            Type::GlvndLibrary
            | Type::GlvndLink
            | Type::GlxClientLibrary
            | Type::GlxClientLink
            | Type::EglClientLibrary
            | Type::EglClientLink => self.glvnd,
            Type::SystemdUnit | Type::SystemdUnitLink | Type::SystemdSleepScript => self.systemd,
            Type::NvidiaModprobe | Type::ModprobeManualPage => self.nvidia_modprobe,
            _ => true,
        }
    }
}

/// The link that the Linux OpenGL ABI asks for; the installer makes it even where it installs no OpenGL. Where libraries
/// of either size have that directory, it is the place of their own `libGL.so.1`.
fn abi_link(target: &Target, profile: Profile) -> Option<Placement> {
    let is_compat32 = profile.has_compat32() && target.compat32_directory.as_deref() == Some("/usr/lib");
    let is_taken = target.library_directory == "/usr/lib" || is_compat32;
    let wanted = profile.draws() && !is_taken;
    wanted.then(|| Placement {
        destination: "/usr/lib/libGL.so.1".to_owned(),
        kind: Kind::Link { target: format!("{}/libGL.so.1", target.library_directory), keeps_existing: false },
    })
}

fn without_overwritten(placements: Vec<Placement>) -> Vec<Placement> {
    let mut last = BTreeMap::new();
    for (index, placement) in placements.iter().enumerate() {
        last.insert(placement.destination.clone(), index);
    }
    let counts = |(index, placement): &(usize, Placement)| last.get(&placement.destination) == Some(index);
    placements.into_iter().enumerate().filter(counts).map(|(_, placement)| placement).collect()
}

#[cfg(test)]
mod tests;
