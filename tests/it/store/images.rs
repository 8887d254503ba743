//! Images of drivers: the same bytes every time, what they hold, when they are made again, and where they are mounted.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use phoenix_nvidia::driver::placement::Profile;
use phoenix_nvidia::error::Kind;
use phoenix_nvidia::store::{Contents, FileSystem, Image, ImageName, ImageSort, NeededImage};
use phoenix_nvidia::sys::mount;

use super::{VERSION, World, driver, version};
use crate::run_file::RunFile;
use crate::test_driver::TestDriver;

const COMPUTE: Contents = Contents::Placed(Profile::Compute);

impl World {
    /// Fails unless so many loop devices have their files in this world.
    #[track_caller]
    pub(super) fn assert_loop_devices(&self, expected: usize) {
        crate::loop_devices::assert_below(self.layout.base(), expected);
    }

    /// How many mounts there are in this world.
    pub(super) fn mounts(&self) -> usize {
        mount::below(self.layout.base()).unwrap().len()
    }

    /// As after the host's start: nothing is mounted.
    pub(super) fn reboot(&self) {
        for mounted in mount::below(self.layout.base()).unwrap() {
            mount::unmount(&mounted.point).unwrap();
        }
        assert_eq!(self.mounts(), 0);
        self.assert_loop_devices(0);
    }

    pub(super) fn image_notes(&self) -> usize {
        let is_note = |event: &&phoenix_nvidia::event::Event| format!("{event:?}").contains("made the image");
        self.heard.0.lock().unwrap().iter().filter(is_note).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for mounted in mount::below(self.layout.base()).unwrap_or_default() {
            let _ = mount::unmount(&mounted.point);
        }
    }
}

/// What a container says that sees this image.
fn needed(image: &Image) -> NeededImage {
    NeededImage { name: image.name().clone(), run_file_sha256: image.run_file_sha256() }
}

fn name(contents: Contents) -> ImageName {
    ImageName { version: version(), contents, edition: None }
}

fn sum(path: &Path) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, &fs_err::read(path).unwrap()).as_ref().to_vec()
}

/// What a directory holds: path, permission bits and owner, and contents or target.
fn holds(root: &Path) -> BTreeMap<String, (u32, u32, Vec<u8>)> {
    let (mut found, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let contents = match metadata.file_type() {
                kind if kind.is_symlink() => fs_err::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                kind if kind.is_file() => fs_err::read(&path).unwrap(),
                _ => Vec::new(),
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, (metadata.permissions().mode() & 0o7777, metadata.uid(), contents));
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

#[test]
fn the_same_tree_gives_the_same_bytes_in_either_file_system() {
    let (one, other) = (World::new(), World::new());
    for file_system in [FileSystem::Erofs, FileSystem::Squashfs] {
        let sums = [&one, &other].map(|world| {
            let tree = world.extract(&driver(VERSION)).unwrap();
            let image = world.store().image_as(&tree, Contents::Package, Some(file_system)).unwrap();
            assert_eq!(image.file_system(), file_system);
            assert_eq!(sum(image.path()), sum_bytes(&image.sha256().to_string()));
            image.sha256()
        });
        assert_eq!(sums[0], sums[1], "{file_system:?}");
    }
}

fn sum_bytes(hexadecimal: &str) -> Vec<u8> {
    (0..32).map(|index| u8::from_str_radix(&hexadecimal[2 * index..2 * index + 2], 16).unwrap()).collect()
}

#[test]
fn an_image_of_a_package_holds_the_tree_and_everybody_can_read_it() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    for file_system in [FileSystem::Erofs, FileSystem::Squashfs] {
        let image = world.store().image_as(&tree, Contents::Package, Some(file_system)).unwrap();
        let mounted = holds(&world.store().mount(&image).unwrap());
        let stored = holds(tree.path());
        assert_eq!(mounted.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
        for (path, (mode, owner, contents)) in &mounted {
            assert_eq!(contents, &stored[path].2, "{path}");
            assert_eq!((mode & 0o444, *owner), (0o444, 0), "{path}");
        }
        assert_eq!(mounted["nvidia-smi"].0, 0o755);
        // The mode in the archive is 0600, which a mapped root could not read.
        assert_eq!(mounted[".manifest"].0, 0o644);
    }
    world.store().verify(&version()).unwrap();
}

#[test]
fn an_image_of_a_profile_has_its_files_and_the_links_that_the_loader_wants() {
    let world = World::new();
    let run_file = TestDriver::new(VERSION).run_file();
    let tree = world.extract(&run_file).unwrap();
    let store = world.store();
    let compute = store.mount(&store.image(&tree, COMPUTE).unwrap()).unwrap();
    let full = store.mount(&store.image(&tree, Contents::Placed(Profile::Full)).unwrap()).unwrap();
    for directory in [&compute, &full] {
        let found = holds(directory);
        assert_eq!(found["lib/libcuda.so.1"].2, format!("libcuda.so.{VERSION}").into_bytes());
        assert_eq!(found["usr/bin/nvidia-smi"].0, 0o755);
        assert!(found.keys().all(|path| !path.contains("nvidia-installer") && !path.contains("firmware")));
        assert!(found.values().all(|(mode, owner, _)| mode & 0o7000 == 0 && *owner == 0));
    }
    assert!(!holds(&compute).contains_key("glvnd/libGL.so.1.7.0"));
    assert!(holds(&full).contains_key("glvnd/libGL.so.1.7.0"));
    assert_eq!(holds(&full)["lib/vdpau/libvdpau_nvidia.so.1"].2, format!("libvdpau_nvidia.so.{VERSION}").into_bytes());
    world.assert_loop_devices(2);
}

#[test]
fn the_links_of_a_soname_that_the_manifest_forgot_are_in_the_image() {
    let world = World::new();
    let head = "A driver\n580.76.05\n \nnvidia\n \n \n./kernel/\n./kernel/precompiled/\n";
    let manifest = format!("{head}libnvidia-egl-gbm.so.1.1.2 0755 OPENGL_LIB NATIVE MODULE:egl\n");
    let library = crate::shared_object::shared_object("libnvidia-egl-gbm.so.1", 100);
    let run_file = RunFile::new(VERSION).member(".manifest", 0o644, manifest);
    let tree = world.extract(&run_file.member("libnvidia-egl-gbm.so.1.1.2", 0o755, library)).unwrap();
    let image = world.store().image(&tree, Contents::Placed(Profile::Full)).unwrap();
    let link = world.store().mount(&image).unwrap().join("lib/libnvidia-egl-gbm.so.1");
    assert_eq!(fs_err::read_link(link).unwrap(), Path::new("libnvidia-egl-gbm.so.1.1.2"));
}

#[test]
fn an_image_is_made_once_and_again_when_it_has_changed() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let first = world.store().image(&tree, COMPUTE).unwrap();
    assert_eq!(world.store().image(&tree, COMPUTE).unwrap(), first);
    assert_eq!(world.image_notes(), 1);
    let mut bytes = fs_err::read(first.path()).unwrap();
    bytes[5000] ^= 1;
    fs_err::write(first.path(), &bytes).unwrap();
    let again = world.store().image(&tree, COMPUTE).unwrap();
    assert_eq!((again.sha256(), world.image_notes()), (first.sha256(), 2));
    assert!(world.heard.warnings().contains("is not used: its file has changed"), "{}", world.heard.warnings());
    fs_err::remove_file(again.path()).unwrap();
    world.store().image(&tree, COMPUTE).unwrap();
    assert!(world.heard.warnings().contains("its file is missing"));
}

#[test]
fn an_image_of_another_run_file_of_the_same_version_is_made_again() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let first = world.store().image(&tree, Contents::Package).unwrap();
    for record in [world.layout.cache_sums(), world.layout.cache_stamps()] {
        fs_err::remove_file(record).unwrap();
    }
    let tree = world.extract(&driver(VERSION).member("more", 0o644, "more")).unwrap();
    let again = world.store().image(&tree, Contents::Package).unwrap();
    assert_ne!(first.sha256(), again.sha256());
}

#[test]
fn what_containers_see_never_becomes_that_of_another_run_file() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let first = world.store().image(&tree, COMPUTE).unwrap();
    let seen = world.store().mount(&first).unwrap();
    for record in [world.layout.cache_sums(), world.layout.cache_stamps()] {
        fs_err::remove_file(record).unwrap();
    }
    let tree = world.extract(&driver(VERSION).member("more", 0o644, "more")).unwrap();
    let other = world.store().image(&tree, COMPUTE).unwrap();
    assert_ne!(other.name(), first.name());
    assert_eq!(world.store().image(&tree, COMPUTE).unwrap(), other, "it is found again by its own name");
    assert_ne!(world.store().mount(&other).unwrap(), seen);
    world.store().ensure_mounted(&[needed(&first), needed(&other)]).unwrap();
    world.reboot();
    // The first one's tree is gone: what is there is of the other file, and is not taken for it.
    fs_err::remove_dir_all(world.layout.images()).unwrap();
    let error = world.store().ensure_mounted(&[needed(&first), needed(&other)]).unwrap_err();
    assert!(format!("{error:?}").contains("from another run file"), "{error:?}");
    assert!(world.store().is_mounted(other.name()).unwrap() && !world.store().is_mounted(first.name()).unwrap());
}

#[test]
fn a_changed_image_whose_time_was_put_back_is_found_by_reading_it() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let image = world.store().image(&tree, COMPUTE).unwrap();
    let modified = fs_err::metadata(image.path()).unwrap().modified().unwrap();
    let mut bytes = fs_err::read(image.path()).unwrap();
    bytes[5000] ^= 1;
    fs_err::write(image.path(), &bytes).unwrap();
    fs_err::OpenOptions::new().write(true).open(image.path()).unwrap().file().set_modified(modified).unwrap();
    assert!(world.store().open_image(&name(COMPUTE)).unwrap().is_some(), "nobody reads a whole image at every use");
    let error = world.store().verify_image(&name(COMPUTE)).unwrap_err();
    assert_eq!(error.kind(), Kind::Verification);
    assert!(error.message().ends_with("has changed: its contents have changed"), "{error}");
    assert!(world.store().open_image(&name(COMPUTE)).unwrap().is_none());
    world.store().image(&tree, COMPUTE).unwrap();
    world.store().verify_image(&name(COMPUTE)).unwrap();
}

#[test]
fn an_image_is_mounted_once_read_only_and_private() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let image = world.store().image(&tree, COMPUTE).unwrap();
    let directory = world.store().mount(&image).unwrap();
    assert_eq!(world.store().mount(&image).unwrap(), directory);
    assert_eq!(world.mounts(), 1);
    world.assert_loop_devices(1);
    let mounted = mount::at(directory.parent().unwrap()).unwrap().unwrap();
    for option in ["ro", "nosuid", "nodev"] {
        assert!(mounted.options.iter().any(|it| it == option), "{:?}", mounted.options);
    }
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(directory.parent().unwrap().to_str().unwrap())).unwrap();
    assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
    let refused = fs_err::write(directory.join("x"), "").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_mount_of_a_file_that_was_replaced_makes_room_for_the_new_one() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let image = world.store().image(&tree, COMPUTE).unwrap();
    world.store().mount(&image).unwrap();
    fs_err::write(image.path(), "damaged").unwrap();
    let image = world.store().image(&tree, COMPUTE).unwrap();
    let directory = world.store().mount(&image).unwrap();
    assert_eq!(world.mounts(), 1);
    world.assert_loop_devices(1);
    let library = directory.join(format!("lib/libcuda.so.{VERSION}"));
    assert_eq!(sum(&library), sum(&tree.path().join(format!("libcuda.so.{VERSION}"))));
}

#[test]
fn after_the_hosts_start_everything_is_mounted_again() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let image = world.store().image(&tree, COMPUTE).unwrap();
    let directory = world.store().mount(&image).unwrap();
    world.reboot();
    assert!(!directory.exists(), "what is not mounted must not look like an empty driver");
    world.store().ensure_mounted(&[needed(&image)]).unwrap();
    assert!(directory.join("lib").is_dir());
    // Even an image that has gone with the disk's last writes.
    world.reboot();
    fs_err::remove_dir_all(world.layout.images()).unwrap();
    world.store().ensure_mounted(&[needed(&image)]).unwrap();
    assert!(directory.join("lib").is_dir());
}

#[test]
fn one_image_that_cannot_be_had_keeps_no_other_from_being_mounted() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let image = world.store().image(&tree, COMPUTE).unwrap();
    let gone = NeededImage { name: "535.261.03-full".parse().unwrap(), ..needed(&image) };
    let error = world.store().ensure_mounted(&[gone, needed(&image)]).unwrap_err();
    assert!(error.to_string().contains("535.261.03-full"), "{error}");
    assert!(error.hint_text().unwrap().contains("store extract 535.261.03"));
    assert!(world.store().is_mounted(&name(COMPUTE)).unwrap());
}

#[test]
fn a_copy_of_a_mount_is_gone_when_nobody_has_attached_it() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let image = world.store().image(&tree, Contents::Package).unwrap();
    let copy = world.store().detached(&image).unwrap();
    assert_eq!(world.mounts(), 0);
    world.assert_loop_devices(1);
    drop(copy);
    world.assert_loop_devices(0);
}

#[test]
fn images_that_nobody_needs_are_unmounted_and_removed() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let store = world.store();
    for contents in [Contents::Package, COMPUTE] {
        store.mount(&store.image(&tree, contents).unwrap()).unwrap();
    }
    let left = world.layout.images().join(".phoenix-nvidia-535.261.03-abcdef");
    fs_err::create_dir_all(left.join("staged")).unwrap();
    let sorts = |sort: &ImageSort| matches!(sort, ImageSort::Sound { bytes, .. } if *bytes > 0);
    assert_eq!(store.images().unwrap().iter().filter(|it| it.mounted && sorts(&it.sort)).count(), 2);
    assert_eq!(store.prunable_images(&[name(COMPUTE)]).unwrap().len(), 2);
    assert_eq!(store.prune_images(&[name(COMPUTE)]).unwrap().len(), 2);
    let names: Vec<_> = store.images().unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, [Some(name(COMPUTE))]);
    assert!(!left.exists());
    assert_eq!(world.mounts(), 1);
    world.assert_loop_devices(1);
}
