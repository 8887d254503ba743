//! What a hostile container may plant, and what the in-root door must then not do. These need root, as the program does.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Planted {
    directory: tempfile::TempDir,
    door: Rootfs,
}

/// A root with a sibling directory `outside`, which stands for the host.
fn planted(plant: impl FnOnce(&Path)) -> Planted {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    for path in ["etc", "tmp", "usr/lib", "var/lib"] {
        fs_err::create_dir_all(root.join(path)).unwrap();
    }
    fs_err::create_dir(directory.path().join("outside")).unwrap();
    plant(&root);
    let map = IdMap::parse("0 100000 65536", "0 100000 65536").unwrap();
    let door = Rootfs::open(&root, map, "container 901").unwrap();
    Planted { directory, door }
}

impl Planted {
    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside_is_empty(&self) -> bool {
        fs_err::read_dir(self.directory.path().join("outside")).unwrap().next().is_none()
    }
}

fn make_node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o666), device).unwrap();
}

#[test]
fn a_link_out_of_the_root_is_resolved_inside_it() {
    let planted = planted(|root| symlink("../../../../outside", root.join("usr/lib/out")).unwrap());
    assert_eq!(planted.door.look("/usr/lib/out/secret").unwrap(), None);
    assert!(planted.door.create_file("/usr/lib/out/planted", 0o644).is_err());
    assert!(planted.outside_is_empty());
}

#[test]
fn an_absolute_link_leads_to_the_containers_own_files() {
    let planted = planted(|root| {
        fs_err::write(root.join("etc/shadow"), "theirs").unwrap();
        symlink("/etc/shadow", root.join("tmp/x")).unwrap();
    });
    assert_eq!(planted.door.read("/tmp/x", 100).unwrap().unwrap(), b"theirs");
}

#[test]
fn nothing_is_made_through_a_linked_directory() {
    let planted = planted(|root| {
        fs_err::remove_dir(root.join("tmp")).unwrap();
        symlink("/etc", root.join("tmp")).unwrap();
        fs_err::remove_dir(root.join("usr/lib")).unwrap();
        symlink("/", root.join("usr/lib")).unwrap();
    });
    assert!(planted.door.create_file("/tmp/planted", 0o644).is_err());
    assert!(planted.door.make_directory("/usr/lib/planted", 0o755).is_err());
    assert!(planted.door.make_fresh_directory("/tmp/planted", 0o755).is_err());
    assert_eq!(planted.door.look("/etc/planted").unwrap(), None);
    assert_eq!(planted.door.look("/planted").unwrap(), None);
}

#[test]
fn an_existing_file_link_or_fifo_at_the_target_is_never_written() {
    let planted = planted(|root| {
        fs_err::write(root.join("tmp/file"), "old").unwrap();
        symlink("../../outside/made", root.join("tmp/link")).unwrap();
        make_node(&root.join("tmp/fifo"), FileType::Fifo, 0);
    });
    for name in ["file", "link", "fifo"] {
        let error = planted.door.create_file(&format!("/tmp/{name}"), 0o644).unwrap_err();
        assert_eq!(error.message(), format!("container 901: `/tmp/{name}` could not be made"));
    }
    assert_eq!(planted.door.read("/tmp/file", 10).unwrap().unwrap(), b"old");
    assert!(planted.outside_is_empty());
}

#[test]
fn a_fifo_or_a_device_node_is_never_opened() {
    let planted = planted(|root| {
        make_node(&root.join("tmp/fifo"), FileType::Fifo, 0);
        make_node(&root.join("tmp/disk"), FileType::BlockDevice, rustix::fs::makedev(7, 0));
        make_node(&root.join("tmp/zero"), FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    });
    for name in ["fifo", "disk", "zero"] {
        let error = planted.door.read(&format!("/tmp/{name}"), 10).unwrap_err();
        assert_eq!(error.message(), format!("container 901: `/tmp/{name}` is not a regular file"));
    }
    assert_eq!(planted.door.look("/tmp/zero").unwrap(), Some(Found::CharacterDevice { major: 1, minor: 5 }));
    assert_eq!(planted.door.look("/tmp/disk").unwrap(), Some(Found::Other));
}

#[test]
fn an_endless_file_is_not_read_to_its_end() {
    let planted = planted(|root| fs_err::File::create(root.join("tmp/large")).unwrap().set_len(1 << 40).unwrap());
    let error = planted.door.read("/tmp/large", 1000).unwrap_err();
    assert_eq!(error.message(), "container 901: `/tmp/large` is larger than 1000 bytes");
}

#[test]
fn what_is_made_belongs_to_the_containers_root() {
    let planted = planted(|_| {});
    planted.door.make_directory("/var/lib/phoenix-nvidia", 0o755).unwrap();
    drop(planted.door.create_file("/var/lib/phoenix-nvidia/file", 0o500).unwrap());
    planted.door.write("/etc/hostname", b"gpu\n", 0o644).unwrap();
    for path in ["var/lib/phoenix-nvidia", "var/lib/phoenix-nvidia/file", "etc/hostname"] {
        let metadata = fs_err::metadata(planted.root().join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (100_000, 100_000), "{path}");
    }
    let file = fs_err::metadata(planted.root().join("var/lib/phoenix-nvidia/file")).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o500);
}

#[test]
fn a_write_replaces_a_link_and_not_what_it_leads_to() {
    let planted = planted(|root| {
        fs_err::write(root.join("etc/precious"), "old").unwrap();
        symlink("precious", root.join("etc/hostname")).unwrap();
    });
    planted.door.write("/etc/hostname", b"gpu\n", 0o644).unwrap();
    assert_eq!(planted.door.read("/etc/precious", 10).unwrap().unwrap(), b"old");
    assert_eq!(planted.door.read("/etc/hostname", 10).unwrap().unwrap(), b"gpu\n");
    assert_eq!(planted.door.names("/etc", 100).unwrap().len(), 2);
}

#[test]
fn removing_a_tree_does_not_follow_links_out_of_it() {
    let planted = planted(|root| {
        fs_err::create_dir_all(root.join("var/lib/run/deep")).unwrap();
        fs_err::write(root.join("etc/precious"), "kept").unwrap();
        symlink("/etc", root.join("var/lib/run/deep/link")).unwrap();
    });
    planted.door.remove("/var/lib/run").unwrap();
    planted.door.remove("/var/lib/run").unwrap();
    assert_eq!(planted.door.look("/var/lib/run").unwrap(), None);
    assert_eq!(planted.door.read("/etc/precious", 10).unwrap().unwrap(), b"kept");
}

#[test]
fn room_and_rules_of_the_file_system_are_reported() {
    let planted = planted(|_| {});
    let space = planted.door.space("/usr").unwrap();
    assert!(space.available > 0 && !space.noexec && !space.read_only);
    assert!(planted.door.space("/nowhere").is_err());
}
