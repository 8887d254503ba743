//! Where files go in the layouts of three families of distributions, judged by a table that knows nothing of the code.

use crate::job::fixture::Job;
use crate::placement_table::{Kind, Layout, VERSION, expected_of, manifest, members};
use crate::ran::Ran;
use crate::run_file::RunFile;
use crate::shared_object::shared_object;
use crate::tree::Tree;
use crate::world::Privilege;

use super::{ENDS_AT_ONCE, assert_same};

/// Turns Debian's files into another family's, with the directories of an X server; the container never runs.
fn lay_out(job: &Job, layout: Layout) {
    let multiarch = "usr/lib/x86_64-linux-gnu";
    let script = match layout {
        Layout::Debian => "true".to_owned(),
        Layout::Rpm => format!("mv {multiarch}/* usr/lib64/; rmdir {multiarch}"),
        Layout::Arch => format!(
            "rm usr/lib64/*; rmdir usr/lib64; mv {multiarch}/* usr/lib/; rmdir {multiarch}; ln -s lib usr/lib64; \
             ln -sfn usr/lib lib64"
        ),
    };
    let [_, compat32, x_modules] = layout.directories();
    let rootfs = job.world.rootfs(job.ctid);
    let script = format!(
        "set -e; cd '{}'; rm -f etc/ld.so.cache; {script}; \
         mkdir -p ./{x_modules} ./{compat32} usr/share/X11/xorg.conf.d",
        rootfs.display()
    );
    Ran::of("sh", &["-c", &script], &[]).ok();
}

/// The library that the table does not have, and that no driver is without.
const NVML: &str = "libnvidia-ml.so.550.163.01";

/// The table's package, with a library in the place of every library.
fn package() -> RunFile {
    // Each has its own name for a SONAME, so that `ldconfig` would make no link.
    let contents = |path: &str| match path.rsplit('/').next() {
        Some(name) if name.contains(".so") => shared_object(name, 0),
        _ => path.as_bytes().to_vec(),
    };
    let manifest = format!("{}{NVML} 0755 CUDA_LIB NATIVE /\n", manifest());
    let file = RunFile::new(VERSION).member(".manifest", 0o644, manifest).member(NVML, 0o755, contents(NVML));
    members().into_iter().fold(file, |file, (path, mode)| file.member(path, mode, contents(path)))
}

/// Whether a profile has a line: ours leave out systemd and nvidia-modprobe, and 32 bits unless they are asked for.
fn is_taken(profile: &str, line: &str) -> bool {
    let left_out = ["SYSTEMD_", "NVIDIA_MODPROBE"].iter().any(|word| line.contains(word));
    !left_out && (profile.ends_with("+compat32") || !line.contains("COMPAT32"))
}

/// What has come, as the table has it: permission bits of files, targets of links.
fn come(before: &Tree, after: &Tree) -> Vec<(String, Kind)> {
    let come = after.iter().filter(|(path, _)| !before.contains_key(*path));
    let kind = |(path, what): (&String, &String)| {
        let (mode, rest) = what.split_once(' ').unwrap();
        let mode = u32::from_str_radix(mode, 8).unwrap();
        let contents = rest.split_once(' ').unwrap().1;
        match mode & 0o170_000 {
            0o120_000 => Some((path.clone(), Kind::Link { target: contents.to_owned() })),
            0o100_000 => Some((path.clone(), Kind::File { mode: mode & 0o7777 })),
            _ => None,
        }
    };
    come.filter_map(kind).collect()
}

#[test]
fn every_type_goes_where_the_table_says_in_every_layout() {
    for (layout, profile) in Layout::ALL.into_iter().flat_map(|layout| ["full", "full+compat32"].map(|it| (layout, it)))
    {
        let job = Job::without_driver();
        package().write_to(&job.world.cache().join(RunFile::new(VERSION).file_name())).unwrap();
        job.want(VERSION, "native", profile);
        job.world.create_by_hand(job.ctid, Privilege::Privileged, &[ENDS_AT_ONCE]);
        lay_out(&job, layout);
        let before = job.plain_tree();
        job.run("install").ok();
        let come = come(&before, &job.plain_tree());
        let mut expected = expected_of(layout, |line| is_taken(profile, line));
        expected.push((format!("{}/{NVML}", layout.directories()[0]), Kind::File { mode: 0o755 }));
        for (path, _) in &mut expected {
            // The installer writes through the link that `/lib` is.
            *path = path.replacen("/lib/firmware/", "/usr/lib/firmware/", usize::from(path.starts_with("/lib/")));
        }
        let leads_somewhere = |(path, kind): &&(String, Kind)| match kind {
            Kind::File { .. } => true,
            Kind::Link { target } => {
                let directory = path.rsplit_once('/').unwrap().0;
                let leads = if target.starts_with('/') { target.clone() } else { format!("{directory}/{target}") };
                come.iter().any(|(path, _)| *path == leads)
            }
        };
        let missing: Vec<_> = expected.iter().filter(leads_somewhere).filter(|one| !come.contains(one)).collect();
        assert!(missing.is_empty(), "{layout:?}, {profile}: {missing:#?}");
        let unexpected: Vec<_> = come.iter().filter(|one| !expected.contains(one)).collect();
        let abi = (
            "/usr/lib/libGL.so.1".to_owned(),
            Kind::Link { target: format!("{}/libGL.so.1", layout.directories()[0]) },
        );
        assert!(unexpected.iter().all(|one| **one == abi), "{layout:?}, {profile}: {unexpected:#?}");
        job.run("uninstall").ok();
        assert_same(&before, &job.plain_tree());
    }
}
