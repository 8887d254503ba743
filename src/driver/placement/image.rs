//! The placed form of a driver in an image of its own, for containers that see it in a private directory.
//!
//! ```text
//! lib/      what the dynamic loader finds by `/etc/ld.so.conf.d`, and its directories `vdpau`, `gbm`, …
//! glvnd/    the package's own GLVND, for a system that has none: a directory that the loader is given, or not
//! lib32/    as `lib`, of 32 bits, where the profile has them; and `glvnd32/`
//! xorg/     the X server's modules, and `xorg.conf.d`
//! usr/ etc/ everything else, below the path that it would have in a system
//! ```
//!
//! What the loader does not find needs a link at the place where programs look for it.

use std::collections::BTreeSet;

use super::{Kind, Placement, Profile, Target, placements};
use crate::driver::manifest::{Architecture, FileType, Manifest};

/// The directory in the image of the libraries.
pub const LIBRARIES: &str = "lib";
/// The directory in the image of the package's own GLVND.
pub const GLVND: &str = "glvnd";
/// The directory of those of 32 bits, and that of the package's own GLVND of 32 bits.
pub const COMPAT32_LIBRARIES: &str = "lib32";
const COMPAT32_GLVND: &str = "glvnd32";
/// All directories in which the loader may look for libraries.
pub const OF_LIBRARIES: [&str; 4] = [LIBRARIES, GLVND, COMPAT32_LIBRARIES, COMPAT32_GLVND];

// Places that no manifest can name, so that what goes to each can be distinguished.
const LIBRARY_PLACE: &str = "/\u{1}/libraries";
const COMPAT32_PLACE: &str = "/\u{1}/compat32";
const MODULE_PLACE: &str = "/\u{1}/x-modules";
const CONFIGURATION_PLACE: &str = "/\u{1}/x-configuration";

/// One file or link of an image, and where a system looks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    area: Area,
    /// The path below the area.
    rest: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Libraries(Architecture),
    Glvnd(Architecture),
    XModules,
    XConfiguration,
    Elsewhere,
}

/// Everything that the image of a profile has; the destinations are relative to the image's directory.
pub fn image_placements(manifest: &Manifest, profile: Profile) -> Vec<Placement> {
    let placed = |part: Part| Placement { destination: part.in_image(), kind: part.kind };
    parts(manifest, profile).into_iter().map(placed).collect()
}

/// The links that a system needs to find in the directory `image` what the loader does not find there.
///
/// Whether the package's GLVND is one of them is `target`'s.
pub fn image_links(manifest: &Manifest, profile: Profile, target: &Target, image: &str) -> Vec<Placement> {
    let link = |part: Part| {
        let destination = part.in_system(target)?;
        let kind = Kind::Link { target: format!("{image}/{}", part.in_image()), keeps_existing: false };
        Some(Placement { destination, kind })
    };
    parts(manifest, profile).into_iter().filter_map(link).collect()
}

/// The directories in the directory `image` that the dynamic loader of a system is to look into.
pub fn loader_directories(target: &Target, profile: Profile, image: &str) -> Vec<String> {
    let mut directories = vec![format!("{image}/{LIBRARIES}")];
    if profile.has_compat32() {
        directories.push(format!("{image}/{COMPAT32_LIBRARIES}"));
    }
    if target.glvnd && profile.draws() {
        directories.push(format!("{image}/{GLVND}"));
        if profile.has_compat32() {
            directories.push(format!("{image}/{COMPAT32_GLVND}"));
        }
    }
    directories
}

/// The names of the libraries that the dynamic loader of a system finds in these directories.
pub fn image_libraries(manifest: &Manifest, profile: Profile, target: &Target) -> Vec<String> {
    let is_found = |part: &Part| match part.area {
        Area::Libraries(_) => !part.rest.contains('/'),
        Area::Glvnd(_) => target.glvnd,
        Area::XModules | Area::XConfiguration | Area::Elsewhere => false,
    };
    parts(manifest, profile).into_iter().filter(is_found).map(|part| part.rest).collect()
}

impl Part {
    fn in_image(&self) -> String {
        let directory = match self.area {
            Area::Libraries(Architecture::Native) => LIBRARIES,
            Area::Libraries(Architecture::Compat32) => COMPAT32_LIBRARIES,
            Area::Glvnd(Architecture::Native) => GLVND,
            Area::Glvnd(Architecture::Compat32) => COMPAT32_GLVND,
            Area::XModules => "xorg/modules",
            Area::XConfiguration => "xorg/xorg.conf.d",
            Area::Elsewhere => return self.rest.clone(),
        };
        format!("{directory}/{}", self.rest)
    }

    /// Where a system looks for it; none when the loader finds it, or the system has no such place.
    fn in_system(&self, target: &Target) -> Option<String> {
        let directory = match self.area {
            Area::Libraries(Architecture::Native) if self.rest.contains('/') => target.library_directory.as_str(),
            Area::Libraries(Architecture::Compat32) if self.rest.contains('/') => {
                target.compat32_directory.as_deref()?
            }
            Area::Libraries(_) | Area::Glvnd(_) => return None,
            Area::XModules => target.x_module_directory.as_deref()?,
            Area::XConfiguration => target.x_configuration_directory.as_deref()?,
            Area::Elsewhere => "",
        };
        Some(format!("{directory}/{}", self.rest))
    }
}

fn parts(manifest: &Manifest, profile: Profile) -> Vec<Part> {
    let manifest = without_installer_and_firmware(manifest);
    let mut target = Target::new(LIBRARY_PLACE);
    target.compat32_directory = Some(COMPAT32_PLACE.to_owned());
    target.x_module_directory = Some(MODULE_PLACE.to_owned());
    target.x_configuration_directory = Some(CONFIGURATION_PLACE.to_owned());
    let all = placements(&manifest, &target, profile);
    target.glvnd = false;
    let without_glvnd = placements(&manifest, &target, profile);
    let elsewhere: BTreeSet<&str> = without_glvnd.iter().map(|it| it.destination.as_str()).collect();
    all.iter().filter_map(|placement| part(placement, !elsewhere.contains(placement.destination.as_str()))).collect()
}

fn part(placement: &Placement, is_glvnd: bool) -> Option<Part> {
    let of_libraries = if is_glvnd { Area::Glvnd } else { Area::Libraries };
    let places = [
        (LIBRARY_PLACE, of_libraries(Architecture::Native)),
        (COMPAT32_PLACE, of_libraries(Architecture::Compat32)),
        (MODULE_PLACE, Area::XModules),
        (CONFIGURATION_PLACE, Area::XConfiguration),
        ("", Area::Elsewhere),
    ];
    let below =
        |(place, area): (&str, Area)| Some((area, placement.destination.strip_prefix(place)?.strip_prefix('/')?));
    let (area, rest) = places.into_iter().find_map(below)?;
    Some(Part { area, rest: rest.to_owned(), kind: kind_in_image(placement, area, rest)? })
}

/// An absolute target among the libraries becomes a relative one; none for a link from outside of the image into it.
fn kind_in_image(placement: &Placement, area: Area, rest: &str) -> Option<Kind> {
    let Kind::Link { target, keeps_existing } = &placement.kind else { return Some(placement.kind.clone()) };
    let library = target.strip_prefix(LIBRARY_PLACE).or_else(|| target.strip_prefix(COMPAT32_PLACE));
    let Some(library) = library else { return Some(placement.kind.clone()) };
    // The one such link that is not among the libraries is `/usr/lib/libGL.so.1`, which the loader does not need.
    let up = matches!(area, Area::Libraries(_)).then(|| "../".repeat(rest.matches('/').count()))?;
    let target = up + library.trim_start_matches('/');
    Some(Kind::Link { target, keeps_existing: *keeps_existing })
}

/// Nothing here was installed by NVIDIA's installer, so that it could uninstall it; and firmware is loaded by the
/// kernel, from the host's own directory.
fn without_installer_and_firmware(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    let installers = [FileType::InstallerBinary, FileType::Firmware, FileType::UtilityBinaryLink];
    manifest.entries.retain(|entry| !installers.contains(&entry.file_type));
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "A driver\n580.76.05\n \nnvidia \n \n \n./kernel/\n./kernel/precompiled/\n\
        nvidia-smi 0755 UTILITY_BINARY MODULE:gpgpu\n\
        nvidia-installer 0755 INSTALLER_BINARY MODULE:installer\n\
        nvidia-uninstall 0000 UTILITY_BIN_SYMLINK nvidia-installer MODULE:installer\n\
        libcuda.so.580.76.05 0755 CUDA_LIB NATIVE / MODULE:gpgpu\n\
        libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.580.76.05 MODULE:gpgpu\n\
        libvdpau_nvidia.so.580.76.05 0755 VDPAU_LIB NATIVE vdpau/ MODULE:vdpau\n\
        libnvidia-allocator.so.580.76.05 0755 UTILITY_LIB NATIVE MODULE:gpgpu\n\
        nvidia-drm_gbm.so 0000 GBM_BACKEND_LIB_SYMLINK NATIVE libnvidia-allocator.so.1 MODULE:opengl\n\
        libGL.so.1.7.0 0755 GLX_CLIENT_LIB NATIVE MODULE:opengl\n\
        nvidia_drv.so 0755 XMODULE_SHARED_LIB drivers MODULE:xdriver\n\
        firmware/gsp.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:resman\n\
        nvidia.icd 0644 CUDA_ICD MODULE:opencl\n";

    fn manifest() -> Manifest {
        Manifest::parse(MANIFEST.as_bytes()).unwrap()
    }

    fn in_image(profile: Profile) -> Vec<String> {
        let line = |placement: &Placement| match &placement.kind {
            Kind::File { .. } => placement.destination.clone(),
            Kind::Link { target, .. } => format!("{} -> {target}", placement.destination),
        };
        image_placements(&manifest(), profile).iter().map(line).collect()
    }

    fn links(target: &Target) -> Vec<String> {
        let link = |placement: Placement| match placement.kind {
            Kind::Link { target, .. } => format!("{} -> {target}", placement.destination),
            Kind::File { .. } => "a file".to_owned(),
        };
        image_links(&manifest(), Profile::Full, target, "/image").into_iter().map(link).collect()
    }

    #[test]
    fn an_image_has_a_layout_of_its_own_without_what_only_an_installation_needs() {
        let expected = [
            "usr/bin/nvidia-smi",
            "lib/libcuda.so.580.76.05",
            "lib/vdpau/libvdpau_nvidia.so.580.76.05",
            "lib/libnvidia-allocator.so.580.76.05",
            "glvnd/libGL.so.1.7.0",
            "xorg/modules/drivers/nvidia_drv.so",
            "etc/OpenCL/vendors/nvidia.icd",
            "lib/libcuda.so.1 -> libcuda.so.580.76.05",
            "lib/gbm/nvidia-drm_gbm.so -> ../libnvidia-allocator.so.1",
        ];
        assert_eq!(in_image(Profile::Full), expected);
        assert!(!in_image(Profile::Compute).iter().any(|path| path.contains("GL") || path.contains("xorg")));
    }

    #[test]
    fn libraries_of_32_bits_have_directories_of_their_own() {
        let native: Vec<String> =
            MANIFEST.lines().skip(8).filter(|line| line.contains("NATIVE")).map(str::to_owned).collect();
        let compat32 = native.join("\n").replace("NATIVE", "COMPAT32");
        let manifest = Manifest::parse(format!("{MANIFEST}{compat32}\n").as_bytes()).unwrap();
        let placed = |profile| -> Vec<String> {
            image_placements(&manifest, profile).into_iter().map(|placement| placement.destination).collect()
        };
        assert_eq!(
            placed(Profile::Full),
            in_image(Profile::Full).iter().map(|it| it.split(" -> ").next().unwrap().to_owned()).collect::<Vec<_>>()
        );
        let of_32_bits: Vec<String> =
            placed(Profile::FullCompat32).into_iter().filter(|path| path.contains("32/")).collect();
        let expected = [
            "lib32/libcuda.so.580.76.05",
            "lib32/vdpau/libvdpau_nvidia.so.580.76.05",
            "lib32/libnvidia-allocator.so.580.76.05",
            "glvnd32/libGL.so.1.7.0",
            "lib32/libcuda.so.1",
            "lib32/gbm/nvidia-drm_gbm.so",
        ];
        assert_eq!(of_32_bits, expected);
        let mut target = Target::new("/usr/lib64");
        target.compat32_directory = Some("/usr/lib".to_owned());
        let links = image_links(&manifest, Profile::ComputeCompat32, &target, "/image");
        assert!(!links.iter().any(|link| link.destination.starts_with("/usr/lib/")), "{links:?}");
        let links = image_links(&manifest, Profile::FullCompat32, &target, "/image");
        let vdpau =
            Kind::Link { target: "/image/lib32/vdpau/libvdpau_nvidia.so.580.76.05".to_owned(), keeps_existing: false };
        let at = |link: &&Placement| link.destination == "/usr/lib/vdpau/libvdpau_nvidia.so.580.76.05";
        assert_eq!(links.iter().find(at).unwrap().kind, vdpau);
        assert_eq!(
            loader_directories(&target, Profile::GraphicsCompat32, "/image"),
            ["/image/lib", "/image/lib32", "/image/glvnd", "/image/glvnd32"]
        );
    }

    #[test]
    fn links_lead_to_what_the_loader_does_not_find() {
        let mut target = Target::new("/usr/lib64");
        let expected = [
            "/usr/bin/nvidia-smi -> /image/usr/bin/nvidia-smi",
            "/usr/lib64/vdpau/libvdpau_nvidia.so.580.76.05 -> /image/lib/vdpau/libvdpau_nvidia.so.580.76.05",
            "/etc/OpenCL/vendors/nvidia.icd -> /image/etc/OpenCL/vendors/nvidia.icd",
            "/usr/lib64/gbm/nvidia-drm_gbm.so -> /image/lib/gbm/nvidia-drm_gbm.so",
        ];
        assert_eq!(links(&target), expected);
        target.x_module_directory = Some("/usr/lib/xorg/modules".to_owned());
        let driver = "/usr/lib/xorg/modules/drivers/nvidia_drv.so -> /image/xorg/modules/drivers/nvidia_drv.so";
        assert!(links(&target).contains(&driver.to_owned()));
    }

    #[test]
    fn the_loader_is_reported_of_glvnd_only_where_the_system_has_none() {
        let mut target = Target::new("/usr/lib64");
        assert_eq!(loader_directories(&target, Profile::Full, "/image"), ["/image/lib", "/image/glvnd"]);
        assert_eq!(loader_directories(&target, Profile::Compute, "/image"), ["/image/lib"]);
        assert!(image_libraries(&manifest(), Profile::Full, &target).contains(&"libGL.so.1.7.0".to_owned()));
        target.glvnd = false;
        assert_eq!(loader_directories(&target, Profile::Full, "/image"), ["/image/lib"]);
        let expected = ["libcuda.so.580.76.05", "libnvidia-allocator.so.580.76.05", "libcuda.so.1"];
        assert_eq!(image_libraries(&manifest(), Profile::Full, &target), expected);
    }
}
