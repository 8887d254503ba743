//! Several processes and threads on one store, one of them killed in the middle.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use phoenix_nvidia::cache::{Cache, Request, Settings};
use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::driver::Variant;
use phoenix_nvidia::event::{Event, Listener, NoListener};
use phoenix_nvidia::store::Store;
use phoenix_nvidia::sys::cancel::Cancel;

use super::{VERSION, World, driver, is_extraction, version};
use crate::run_file::RunFile;

const BASE: &str = "PHOENIX_NVIDIA_TEST_STORE";
const STOPS: &str = "PHOENIX_NVIDIA_TEST_STORE_STOPS";
// How often a test looks whether what it waits for has happened.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Large enough for an extraction to tell of itself before its end.
fn large() -> RunFile {
    driver(VERSION).member("large", 0o644, vec![0; 20 << 20])
}

/// Hears of the first extraction, says so with a file, and holds it for ever if told to.
struct Witness {
    base: std::path::PathBuf,
    stops: bool,
}

impl Listener for Witness {
    fn hear(&self, event: &Event) {
        if is_extraction(event) {
            fs_err::write(self.base.join(format!("extracting-{}", std::process::id())), "").unwrap();
            if self.stops {
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

#[test]
#[ignore = "the body of the processes that the other tests start"]
fn a_process_that_wants_a_driver() {
    let base = std::path::PathBuf::from(std::env::var(BASE).unwrap());
    let (layout, cancel) = (Layout::new(&base), Cancel::new().unwrap());
    let settings = Settings { offline: true, ..Settings::default() };
    let request = Request {
        version: version(),
        architecture: "x86_64".to_owned(),
        variant: Variant::Full,
        compat32: false,
        urls: Vec::new(),
        sha256: None,
    };
    let run_file = Cache::new(Context::new(&layout, &NoListener, &cancel), settings).ensure(&request).unwrap();
    let witness = Witness { base, stops: std::env::var_os(STOPS).is_some() };
    Store::new(Context::new(&layout, &witness, &cancel)).extract(&run_file).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the process is to be killed, which the library's command never does first"
)]
fn start(world: &World, stops: bool) -> Child {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "store::processes::a_process_that_wants_a_driver"])
        .env(BASE, world.layout.base())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if stops {
        command.env(STOPS, "yes");
    }
    command.spawn().unwrap()
}

fn has_begun(base: &Path, process: u32) -> bool {
    base.join(format!("extracting-{process}")).exists()
}

#[test]
fn a_killed_extraction_leaves_no_tree_and_the_next_one_removes_what_it_left() {
    let world = World::new();
    let run_file = world.verified(&large());
    let mut killed = start(&world, true);
    while !has_begun(world.layout.base(), killed.id()) {
        assert_eq!(killed.try_wait().unwrap(), None, "it ended before it was killed");
        world.cancel.wait(LOOK_AGAIN).unwrap();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(world.store().open(&version()).unwrap(), None);
    let left = world.names();
    assert!(left.len() == 1 && left[0].starts_with(".phoenix-nvidia-580.76.05-"), "{left:?}");
    world.store().extract(&run_file).unwrap();
    world.store().verify(&version()).unwrap();
    assert_eq!(world.names(), [VERSION]);
}

#[test]
fn what_was_left_of_another_version_goes_too_unless_somebody_is_making_it() {
    use phoenix_nvidia::sys::lock::FileLock;
    let world = World::new();
    let run_file = world.verified(&driver(VERSION));
    let names = [".phoenix-nvidia-535.261.03-aaa", ".phoenix-nvidia-570.133.20-bbb"];
    for name in names {
        fs_err::create_dir_all(world.layout.store().join(name).join("tree")).unwrap();
    }
    let lock = world.layout.store_lock(&"570.133.20".parse().unwrap());
    let _held = FileLock::acquire(&lock, "it", Duration::ZERO, &NoListener, &world.cancel).unwrap();
    world.store().extract(&run_file).unwrap();
    assert_eq!(world.names(), [names[1], VERSION]);
}

/// Says when an extraction begins and holds it until it is let go; counts those who wait.
struct Gatekeeper {
    begun: Sender<()>,
    released: Mutex<Receiver<()>>,
    waiting: Mutex<usize>,
    extractions: Mutex<usize>,
}

impl Listener for Gatekeeper {
    fn hear(&self, event: &Event) {
        match event {
            Event::Waiting { .. } => *self.waiting.lock().unwrap() += 1,
            Event::Progress { finished: true, .. } if is_extraction(event) => *self.extractions.lock().unwrap() += 1,
            _ if is_extraction(event) => {
                self.begun.send(()).unwrap();
                // Closed when it has been released: every later piece passes.
                let _ = self.released.lock().unwrap().recv();
            }
            _ => {}
        }
    }
}

#[test]
fn threads_and_processes_share_one_extraction() {
    let world = World::new();
    let run_file = world.verified(&large());
    let (begun, first) = channel();
    let (release, released) = channel::<()>();
    let keeper = Gatekeeper { begun, released: released.into(), waiting: 0.into(), extractions: 0.into() };
    let store = || Store::new(Context::new(&world.layout, &keeper, &world.cancel));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| store().extract(&run_file).map(drop))).collect();
        first.recv().unwrap();
        let processes: Vec<_> = (0..2).map(|_| start(&world, false)).collect();
        while *keeper.waiting.lock().unwrap() < 5 {
            world.cancel.wait(LOOK_AGAIN).unwrap();
        }
        drop(release);
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        for process in processes {
            let id = process.id();
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("running 1 test"));
            assert!(!has_begun(world.layout.base(), id), "it extracted again");
        }
    });
    assert_eq!(*keeper.extractions.lock().unwrap(), 1);
    assert_eq!(world.names(), [VERSION]);
}
