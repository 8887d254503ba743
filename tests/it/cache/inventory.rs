//! Listing, checking and pruning.

use std::time::{Duration, SystemTime};

use phoenix_nvidia::cache::Sort;

use super::{PATH, World, driver, request};

fn populated() -> World {
    let world = World::new();
    for version in ["570.133.20", "580.76.05"] {
        let source = world.layout.base().join(format!("NVIDIA-Linux-x86_64-{version}.run"));
        fs_err::write(&source, driver(version).build()).unwrap();
        world.offline().import(&source, None).unwrap();
    }
    let others = [
        "NVIDIA-Linux-x86_64-550.163.01.run",
        "NVIDIA-Linux-x86_64-550.163.01.run.wrong",
        "NVIDIA-Linux-x86_64-580.76.05.run.partial",
        "NVIDIA-Linux-x86_64-535.1.run.partial",
        "NVIDIA-Linux-x86_64-535.1.run.partial.json",
        "NVIDIA-Linux-x86_64-535.1-mine.run",
        ".phoenix-nvidia-old",
        ".phoenix-nvidia-new",
        "debian.tar.zst",
    ];
    for name in others {
        fs_err::write(world.layout.cache().join(name), "#! something").unwrap();
    }
    let old = fs_err::OpenOptions::new().write(true).open(world.layout.cache().join(".phoenix-nvidia-old")).unwrap();
    old.file().set_modified(SystemTime::now() - Duration::from_secs(48 * 3600)).unwrap();
    world
}

#[test]
fn the_list_names_what_is_ours_and_how_far_it_is_trusted() {
    let world = populated();
    let listed: Vec<_> = world.offline().list().unwrap();
    let name = |sort: fn(&Sort) -> bool| -> Vec<String> {
        let of_sort = listed.iter().filter(|entry| sort(&entry.sort));
        of_sort.map(|entry| entry.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(name(|sort| matches!(sort, Sort::Trusted { .. })), ["NVIDIA-Linux-x86_64-570.133.20.run", &PATH[1..]]);
    assert_eq!(name(|sort| *sort == Sort::Unchecked), ["NVIDIA-Linux-x86_64-550.163.01.run"]);
    assert_eq!(name(|sort| *sort == Sort::Wrong), ["NVIDIA-Linux-x86_64-550.163.01.run.wrong"]);
    assert_eq!(name(|sort| *sort == Sort::Temporary), [".phoenix-nvidia-new", ".phoenix-nvidia-old"]);
    assert_eq!(listed.len(), 9);
}

#[test]
fn an_empty_hypervisor_has_an_empty_list() {
    assert!(World::new().offline().list().unwrap().is_empty());
}

#[test]
fn checking_everything_finds_what_stamps_cannot_see() {
    let world = populated();
    let verdicts = world.offline().verify_all().unwrap();
    let bad: Vec<_> = verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().err()).collect();
    assert_eq!((verdicts.len(), bad.len()), (3, 1));
    assert!(bad[0].message().contains("it is a script, but not an NVIDIA run file"), "{bad:?}");
}

#[test]
fn pruning_removes_what_it_said_it_would_and_nothing_else() {
    let world = populated();
    let keep = [request(&[])];
    let before = world.names();
    let announced = world.offline().prunable(&keep).unwrap();
    assert_eq!(world.names(), before);
    assert_eq!(world.offline().prune(&keep).unwrap(), announced);
    let left = [
        ".phoenix-nvidia-new",
        "NVIDIA-Linux-x86_64-535.1-mine.run",
        &PATH[1..],
        "NVIDIA-Linux-x86_64-580.76.05.run.partial",
        "SHA256SUMS",
        "debian.tar.zst",
        "stamps.json",
    ];
    assert_eq!(world.names(), left);
    // What was removed is remembered: the next file of this version has to be the same.
    let sums = fs_err::read_to_string(world.layout.cache_sums()).unwrap();
    assert!(sums.contains("NVIDIA-Linux-x86_64-570.133.20.run"));
}

#[test]
fn pruning_leaves_alone_what_somebody_is_getting() {
    use phoenix_nvidia::sys::lock::FileLock;
    let world = populated();
    let lock = world.layout.run_file_lock(&"570.133.20".parse().unwrap(), "x86_64");
    let _held = FileLock::acquire(&lock, "it", Duration::ZERO, &world.heard, &world.cancel).unwrap();
    world.offline().prune(&[request(&[])]).unwrap();
    assert!(world.names().contains(&"NVIDIA-Linux-x86_64-570.133.20.run".to_owned()));
    assert!(
        world.heard.sayings().contains("was not removed: run file 570.133.20 is in use by another part of this run")
    );
}
