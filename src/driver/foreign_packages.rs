//! Packages of a distribution that bring NVIDIA's user space, as dpkg's database lists them. Pure.

/// The installed packages that bring libraries or programs of NVIDIA's driver, with their versions: at most twenty.
///
/// `status` is `/var/lib/dpkg/status`. NVIDIA's container toolkit and CUDA's libraries are no driver.
pub fn in_dpkg_status(status: &str) -> Vec<String> {
    let stanzas = status.split("\n\n").filter(|stanza| field(stanza, "Status").is_some_and(is_installed));
    let named = stanzas.filter_map(|stanza| {
        let name = field(stanza, "Package").filter(|name| is_of_the_driver(name))?;
        Some(format!("{name} {}", field(stanza, "Version").unwrap_or("?")))
    });
    named.take(20).collect()
}

fn field<'s>(stanza: &'s str, name: &str) -> Option<&'s str> {
    let mut fields = stanza.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

fn is_installed(status: &str) -> bool {
    status.ends_with(" installed") || status.ends_with(" unpacked") || status.ends_with(" half-configured")
}

/// A name follows from its family, whatever release or branch is in it.
fn is_of_the_driver(name: &str) -> bool {
    let name = name.split(':').next().unwrap_or(name);
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    if begins(&NO_DRIVER) || name.ends_with("-common") {
        return false;
    }
    let is_of_gl = begins(&["libgl", "libegl", "libgles", "libglx"]) && name.contains("nvidia");
    let of_nvidia = name.strip_prefix("nvidia-").map(without_branch);
    begins(&LIBRARIES) || is_of_gl || of_nvidia.is_some_and(is_of_program)
}

/// What begins so is installed beside a driver, and is none: NVIDIA's container toolkit, and platforms of EGL, which work with
/// every driver.
const NO_DRIVER: [&str; 3] = ["libnvidia-container", "libnvidia-egl-", "libnvidia-nscq"];

/// Debian, Ubuntu and NVIDIA's repository call the driver's libraries so: `libcuda1`, `libnvidia-ml1`,
/// `libnvidia-encode-535`, `libnvidia-tesla-470-cuda1`, `cuda-compat-12-2`.
const LIBRARIES: [&str; 7] = [
    "libcuda1",
    "libcudadebugger1",
    "libnvcuvid",
    "libnvoptix",
    "libnvidia-",
    "cuda-compat-",
    "xserver-xorg-video-nvidia",
];

/// And so its programs and descriptions, after `nvidia-` and the branch: `nvidia-smi`, `nvidia-tesla-470-smi`,
/// `nvidia-utils-580-server`, `nvidia-vulkan-icd`; in Ubuntu's older releases the whole driver is `nvidia-384`.
const PROGRAMS: [&str; 10] = [
    "smi",
    "driver",
    "alternative",
    "utils",
    "compute-utils",
    "headless",
    "egl-icd",
    "vulkan",
    "opencl-icd",
    "vdpau-driver",
];

fn is_of_program(rest: &str) -> bool {
    let is_branch = rest.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty();
    is_branch || PROGRAMS.iter().any(|program| rest.starts_with(program))
}

/// The name without `tesla-470-` or `legacy-390xx-`.
fn without_branch(name: &str) -> &str {
    let Some(rest) = name.strip_prefix("tesla-").or_else(|| name.strip_prefix("legacy-")) else { return name };
    match rest.split_once('-') {
        Some((branch, rest)) if branch.starts_with(|it: char| it.is_ascii_digit()) => rest,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // dpkg 1.21.22 of Debian 12, shortened.
    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
        Package: libcuda1\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 535.183.01-1\n\
        Description: NVIDIA CUDA Driver Library\n Version: of nothing\n\n\
        Package: nvidia-smi\nStatus: deinstall ok config-files\nVersion: 535.183.01-1\n\n\
        Package: nvidia-container-toolkit\nStatus: install ok installed\nVersion: 1.17.4-1\n\n\
        Package: libnvidia-compute-580\nStatus: install ok unpacked\nVersion: 580.76.05-0ubuntu1\n";

    #[test]
    fn installed_packages_of_the_driver_are_found_and_nothing_else() {
        assert_eq!(in_dpkg_status(STATUS), ["libcuda1 535.183.01-1", "libnvidia-compute-580 580.76.05-0ubuntu1"]);
    }

    #[test]
    fn names_of_every_family_and_branch_are_known() {
        let of_driver = [
            "libcuda1",
            "libcuda1-340",
            "libcuda1:i386",
            "libnvidia-ml1",
            "libnvidia-encode1",
            "libnvidia-encode-535",
            "libnvidia-compute-580-server",
            "libnvidia-compute",
            "libnvidia-gl-550",
            "libnvidia-ptxjitcompiler1",
            "libnvidia-tesla-470-cuda1",
            "libnvidia-legacy-390xx-cuda1",
            "libnvcuvid1",
            "libnvoptix1",
            "libgl1-nvidia-glvnd-glx",
            "libegl-nvidia0",
            "libgles-nvidia2",
            "libglx-nvidia0",
            "nvidia-smi",
            "nvidia-tesla-470-smi",
            "nvidia-tesla-smi",
            "nvidia-legacy-340xx-driver",
            "nvidia-driver",
            "nvidia-driver-580",
            "nvidia-driver-libs",
            "nvidia-driver-cuda",
            "nvidia-utils-535",
            "nvidia-compute-utils-535",
            "nvidia-headless-no-dkms-535",
            "nvidia-alternative",
            "nvidia-vulkan-icd",
            "nvidia-opencl-icd",
            "nvidia-egl-icd",
            "nvidia-vdpau-driver",
            "cuda-compat-12-2",
            "xserver-xorg-video-nvidia-535",
            "nvidia-384",
        ];
        for name in of_driver {
            assert!(is_of_the_driver(name), "{name}");
        }
        let others = [
            "nvidia-container-toolkit",
            "nvidia-container-toolkit-base",
            "libnvidia-container1",
            "nvidia-docker2",
            "libnvidia-egl-wayland1",
            "libnvidia-egl-gbm1",
            "cuda-toolkit-12-2",
            "cuda-cudart-12-2",
            "libcudart12",
            "libcudnn9-cuda-12",
            "nvidia-cuda-toolkit",
            "nvidia-settings",
            "nvidia-modprobe",
            "nvidia-kernel-dkms",
            "nvidia-kernel-common",
            "libgl1",
            "libglvnd0",
            "nvidia-persistenced",
            "firmware-nvidia-gsp",
        ];
        for name in others {
            assert!(!is_of_the_driver(name), "{name}");
        }
    }

    #[test]
    fn a_damaged_or_endless_database_gives_what_it_gives() {
        assert_eq!(in_dpkg_status(""), Vec::<String>::new());
        assert_eq!(in_dpkg_status("Package libcuda1\n\n:::\n"), Vec::<String>::new());
        let many = "Package: libcuda1\nStatus: install ok installed\n\n".repeat(1000);
        assert_eq!(in_dpkg_status(&many).len(), 20);
    }
}
