//! A driver placed by `cp`, `ln` and `ldconfig` out of the store: no receipt, no checks, nothing that could be undone.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use phoenix_nvidia::config::Layout;
use phoenix_nvidia::driver::manifest::Manifest;
use phoenix_nvidia::driver::placement::{Kind, Placement, Profile, Target, placements};

/// A shell script that places the extracted driver.
pub(crate) fn script(base: &Path, version: &str, rootfs: &Path) -> String {
    let tree = tree(base, version);
    let mut copies: BTreeMap<(String, u32), String> = BTreeMap::new();
    let mut links = String::new();
    for Placement { destination, kind } in placed(&tree) {
        let place = format!("{}{destination}", rootfs.display());
        let directory = place.rsplit_once('/').unwrap().0.to_owned();
        match kind {
            Kind::File { source, mode, .. } => {
                write!(copies.entry((directory, mode)).or_default(), " '{}/{source}'", tree.display()).unwrap();
            }
            Kind::Link { target, .. } => {
                writeln!(links, "mkdir -p '{directory}'; ln -sf '{target}' '{place}'").unwrap()
            }
        }
    }
    let mut script = String::new();
    for ((directory, _), sources) in copies {
        writeln!(script, "mkdir -p '{directory}'; cp --reflink=auto{sources} '{directory}'").unwrap();
    }
    let rootfs = rootfs.display();
    format!("{script}{links}ldconfig -r '{rootfs}'\n")
}

/// A shell script that takes it out again.
pub(crate) fn removal(base: &Path, version: &str, rootfs: &Path) -> String {
    let mut script = String::new();
    for placement in placed(&tree(base, version)) {
        writeln!(script, "rm -f '{}{}'", rootfs.display(), placement.destination).unwrap();
    }
    format!("{script}ldconfig -r '{}'\n", rootfs.display())
}

fn tree(base: &Path, version: &str) -> std::path::PathBuf {
    Layout::new(base).stored_driver(&version.parse().unwrap()).join("tree")
}

/// What a container without X server, systemd and 32 bits gets.
fn placed(tree: &Path) -> Vec<Placement> {
    let manifest = Manifest::parse(&fs_err::read(tree.join(Manifest::NAME)).unwrap()).unwrap();
    placements(&manifest, &Target::new("/usr/lib/x86_64-linux-gnu"), Profile::Full)
}
