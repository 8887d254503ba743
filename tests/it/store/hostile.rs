//! Run files whose sums are right and whose archives mean harm: refused with a reason, and nothing left behind.

use phoenix_nvidia::config::Context;
use phoenix_nvidia::error::Kind;
use tar::EntryType;

use super::{VERSION, World, driver, manifest};
use crate::run_file::{Broken, RunFile};

/// One member as an attacker writes it, with a name that no good tool would write.
fn member(path: &str, sort: EntryType, mode: u32, target: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(sort);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    let padding = vec![0; bytes.len().next_multiple_of(512) - bytes.len()];
    [header.as_bytes().as_slice(), bytes, &padding].concat()
}

fn file(path: &str, bytes: &[u8]) -> Vec<u8> {
    member(path, EntryType::Regular, 0o644, "", bytes)
}

fn archive(members: &[Vec<u8>]) -> RunFile {
    let end = vec![0; 1024];
    RunFile::new(VERSION).uncompressed_size(1 << 20).archive([members.concat(), end].concat())
}

/// Why a run file is refused; fails when it is not, or when anything is left.
fn refusal(run_file: &RunFile) -> String {
    let world = World::new();
    let outside = world.layout.base().join("lib/outside");
    let error = world.extract(run_file).unwrap_err();
    assert_eq!(error.kind(), Kind::Verification, "{error:?}");
    assert!(world.names().is_empty(), "{:?}", world.names());
    assert!(!outside.exists() && !world.layout.base().join("outside").exists());
    let (file, reason) = error.message().split_once(" is refused: ").unwrap();
    assert!(file.contains("NVIDIA-Linux-x86_64-580.76.05"), "{file}");
    reason.to_owned()
}

#[test]
fn members_that_leave_the_tree_are_refused() {
    for path in ["/outside", "../outside", "../../../outside", "./kernel/../../outside", "kernel//x"] {
        let reason = refusal(&archive(&[file("./nvidia-smi", b"x"), file(path, b"x")]));
        assert_eq!(reason, format!("`{path}` is not a path inside the archive"));
    }
}

#[test]
fn links_that_leave_the_tree_are_refused_before_anything_is_written_through_them() {
    let link = |target| member("./kernel", EntryType::Symlink, 0o777, target, b"");
    for target in ["/etc", "../..", "x/../../.."] {
        let reason = refusal(&archive(&[link(target), file("./kernel/outside", b"x")]));
        assert_eq!(reason, format!("`kernel` links to `{target}`, which is outside the archive"));
    }
    let reason = refusal(&archive(&[file("./a/b", b"x"), link("a"), file("./kernel/outside", b"x")]));
    assert_eq!(reason, "`kernel/outside` lies in `kernel`, which is not a directory");
}

#[test]
fn hard_links_out_of_the_tree_are_refused() {
    for target in ["/etc/shadow", "../outside", "later"] {
        let reason = refusal(&archive(&[member("./x", EntryType::Link, 0o644, target, b"")]));
        assert_eq!(reason, format!("`x` is a hard link to `{target}`, which is not a file that came before"));
    }
}

#[test]
fn a_hard_link_to_a_file_of_the_tree_is_that_file() {
    let world = World::new();
    let members = [
        file("./.manifest", manifest(VERSION).lines().take(8).collect::<Vec<_>>().join("\n").as_bytes()),
        file("./LICENSE", b"text"),
        member("./copy/LICENSE", EntryType::Link, 0o644, "./LICENSE", b""),
    ];
    let tree = world.extract(&archive(&members)).unwrap();
    assert_eq!(tree.file("copy/LICENSE"), tree.file("LICENSE"));
    assert_eq!(fs_err::read(tree.path().join("copy/LICENSE")).unwrap(), b"text");
}

#[test]
fn devices_and_pipes_are_refused() {
    for (sort, called) in
        [(EntryType::Char, "device node"), (EntryType::Block, "device node"), (EntryType::Fifo, "pipe")]
    {
        let reason = refusal(&archive(&[member("./nvidia0", sort, 0o666, "", b"")]));
        assert_eq!(reason, format!("`nvidia0` is a {called}, not a file, directory or link"));
    }
}

#[test]
fn bits_that_give_other_rights_are_refused() {
    let reason = refusal(&archive(&[member("./nvidia-smi", EntryType::Regular, 0o4755, "", b"")]));
    assert_eq!(reason, "`nvidia-smi` has the mode 4755, which would change privileges");
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let reason = refusal(&archive(&[file("./nvidia-smi", b"good"), file("nvidia-smi", b"evil")]));
    assert_eq!(reason, "`nvidia-smi` occurs twice");
}

#[test]
fn more_than_the_header_declares_is_refused_before_it_is_written() {
    let bomb = driver(VERSION).member("zeros", 0o644, vec![0; 64 << 20]).uncompressed_size(4 << 20);
    let reason = refusal(&bomb);
    let limit = (4 << 20) + (2 << 20) + (16 << 20);
    assert_eq!(reason, format!("it unpacks to more than {limit} bytes, though it declares {}", 4 << 20));
}

#[test]
fn what_unpacks_without_end_behind_the_archive_is_refused() {
    let end = vec![0; 8 << 20];
    assert_eq!(refusal(&archive(&[file("./x", b""), end])), "1048576 bytes or more follow its end");
}

#[test]
fn too_many_members_are_refused() {
    let members: Vec<Vec<u8>> = (0..20_001).map(|index| file(&format!("./{index}"), b"")).collect();
    assert_eq!(refusal(&archive(&members)), "it has more than 20000 members");
}

#[test]
fn a_driver_with_another_ones_manifest_is_refused() {
    let world = World::new();
    let run_file = driver(VERSION);
    let source = world.layout.base().join(run_file.file_name());
    fs_err::write(&source, run_file.broken(Broken::OtherVersionInside)).unwrap();
    let settings = phoenix_nvidia::cache::Settings { offline: true, ..Default::default() };
    let cache = phoenix_nvidia::cache::Cache::new(Context::new(&world.layout, &world.heard, &world.cancel), settings);
    // Before anything of it could be executed.
    let error = cache.import(&source, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Verification);
    let expected = "is refused: its header says driver 580.76.05, but the manifest inside says 999.99.99";
    assert!(error.message().ends_with(expected), "{error}");
    assert!(world.names().is_empty());
    assert!(fs_err::read_dir(world.layout.cache()).unwrap().all(|it| it.unwrap().path() == source));
}

#[test]
fn a_driver_with_another_ones_libraries_is_refused() {
    let run_file = driver(VERSION).member("libcuda.so.999.99.99", 0o755, "of another");
    assert_eq!(
        refusal(&run_file),
        "its header says driver 580.76.05, but `libcuda.so.999.99.99` inside says 999.99.99"
    );
}

#[test]
fn a_payload_that_was_damaged_before_its_sums_were_made_is_refused_when_it_comes() {
    let world = World::new();
    let source = world.layout.base().join(driver(VERSION).file_name());
    for compression in [super::ALL_COMPRESSIONS[0], super::ALL_COMPRESSIONS[1]] {
        fs_err::write(&source, driver(VERSION).compression(compression).broken(Broken::DamagedPayload)).unwrap();
        let settings = phoenix_nvidia::cache::Settings { offline: true, ..Default::default() };
        let cache =
            phoenix_nvidia::cache::Cache::new(Context::new(&world.layout, &world.heard, &world.cancel), settings);
        let error = cache.import(&source, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification);
        assert!(error.hint_text().unwrap().contains("download the file again"), "{error:?}");
    }
}

#[test]
fn an_archive_without_a_whole_manifest_is_refused() {
    assert_eq!(refusal(&archive(&[file("./nvidia-smi", b"x")])), "it has no `.manifest`");
    assert_eq!(
        refusal(&archive(&[file("./.manifest", b"x")])),
        "its manifest is not one: it ends within its header, after 1 lines"
    );
    let text = manifest(VERSION);
    let alone = archive(&[file("./.manifest", text.as_bytes())]);
    assert_eq!(refusal(&alone), "its manifest names `nvidia-smi`, which is not in it");
    let linked = [file("./.manifest", text.as_bytes()), member("./nvidia-smi", EntryType::Symlink, 0, "x", b"")];
    assert_eq!(refusal(&archive(&linked)), "its manifest names `nvidia-smi`, which is not in it");
    let long = archive(&[file("./.manifest", &vec![b' '; (4 << 20) + 1])]);
    assert_eq!(refusal(&long), "its manifest is not one: it has more than 4194304 bytes");
}

#[test]
fn a_payload_that_is_cut_or_damaged_is_refused() {
    for compression in super::ALL_COMPRESSIONS {
        let cut = RunFile::new(VERSION).compression(compression).uncompressed_size(1 << 20);
        let members = [member("./nvidia-smi", EntryType::Regular, 0o644, "", &super::noise(600_000))].concat();
        let reason = refusal(&cut.archive(&members[..400_000]));
        assert!(reason.starts_with("its payload cannot be unpacked as "), "{compression:?}: {reason}");
    }
}
