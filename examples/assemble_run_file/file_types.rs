//! Which type the manifest gives to what is no library, by where Debian's packages have it.

/// What becomes of a file: its directory in the package, its mode, and what the manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) directory: String,
    pub(crate) mode: u32,
    pub(crate) words: String,
}

/// Files that are known by the end of their path; `@` stands for the driver's version.
const BY_END: &[(&str, &str, u32, &str)] = &[
    ("/nvidia-smi", "", 0o755, "UTILITY_BINARY MODULE:nvml"),
    ("/nvidia-debugdump", "", 0o755, "UTILITY_BINARY MODULE:resman"),
    ("/nvidia-cuda-mps-control", "", 0o755, "UTILITY_BINARY MODULE:gpgpu"),
    ("/nvidia-cuda-mps-server", "", 0o755, "UTILITY_BINARY MODULE:gpgpu"),
    ("bin/nvidia-persistenced", "", 0o755, "UTILITY_BINARY MODULE:installer"),
    ("/nvidia-settings", "", 0o755, "UTILITY_BINARY MODULE:opengl"),
    ("/nvidia-powerd", "", 0o755, "UTILITY_BINARY MODULE:powerd"),
    ("/nvidia-bug-report.sh", "", 0o755, "UTILITY_BINARY MODULE:installer"),
    ("/nvidia-sleep.sh", "", 0o755, "UTILITY_BINARY MODULE:powermanagement"),
    ("/nvidia-modprobe", "", 0o4755, "NVIDIA_MODPROBE /usr/bin/ MODULE:installer"),
    ("/nvidia-modprobe.1.gz", "", 0o644, "NVIDIA_MODPROBE_MANPAGE man1 MODULE:installer"),
    ("/nvidia-smi.1.gz", "", 0o644, "MANPAGE man1 MODULE:nvml"),
    ("/nvidia-cuda-mps-control.1.gz", "", 0o644, "MANPAGE man1 MODULE:gpgpu"),
    ("/nvidia-persistenced.1.gz", "", 0o644, "MANPAGE man1 MODULE:installer"),
    ("/nvidia-settings.1.gz", "", 0o644, "MANPAGE man1 MODULE:opengl"),
    ("/nvidia-settings.desktop", "", 0o644, "DOT_DESKTOP share/applications MODULE:opengl"),
    ("/nvidia-settings.png", "", 0o644, "ICON 128x128/apps MODULE:opengl"),
    ("/nvidia.icd", "", 0o644, "CUDA_ICD MODULE:opencl"),
    ("/icd.d/nvidia_icd.json", "", 0o644, "VULKAN_ICD_JSON icd.d MODULE:vulkan"),
    ("/nvidia_layers.json", "", 0o644, "VULKAN_ICD_JSON implicit_layer.d MODULE:vulkan"),
    ("/egl_vendor.d/10_nvidia.json", "", 0o644, "GLVND_EGL_ICD_JSON MODULE:egl"),
    ("/10_nvidia_wayland.json", "", 0o644, "EGL_EXTERNAL_PLATFORM_JSON MODULE:egl"),
    ("/nvidia-application-profiles-@-rc", "", 0o644, "APPLICATION_PROFILE nvidia MODULE:opengl"),
    ("/nvidia-application-profiles-@-key-documentation", "", 0o644, "APPLICATION_PROFILE nvidia MODULE:opengl"),
    ("/nvoptix.bin", "", 0o644, "OPENGL_DATA /usr/share/nvidia/ MODULE:optix"),
    ("/nvngx.dll", "", 0o644, "WINE_LIB NATIVE MODULE:ngx"),
    ("/_nvngx.dll", "", 0o644, "WINE_LIB NATIVE MODULE:ngx"),
    ("/nvidia-drm-outputclass.conf", "", 0o644, "XORG_OUTPUTCLASS_CONFIG MODULE:opengl"),
    ("/nvidia-dbus.conf", "", 0o644, "EXPLICIT_PATH /usr/share/dbus-1/system.d MODULE:powerd"),
    ("/nvidia-suspend.service", "systemd/system", 0o644, "SYSTEMD_UNIT MODULE:powermanagement"),
    ("/nvidia-hibernate.service", "systemd/system", 0o644, "SYSTEMD_UNIT MODULE:powermanagement"),
    ("/nvidia-resume.service", "systemd/system", 0o644, "SYSTEMD_UNIT MODULE:powermanagement"),
    ("/nvidia-powerd.service", "systemd/system", 0o644, "SYSTEMD_UNIT MODULE:powerd"),
    ("/system-sleep/nvidia", "systemd/system-sleep", 0o755, "SYSTEMD_SLEEP_SCRIPT MODULE:powermanagement"),
    ("/nvidia-driver/README.txt.gz", "", 0o644, "DOCUMENTATION NVIDIA_GLX-1.0/ MODULE:installer"),
    ("/nvidia-driver/supported-gpus.json.gz", "supported-gpus", 0o644, {
        "DOCUMENTATION NVIDIA_GLX-1.0/supported-gpus MODULE:installer"
    }),
];

/// Whole directories of packages, with the type of everything below them.
const BY_DIRECTORY: &[(&str, &str, &str)] = &[
    ("/nvidia-driver/html/", "html", "DOCUMENTATION NVIDIA_GLX-1.0/html MODULE:installer"),
    ("/lib/firmware/nvidia/@/", "firmware", "FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:resman"),
    ("/usr/src/nvidia-current-@/", "kernel", "KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman"),
];

/// The links that the installer makes for units of systemd.
pub(crate) const UNIT_LINKS: &[(&str, &str)] = &[
    ("nvidia-suspend.service", "systemd-suspend.service.requires"),
    ("nvidia-hibernate.service", "systemd-hibernate.service.requires"),
    ("nvidia-resume.service", "systemd-suspend.service.requires"),
    ("nvidia-resume.service", "systemd-hibernate.service.requires"),
];

/// What becomes of the file with this path below the unpacked packages, which begins with `/`; none if it is left out.
pub(crate) fn of(path: &str, version: &str) -> Option<Described> {
    let named = BY_END.iter().find(|(end, ..)| path.ends_with(&end.replace('@', version)));
    if let Some((_, directory, mode, words)) = named {
        return Some(Described { directory: (*directory).to_owned(), mode: *mode, words: (*words).to_owned() });
    }
    BY_DIRECTORY.iter().find_map(|(part, directory, words)| {
        let (_, rest) = path.split_once(&part.replace('@', version))?;
        let (parents, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        let directory = if parents.is_empty() { (*directory).to_owned() } else { format!("{directory}/{parents}") };
        let words = if name == "dkms.conf" { "DKMS_CONF INHERIT_PATH_DEPTH:1 MODULE:resman" } else { words };
        Some(Described { directory, mode: 0o644, words: words.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_place_and_nothing_else_is_taken() {
        let words = |path: &str| of(path, "550.163.01").map(|described| (described.directory, described.words));
        let expected = |directory: &str, words: &str| Some((directory.to_owned(), words.to_owned()));
        let firmware = words("/usr/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin");
        assert_eq!(firmware, expected("firmware", "FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:resman"));
        let source = words("/usr/src/nvidia-current-550.163.01/nvidia/nv.c");
        assert_eq!(source, expected("kernel/nvidia", "KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman"));
        let dkms = words("/usr/src/nvidia-current-550.163.01/dkms.conf");
        assert_eq!(dkms, expected("kernel", "DKMS_CONF INHERIT_PATH_DEPTH:1 MODULE:resman"));
        let profile = words("/usr/share/nvidia/nvidia-application-profiles-550.163.01-rc");
        assert_eq!(profile, expected("", "APPLICATION_PROFILE nvidia MODULE:opengl"));
        assert_eq!(words("/usr/share/nvidia/nvidia-application-profiles-535.261.03-rc"), None);
        assert_eq!(words("/etc/init.d/nvidia-persistenced"), None);
    }
}
