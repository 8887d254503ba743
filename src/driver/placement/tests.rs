//! Every type in its place, and what the profiles take.

use super::*;

const HEADER: &str = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n550.163.01\n \nnvidia nvidia-uvm \n \n \n\
                      ./kernel/\n./kernel/precompiled/\n";

fn manifest(lines: &str) -> Manifest {
    let manifest = Manifest::parse(format!("{HEADER}{lines}\n").as_bytes()).unwrap();
    assert_eq!(manifest.warnings, []);
    manifest
}

/// A system that takes everything.
fn everything() -> Target {
    Target {
        compat32_directory: Some("/usr/lib/i386-linux-gnu".to_owned()),
        x_module_directory: Some("/usr/lib/xorg/modules".to_owned()),
        x_configuration_directory: Some("/usr/share/X11/xorg.conf.d".to_owned()),
        systemd: true,
        nvidia_modprobe: true,
        ..Target::new("/usr/lib/x86_64-linux-gnu")
    }
}

/// `destination`, and for links `destination -> target`.
fn listed(lines: &str, target: &Target, profile: Profile) -> Vec<String> {
    let shown = |placement: Placement| match placement.kind {
        Kind::File { .. } => placement.destination,
        Kind::Link { target, .. } => format!("{} -> {target}", placement.destination),
    };
    placements(&manifest(lines), target, profile).into_iter().map(shown).collect()
}

fn placed(line: &str) -> String {
    let mut listed = listed(line, &everything(), Profile::FullCompat32);
    assert_eq!(listed.pop().unwrap(), "/usr/lib/libGL.so.1 -> /usr/lib/x86_64-linux-gnu/libGL.so.1");
    listed.join(" ")
}

#[test]
fn every_type_goes_where_the_installer_puts_it() {
    for (line, expected) in [
        ("libGLX_nvidia.so.5 0755 OPENGL_LIB NATIVE", "/usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.5"),
        ("./32/libGLX_nvidia.so.5 0755 OPENGL_LIB COMPAT32", "/usr/lib/i386-linux-gnu/libGLX_nvidia.so.5"),
        ("libcuda.so.5 0755 CUDA_LIB NATIVE /", "/usr/lib/x86_64-linux-gnu/libcuda.so.5"),
        ("libvdpau_nvidia.so.5 0755 VDPAU_LIB NATIVE vdpau/", "/usr/lib/x86_64-linux-gnu/vdpau/libvdpau_nvidia.so.5"),
        ("nvngx.dll 0644 WINE_LIB NATIVE", "/usr/lib/x86_64-linux-gnu/nvidia/wine/nvngx.dll"),
        ("libgrid.so.5 0755 GRID_LIB /", "/usr/lib/x86_64-linux-gnu/libgrid.so.5"),
        ("libvgx.so.5 0755 VGX_LIB", "/usr/lib/x86_64-linux-gnu/libvgx.so.5"),
        (
            "nvidia-drm_gbm.so 0000 GBM_BACKEND_LIB_SYMLINK NATIVE libnvidia-allocator.so.1",
            "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so -> /usr/lib/x86_64-linux-gnu/libnvidia-allocator.so.1",
        ),
        ("nvidia_drv.so 0755 XMODULE_SHARED_LIB drivers", "/usr/lib/xorg/modules/drivers/nvidia_drv.so"),
        (
            "libglxserver_nvidia.so 0000 GLX_MODULE_SYMLINK extensions libglxserver_nvidia.so.5",
            "/usr/lib/xorg/modules/extensions/libglxserver_nvidia.so -> libglxserver_nvidia.so.5",
        ),
        ("nvidia-smi 0755 UTILITY_BINARY", "/usr/bin/nvidia-smi"),
        ("nvidia-uninstall 0000 UTILITY_BIN_SYMLINK nvidia-installer", "/usr/bin/nvidia-uninstall -> nvidia-installer"),
        ("nvidia-modprobe 04755 NVIDIA_MODPROBE /usr/bin/", "/usr/bin/nvidia-modprobe"),
        ("rtx.bin 0644 OPENGL_DATA /usr/share/nvidia/", "/usr/share/nvidia/rtx.bin"),
        ("nvidia-smi.1.gz 0644 MANPAGE man1", "/usr/share/man/man1/nvidia-smi.1.gz"),
        ("README.txt 0644 DOCUMENTATION NVIDIA_GLX-1.0/", "/usr/share/doc/NVIDIA_GLX-1.0/README.txt"),
        ("profiles-rc 0644 APPLICATION_PROFILE nvidia", "/usr/share/nvidia/profiles-rc"),
        ("nvidia-settings.png 0644 ICON 128x128/apps", "/usr/share/icons/hicolor/128x128/apps/nvidia-settings.png"),
        ("nvidia.icd 0644 CUDA_ICD", "/etc/OpenCL/vendors/nvidia.icd"),
        ("nvidia_icd.json 0644 VULKAN_ICD_JSON icd.d", "/etc/vulkan/icd.d/nvidia_icd.json"),
        ("nvidia_icd_vksc.json 0644 VULKANSC_ICD_JSON icd.d", "/etc/vulkansc/icd.d/nvidia_icd_vksc.json"),
        ("10_nvidia.json 0644 GLVND_EGL_ICD_JSON", "/usr/share/glvnd/egl_vendor.d/10_nvidia.json"),
        ("10_gbm.json 0644 EGL_EXTERNAL_PLATFORM_JSON", "/usr/share/egl/egl_external_platform.d/10_gbm.json"),
        ("check.sh 0755 INTERNAL_UTILITY_BINARY NATIVE", "/usr/lib/nvidia/check.sh"),
        ("32/check.so 0755 INTERNAL_UTILITY_LIB COMPAT32", "/usr/lib/nvidia/32/check.so"),
        ("firmware/gsp.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1", "/lib/firmware/nvidia/550.163.01/gsp.bin"),
        ("systemd/system/a.service 0644 SYSTEMD_UNIT", "/usr/lib/systemd/system/a.service"),
        (
            "a.service 0000 SYSTEMD_UNIT_SYMLINK b.requires MODULE:powermanagement",
            "/etc/systemd/system/b.requires/a.service -> /usr/lib/systemd/system/a.service",
        ),
        ("nvidia-drm-outputclass.conf 0644 XORG_OUTPUTCLASS_CONFIG", {
            "/usr/share/X11/xorg.conf.d/nvidia-drm-outputclass.conf"
        }),
        ("list.json 0644 SANDBOXUTILS_FILELIST_JSON x", "/usr/share/nvidia/files.d/list.json"),
    ] {
        assert_eq!(placed(line), expected, "{line}");
    }
}

#[test]
fn what_belongs_to_kernel_modules_and_builders_is_never_placed() {
    for line in [
        "kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1",
        "kernel/dkms.conf 0644 DKMS_CONF INHERIT_PATH_DEPTH:1",
        "gl.h 0644 OPENGL_HEADER /usr/include/GL",
        "libGL.la 0644 LIBGL_LA NATIVE",
        "libGL.so.390.48 0755 GLX_CLIENT_LIB NATIVE NON_GLVND",
    ] {
        assert_eq!(placed(line), "", "{line}");
    }
}

#[test]
fn a_target_leaves_out_what_it_cannot_use() {
    let plain = Target { glvnd: false, ..Target::new("/usr/lib") };
    let lines = "libGL.so.1.7.0 0755 GLX_CLIENT_LIB NATIVE\n32/libcuda.so.5 0755 CUDA_LIB COMPAT32 /\n\
                 nvidia_drv.so 0755 XMODULE_SHARED_LIB drivers\na.service 0644 SYSTEMD_UNIT\n\
                 nvidia-modprobe 04755 NVIDIA_MODPROBE /usr/bin\nlibcuda.so.5 0755 CUDA_LIB NATIVE /\n\
                 32/x 0755 INTERNAL_UTILITY_BINARY COMPAT32\na.conf 0644 XORG_OUTPUTCLASS_CONFIG";
    assert_eq!(listed(lines, &plain, Profile::Full), ["/usr/lib/libcuda.so.5"]);
}

#[test]
fn files_come_before_links_and_the_link_of_the_abi_is_last() {
    let lines = "libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.5\nlibcuda.so.5 0755 CUDA_LIB NATIVE /\n\
                 libcuda.so 0000 CUDA_SYMLINK NATIVE / libcuda.so.1\nnvidia-smi 0755 UTILITY_BINARY";
    let lib = "/usr/lib64";
    let expected = [
        format!("{lib}/libcuda.so.5"),
        "/usr/bin/nvidia-smi".to_owned(),
        format!("{lib}/libcuda.so.1 -> libcuda.so.5"),
        format!("{lib}/libcuda.so -> libcuda.so.1"),
        format!("/usr/lib/libGL.so.1 -> {lib}/libGL.so.1"),
    ];
    assert_eq!(listed(lines, &Target::new(lib), Profile::Full), expected);
}

#[test]
fn of_two_with_one_destination_the_last_counts() {
    let lines = "a/nvidia.icd 0644 CUDA_ICD\nnvidia-smi 0755 UTILITY_BINARY\nb/nvidia.icd 0600 CUDA_ICD";
    let placements = placements(&manifest(lines), &Target::new("/usr/lib"), Profile::Full);
    assert_eq!(placements.len(), 2);
    let kind = Kind::File { source: "b/nvidia.icd".to_owned(), mode: 0o600, content: Content::AsIs };
    assert_eq!(placements[1].kind, kind);
}

#[test]
fn templates_are_filled_in_and_lose_their_ending() {
    let lines = "nvidia_icd.json.template 0644 VULKAN_ICD_JSON\nnvidia-settings.desktop 0644 DOT_DESKTOP share";
    let placements = placements(&manifest(lines), &Target::new("/usr/lib"), Profile::Full);
    let [icd, desktop] = placements.as_slice() else { panic!("two placements") };
    assert_eq!(icd.destination, "/etc/vulkan/icd.d/nvidia_icd.json");
    assert_eq!(desktop.destination, "/usr/share/applications/nvidia-settings.desktop");
    let rendered = |placement: &Placement, text: &str| match placement.kind {
        Kind::File { content, .. } => String::from_utf8(content.rendered(text.into())).unwrap(),
        Kind::Link { .. } => panic!("a file"),
    };
    assert_eq!(rendered(icd, "\"__NV_VK_ICD__\""), "\"libGLX_nvidia.so.0\"");
    assert_eq!(rendered(desktop, "Exec=__UTILS_PATH__/x"), "Exec=/usr/bin/x");
    assert_eq!(Content::AsIs.rendered(b"__UTILS_PATH__".into()), b"__UTILS_PATH__");
}

const SOME_OF_A_DRIVER: &str = "libcuda.so.5 0755 CUDA_LIB NATIVE /\n\
    libnvidia-ml.so.5 0755 CUDA_LIB NATIVE /\n\
    libnvidia-ml.so.1 0000 CUDA_SYMLINK NATIVE / libnvidia-ml.so.5\n\
    libnvidia-ptxjitcompiler.so.5 0755 CUDA_LIB NATIVE /\n\
    libnvidia-opencl.so.5 0755 OPENCL_LIB NATIVE /\n\
    nvidia.icd 0644 CUDA_ICD\n\
    libnvidia-encode.so.5 0755 ENCODEAPI_LIB NATIVE\n\
    libnvcuvid.so.5 0755 NVCUVID_LIB NATIVE\n\
    libnvidia-gpucomp.so.5 0755 OPENGL_LIB NATIVE\n\
    nvidia-smi 0755 UTILITY_BINARY\n\
    libGLX_nvidia.so.5 0755 OPENGL_LIB NATIVE\n\
    libnvidia-glvkspirv.so.5 0755 UTILITY_LIB NATIVE\n\
    libEGL.so.1.1.0 0755 EGL_CLIENT_LIB NATIVE\n\
    nvidia_icd.json 0644 VULKAN_ICD_JSON icd.d\n\
    libnvidia-gtk3.so.5 0755 UTILITY_LIB NATIVE\n\
    nvidia-settings 0755 UTILITY_BINARY\n\
    nvidia-installer 0755 INSTALLER_BINARY\n\
    README.txt 0644 DOCUMENTATION x\n\
    firmware/gsp.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1\n\
    kernel/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1";

fn names(profile: Profile) -> Vec<String> {
    let listed = listed(SOME_OF_A_DRIVER, &Target::new("/usr/lib"), profile);
    listed.iter().map(|line| line.split(' ').next().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn profiles_take_what_computes_what_draws_and_everything() {
    let compute = [
        "libcuda.so.5",
        "libnvidia-ml.so.5",
        "libnvidia-ptxjitcompiler.so.5",
        "libnvidia-opencl.so.5",
        "nvidia.icd",
        "libnvidia-encode.so.5",
        "libnvcuvid.so.5",
        "libnvidia-gpucomp.so.5",
        "nvidia-smi",
        "libnvidia-ml.so.1",
    ];
    assert_eq!(names(Profile::Compute), compute);
    let graphics = names(Profile::Graphics);
    let more = ["libGLX_nvidia.so.5", "libnvidia-glvkspirv.so.5", "libEGL.so.1.1.0", "nvidia_icd.json"];
    assert!(compute.iter().chain(&more).all(|name| graphics.contains(&(*name).to_owned())), "{graphics:?}");
    assert_eq!(graphics.len(), compute.len() + more.len());
    // All but the sources of the kernel modules.
    assert_eq!(names(Profile::Full).len(), SOME_OF_A_DRIVER.lines().count() - 1);
}

#[test]
fn each_profile_has_the_same_of_32_bits_where_that_is_asked_for() {
    let lines = SOME_OF_A_DRIVER.lines().filter(|line| line.contains(" NATIVE"));
    let of_32_bits: Vec<String> = lines.map(|line| format!("32/{}", line.replace(" NATIVE", " COMPAT32"))).collect();
    let both = format!("{SOME_OF_A_DRIVER}\n{}", of_32_bits.join("\n"));
    let placed = |profile| listed(&both, &everything(), profile);
    for (without, with) in [
        (Profile::Compute, Profile::ComputeCompat32),
        (Profile::Graphics, Profile::GraphicsCompat32),
        (Profile::Full, Profile::FullCompat32),
    ] {
        let native = |path: &String| path.contains("x86_64-linux-gnu/") && !path.starts_with("/usr/lib/libGL.so.1");
        let expected: Vec<String> = placed(without)
            .iter()
            .filter(|path| native(path))
            .map(|path| path.replace("x86_64-linux-gnu", "i386-linux-gnu"))
            .collect();
        let compat32 = |path: &&String| path.contains("i386-linux-gnu/");
        assert_eq!(placed(with).iter().filter(compat32).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        assert_eq!(placed(without).iter().filter(compat32).count(), 0);
    }
}

#[test]
fn the_bytes_of_a_profile_are_those_of_its_files() {
    let manifest = manifest(SOME_OF_A_DRIVER);
    let placed = |profile| placements(&manifest, &Target::new("/usr/lib"), profile);
    assert_eq!(bytes_of(&placed(Profile::Compute), |_| Some(100)), Some(900));
    let unknown = |source: &str| (source != "nvidia-smi").then_some(1);
    assert_eq!(bytes_of(&placed(Profile::Compute), unknown), None);
    assert_eq!(bytes_of(&placed(Profile::Full), |_| Some(u64::MAX)), None);
}
