//! Asked of file systems that `mkfs.ext4` has made from a directory: nothing needs to be mounted.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::sys::cancel::Cancel;
use crate::sys::command::Command;

/// A file system with a root of a few files, and the directory that it lies in.
fn volume(options: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs_err::create_dir_all(root.join("usr/lib")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/../usr/lib/large", root.join("usr/up")).unwrap();
    symlink("around", root.join("around")).unwrap();
    fs_err::write(root.join("usr/lib/text"), "some text").unwrap();
    fs_err::set_permissions(root.join("usr/lib/text"), std::fs::Permissions::from_mode(0o750)).unwrap();
    fs_err::write(root.join("usr/lib/large"), "0123456789".repeat(20_000)).unwrap();
    // An index needs more names than one block holds.
    (0..500).for_each(|number| fs_err::write(root.join(format!("usr/lib/name-{number}")), "").unwrap());
    let (image, root) = (directory.path().join("image"), root.display().to_string());
    fs_err::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let words = ["-q", "-O", options, "-d", &root];
    Command::new("mkfs.ext4").args(words).arg(&image).run_ok(&Cancel::new().unwrap()).unwrap();
    (directory, image)
}

fn opened(image: &Path) -> Option<Volume> {
    Volume::open(image, IdMap::identity(), "container 901")
}

/// What `debugfs` writes.
fn write(image: &Path, request: &str) {
    Command::new("debugfs").args(["-w", "-R", request]).arg(image).run_ok(&Cancel::new().unwrap()).unwrap();
}

#[test]
fn what_lies_in_a_volume_is_what_a_door_would_show() {
    // As Proxmox VE makes them, and as older releases of mkfs did.
    for options in ["mmp", "^metadata_csum,^64bit", "^has_journal,mmp"] {
        let (_kept, image) = volume(options);
        let volume = opened(&image).unwrap();
        assert_eq!(volume.look("/lib").unwrap(), Some(Found::Link("usr/lib".into())), "{options}");
        assert_eq!(volume.look("/lib/text").unwrap(), Some(Found::File { size: 9, mode: 0o750 }));
        assert_eq!(volume.look("usr/lib").unwrap(), Some(Found::Directory));
        assert_eq!((volume.look("/usr/none").unwrap(), volume.look("/usr/lib/text/x").unwrap()), (None, None));
        assert_eq!(volume.read("/lib/text", 9).unwrap().unwrap(), b"some text");
        assert_eq!(volume.read_end("/usr/up", 15).unwrap().unwrap(), "567890123456789", "links stay inside");
        assert_eq!((volume.read("/none", 9).unwrap(), volume.read_end("/none", 9).unwrap()), (None, None));
        assert!(volume.is_executable("/lib/text").unwrap() && !volume.is_executable("/lib/large").unwrap());
        assert_eq!(volume.names("/lib", 10_000).unwrap().len(), 502);
        assert_eq!((volume.names("/lib", 7).unwrap().len(), volume.names("/none", 7).unwrap().len()), (7, 0));
        assert!(volume.look("/usr/lib/name-499").unwrap().is_some());
        assert_eq!(volume.identity("/lib/large").unwrap(), volume.identity("/usr/up").unwrap());
        assert_ne!(volume.identity("/lib/large").unwrap(), volume.identity("/lib/text").unwrap());
        assert_eq!((volume.identity("/none").unwrap(), volume.identity("/lib").unwrap()), (None, None));
        assert_eq!(volume.access("/lib/text").unwrap().unwrap().0, 0o750);
        assert!((1..64 << 20).contains(&volume.available("/usr").unwrap()) && volume.available("/none").is_err());
        assert!(volume.may_be_believed());
    }
}

#[test]
fn what_no_door_would_read_is_refused_and_believed() {
    let (_kept, image) = volume("mmp");
    let volume = opened(&image).unwrap();
    let larger = volume.read("/lib/large", 1000).unwrap_err();
    assert_eq!(larger.message(), "container 901: `/lib/large` is larger than 1000 bytes");
    let directory = volume.read("/usr", 1000).unwrap_err();
    assert_eq!(directory.message(), "container 901: `/usr` is not a regular file");
    assert!(volume.may_be_believed());
    assert!(volume.look("/around/x").is_err());
    assert!(!volume.may_be_believed(), "somebody who has it mounted may know better");
}

#[test]
fn a_volume_that_was_written_to_meanwhile_is_not_believed() {
    let (_kept, image) = volume("mmp");
    let before = opened(&image).unwrap();
    write(&image, "rm /usr/lib/text");
    assert!(!before.may_be_believed());
    let again = opened(&image).unwrap();
    assert_eq!(again.look("/usr/lib/text").unwrap(), None);
    assert!(again.may_be_believed());
}

#[test]
fn what_is_mounted_or_no_file_system_is_not_read() {
    let (kept, image) = volume("mmp");
    write(&image, "feature needs_recovery");
    assert!(opened(&image).is_none());
    let other = kept.path().join("other");
    assert!(opened(&other).is_none(), "it is not there");
    for bytes in [0, 1024, 1 << 20] {
        fs_err::write(&other, vec![0; bytes]).unwrap();
        assert!(opened(&other).is_none(), "{bytes} bytes of nothing");
    }
    for path in [kept.path(), Path::new("/dev/zero")] {
        assert!(opened(path).is_none(), "{}", path.display());
    }
}
