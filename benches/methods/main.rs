//! What each method to install costs on each file system: time, bytes written, space and memory, as a table in
//! Markdown.
//!
//! `cargo bench --bench methods`, as root, after `sh tests/prepare.sh`, with xfsprogs and btrfs-progs. The driver is
//! the one of full size that `demo/full-size-driver.sh` makes, or the run file that PHOENIX_NVIDIA_BENCH_RUN_FILE
//! names; the container and the store lie together on a file system of their own in a loop file. The cache is warm, the
//! driver is extracted and another container sees its image already; that costs once a host what the first lines say.
//! What is measured is what each further container costs. Nothing syncs the files: neither the methods, nor `cp`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or has failed")]

#[path = "../support/cost.rs"]
mod cost;
#[path = "../support/disk.rs"]
mod disk;
#[path = "../../tests/support/gpu_host.rs"]
mod gpu_host;
mod plain_copy;
#[path = "../../tests/support/ran.rs"]
mod ran;
#[path = "../../tests/support/world.rs"]
mod world;

use std::path::{Path, PathBuf};

use serde_json::json;

use cost::{Cost, median};
use disk::Disk;
use ran::Ran;
use world::{Privilege, World};

const METHODS: [&str; 4] = ["runfile", "installer", "native", "shared"];
const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];
const PROFILE: &str = "full";
const ROUNDS: usize = 3;
const DEMO: &str = "/var/tmp/phoenix-nvidia-demo";

/// How a driver can get into the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Method(&'static str),
    /// `cp` of the files that the driver consists of, links, and `ldconfig`: what nobody can do without.
    PlainCopy,
}

fn main() {
    let run_file = run_file();
    let size = fs_err::metadata(&run_file).unwrap().len() / 1_000_000;
    println!("{}, {size} MB, profile {PROFILE}, median of {ROUNDS} rounds\n", file_name(&run_file));
    let mut table = String::from(
        "| file system | method | s | of runfile | of cp | MB written | of runfile | MB space | of runfile | MB \
         memory |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for kind in FILE_SYSTEMS {
        match Disk::new(kind) {
            Ok(disk) => table += &Bench::new(&disk, &run_file).rows(kind),
            Err(reason) => println!("{kind} is left out: {reason}"),
        }
    }
    println!("\n{table}");
}

fn run_file() -> PathBuf {
    if let Some(path) = std::env::var_os("PHOENIX_NVIDIA_BENCH_RUN_FILE") {
        return path.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/full-size-driver.sh");
    let printed = cost::unlimited("sh", &[script.to_str().unwrap(), DEMO, "550"]);
    printed.lines().last().unwrap().into()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// One running container on a file system, with a warm cache and an extracted driver.
struct Bench<'a> {
    world: World,
    disk: &'a Disk,
    ctid: u32,
    version: String,
}

impl<'a> Bench<'a> {
    fn new(disk: &'a Disk, run_file: &Path) -> Self {
        let name = file_name(run_file);
        let version = name.rsplit('-').next().unwrap().trim_end_matches(".run").to_owned();
        let world = World::new_in(disk.directory());
        let (ctid, neighbour) = (world.ctid(), world.ctid());
        let container = |name| json!({ "name": name, "template": world.template(), "features": ["nvidia"] });
        world.write_containers(&json!({
            "nvidia_driver_version": version,
            "lxc_configs": { ctid.to_string(): container("bench"), neighbour.to_string(): container("neighbour") },
        }));
        world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
        for ctid in [ctid, neighbour] {
            world.create_by_hand(ctid, Privilege::Privileged, &[]);
            world.lxc("lxc-start", ctid, &[]).ok();
        }
        let bench = Self { world, disk, ctid, version };
        bench.fill_cache_and_store(run_file, neighbour);
        bench
    }

    fn fill_cache_and_store(&self, run_file: &Path, neighbour: u32) {
        let import = self.phoenix(&["cache", "import", run_file.to_str().unwrap()]);
        let extract = self.phoenix(&["store", "extract", &self.version]);
        let share = self.phoenix(&["install", &neighbour.to_string(), "--method", "shared", "--profile", PROFILE]);
        let steps = [
            ("import into the cache", import),
            ("extraction into the store", extract),
            ("the image, and the first container that sees it", share),
        ];
        for (what, arguments) in steps {
            let cost = Cost::of(self.disk, &arguments).unwrap();
            println!("{}: {what}: {:.2} s, {} MB memory", self.disk.kind(), cost.seconds, cost.memory / 1_000_000);
        }
    }

    /// The command line of the program for this world.
    fn phoenix(&self, arguments: &[&str]) -> Vec<String> {
        let program = env!("CARGO_BIN_EXE_phoenix-nvidia").to_owned();
        let options =
            ["--base".to_owned(), shown(&self.world.base()), "--lxcpath".to_owned(), shown(&self.world.lxcpath())];
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        std::iter::once(program).chain(arguments).chain(options).collect()
    }

    fn rows(&self, kind: &str) -> String {
        let contestants = METHODS.map(Contestant::Method).into_iter().chain([Contestant::PlainCopy]);
        let mut costs: Vec<(Contestant, Vec<Cost>)> = contestants.map(|contestant| (contestant, Vec::new())).collect();
        // The first of all rounds warms up what all of them use, and shows who fails. Rounds are interleaved, so that a
        // noisy moment hits every method.
        let mut failed = Vec::new();
        for round in 0..=ROUNDS {
            for (contestant, measured) in &mut costs {
                if failed.contains(contestant) {
                    continue;
                }
                match self.install(*contestant) {
                    Ok(cost) if round > 0 => measured.push(cost),
                    Ok(_) => {}
                    Err(reason) => {
                        println!("{kind}, {}: {}", contestant.name(), reason.trim());
                        failed.push(*contestant);
                        measured.clear();
                    }
                }
                self.remove(*contestant);
            }
        }
        let median_of = |wanted| costs.iter().find(|(one, _)| *one == wanted).and_then(|(_, costs)| median(costs));
        let (runfile, copy) = (median_of(Contestant::Method("runfile")), median_of(Contestant::PlainCopy));
        let rows = costs.iter().map(|(contestant, costs)| {
            let Some(cost) = median(costs) else { return format!("| {kind} | {} | failed |\n", contestant.name()) };
            format!("| {kind} | {} {}", contestant.name(), cost.row(runfile.as_ref(), copy.as_ref()))
        });
        rows.collect()
    }

    fn install(&self, contestant: Contestant) -> Result<Cost, String> {
        let command = match contestant {
            Contestant::Method(method) => {
                self.phoenix(&["install", &self.ctid.to_string(), "--method", method, "--profile", PROFILE])
            }
            Contestant::PlainCopy => {
                let rootfs = self.world.rootfs(self.ctid);
                let script = plain_copy::script(&self.world.base(), &self.version, &rootfs);
                vec!["sh".to_owned(), "-ec".to_owned(), script]
            }
        };
        let mut cost = Cost::of(self.disk, &command)?;
        if contestant == Contestant::PlainCopy {
            // The shell's own says nothing.
            cost.memory = 0;
        }
        let library = format!("/usr/lib/x86_64-linux-gnu/libcuda.so.{}", self.version);
        let found = self.world.inside(self.ctid, "ldconfig -p | grep -c 'libcuda.so.1 '").code == 0;
        // A way that has installed nothing is the fastest of all.
        if found { Ok(cost) } else { Err(format!("the loader does not find `{library}`")) }
    }

    /// Brings the container back to what it was, and the disk to rest.
    fn remove(&self, contestant: Contestant) {
        if contestant == Contestant::PlainCopy {
            let rootfs = self.world.rootfs(self.ctid);
            let script = plain_copy::removal(&self.world.base(), &self.version, &rootfs);
            cost::unlimited("sh", &["-ec", &script]);
        } else {
            let arguments = self.phoenix(&["uninstall", &self.ctid.to_string()]);
            // A way that this release does not have has installed nothing.
            let _ = Ran::of(&arguments[0], &arguments[1..], &[]);
        }
        self.disk.sync();
    }
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::Method(method) => method,
            Self::PlainCopy => "`cp`, `ldconfig`",
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
