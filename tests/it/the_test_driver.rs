//! That the small driver for tests is one to `ldconfig`, to the loader and to a person who reads its manifest.

use crate::run_file::Broken;
use crate::shared_object::shared_object;
use crate::test_driver::TestDriver;

#[expect(clippy::disallowed_methods, reason = "the tools of the system are asked without the library")]
fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    std::process::Command::new(program).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn ldconfig_links_its_libraries_by_their_sonames() {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("libcuda.so.580.76.05"), shared_object("libcuda.so.1", 100)).unwrap();
    let ldconfig = run("/sbin/ldconfig", &["-n", directory.path().to_str().unwrap()], &[]);
    assert!(ldconfig.status.success() && ldconfig.stderr.is_empty(), "{ldconfig:?}");
    let target = fs_err::read_link(directory.path().join("libcuda.so.1")).unwrap();
    assert_eq!(target.to_str(), Some("libcuda.so.580.76.05"));
}

#[test]
fn the_loader_loads_its_libraries() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libcuda.so.1");
    fs_err::write(&library, shared_object("libcuda.so.1", 100)).unwrap();
    let loaded = run("/bin/true", &[], &[("LD_PRELOAD", library.to_str().unwrap())]);
    assert!(loaded.status.success() && loaded.stderr.is_empty(), "{loaded:?}");
}

#[test]
fn its_run_file_is_small_and_has_what_its_manifest_names() {
    let directory = tempfile::tempdir().unwrap();
    let file = TestDriver::new("580.76.05").write_into(directory.path());
    // The decompressor that it brings along is static, as NVIDIA's is, and has most of that.
    assert!(fs_err::metadata(&file).unwrap().len() < 4 << 20);
    let extracted = directory.path().join("out");
    let extracted = extracted.to_str().unwrap();
    let unpack = run("sh", &[file.to_str().unwrap(), "-x", "--target", extracted], &[]);
    assert!(unpack.status.success(), "{unpack:?}");
    let manifest = fs_err::read_to_string(directory.path().join("out/.manifest")).unwrap();
    assert_eq!(manifest.lines().nth(1), Some("580.76.05"));
    for line in manifest.lines().skip(8) {
        let words: Vec<&str> = line.split(' ').collect();
        let exists = directory.path().join("out").join(words[0]).exists();
        assert_eq!(exists, words[1] != "0000", "{line}");
    }
}

#[test]
fn its_run_file_can_hold_another_version_than_it_says() {
    let bytes = TestDriver::new("580.76.05").run_file().broken(Broken::OtherVersionInside);
    assert_ne!(bytes, TestDriver::new("580.76.05").run_file().build());
}
