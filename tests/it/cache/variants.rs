//! The variants of one version lie side by side, known by what is inside; each request gets its own, or one that does.

use std::path::PathBuf;

use phoenix_nvidia::cache::{Cache, ExpectedSum, Presence, Request, Settings};
use phoenix_nvidia::driver::Variant;
use phoenix_nvidia::error::{Error, Kind};

use super::{ETAG, PATH, VERSION, World, driver, request, settings, sha256};
use crate::http_server::{Answer, HttpServer};
use crate::run_file::RunFile;

const VARIANTS: [Variant; 4] = [Variant::Full, Variant::NoCompat32, Variant::Grid, Variant::VgpuKvm];

/// A small package of this variant, called inside as NVIDIA calls it.
fn package(variant: Variant) -> RunFile {
    let file = RunFile::new(VERSION).ending(variant.ending()).member("nvidia-installer", 0o755, variant.word());
    let cuda = |file: RunFile| file.member(&format!("libcuda.so.{VERSION}"), 0o755, "cuda");
    match variant {
        Variant::Full => cuda(file).member(&format!("32/libcuda.so.{VERSION}"), 0o755, "cuda"),
        Variant::NoCompat32 => cuda(file),
        Variant::Grid => cuda(file).member("nvidia-gridd", 0o755, "daemon"),
        Variant::VgpuKvm => file.member("nvidia-vgpu-mgr", 0o755, "manager"),
    }
}

fn name(variant: Variant) -> String {
    format!("NVIDIA-Linux-x86_64-{VERSION}{}.run", variant.ending())
}

fn wanted(variant: Variant, compat32: bool) -> Request {
    Request { variant, compat32, ..request(&[]) }
}

impl World {
    /// A file that an operator has got from somewhere, under this name.
    fn brought(&self, called: &str, file: &RunFile) -> PathBuf {
        let path = self.layout.base().join(called);
        fs_err::write(&path, file.build()).unwrap();
        path
    }

    fn import(&self, variant: Variant) {
        let file = self.offline().import(&self.brought("brought.run", &package(variant)), None).unwrap();
        assert_eq!((file.variant(), file.path()), (variant, &*self.layout.cache().join(name(variant))));
    }

    fn refused(&self, wanted: &Request) -> Error {
        self.offline().ensure(wanted).unwrap_err()
    }
}

/// The name of the file that a request gets.
fn given(cache: &Cache<'_>, wanted: &Request) -> String {
    let file = cache.ensure(wanted).unwrap();
    assert!(matches!(cache.look(wanted).unwrap(), Presence::Trusted { path, .. } if path == file.path()));
    file.path().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn all_variants_of_a_version_lie_side_by_side_whatever_they_were_called() {
    let world = World::new();
    for variant in VARIANTS.into_iter().rev() {
        world.import(variant);
    }
    let listed = world.offline().list().unwrap();
    let mut variants: Vec<_> = listed.iter().map(|entry| entry.variant.unwrap()).collect();
    variants.sort();
    assert_eq!(variants, VARIANTS);
    for variant in [Variant::Full, Variant::NoCompat32, Variant::Grid] {
        assert_eq!(given(&world.offline(), &wanted(variant, false)), name(variant));
    }
    assert!(world.offline().verify_all().unwrap().iter().all(|(_, verdict)| verdict.is_ok()));
    assert_eq!(world.names().len(), 6, "{:?}", world.names());
}

#[test]
fn what_is_inside_decides_and_a_name_that_says_otherwise_is_reported() {
    let world = World::new();
    // Packed again, so that neither name nor header say what it is.
    let bare = RunFile::new(VERSION).member(&format!("libcuda.so.{VERSION}"), 0o755, "cuda");
    let file = world.offline().import(&world.brought(&name(Variant::Grid), &bare), None).unwrap();
    assert_eq!(file.variant(), Variant::NoCompat32);
    assert!(world.heard.sayings().contains("which is what counts"), "{}", world.heard.sayings());
    assert!(world.names().contains(&name(Variant::NoCompat32)), "{:?}", world.names());
}

#[test]
fn a_variant_that_does_is_used_where_the_wanted_one_is_not_there_and_that_is_reported() {
    let world = World::new();
    world.import(Variant::NoCompat32);
    assert_eq!(given(&world.offline(), &wanted(Variant::Full, false)), name(Variant::NoCompat32));
    let told = format!("`{}` is used in place of the full file", name(Variant::NoCompat32));
    assert!(world.heard.sayings().contains(&told), "{}", world.heard.sayings());
    let error = world.refused(&wanted(Variant::Full, true));
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.message().contains("without 32-bit libraries"), "{error:?}");
    world.import(Variant::Full);
    assert_eq!(given(&world.offline(), &wanted(Variant::Full, false)), name(Variant::Full));
    let error = world.refused(&wanted(Variant::Grid, false));
    assert!(error.message().contains("only as the full file"), "{error:?}");
}

#[test]
fn the_hosts_part_of_a_virtual_gpu_is_never_a_driver_even_under_a_drivers_name() {
    let world = World::new();
    world.put(&package(Variant::VgpuKvm).build());
    for variant in [Variant::Full, Variant::NoCompat32, Variant::Grid] {
        let error = world.refused(&wanted(variant, false));
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.message().contains("which has no `libcuda`: no container can use it"), "{error:?}");
        assert!(error.hint_text().unwrap().contains("with the `-grid` file"), "{error:?}");
    }
    assert!(!world.path().exists());
    assert!(world.layout.cache().join(name(Variant::VgpuKvm)).exists());
}

#[test]
fn the_cache_of_a_release_that_knew_no_variants_goes_on_without_anybody_doing_anything() {
    let world = World::new();
    let bytes = package(Variant::NoCompat32).build();
    world.put(&bytes);
    let sum = sha256(&bytes);
    let metadata = fs_err::metadata(world.path()).unwrap();
    let (size, inode) = (metadata.len(), std::os::unix::fs::MetadataExt::ino(&metadata));
    let stamp = serde_json::json!({ "size": size, "mtime": 1, "ctime": 1, "inode": inode, "sha256": sum, "origin": "embedded" });
    let stamps = serde_json::json!({ "format": 1, "files": { &PATH[1..]: stamp } });
    fs_err::write(world.layout.cache_stamps(), stamps.to_string()).unwrap();
    fs_err::write(world.layout.cache_sums(), format!("{sum}  {}\n", &PATH[1..])).unwrap();
    assert_eq!(given(&world.offline(), &wanted(Variant::Full, false)), name(Variant::NoCompat32));
    let sums = fs_err::read_to_string(world.layout.cache_sums()).unwrap();
    assert_eq!(sums, format!("{sum}  {}\n", name(Variant::NoCompat32)));
    // The full file has its own place now, and nothing stands against it.
    world.import(Variant::Full);
    assert_eq!(given(&world.offline(), &wanted(Variant::Full, true)), name(Variant::Full));
}

#[test]
fn two_files_under_the_name_of_one_do_not_replace_each_other() {
    let world = World::new();
    world.import(Variant::NoCompat32);
    let trusted = given(&world.offline(), &wanted(Variant::NoCompat32, false));
    world.put(&package(Variant::NoCompat32).member("another", 0o644, "").build());
    // The record says another sum; online the file would be moved away.
    assert_eq!(world.refused(&wanted(Variant::Full, false)).kind(), Kind::Verification);
    assert_eq!(given(&world.offline(), &wanted(Variant::NoCompat32, false)), trusted);
}

#[test]
fn a_pinned_sum_is_not_had_from_another_variant() {
    let world = World::new();
    world.import(Variant::NoCompat32);
    let pinned = |bytes: &[u8]| {
        let sum = ExpectedSum { sum: sha256(bytes), origin: "`nvidia_runfile_sha256`".to_owned() };
        Request { sha256: Some(sum), ..wanted(Variant::Full, false) }
    };
    let full = pinned(&package(Variant::Full).build());
    assert_eq!(world.offline().look(&full).unwrap(), Presence::Absent);
    assert_eq!(world.refused(&full).kind(), Kind::Network);
    let same = pinned(&package(Variant::NoCompat32).build());
    assert_eq!(given(&world.offline(), &same), name(Variant::NoCompat32));
}

#[test]
fn a_list_of_sums_names_each_variant() {
    let world = World::new();
    let list = world.layout.base().join("sums");
    let line = |variant| format!("{}  {}\n", sha256(&package(variant).build()), name(variant));
    fs_err::write(&list, line(Variant::NoCompat32)).unwrap();
    let cache = || world.cache_with(Settings { checksums: Some(list.clone()), offline: true, ..settings() });
    cache().import(&world.brought("brought.run", &package(Variant::NoCompat32)), None).unwrap();
    let refused = cache().import(&world.brought("brought.run", &package(Variant::Full)), None).unwrap_err();
    assert_eq!(refused.kind(), Kind::Configuration);
    assert_eq!(given(&cache(), &wanted(Variant::Full, false)), name(Variant::NoCompat32));
    fs_err::write(&list, line(Variant::Full)).unwrap();
    assert_eq!(cache().ensure(&wanted(Variant::Full, false)).unwrap_err().kind(), Kind::Network);
}

#[test]
fn a_download_that_is_another_variant_gets_its_own_name_or_is_refused() {
    for (variant, does) in [(Variant::NoCompat32, true), (Variant::VgpuKvm, false)] {
        let world = World::new();
        let bytes = package(variant).build();
        let server = HttpServer::start(move |asked| match asked.path.ends_with(".sha256sum") {
            true => Answer::new(404, ""),
            false => Answer::file(asked, &bytes, ETAG),
        });
        let got = world.cache().ensure(&request(&[&server.url(PATH)]));
        match got {
            Ok(file) => assert!(does && file.path().ends_with(name(variant)), "{file:?}"),
            Err(error) => {
                let why = error.output_text().unwrap();
                assert!(!does && why.contains("it is the host's part of a virtual GPU"), "{error:?}");
                assert_eq!(world.names(), [""; 0]);
            }
        }
    }
}

#[test]
fn pruning_leaves_the_wanted_variant_and_one_that_does_only_where_that_is_not_there() {
    let world = World::new();
    [Variant::NoCompat32, Variant::VgpuKvm].into_iter().for_each(|variant| world.import(variant));
    let keep = [wanted(Variant::Full, false)];
    let removed = |world: &World| -> Vec<_> {
        world.offline().prune(&keep).unwrap().iter().map(|entry| entry.variant.unwrap()).collect()
    };
    assert_eq!(removed(&world), [Variant::VgpuKvm]);
    world.import(Variant::Full);
    assert_eq!(removed(&world), [Variant::NoCompat32]);
    assert_eq!(world.names(), [name(Variant::Full), "SHA256SUMS".to_owned(), "stamps.json".to_owned()]);
}

#[test]
fn a_file_for_other_machines_is_reported_as_that_where_the_right_one_cannot_be_had() {
    let world = World::new();
    world.offline().import(&world.brought("brought.run", &driver(VERSION).architecture("aarch64")), None).unwrap();
    let here =
        format!("the cache has driver {VERSION} only as a file for aarch64, `NVIDIA-Linux-aarch64-{VERSION}.run`");
    let error = world.refused(&wanted(Variant::Full, false));
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.message().contains(&here), "{error:?}");
    let server = HttpServer::start(|_| Answer::new(404, ""));
    let error = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.message().contains(&here) && error.message().ends_with("; it could not be downloaded"), "{error:?}");
    assert!(error.hint_text().unwrap().contains("import the file for this machine"), "{error:?}");
}

#[test]
fn the_test_driver_of_the_other_tests_is_the_full_one() {
    let world = World::new();
    let file = world.offline().import(&world.brought("driver.run", &driver(VERSION)), None).unwrap();
    assert_eq!(file.variant(), Variant::Full);
}
