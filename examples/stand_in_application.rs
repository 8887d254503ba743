//! Plays the one program of a container without a shell, as images of applications are: called as `nvidia-smi` it plays
//! that, with any other name the application, which runs until it is asked to end.
//!
//! The pretended kernel module is the file `/etc/pretended-kernel-module`, as for the `nvidia-smi` of other tests; the
//! library is the one that the loader finds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program whose output is part of what it plays")]

use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const LIBRARY: &str = "libnvidia-ml.so.1";
/// Set once the loader has been asked for the library.
const ASKED: &str = "STAND_IN_ASKED";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let name = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    if name != "nvidia-smi" {
        return serve();
    }
    if words.iter().any(|word| word == "--help") {
        // One program plays every version; the name of the file that its link leads to is no help here.
        return library_version().map_or(ExitCode::from(12), |version| {
            println!("NVIDIA System Management Interface -- v{version}");
            ExitCode::SUCCESS
        });
    }
    query()
}

/// The application: it ends by itself when it is asked to, and knows no other signal.
fn serve() -> ExitCode {
    let signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]);
    let Ok(mut signals) = signals else { return ExitCode::FAILURE };
    signals.forever().next();
    ExitCode::SUCCESS
}

fn query() -> ExitCode {
    let Some(library) = library_version() else {
        println!("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.");
        return ExitCode::from(12);
    };
    let loaded = fs_err::read_to_string("/etc/pretended-kernel-module").unwrap_or_default();
    let is_node = |path: &str| Path::new(path).metadata().is_ok_and(|it| it.file_type().is_char_device());
    if loaded.trim().is_empty() || !is_node("/dev/nvidiactl") {
        println!("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.");
        return ExitCode::from(9);
    }
    if library != loaded.trim() {
        println!("Failed to initialize NVML: Driver/library version mismatch");
        return ExitCode::from(18);
    }
    let gpus = (0..8).filter(|minor| is_node(&format!("/dev/nvidia{minor}"))).count();
    if gpus == 0 {
        println!("No devices were found");
        return ExitCode::from(6);
    }
    for _ in 0..gpus {
        println!("{library}");
    }
    ExitCode::SUCCESS
}

/// The version of the library that the loader finds: it is let load it before this program, which runs again for that.
#[expect(clippy::disallowed_methods, reason = "it becomes itself again, and starts nothing")]
fn library_version() -> Option<String> {
    if std::env::var_os(ASKED).is_none() {
        let error = Command::new("/proc/self/exe")
            .arg0("nvidia-smi")
            .args(std::env::args_os().skip(1))
            .env("LD_PRELOAD", LIBRARY)
            .env(ASKED, "1")
            .exec();
        eprintln!("it cannot run again: {error}");
        return None;
    }
    let maps = fs_err::read_to_string("/proc/self/maps").ok()?;
    let path =
        maps.lines().find_map(|line| line.split_whitespace().last().filter(|path| path.contains("libnvidia-ml")));
    path.and_then(|path| path.rsplit_once(".so.")).map(|(_, version)| version.to_owned())
}
