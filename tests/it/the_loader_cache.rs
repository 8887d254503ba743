//! The cache of the dynamic loader as we write it, judged by `ldconfig` and by the loader itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use phoenix_nvidia::driver::elf::SharedObject;
use phoenix_nvidia::driver::loader_cache::{LibraryFlags, LoaderCache};

use crate::ran::Ran;
use crate::shared_object::shared_object;
use crate::world::{Privilege, World};

/// What `ldconfig` says is in a cache, one line a library.
fn printed(cache: &Path) -> String {
    Ran::of("ldconfig", &["-p".as_ref(), "-C".as_ref(), cache.as_os_str()], &[]).ok().stdout
}

/// The same without the lines that count and name the cache.
fn libraries(cache: &Path) -> BTreeSet<String> {
    printed(cache).lines().filter(|line| line.starts_with('\t')).map(str::to_owned).collect()
}

/// Makes `etc/ld.so.cache` in a root directory.
fn run_ldconfig(root: &Path) -> PathBuf {
    fs_err::create_dir_all(root.join("etc")).unwrap();
    Ran::of("ldconfig", &["-r".as_ref(), root.as_os_str()], &[]).ok();
    root.join("etc/ld.so.cache")
}

#[test]
fn the_hosts_cache_is_read_and_written_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let (theirs, ours) = (Path::new("/etc/ld.so.cache"), directory.path().join("ld.so.cache"));
    let cache = LoaderCache::parse(&fs_err::read(theirs).unwrap()).unwrap();
    assert!(cache.libraries().count() > 20, "a host has more libraries than {}", cache.libraries().count());
    fs_err::write(&ours, cache.to_bytes().unwrap()).unwrap();
    // The order counts, and who made it.
    let theirs = printed(theirs).replace("/etc/ld.so.cache", &ours.display().to_string());
    assert_eq!(printed(&ours), theirs);
}

#[test]
fn a_directory_of_libraries_is_cached_as_ldconfig_caches_it() {
    let root = tempfile::tempdir().unwrap();
    let libraries_at = root.path().join("usr/lib");
    fs_err::create_dir_all(&libraries_at).unwrap();
    let cache = LoaderCache::parse(&fs_err::read(run_ldconfig(root.path())).unwrap()).unwrap();
    assert_eq!(cache.libraries().count(), 0);
    copy_libraries(&libraries_at);

    let theirs = run_ldconfig(root.path());
    let mut ours = cache;
    for entry in fs_err::read_dir(&libraries_at).unwrap().map(Result::unwrap) {
        // Links are `ldconfig`'s own work.
        if entry.file_type().unwrap().is_symlink() {
            continue;
        }
        let mut file = fs_err::File::open(entry.path()).unwrap();
        let Ok(library) = SharedObject::read(&mut file) else { continue };
        let name = library.soname.unwrap_or_else(|| entry.file_name().into_string().unwrap());
        ours = ours.with(&name, format!("/usr/lib/{name}"), library.flags);
    }
    let written = root.path().join("ours");
    fs_err::write(&written, ours.to_bytes().unwrap()).unwrap();
    let (found, expected) = (libraries(&written), libraries(&theirs));
    assert!(expected.len() > 20, "{expected:?}");
    assert_eq!(without_kernels(&found), without_kernels(&expected));
}

/// Real libraries of this host, two that are made here, one of 32 bits, and what is no library.
fn copy_libraries(to: &Path) {
    let cache = LoaderCache::parse(&fs_err::read("/etc/ld.so.cache").unwrap()).unwrap();
    let native = cache.libraries().filter(|library| library.flags() == LibraryFlags::X86_64);
    for library in native.take(60) {
        fs_err::copy(library.path(), to.join(library.path().canonicalize().unwrap().file_name().unwrap())).unwrap();
    }
    fs_err::write(to.join("libcuda.so.580.76.05"), shared_object("libcuda.so.1", 0)).unwrap();
    fs_err::write(to.join("libnvidia-ml.so.580.76.05"), shared_object("libnvidia-ml.so.1", 0)).unwrap();
    fs_err::write(to.join("libtext.so.1"), "INPUT(libcuda.so)\n").unwrap();
    let of_32_bits = to.join("libof32bits.so.2.3");
    let arguments = ["-m", "elf_i386", "-shared", "-soname", "libof32bits.so.2", "--format=binary", "/dev/null", "-o"];
    let arguments = arguments.iter().map(AsRef::as_ref).chain([of_32_bits.as_os_str()]);
    Ran::of("ld", &arguments.collect::<Vec<&std::ffi::OsStr>>(), &[]).ok();
}

/// Lines without the oldest kernel, which `ldconfig` before glibc 2.36 notes of some libraries and the loader ignores.
fn without_kernels(lines: &BTreeSet<String>) -> BTreeSet<String> {
    let cut = |line: &String| match (line.find(", OS ABI"), line.find(") =>")) {
        (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to..]),
        _ => line.clone(),
    };
    lines.iter().map(cut).collect()
}

#[test]
fn a_cache_with_the_older_table_in_front_is_read() {
    let root = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(root.path().join("usr/lib")).unwrap();
    fs_err::create_dir_all(root.path().join("etc")).unwrap();
    fs_err::write(root.path().join("usr/lib/libcuda.so.1"), shared_object("libcuda.so.1", 0)).unwrap();
    // What glibc before 2.32 writes unless an option says otherwise.
    let arguments = ["-c".as_ref(), "compat".as_ref(), "-r".as_ref(), root.path().as_os_str()];
    Ran::of("ldconfig", &arguments, &[]).ok();
    let (theirs, ours) = (root.path().join("etc/ld.so.cache"), root.path().join("ours"));
    let bytes = fs_err::read(&theirs).unwrap();
    assert!(bytes.starts_with(b"ld.so-1.7.0"));
    let cache = LoaderCache::parse(&bytes).unwrap();
    assert_eq!(cache.libraries().next().unwrap().path(), Path::new("/usr/lib/libcuda.so.1"));
    fs_err::write(&ours, cache.to_bytes().unwrap()).unwrap();
    assert_eq!(libraries(&ours), libraries(&theirs));
}

#[test]
fn a_program_in_a_container_finds_a_library_that_only_our_cache_knows() {
    let world = World::new();
    let ctid = world.ctid();
    world.create_by_hand(ctid, Privilege::Privileged, &[]);
    let rootfs = world.rootfs(ctid);
    fs_err::create_dir_all(rootfs.join("opt/hidden")).unwrap();
    fs_err::write(rootfs.join("opt/hidden/libhidden.so.1.2"), shared_object("libhidden.so.1", 0)).unwrap();
    world.lxc("lxc-start", ctid, &[]).ok();
    let maps = "LD_PRELOAD=libhidden.so.1 cat /proc/self/maps";
    assert!(!world.inside(ctid, maps).ok().stdout.contains("libhidden"));

    let at = rootfs.join("etc/ld.so.cache");
    let before = LoaderCache::parse(&fs_err::read(&at).unwrap()).unwrap();
    let added = before.clone().with("libhidden.so.1", "/opt/hidden/libhidden.so.1.2", LibraryFlags::X86_64);
    fs_err::write(&at, added.to_bytes().unwrap()).unwrap();
    assert!(world.inside(ctid, maps).ok().stdout.contains("/opt/hidden/libhidden.so.1.2"));
    // Every other library is still found by the cache alone.
    let libc = world.inside(ctid, "LD_DEBUG=libs /bin/true 2>&1").ok().stdout;
    assert!(libc.contains("search cache=/etc/ld.so.cache") && !libc.contains("search path="), "{libc}");

    let removed = added.without(|path| path.starts_with("/opt/hidden"));
    assert_eq!(removed, before);
    fs_err::write(&at, removed.to_bytes().unwrap()).unwrap();
    assert!(!world.inside(ctid, maps).ok().stdout.contains("libhidden"));
}
