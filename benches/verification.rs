//! How long the check of a 400 MB run file takes, and how much memory, beside `sha256sum` and the file's own `--check`.
//!
//! `cargo bench --bench verification`. All are measured in one run, on a file in the page cache; the ratios matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or has failed")]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use phoenix_nvidia::cache::{Cache, ExpectedSum, Request, Settings};
use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::driver::Variant;
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::sys::cancel::Cancel;
use phoenix_nvidia::sys::command::Command;

#[path = "../tests/support/run_file.rs"]
mod run_file;

use run_file::RunFile;

const VERSION: &str = "580.76.05";
const ROUNDS: usize = 5;
// What a process that measures its own memory is told: the base directory and, if any, the known sum.
const BASE: &str = "PHOENIX_NVIDIA_BENCH_BASE";
const SUM: &str = "PHOENIX_NVIDIA_BENCH_SUM";

// Goals, as shares of the time of `sha256sum`.
const ALL_SUMS_GOAL: f64 = 0.4;
const KNOWN_SUM_GOAL: f64 = 0.2;
const MEMORY_GOAL_KIB: u64 = 32 << 10;

fn main() {
    if let Ok(base) = std::env::var(BASE) {
        verify(Path::new(&base), std::env::var(SUM).ok());
        println!("{}", peak_memory_kib());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path());
    let path = layout.run_file(&VERSION.parse().unwrap(), "x86_64", Variant::Full);
    fs_err::create_dir_all(layout.cache()).unwrap();
    build(directory.path(), &path);
    let sum = command("sha256sum", &path).split_whitespace().next().unwrap().to_owned();
    let mut rows = measured(directory.path(), &path, &sum);
    let reference = rows[0].1;
    println!("{} MB, best of {ROUNDS} rounds", fs_err::metadata(&path).unwrap().len() / 1_000_000);
    for (name, time) in &mut rows {
        println!("{name:<44} {:>7.3} s  {:>5.2} of sha256sum", time.as_secs_f64(), ratio(*time, reference));
    }
    let memory = [None, Some(&*sum)].map(|sum| memory_of_a_process(directory.path(), sum));
    println!("peak memory: {} KiB with all sums, {} KiB with a known sum", memory[0], memory[1]);
    let met = ratio(rows[2].1, reference) <= ALL_SUMS_GOAL
        && ratio(rows[3].1, reference) <= KNOWN_SUM_GOAL
        && memory.iter().all(|kib| *kib < MEMORY_GOAL_KIB);
    println!("goals (all sums {ALL_SUMS_GOAL}, known sum {KNOWN_SUM_GOAL}, {MEMORY_GOAL_KIB} KiB) met: {met}");
}

/// The best time of each way to check the file; rounds are interleaved, so that a noisy moment hits all of them.
fn measured(base: &Path, path: &Path, sum: &str) -> Vec<(&'static str, Duration)> {
    let ways: [(&str, &dyn Fn()); 4] = [
        ("sha256sum", &|| drop(command("sha256sum", path))),
        ("sh FILE --check", &|| drop(Command::new("sh").arg(path).arg("--check").run(&cancel()).unwrap())),
        ("ours, SHA-256, MD5 and CRC", &|| verify(base, None)),
        ("ours, with a known SHA-256", &|| verify(base, Some(sum.to_owned()))),
    ];
    let mut best = ways.map(|(name, _)| (name, Duration::MAX));
    for _ in 0..ROUNDS {
        for ((_, way), (_, time)) in ways.iter().zip(&mut best) {
            let start = Instant::now();
            way();
            *time = start.elapsed().min(*time);
        }
    }
    best.to_vec()
}

/// What `ensure` does with a cached file that it does not remember.
fn verify(base: &Path, sum: Option<String>) {
    let (layout, cancel) = (Layout::new(base), cancel());
    // Whatever an earlier round remembered would spare this one the work.
    for record in [layout.cache_sums(), layout.cache_stamps()] {
        if record.exists() {
            fs_err::remove_file(record).unwrap();
        }
    }
    let sha256 = sum.map(|sum| ExpectedSum { sum: sum.parse().unwrap(), origin: "the benchmark".to_owned() });
    let request = Request {
        version: VERSION.parse().unwrap(),
        architecture: "x86_64".to_owned(),
        variant: Variant::Full,
        compat32: false,
        urls: Vec::new(),
        sha256,
    };
    let settings = Settings { offline: true, ..Settings::default() };
    Cache::new(Context::new(&layout, &NoListener, &cancel), settings).ensure(&request).unwrap();
}

/// A run file of about 400 MB: as in real ones, what is left after compression is noise.
fn build(directory: &Path, path: &Path) {
    let mut generator = fastrand::Rng::with_seed(1);
    let source = directory.join("libcuda.so");
    let mut writer = BufWriter::new(fs_err::File::create(&source).unwrap());
    let text = b"void cuInit(unsigned flags); ".repeat(18_000);
    for _ in 0..760 {
        let noise: Vec<u8> = std::iter::repeat_with(|| generator.u8(..)).take(512 << 10).collect();
        writer.write_all(&noise).unwrap();
        writer.write_all(&text).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let file = RunFile::new(VERSION).member_from("libcuda.so.580.76.05", 0o755, &source);
    file.member("32/libcuda.so.580.76.05", 0o755, "").write_to(path).unwrap();
    fs_err::remove_file(source).unwrap();
}

fn memory_of_a_process(base: &Path, sum: Option<&str>) -> u64 {
    let mut process = Command::new(std::env::current_exe().unwrap()).env(BASE, base);
    if let Some(sum) = sum {
        process = process.env(SUM, sum);
    }
    process.run(&cancel()).unwrap().stdout_text().trim().parse().unwrap()
}

/// The largest resident set of this process so far (`VmHWM` of proc(5)).
fn peak_memory_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn command(program: &str, path: &Path) -> String {
    Command::new(program).arg(path).run(&cancel()).unwrap().stdout_text()
}

fn cancel() -> Cancel {
    Cancel::new().unwrap()
}

fn ratio(time: Duration, reference: Duration) -> f64 {
    time.as_secs_f64() / reference.as_secs_f64()
}
