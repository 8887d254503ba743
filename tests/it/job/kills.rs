//! SIGKILL in the middle of everything that takes long, and the run after it, which mends it.

use std::path::Path;

use super::fixture::{Job, VERSION};
use crate::http_server::{Answer, HttpServer};
use crate::run_file::Compression;
use crate::test_driver::{Misbehaviour, TestDriver};

const ETAG: &str = "\"one\"";

/// The directory in the container that an installation works in.
fn scratch_of(job: &Job) -> Option<std::path::PathBuf> {
    let names = fs_err::read_dir(job.rootfs("var/lib/phoenix-nvidia")).ok()?.flatten();
    names.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("phoenix-nvidia-run-"))
}

impl Job {
    /// Another run brings everything in order, and nothing of the killed one is left, on the host neither.
    #[track_caller]
    fn is_mended_by_another_run(&self) -> crate::ran::Ran {
        let ran = self.run("create").ok();
        self.assert_installed(VERSION);
        self.assert_nothing_is_left();
        let containers: Vec<String> = self.world.lxcpath().read_names();
        assert_eq!(containers, [self.ctid.to_string()]);
        let cached = self.world.cache().read_names();
        assert!(cached.iter().all(|name| !name.ends_with(".partial")), "{cached:?}");
        assert_eq!(self.tools_that_run(), Vec::<String>::new());
        ran
    }

    /// The commands of processes on the host that work on this world's containers, beside LXC's own monitor.
    fn tools_that_run(&self) -> Vec<String> {
        let lxcpath = self.world.lxcpath().display().to_string();
        let command = |entry: fs_err::DirEntry| fs_err::read(entry.path().join("cmdline")).ok();
        let commands = fs_err::read_dir("/proc").unwrap().flatten().filter_map(command);
        let texts = commands.map(|command| String::from_utf8_lossy(&command).replace('\0', " "));
        texts
            .filter(|text| text.contains(&lxcpath) && !text.contains("[lxc monitor]") && !text.starts_with("lxc-start"))
            .collect()
    }
}

trait Names {
    fn read_names(&self) -> Vec<String>;
}

impl Names for Path {
    fn read_names(&self) -> Vec<String> {
        let names = fs_err::read_dir(self).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

#[test]
fn killed_while_it_downloads_it_goes_on_where_it_was() {
    let job = Job::without_driver();
    let file = TestDriver::new(VERSION).run_file().build();
    let half = file.len() / 2;
    let server = HttpServer::start(move |asked| match (asked.path.ends_with(".run"), asked.earlier) {
        (false, _) => Answer::new(404, ""),
        (true, 0) => Answer::file(asked, &file, ETAG).stall_after(half),
        (true, _) => Answer::file(asked, &file, ETAG),
    });
    job.fetch_from(&server.url(&format!("/{}", TestDriver::new(VERSION).file_name())));
    let mut process = job.start("create");
    let partial_bytes = || {
        let entries = fs_err::read_dir(job.world.cache()).unwrap().flatten();
        entries
            .filter(|it| it.path().to_string_lossy().ends_with(".partial"))
            .map(|it| it.metadata().map_or(0, |it| it.len()))
            .sum::<u64>()
    };
    process.wait_until("half is downloaded", |_| partial_bytes() == half as u64);
    process.kill();
    job.is_mended_by_another_run();
    let asked = server.asked_for(".run");
    assert_eq!(asked.iter().map(|asked| asked.from).collect::<Vec<_>>(), [None, Some(half)]);
}

#[test]
fn killed_while_it_makes_the_container_it_makes_it_again() {
    let job = Job::new();
    let staging = job.world.lxcpath().join(format!(".phoenix-nvidia-{}", job.ctid));
    let mut process = job.start("create");
    process.wait_until("the template is being unpacked", |_| staging.join(format!("{}/rootfs/usr", job.ctid)).exists());
    process.kill();
    assert!(!job.world.rootfs(job.ctid).exists());
    job.is_mended_by_another_run();
}

#[test]
fn killed_while_it_copies_the_run_file_it_clears_that_away() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).compression(Compression::None).library_size(6 << 20));
    let mut process = job.start("create");
    process.wait_until("the run file is being copied", |_| {
        scratch_of(&job).is_some_and(|scratch| scratch.join(TestDriver::new(VERSION).file_name()).exists())
    });
    process.kill();
    let scratch = scratch_of(&job).unwrap();
    let ran = job.is_mended_by_another_run();
    let name = scratch.file_name().unwrap().to_string_lossy();
    let note = format!("note: removed `/var/lib/phoenix-nvidia/{name}`, left by an interrupted run\n");
    assert!(ran.stderr.contains(&note), "{}", ran.stderr);
}

#[test]
fn killed_while_the_installer_runs_it_ends_that_and_begins_again() {
    let job = Job::without_driver();
    job.cache(&TestDriver::new(VERSION).misbehaving(Misbehaviour::HangAfterHalf));
    let mut process = job.start("create");
    process.wait_until("half of it is installed", |_| job.rootfs("usr/bin/nvidia-smi").exists());
    process.kill();
    assert!(!job.receipt().exists());
    assert_eq!(job.status()["verdict"], "out of sync");
    job.cache(&TestDriver::new(VERSION));
    let ran = job.is_mended_by_another_run();
    let warning = "warning: an installation of a killed run was still running and was ended\n";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
}

#[test]
fn killed_when_the_installer_has_done_its_work_the_run_file_does_not_stay() {
    let job = Job::new();
    job.run("create").ok();
    // The installer has ended by itself after the program was killed: the driver is there, and so is the run file.
    let left = "/var/lib/phoenix-nvidia/phoenix-nvidia-run-0123456789abcdef";
    job.inside(&format!("mkdir {left}; echo run > {left}/NVIDIA.run"));
    fs_err::remove_file(job.receipt()).unwrap();
    let planned = job.run_with("plan", &["--exit-code"]).exits(4).stdout;
    assert!(planned.contains(&format!("  remove what an interrupted run left\n      {left}\n")), "{planned}");
    job.run("create").ok();
    job.assert_nothing_is_left();
    job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
    fs_err::create_dir(job.rootfs(left)).unwrap();
    job.world.run(&["apply", "--all"]).ok();
    assert_eq!(job.status()["state"], "stopped");
    job.assert_nothing_is_left();
}
