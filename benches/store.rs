//! How long the extraction of a driver takes beside `zstd -dc | tar x` and `xz -dc | tar x`, and how much memory.
//!
//! `cargo bench --bench store`. All are measured in one run, on a file in the page cache; the ratios matter. Ours also
//! computes two sums of every file and waits for the disk, so there is a row with `sync -f` behind `tar` as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or has failed")]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use phoenix_nvidia::cache::{Cache, Settings, VerifiedRunFile};
use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::store::Store;
use phoenix_nvidia::sys::cancel::Cancel;
use phoenix_nvidia::sys::command::Command;

#[path = "../tests/support/run_file.rs"]
mod run_file;

use run_file::{Compression, RunFile};

const VERSION: &str = "580.76.05";
const ROUNDS: usize = 3;
// What a process that measures its own memory is told: the run file and the base directory.
const FILE: &str = "PHOENIX_NVIDIA_BENCH_FILE";
const BASE: &str = "PHOENIX_NVIDIA_BENCH_BASE";

const MANIFEST: &str = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n580.76.05\n \nnvidia nvidia-uvm \n \n \n\
                        ./kernel/\n./kernel/precompiled/\n";

// Goals, as shares of the time of `… -dc | tar x && sync -f`; and the memory beside the decompressor's window.
const GOAL: f64 = 1.0;
const MEMORY_GOAL_KIB: u64 = 64 << 10;

fn main() {
    if let (Ok(file), Ok(base)) = (std::env::var(FILE), std::env::var(BASE)) {
        extract(&verified(Path::new(&file), Path::new(&base)), Path::new(&base));
        println!("{}", peak_memory_kib());
        return;
    }
    let mut met = true;
    for (compression, program) in [(Compression::Zstd, "zstd"), (Compression::Xz, "xz")] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(RunFile::new(VERSION).file_name());
        build(directory.path(), &file, compression);
        met &= compare(directory.path(), &file, program);
    }
    println!("goals ({GOAL} of tar with sync, {MEMORY_GOAL_KIB} KiB) met: {met}");
}

fn compare(directory: &Path, file: &Path, program: &str) -> bool {
    let base = directory.join("base");
    let run_file = verified(file, &base);
    let plain = pipeline(&run_file, file, program, directory);
    let synced = format!("{plain} && sync -f {}", directory.join("out").display());
    let ways: [(&str, &dyn Fn()); 3] =
        [("tar", &|| shell(&plain)), ("tar and sync", &|| shell(&synced)), ("ours", &|| extract(&run_file, &base))];
    let mut best = ways.map(|(name, _)| (name, Duration::MAX));
    // Rounds are interleaved, so that a noisy moment hits all of them.
    for _ in 0..ROUNDS {
        for ((_, way), (_, time)) in ways.iter().zip(&mut best) {
            clear(directory);
            let start = Instant::now();
            way();
            *time = start.elapsed().min(*time);
        }
    }
    let size = fs_err::metadata(file).unwrap().len() / 1_000_000;
    println!("{program}, {size} MB, best of {ROUNDS} rounds");
    for (name, time) in &best {
        println!("  {name:<14} {:>7.3} s  {:>5.2} of tar", time.as_secs_f64(), ratio(*time, best[0].1));
    }
    clear(directory);
    let memory = memory_of_a_process(file, &base);
    println!("  peak memory: {memory} KiB");
    ratio(best[2].1, best[1].1) <= GOAL && memory < MEMORY_GOAL_KIB
}

/// The extraction as one would do it by hand.
fn pipeline(run_file: &VerifiedRunFile, file: &Path, program: &str, directory: &Path) -> String {
    let (from, file, out) = (run_file.header().payload_at + 1, file.display(), directory.join("out"));
    format!("tail -c +{from} {file} | {program} -dc | tar -x -C {}", out.display())
}

fn shell(line: &str) {
    let output = Command::new("sh").arg("-c").arg(line).run_ok(&cancel()).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Removes what earlier rounds have made, and waits until the disk is idle again.
fn clear(directory: &Path) {
    for path in [directory.join("out"), directory.join("base/lib/nvidia")] {
        if path.exists() {
            fs_err::remove_dir_all(path).unwrap();
        }
    }
    fs_err::create_dir(directory.join("out")).unwrap();
    shell(&format!("sync -f {}", directory.display()));
}

fn verified(file: &Path, base: &Path) -> VerifiedRunFile {
    let layout = Layout::new(base);
    fs_err::create_dir_all(layout.cache()).unwrap();
    let settings = Settings { offline: true, ..Settings::default() };
    Cache::new(Context::new(&layout, &NoListener, &cancel()), settings).import(file, None).unwrap()
}

fn extract(run_file: &VerifiedRunFile, base: &Path) {
    let layout = Layout::new(base);
    Store::new(Context::new(&layout, &NoListener, &cancel())).extract(run_file).unwrap();
}

/// A run file of ten libraries, half noise and half text, and a thousand small files: what a driver is made of.
fn build(directory: &Path, path: &Path, compression: Compression) {
    let mut generator = fastrand::Rng::with_seed(1);
    let source = directory.join("library");
    let mut writer = BufWriter::new(fs_err::File::create(&source).unwrap());
    let text = b"void cuInit(unsigned flags); ".repeat(18_000);
    for _ in 0..32 {
        let noise: Vec<u8> = std::iter::repeat_with(|| generator.u8(..)).take(512 << 10).collect();
        writer.write_all(&noise).unwrap();
        writer.write_all(&text).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let mut file = RunFile::new(VERSION).compression(compression).member(".manifest", 0o644, MANIFEST);
    for index in 0..10 {
        file = file.member_from(&format!("library{index}.so.580.76.05"), 0o755, &source);
    }
    for index in 0..1000 {
        file = file.member(&format!("kernel/nvidia/{index}.c"), 0o644, text[..8000].to_vec());
    }
    file.write_to(path).unwrap();
    fs_err::remove_file(source).unwrap();
}

fn memory_of_a_process(file: &Path, base: &Path) -> u64 {
    let process = Command::new(std::env::current_exe().unwrap()).env(FILE, file).env(BASE, base);
    process.run(&cancel()).unwrap().stdout_text().trim().parse().unwrap()
}

/// The largest resident set of this process so far (`VmHWM` of proc(5)).
fn peak_memory_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn cancel() -> Cancel {
    Cancel::new().unwrap()
}

fn ratio(time: Duration, reference: Duration) -> f64 {
    time.as_secs_f64() / reference.as_secs_f64()
}
