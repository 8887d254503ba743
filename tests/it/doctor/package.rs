//! The Debian package: installed, used and purged in a real container; and that it asks for the glibc that it needs.

use std::path::PathBuf;

use crate::ran::Ran;
use crate::tree::{self, Tree};
use crate::world::{Privilege, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");

/// Builds the package of the program under test.
pub(super) fn package(world: &World) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/deb.sh");
    let directory = world.scratch("deb");
    let built = Ran::of("sh", &[script, PROGRAM, directory.to_str().unwrap()], &[("COMPRESSION", "none".into())]).ok();
    PathBuf::from(built.stdout.trim())
}

/// The files of a container without what dpkg keeps for itself.
fn files(world: &World, ctid: u32) -> Tree {
    let mut files = tree::of(&world.rootfs(ctid));
    let of_dpkg = ["var/lib/dpkg", "var/log", "var/cache", "dev", "run", "tmp"];
    files.retain(|path, _| !of_dpkg.iter().any(|it| path.trim_start_matches(['.', '/']).starts_with(it)));
    files
}

#[test]
fn a_purge_leaves_nothing_but_what_the_operator_made() {
    let world = World::new();
    let package = package(&world);
    let ctid = world.ctid();
    world.create_by_hand(ctid, Privilege::Privileged, &[]);
    world.lxc("lxc-start", ctid, &[]).ok();
    // What an operator has made before and makes later.
    let make = |path: &str| format!("mkdir -p \"$(dirname {path})\"; echo mine > {path}; ");
    let own = ["/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json", "/etc/phoenix.json"];
    world.inside(ctid, &own.map(make).concat()).ok();
    world.inside(ctid, "mkdir -p /etc/systemd/system/multi-user.target.wants /root/before").ok();
    world.inside(ctid, "ln -s /dev/null /etc/systemd/system/multi-user.target.wants/mine.service").ok();
    let before = files(&world, ctid);

    let inside = world.rootfs(ctid).join("root/before/phoenix-nvidia.deb");
    fs_err::copy(&package, &inside).unwrap();
    world.inside(ctid, "dpkg --install /root/before/phoenix-nvidia.deb && rm /root/before/phoenix-nvidia.deb").ok();
    let version = world.inside(ctid, "phoenix-nvidia --version").ok().stdout;
    assert_eq!(version, format!("phoenix-nvidia {}\n", env!("CARGO_PKG_VERSION")));
    let enabled = "ls /etc/systemd/system/*.wants | grep phoenix";
    world.inside(ctid, enabled).exits(1);
    let unit =
        world.inside(ctid, "cat /usr/lib/systemd/system/phoenix-nvidia-*.service | grep ^ExecStart=").ok().stdout;
    assert!(unit.lines().all(|line| line.starts_with("ExecStart=/usr/bin/phoenix-nvidia ")), "{unit}");
    for line in unit.lines() {
        let words = line.strip_prefix("ExecStart=").unwrap();
        world.inside(ctid, &format!("{words} --help")).ok();
    }
    world.inside(ctid, "cat /usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json | grep -x mine").ok();
    // As `systemctl enable` does it.
    for (unit, target) in [("host.service", "multi-user"), ("follow.path", "paths")] {
        let unit = format!("/usr/lib/systemd/system/phoenix-nvidia-{unit}");
        let wants = format!("/etc/systemd/system/{target}.target.wants");
        world.inside(ctid, &format!("mkdir -p {wants} && ln -s {unit} {wants}/")).ok();
    }

    world.inside(ctid, "dpkg --purge phoenix-nvidia").ok();
    assert_eq!(tree::differences(&before, &files(&world, ctid)), "");
}

#[test]
fn the_package_asks_for_the_glibc_that_its_program_needs() {
    let world = World::new();
    let symbols = Ran::of("objdump", &["-T", PROGRAM], &[]).ok().stdout;
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split([')', ' ', '\n']).next()?;
        let mut numbers = version.split('.').map(|number| number.parse::<u32>());
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    let highest = versions.max().expect("it is linked with glibc");
    let file = package(&world);
    let depends = Ran::of("dpkg-deb", &["--field", file.to_str().unwrap(), "Depends"], &[]).ok().stdout;
    assert!(depends.starts_with(&format!("libc6 (>= {}.{}), ", highest.0, highest.1)), "{depends}");
}

#[test]
fn the_package_is_the_same_whenever_it_is_built() {
    let world = World::new();
    let bytes = || fs_err::read(package(&world)).unwrap();
    assert!(bytes() == bytes(), "two packages of one program differ");
}

#[test]
fn links_in_the_packages_pages_lead_to_files_of_the_package() {
    let world = World::new();
    let root = world.scratch("extracted");
    let words = ["--extract".into(), package(&world).into_os_string(), root.clone().into_os_string()];
    Ran::of("dpkg-deb", &words, &[]).ok();
    let documents = root.join("usr/share/doc/phoenix-nvidia");
    assert!(documents.join("examples/logrotate/phoenix-nvidia").is_file());
    for directory in [documents.clone(), documents.join("docs")] {
        for entry in fs_err::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs_err::read_to_string(&entry).unwrap();
            let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
                assert!(directory.join(link).exists(), "{}: {link}", entry.display());
            }
        }
    }
}
