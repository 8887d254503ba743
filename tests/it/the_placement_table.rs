//! The rules of placement against a table that knows nothing of them.

use phoenix_nvidia::driver::manifest::{FileType, Manifest};
use phoenix_nvidia::driver::placement::{self, Placement, Profile, Target, placements};

use crate::placement_table::{Kind, Layout, expected_of, manifest};

fn parsed() -> Manifest {
    let manifest = Manifest::parse(manifest().as_bytes()).unwrap();
    assert_eq!(manifest.warnings, []);
    manifest
}

/// A system of this layout that takes everything.
fn target(layout: Layout) -> Target {
    let [native, compat32, x_modules] = layout.directories().map(str::to_owned);
    Target {
        compat32_directory: Some(compat32),
        x_module_directory: Some(x_modules),
        x_configuration_directory: Some("/usr/share/X11/xorg.conf.d".to_owned()),
        systemd: true,
        nvidia_modprobe: true,
        ..Target::new(native)
    }
}

/// What differs, one path a line: `-` is missing, `+` should not be there.
fn differences(placements: Vec<Placement>, expected: Vec<(String, Kind)>) -> Vec<String> {
    let kind = |kind| match kind {
        placement::Kind::File { mode, .. } => Kind::File { mode },
        placement::Kind::Link { target, .. } => Kind::Link { target },
    };
    let placed: Vec<_> = placements.into_iter().map(|one| (one.destination, kind(one.kind))).collect();
    let missing = expected.iter().filter(|one| !placed.contains(one)).map(|one| format!("- {one:?}"));
    let unexpected = placed.iter().filter(|one| !expected.contains(one)).map(|one| format!("+ {one:?}"));
    missing.chain(unexpected).collect()
}

#[test]
fn every_type_is_placed_as_the_table_says_in_every_layout() {
    for layout in Layout::ALL {
        let placed = placements(&parsed(), &target(layout), Profile::FullCompat32);
        assert_eq!(differences(placed, expected_of(layout, |_| true)), [""; 0], "{layout:?}");
    }
}

#[test]
fn a_system_without_32_bits_gets_none_of_them_and_neither_does_a_profile_without_them() {
    for layout in Layout::ALL {
        let without = Target { compat32_directory: None, ..target(layout) };
        let mut expected = expected_of(layout, |line| !line.contains(" COMPAT32"));
        if layout == Layout::Rpm {
            // Nothing else claims `/usr/lib` then.
            let target = "/usr/lib64/libGL.so.1".to_owned();
            expected.push(("/usr/lib/libGL.so.1".to_owned(), Kind::Link { target }));
        }
        let none = [""; 0];
        let placed = placements(&parsed(), &target(layout), Profile::Full);
        assert_eq!(differences(placed, expected.clone()), none, "{layout:?}, by the profile");
        // Such a system's installer would make the link of the ABI as well; asking for 32 bits there is refused before.
        let placed = placements(&parsed(), &without, Profile::Full);
        assert_eq!(differences(placed, expected), none, "{layout:?}, by the system");
    }
}

#[test]
fn the_table_has_every_type_that_an_installer_of_today_places() {
    // Of releases up to 390, of builders of packages, or never in a package at all.
    let others =
        ["KERNEL_MODULE", "MODULE_SIGNING_KEY", "LIBGL_LA", "OPENGL_HEADER", "XMODULE_SYMLINK", "XMODULE_NEWSYM"];
    let in_table = |name: &str| parsed().entries.iter().any(|entry| entry.file_type.name() == name);
    let missing = FileType::ALL.iter().map(|file_type| file_type.name()).filter(|name| !in_table(name));
    let mut missing: Vec<_> = missing.collect();
    missing.sort_unstable();
    let mut others = others;
    others.sort_unstable();
    assert_eq!(missing, others);
}
