//! What a driver costs in 1 to 16 running containers that have none, from an empty cache: `apply --all` by each method,
//! beside the scripts' way: one after the other, each with its own download, push, run of the installer, removal.
//!
//! `cargo bench --bench fleet`, as root, after `sh tests/prepare.sh`, with curl. Containers, cache and store lie on an
//! ext4 of their own in a loop file; the run file comes from a server on the loopback, which costs less than any other.
//! The driver is a third of one of full size, and its installer copies and links and does nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or has failed")]

#[path = "../support/cost.rs"]
mod cost;
#[path = "../support/disk.rs"]
mod disk;
#[path = "../../tests/support/gpu_host.rs"]
mod gpu_host;
#[path = "../../tests/support/http_server.rs"]
mod http_server;
#[path = "../support/noise.rs"]
mod noise;
#[path = "../../tests/support/ran.rs"]
mod ran;
#[path = "../../tests/support/run_file.rs"]
mod run_file;
#[path = "../../tests/support/shared_object.rs"]
mod shared_object;
#[path = "../../tests/support/test_driver.rs"]
mod test_driver;
#[path = "../../tests/support/world.rs"]
mod world;

use serde_json::{Map, json};

use cost::{Cost, as_megabytes, median};
use disk::Disk;
use http_server::{Answer, HttpServer};
use ran::Ran;
use test_driver::TestDriver;
use world::{Privilege, World};

const VERSION: &str = "580.76.05";
const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];
const ROUNDS: usize = 3;
// 250 MB in the package that compress to 100 MB; and nine libraries that are placed.
const PIECES: usize = 190;
const LIBRARY: usize = 24 << 20;

const PATH: &str = "/driver.run";

/// How the containers get their driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Scripts,
    Apply(&'static str),
}

const CONTESTANTS: [Contestant; 5] = [
    Contestant::Scripts,
    Contestant::Apply("runfile"),
    Contestant::Apply("installer"),
    Contestant::Apply("native"),
    Contestant::Apply("shared"),
];

fn main() {
    let disk = Disk::new("ext4").unwrap();
    let bench = Bench::new(&disk);
    let bytes = bench.run_file_bytes as f64 / 1e6;
    println!("a run file of {bytes:.0} MB, {} MB placed, median of {ROUNDS} rounds", (9 * LIBRARY) / 1_000_000);
    println!(
        "| containers | method | s | of the scripts' | s a container | MB downloaded | MB written | of the scripts' | \
         MB of peak space |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for count in COUNTS {
        bench.rows(count);
    }
}

struct Bench<'d> {
    disk: &'d Disk,
    world: World,
    server: HttpServer,
    run_file_bytes: usize,
    ids: Vec<u32>,
}

impl<'d> Bench<'d> {
    /// All containers, which run, and a server with the run file.
    fn new(disk: &'d Disk) -> Self {
        let world = World::new_in(disk.directory());
        let run_file = run_file_of(&world);
        let run_file_bytes = run_file.len();
        let server = HttpServer::start(move |asked| match asked.path.as_str() {
            PATH => Answer::file(asked, &run_file, "\"one\""),
            // Nobody vouches for it.
            _ => Answer::new(404, ""),
        });
        let ids: Vec<u32> = (0..COUNTS[COUNTS.len() - 1]).map(|_| world.ctid()).collect();
        for id in &ids {
            world.create_by_hand(*id, Privilege::Unprivileged, &[]);
            world.lxc("lxc-start", *id, &[]).ok();
        }
        world.write_hypervisor(&json!({ "nvidia_driver": { "allow_http": ["127.0.0.1"] } }));
        Self { disk, world, server, run_file_bytes, ids }
    }

    /// Prints what each contestant cost for this many containers. Rounds are interleaved, so that a noisy moment hits
    /// each of them.
    fn rows(&self, count: usize) {
        let ids = &self.ids[..count];
        self.configure(ids);
        let mut costs: Vec<(Contestant, Vec<Cost>, usize)> = CONTESTANTS.map(|it| (it, Vec::new(), 0)).into();
        for _ in 0..ROUNDS {
            for (contestant, measured, downloads) in &mut costs {
                let before = self.server.asked_for(PATH).len();
                measured.push(Cost::of(self.disk, &self.command(*contestant, ids)).unwrap());
                *downloads = self.server.asked_for(PATH).len() - before;
                self.clear(ids);
            }
        }
        let scripts = median(&costs[0].1).unwrap();
        for (contestant, measured, downloads) in &costs {
            let cost = median(measured).unwrap();
            let name = match contestant {
                Contestant::Scripts => "the scripts'".to_owned(),
                Contestant::Apply(method) => format!("`{method}`"),
            };
            println!(
                "| {count} | {name} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} |",
                cost.seconds,
                cost.seconds / scripts.seconds,
                cost.seconds / count as f64,
                as_megabytes((downloads * self.run_file_bytes) as u64),
                as_megabytes(cost.written),
                cost.written as f64 / scripts.written as f64,
                as_megabytes(cost.space),
            );
        }
    }

    fn configure(&self, ids: &[u32]) {
        let entry = json!({
            "name": "bench", "template": self.world.template(), "unprivileged": true, "features": ["nvidia"],
        });
        let entries: Map<_, _> = ids.iter().map(|id| (id.to_string(), entry.clone())).collect();
        self.world.write_containers(&json!({
            "nvidia_driver_version": VERSION, "nvidia_runfile_url": self.server.url(PATH),
            "lxc_configs": entries,
        }));
    }

    fn command(&self, contestant: Contestant, ids: &[u32]) -> Vec<String> {
        match contestant {
            Contestant::Scripts => vec!["sh".to_owned(), "-ec".to_owned(), self.script(ids)],
            Contestant::Apply(method) => self.phoenix(&["apply", "--all", "--method", method]),
        }
    }

    /// As the operators' scripts do it. The push is a plain copy, which costs less than `pct push`.
    fn script(&self, ids: &[u32]) -> String {
        let (lxcpath, here) = (self.world.lxcpath(), self.world.scratch("NVIDIA.run"));
        let (lxcpath, here, url) = (lxcpath.display(), here.display(), self.server.url(PATH));
        let each = ids.iter().map(|id| {
            let pushed = format!("{lxcpath}/{id}/rootfs/root/NVIDIA.run");
            format!(
                "curl -sf -o {here} {url}\ncp {here} {pushed}\n\
                 lxc-attach --lxcpath {lxcpath} --name {id} --clear-env -- sh /root/NVIDIA.run {options} > /dev/null\n\
                 rm {pushed} {here}\n",
                options = test_driver::OPTIONS
            )
        });
        each.collect()
    }

    /// The command line of the program for this world.
    fn phoenix(&self, words: &[&str]) -> Vec<String> {
        let program = env!("CARGO_BIN_EXE_phoenix-nvidia").to_owned();
        let (base, lxcpath) = (self.world.base().display().to_string(), self.world.lxcpath().display().to_string());
        let options = ["--base".to_owned(), base, "--lxcpath".to_owned(), lxcpath, "--quiet".to_owned()];
        std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).chain(options).collect()
    }

    /// Brings containers, cache and store back to nothing, after a look whether there was a driver at all.
    fn clear(&self, ids: &[u32]) {
        for id in ids {
            self.world.inside(*id, "ldconfig -p | grep -q 'libcuda.so.1 '").ok();
            let arguments = self.phoenix(&["uninstall", &id.to_string()]);
            Ran::of(&arguments[0], &arguments[1..], &[]).ok();
        }
        for directory in ["cache", "lib/nvidia", "lib/images"] {
            let directory = self.world.base().join(directory);
            if directory.exists() {
                fs_err::remove_dir_all(&directory).unwrap();
            }
        }
        self.disk.sync();
    }
}

fn run_file_of(world: &World) -> Vec<u8> {
    let noise = world.scratch("noise");
    noise::write(&noise, PIECES);
    let bytes = TestDriver::new(VERSION).library_size(LIBRARY).run_file().member_from("noise", 0o644, &noise).build();
    fs_err::remove_file(noise).unwrap();
    bytes
}
