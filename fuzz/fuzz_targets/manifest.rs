//! Any bytes as a `.manifest`: refused or read, and nothing that is placed leaves its directories.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::driver::manifest::Manifest;
use phoenix_nvidia::driver::placement::{Kind, Profile, Target, placements};

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let target = Target {
        compat32_directory: Some("/usr/lib32".to_owned()),
        x_module_directory: Some("/usr/lib/xorg/modules".to_owned()),
        x_configuration_directory: Some("/usr/share/X11/xorg.conf.d".to_owned()),
        systemd: true,
        nvidia_modprobe: true,
        ..Target::new("/usr/lib64")
    };
    for placement in placements(&manifest, &target, Profile::Full) {
        assert!(placement.destination.starts_with('/'));
        assert!(placement.destination.split('/').all(|part| part != ".."));
        if let Kind::File { source, mode, .. } = placement.kind {
            assert!(!source.starts_with('/') && source.split('/').all(|part| part != ".."));
            assert!(mode & 0o7777 == mode);
        }
    }
});
