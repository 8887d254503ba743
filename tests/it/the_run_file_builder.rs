//! That the run files built for tests behave as NVIDIA's do.

use std::path::Path;
use std::process::{Command, Output};

use crate::run_file::{Broken, Compression, RunFile};

const MANIFEST: &str = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n580.76.05\n \nnvidia \n";

fn small() -> RunFile {
    let installer = "#! /bin/sh\necho \"installer: $*\" >> \"$WITNESS\"\nls -A . >> \"$WITNESS\"\nexit ${RESULT:-0}\n";
    RunFile::new("580.76.05")
        .member(".manifest", 0o644, MANIFEST)
        .member("nvidia-installer", 0o755, installer)
        .member("libcuda.so.580.76.05", 0o755, (0..=255).cycle().take(100_000).collect::<Vec<u8>>())
        .link("libcuda.so.1", "libcuda.so.580.76.05")
}

#[expect(clippy::disallowed_methods, reason = "the stub is asked as an operator would, without the library")]
fn sh(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("setsid");
    command.args(["--wait", "sh"]).arg(file).args(arguments).current_dir(file.parent().unwrap());
    command.env("TMPDIR", file.parent().unwrap()).env("WITNESS", file.with_file_name("witness"));
    command.envs(environment.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn code_of(bytes: &[u8], arguments: &[&str]) -> Option<i32> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.run");
    fs_err::write(&file, bytes).unwrap();
    sh(&file, arguments, &[]).status.code()
}

#[test]
fn the_sums_in_the_header_are_those_of_cksum_and_md5sum_whatever_the_compression() {
    for compression in [Compression::Zstd, Compression::Xz, Compression::Gzip, Compression::Bzip2, Compression::None] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("driver.run");
        small().compression(compression).write_to(&file).unwrap();
        let check = sh(&file, &["--check"], &[]);
        assert_eq!(check.status.code(), Some(0), "{compression:?}: {}", text(&check));
        assert!(text(&check).contains("sums are ok"));
        let list = text(&sh(&file, &["--list"], &[]));
        assert!(list.contains("./libcuda.so.1 -> libcuda.so.580.76.05"), "{compression:?}: {list}");
    }
}

#[test]
fn written_piece_by_piece_it_is_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.run");
    small().write_to(&file).unwrap();
    assert!(fs_err::read(&file).unwrap() == small().build());
}

#[test]
fn installing_runs_the_script_in_the_unpacked_directory_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.run");
    small().write_to(&file).unwrap();
    let run = sh(&file, &["--silent", "--no-kernel-module"], &[("RESULT", "7")]);
    assert_eq!(run.status.code(), Some(7), "{}", text(&run));
    assert!(text(&run).contains("...."), "one dot for each member: {}", text(&run));
    let witness = fs_err::read_to_string(directory.path().join("witness")).unwrap();
    assert!(witness.starts_with("installer: --silent --no-kernel-module\n.manifest\nlibcuda.so.1\n"), "{witness}");
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 2, "the run file and the witness");
}

#[test]
fn extracting_keeps_the_directory_and_runs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.run");
    small().write_to(&file).unwrap();
    assert_eq!(sh(&file, &["-x"], &[]).status.code(), Some(0));
    assert!(directory.path().join("NVIDIA-Linux-x86_64-580.76.05/nvidia-installer").exists());
    assert!(!directory.path().join("witness").exists());
}

#[test]
fn it_tells_about_itself() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.run");
    small().uncompressed_size(1_072_921_600).write_to(&file).unwrap();
    assert!(text(&sh(&file, &["--info"], &[])).contains("Uncompressed size : 1047775 KB"));
    assert_eq!(text(&sh(&file, &["--version-string"], &[])), "580.76.05\n");
    assert_eq!(text(&sh(&file, &["--target-directory"], &[])), "NVIDIA-Linux-x86_64-580.76.05\n");
}

#[test]
fn a_system_without_the_decompressor_uses_the_embedded_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.run");
    small().decompressor(crate::test_driver::decompressor()).write_to(&file).unwrap();
    let bin = directory.path().join("bin");
    fs_err::create_dir(&bin).unwrap();
    for tool in ["sh", "tail", "cksum", "awk", "md5sum", "cut", "mktemp", "uname", "tar", "which", "head", "chmod"]
        .into_iter()
        .chain(["mkdir", "rm", "cat", "setsid", "ls"])
    {
        let real = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(tool));
        std::os::unix::fs::symlink(real.iter().find(|path| path.exists()).unwrap(), bin.join(tool)).unwrap();
    }
    let run = sh(&file, &["--silent"], &[("PATH", bin.to_str().unwrap())]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    assert!(directory.path().join("witness").exists());
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 3, "run file, witness and bin");
}

#[test]
fn broken_files_end_as_they_do_with_nvidias_stub() {
    // What `--check` and an installation exit with, as measured with a stub of NVIDIA's generator.
    let expected = |how| match how {
        Broken::Empty | Broken::OtherVersionInTheHeader | Broken::OtherVersionInside => (0, 0),
        Broken::OtherArchitecture => (0, 1),
        Broken::WrongSkip | Broken::DamagedPayload => (0, 15),
        Broken::ZeroMd5 => (0, 2),
        _ => (2, 2),
    };
    for how in Broken::ALL {
        let bytes = small().broken(how);
        let (check, install) = expected(how);
        assert_eq!(code_of(&bytes, &["--check"]), Some(check), "{how:?} --check");
        assert_eq!(code_of(&bytes, &["--silent"]), Some(install), "{how:?} installation");
    }
}
