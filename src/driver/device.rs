//! Device nodes of NVIDIA's driver: their names, numbers, and which of them a container needs.

use std::path::{Path, PathBuf};

/// The major of `nvidiaN`, `nvidiactl` and `nvidia-modeset`, the only fixed one (`devices.txt` of the kernel).
pub const MAJOR: u32 = 195;

/// A character device node on the host, as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct DeviceNode {
    /// Where it lies, on the host and in the container: `/dev/nvidia0`.
    pub path: PathBuf,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// Its permission bits, 0o666 as a rule.
    pub mode: u32,
    /// Its group on the host.
    #[serde(skip)]
    pub group: u32,
}

/// A node that goes with every GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Companion {
    /// Its name below `/dev`.
    pub name: &'static str,
    /// CUDA does not work without it.
    pub required: bool,
    /// Its numbers: the major's name in `/proc/devices` when it is dynamic, and the minor.
    pub numbers: (Option<&'static str>, u32),
}

/// The nodes that go with every GPU. The major of `nvidia-uvm` is dynamic (234 … 243 and 500 … 511 were seen).
pub const COMPANIONS: [Companion; 4] = [
    Companion { name: "nvidiactl", required: true, numbers: (None, 255) },
    Companion { name: "nvidia-uvm", required: true, numbers: (Some("nvidia-uvm"), 0) },
    Companion { name: "nvidia-uvm-tools", required: false, numbers: (Some("nvidia-uvm"), 1) },
    Companion { name: "nvidia-modeset", required: false, numbers: (None, MODESET_MINOR) },
];

/// The node of the module that sets display modes. Nothing makes it at boot unless it is asked to: `nvidia-modprobe` does so
/// only with `-m`.
pub const MODESET: &str = "/dev/nvidia-modeset";
const MODESET_MINOR: u32 = 254;

/// Where the nodes of the kernel's graphics interface (DRM) lie.
pub const DRI: &str = "/dev/dri";

/// Whether it is one of those that programs draw with: `/dev/dri/card1`, `/dev/dri/renderD128`.
pub fn is_dri(path: &Path) -> bool {
    let Some(name) = path.strip_prefix(DRI).ok().and_then(Path::to_str) else { return false };
    let number = name.strip_prefix("card").or_else(|| name.strip_prefix("renderD"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The major of the nodes below it, and which minor each has by its name, is fixed (`devices.txt` of the kernel).
pub const DRI_MAJOR: u32 = 226;
/// The first minor of those that only draw.
const FIRST_RENDERING: u32 = 128;

/// The minor of a node to draw with: 1 of `/dev/dri/card1`, 128 of `/dev/dri/renderD128`.
pub fn dri_minor(path: &Path) -> Option<u32> {
    let name = path.strip_prefix(DRI).ok()?.to_str().filter(|_| is_dri(path))?;
    let (first, number) = match name.strip_prefix("renderD") {
        Some(number) => (FIRST_RENDERING, number),
        None => (0, name.strip_prefix("card")?),
    };
    number.parse().ok().filter(|minor| *minor >= first)
}

/// The numbers of a node that a host may lack while CUDA works there, and whose name says them: `nvidia-modeset` and those
/// to draw with.
pub fn optional_numbers(path: &Path) -> Option<(u32, u32)> {
    if path == Path::new(MODESET) {
        return Some((MAJOR, MODESET_MINOR));
    }
    dri_minor(path).map(|minor| (DRI_MAJOR, minor))
}

/// Whether CUDA works without this node.
pub fn is_optional(path: &Path) -> bool {
    if is_dri(path) {
        return true;
    }
    COMPANIONS.iter().any(|companion| !companion.required && path == Path::new("/dev").join(companion.name))
}

/// N of `/dev/nvidiaN`.
pub fn minor_of(path: &Path) -> Option<u32> {
    path.to_str()?.strip_prefix("/dev/nvidia")?.parse().ok()
}

/// Where a node stands among those of a container: GPUs by their number, then what goes with every GPU, then others.
pub fn rank(path: &Path) -> (usize, u32) {
    if let Some(minor) = minor_of(path) {
        return (0, minor);
    }
    let is_it = |companion: &Companion| path == Path::new("/dev").join(companion.name);
    (COMPANIONS.iter().position(is_it).map_or(COMPANIONS.len() + 1, |place| place + 1), 0)
}

/// Whether a name below `/dev` is one of NVIDIA's: `nvidia0`, `nvidiactl`, `nvidia-uvm`, `nvidia-caps/…`.
pub fn is_nvidia_node(name: &str) -> bool {
    name == "nvidiactl"
        || name.starts_with("nvidia-")
        || name
            .strip_prefix("nvidia")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_to_draw_with_are_known_by_name() {
        for node in ["card0", "card12", "renderD128"] {
            assert!(is_dri(&Path::new(DRI).join(node)) && is_optional(&Path::new(DRI).join(node)), "{node}");
        }
        for other in ["card", "renderD", "card0-HDMI-A-1", "by-path/card0", "../card0", "controlD64"] {
            assert!(!is_dri(&Path::new(DRI).join(other)), "{other}");
        }
        let minor = |name: &str| dri_minor(&Path::new(DRI).join(name));
        assert_eq!((minor("card1"), minor("renderD129")), (Some(1), Some(129)));
        assert_eq!((minor("renderD1"), minor("card99999999999"), minor("card")), (None, None, None));
        let numbers = |path: &str| optional_numbers(Path::new(path));
        assert_eq!((numbers(MODESET), numbers("/dev/dri/card1")), (Some((195, 254)), Some((226, 1))));
        assert_eq!((numbers("/dev/nvidia0"), numbers("/dev/nvidia-uvm-tools")), (None, None));
    }

    #[test]
    fn nvidias_nodes_are_known_by_name() {
        for node in ["nvidia0", "nvidia15", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"] {
            assert!(is_nvidia_node(node), "{node}");
        }
        for other in ["nvidia", "nvidiax", "nvme0", "dri/card0"] {
            assert!(!is_nvidia_node(other), "{other}");
        }
    }
}
