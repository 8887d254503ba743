//! Manifests of several generations, in NVIDIA's form and our words, and texts that are none.

use super::*;

const HEADER: &str = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n550.163.01\n \nnvidia nvidia-uvm \n \n \n\
                      ./kernel/\n./kernel/precompiled/\n";

fn parse(lines: &str) -> Result<Manifest, ManifestFault> {
    Manifest::parse(format!("{HEADER}{lines}").as_bytes())
}

fn only(line: &str) -> Entry {
    let mut manifest = parse(line).unwrap();
    assert_eq!((manifest.entries.len(), manifest.warnings.len()), (1, 0), "{line}");
    manifest.entries.remove(0)
}

fn fault(line: &str) -> ManifestFault {
    parse(line).unwrap_err()
}

#[test]
fn the_header_tells_version_and_kernel_modules() {
    let manifest = parse("").unwrap();
    assert_eq!(manifest.description, "NVIDIA Accelerated Graphics Driver for Linux-x86_64");
    assert_eq!(manifest.version.as_str(), "550.163.01");
    assert_eq!(manifest.kernel_modules, ["nvidia", "nvidia-uvm"]);
    assert!(manifest.entries.is_empty());
}

#[test]
fn lines_with_nothing_in_them_do_not_count_and_lines_with_a_blank_do() {
    let spread = HEADER.replace('\n', "\n\n");
    let entry = "nvidia-smi 0755 UTILITY_BINARY MODULE:gpgpu\n";
    let manifest = Manifest::parse(format!("{spread}\n{entry}\n\n{entry}").as_bytes()).unwrap();
    assert_eq!(manifest.entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [18, 21]);
    let without_blanks = HEADER.replace("\n \n", "\n\n");
    assert_eq!(Manifest::parse(without_blanks.as_bytes()), Err(ManifestFault::Truncated { lines: 6 }));
}

#[test]
fn every_field_of_a_line_is_read() {
    let cuda = only("libcuda.so.460.67 0755 CUDA_LIB NATIVE / MODULE:gpgpu");
    assert_eq!((cuda.line, cuda.mode, cuda.name(), cuda.path.as_str()), (9, 0o755, "libcuda.so.460.67", "/"));
    assert_eq!((cuda.file_type, cuda.architecture), (FileType::CudaLibrary, Some(Architecture::Native)));
    let link = only("libvdpau_nvidia.so 0000 VDPAU_SYMLINK NATIVE / vdpau/libvdpau_nvidia.so.460.67 MODULE:vdpau");
    assert_eq!(link.target.as_deref(), Some("vdpau/libvdpau_nvidia.so.460.67"));
    let compat = only("./32/libnvidia-ml.so.460.67 0755 CUDA_LIB COMPAT32 / MODULE:nvml");
    assert_eq!((compat.file.as_str(), compat.name()), ("32/libnvidia-ml.so.460.67", "libnvidia-ml.so.460.67"));
    let modprobe = only("nvidia-modprobe 04755 NVIDIA_MODPROBE /usr/bin/ MODULE:installer");
    assert_eq!((modprobe.mode, modprobe.path.as_str()), (0o4755, "/usr/bin/"));
}

#[test]
fn a_path_can_be_inherited_from_the_file() {
    assert_eq!(only("kernel/common/inc/nv.h 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1").path, "common/inc");
    assert_eq!(only("./firmware/gsp_ga10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:resman").path, "");
    for word in ["INHERIT_PATH_DEPTH:4", "INHERIT_PATH_DEPTH:-1", "INHERIT_PATH_DEPTH:", "MODULE:resman"] {
        let line = format!("kernel/common/inc/nv.h 0644 KERNEL_MODULE_SRC {word}");
        let expected = ManifestFault::Wrong { line: 9, field: "depth of an inherited path", word: word.to_owned() };
        assert_eq!(fault(&line), expected);
    }
}

#[test]
fn the_words_of_release_390_alone_are_understood() {
    let tls = only("tls/libnvidia-tls.so.390.48 0755 TLS_LIB NATIVE NEW tls/ MODULE:opengl");
    assert_eq!((tls.path.as_str(), tls.file.as_str()), ("tls/", "tls/libnvidia-tls.so.390.48"));
    assert_eq!(only("libnvidia-tls.so.390.48 0755 TLS_LIB NATIVE CLASSIC /").path, "/");
    assert_eq!(only("libnvidia-tls.so.550.163.01 0755 TLS_LIB NATIVE / MODULE:opengl").path, "/");
    let client = only("libGL.so.1 0000 GLX_CLIENT_SYMLINK NATIVE libGL.so.1.7.0 GLVND MODULE:opengl");
    assert_eq!((client.glvnd, client.target.as_deref()), (Some(GlvndChoice::With), Some("libGL.so.1.7.0")));
    let older = only("libGL.so.390.48 0755 GLX_CLIENT_LIB NATIVE NON_GLVND MODULE:opengl");
    assert_eq!(older.glvnd, Some(GlvndChoice::Without));
    assert_eq!(only("nvidia_icd.json.template 0644 VULKAN_ICD_JSON MODULE:vulkan").path, "");
    assert_eq!(only("nvidia_icd.json.template 0644 VULKAN_ICD_JSON").path, "");
}

#[test]
fn the_types_of_later_releases_are_understood() {
    assert_eq!(only("nvidia_icd.json 0644 VULKAN_ICD_JSON icd.d/ MODULE:vulkan").path, "icd.d/");
    let gbm = only("nvidia-drm_gbm.so 0000 GBM_BACKEND_LIB_SYMLINK NATIVE libnvidia-allocator.so.1 MODULE:gbm");
    assert_eq!(gbm.target.as_deref(), Some("libnvidia-allocator.so.1"));
    let icon = only("nvidia-settings.png 0644 ICON 128x128/apps MODULE:nvidia_settings");
    assert_eq!((icon.file_type, icon.path.as_str()), (FileType::Icon, "128x128/apps"));
    let list = only("sandboxutils-filelist.json 0644 SANDBOXUTILS_FILELIST_JSON files.d MODULE:gpgpu");
    assert_eq!(list.file_type, FileType::SandboxFileList);
}

#[test]
fn the_link_of_a_systemd_unit_has_no_target_of_its_own() {
    let unit = "nvidia-suspend.service 0000 SYSTEMD_UNIT_SYMLINK systemd-suspend.service.requires";
    for end in ["", " MODULE:powermanagement"] {
        let link = only(&format!("{unit}{end}"));
        assert_eq!((link.path.as_str(), link.target), ("systemd-suspend.service.requires", None));
    }
}

#[test]
fn an_unknown_type_is_a_warning_and_the_rest_is_read() {
    let manifest = parse("new 0644 QUANTUM_LIB NATIVE / x\nnvidia-smi 0755 UTILITY_BINARY\n").unwrap();
    assert_eq!(manifest.warnings, [Warning { line: 9, file_type: "QUANTUM_LIB".to_owned() }]);
    assert_eq!(manifest.entries.len(), 1);
}

#[test]
fn a_missing_word_is_a_fault_that_names_it() {
    let missing = |field| ManifestFault::Missing { line: 9, field };
    assert_eq!(fault("   "), missing("file"));
    assert_eq!(fault("nvidia-smi"), missing("mode"));
    assert_eq!(fault("nvidia-smi 0755"), missing("type"));
    assert_eq!(fault("libcuda.so.1 0000 CUDA_SYMLINK"), missing("architecture"));
    assert_eq!(fault("libcuda.so.1 0000 CUDA_SYMLINK NATIVE"), missing("path"));
    assert_eq!(fault("libcuda.so.1 0000 CUDA_SYMLINK NATIVE /"), missing("target"));
    let without_modules = HEADER.replace("nvidia nvidia-uvm ", " ");
    assert_eq!(
        Manifest::parse(without_modules.as_bytes()),
        Err(ManifestFault::Missing { line: 4, field: "kernel module" })
    );
}

#[test]
fn paths_that_leave_the_package_or_the_destination_are_faults() {
    let wrong = |field, word: &str| ManifestFault::Wrong { line: 9, field, word: word.to_owned() };
    for file in ["/etc/shadow", "../x", "a/../../x", "a//b", "./", "a/.", &"x".repeat(256)] {
        let expected = wrong("path of a file in the package", &file[..file.len().min(80)]);
        assert_eq!(fault(&format!("{file} 0644 UTILITY_BINARY")), expected);
    }
    for path in ["../../etc", "/usr/../etc"] {
        assert_eq!(fault(&format!("x 0644 DOCUMENTATION {path}")), wrong("path of a destination", path));
    }
    assert_eq!(fault("x 0644 EXPLICIT_PATH etc"), wrong("path of a destination", "etc"));
    for target in ["/etc/shadow", "../libc.so.6"] {
        assert_eq!(fault(&format!("x 0000 OPENGL_SYMLINK NATIVE {target}")), wrong("target of a link", target));
    }
}

#[test]
fn modes_are_octal_and_only_nvidia_modprobe_may_set_an_identity() {
    for mode in ["0o755", "789", "+755", "010000", "0000755", "-1"] {
        let expected = ManifestFault::Wrong { line: 9, field: "mode", word: mode.to_owned() };
        assert_eq!(fault(&format!("nvidia-smi {mode} UTILITY_BINARY")), expected);
    }
    let expected = ManifestFault::Wrong { line: 9, field: "mode of a file of this type", word: "04755".to_owned() };
    assert_eq!(fault("nvidia-smi 04755 UTILITY_BINARY"), expected);
}

#[test]
fn what_is_no_text_or_too_much_of_it_is_a_fault() {
    assert_eq!(fault("nvidia-smi\0 0755 UTILITY_BINARY"), ManifestFault::NotText { line: 9 });
    assert_eq!(fault("nvidia-smi 0755 UTILITY_BINARY\r"), ManifestFault::NotText { line: 9 });
    assert_eq!(Manifest::parse(b"\xff\n1"), Err(ManifestFault::NotText { line: 1 }));
    assert_eq!(Manifest::parse(b""), Err(ManifestFault::Truncated { lines: 0 }));
    assert_eq!(Manifest::parse(&vec![b' '; Manifest::LIMIT + 1]), Err(ManifestFault::TooLong));
    let many = "x 0644 NOTHING\n".repeat(Manifest::ENTRIES + 1);
    assert_eq!(fault(&many), ManifestFault::TooManyEntries { line: Manifest::ENTRIES + 9 });
    let other = HEADER.replace("550.163.01", "latest");
    let expected = ManifestFault::NotAVersion { line: 2, text: "latest".to_owned() };
    assert_eq!(Manifest::parse(other.as_bytes()), Err(expected));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let _ = Manifest::parse(&bytes);
        let _ = Manifest::parse(&[HEADER.as_bytes(), &bytes].concat());
    }

    #[test]
    fn whatever_is_read_stays_inside(
        file in "[a./]{1,12}", path in "[a./]{1,12}", target in "[a./]{1,12}",
        file_type in proptest::sample::select(FileType::ALL), words in "( (NATIVE|COMPAT32|NEW|GLVND|INHERIT_PATH_DEPTH:[0-9]{1,21})){0,2}",
    ) {
        let line = format!("{file} 0644 {file_type}{words} {path} {target}");
        let Ok(manifest) = parse(&line) else { return Ok(()) };
        for entry in &manifest.entries {
            let target = entry.target.clone().unwrap_or_default();
            for part in [&entry.file, &entry.path, &target].into_iter().flat_map(|text| text.split('/')) {
                proptest::prop_assert_ne!(part, "..");
            }
            proptest::prop_assert!(!entry.file.starts_with('/') && !target.starts_with('/'));
        }
    }
}
