//! Several processes and threads that want one image, and one that is killed while it makes it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::store::{Contents, Store};
use phoenix_nvidia::sys::cancel::Cancel;

use super::{VERSION, World, driver, version};

const BASE: &str = "PHOENIX_NVIDIA_TEST_IMAGES";
// How often a test looks whether what it waits for has happened.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[test]
#[ignore = "the body of the processes that the other tests start"]
fn a_process_that_wants_an_image() {
    let base = PathBuf::from(std::env::var(BASE).unwrap());
    let (layout, cancel) = (Layout::new(&base), Cancel::new().unwrap());
    let store = Store::new(Context::new(&layout, &NoListener, &cancel));
    let tree = store.open(&version()).unwrap().unwrap();
    let image = store.image(&tree, Contents::Package).unwrap();
    store.mount(&image).unwrap();
}

/// Starts a process whose `mkfs.erofs` is a script: it leaves a mark, and then does `what`.
#[expect(
    clippy::disallowed_methods,
    reason = "the process is to be killed, which the library's command never does first"
)]
fn start(world: &World, what: &str) -> Child {
    let programs = world.layout.base().join(format!("programs-{}", fastrand::u32(..)));
    fs_err::create_dir_all(&programs).unwrap();
    let marks = world.layout.base().join("marks");
    fs_err::create_dir_all(&marks).unwrap();
    let real = "$(PATH=${PATH#*:} command -v mkfs.erofs)";
    let script = format!("#!/bin/sh\nset -e\nreal={real}\n: > {}/$$\n{what}\n", marks.display());
    fs_err::write(programs.join("mkfs.erofs"), script).unwrap();
    fs_err::set_permissions(programs.join("mkfs.erofs"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "store::image_processes::a_process_that_wants_an_image"])
        .env(BASE, world.layout.base())
        .env("PATH", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn marks(base: &Path) -> usize {
    fs_err::read_dir(base.join("marks")).unwrap().count()
}

#[test]
fn processes_and_threads_share_one_making_and_one_mount() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let processes: Vec<Child> = (0..3).map(|_| start(&world, "exec \"$real\" \"$@\"")).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = world.store();
                store.mount(&store.image(&tree, Contents::Package).unwrap()).unwrap();
            });
        }
    });
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
    assert_eq!(world.mounts(), 1);
    world.assert_loop_devices(1);
    assert_eq!(world.store().images().unwrap().len(), 1);
    // Those of this process are told as notes, those of the others leave marks.
    assert_eq!(marks(world.layout.base()) + world.image_notes(), 1);
}

#[test]
fn a_process_killed_while_it_makes_an_image_leaves_none_and_the_next_one_clears_up() {
    let world = World::new();
    let tree = world.extract(&driver(VERSION)).unwrap();
    let half = "for it; do file=$previous; previous=$it; done; head -c 5000 /dev/zero > \"$file\"; exec sleep 60";
    let mut killed = start(&world, half);
    while marks(world.layout.base()) == 0 {
        assert_eq!(killed.try_wait().unwrap(), None, "it ended before it was killed");
        world.cancel.wait(LOOK_AGAIN).unwrap();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let names = || -> Vec<String> {
        let entries = fs_err::read_dir(world.layout.images()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(matches!(names().as_slice(), [one] if one.starts_with(".phoenix-nvidia-580.76.05-")), "{:?}", names());
    world.store().image(&tree, Contents::Package).unwrap();
    assert_eq!(names(), ["580.76.05-package"]);
    world.store().verify_image(&"580.76.05-package".parse().unwrap()).unwrap();
}

#[test]
fn a_missing_tool_is_named_with_its_package() {
    let world = World::new();
    world.extract(&driver(VERSION)).unwrap();
    let process = start_without_tools(&world);
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("`mkfs.erofs`, which makes images, is not on this host"), "{said}");
    assert!(said.contains("`apt-get install erofs-utils`"), "{said}");
}

#[expect(clippy::disallowed_methods, reason = "a process of the tests with another `PATH`")]
fn start_without_tools(world: &World) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "store::image_processes::a_process_that_wants_an_image"])
        .env(BASE, world.layout.base())
        .env("PATH", world.layout.base())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
