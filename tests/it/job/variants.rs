//! Files that are no full driver: told by what is inside.

use super::fixture::{Job, VERSION};
use super::shared::OWN;
use crate::test_driver::TestDriver;

impl Job {
    /// A driver's run file that is not in the cache.
    fn brought(&self, driver: &TestDriver) -> String {
        let directory = self.world.scratch("brought");
        fs_err::create_dir_all(&directory).unwrap();
        driver.write_into(&directory).display().to_string()
    }

    fn names_in_cache(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.world.cache()).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".run") && name.contains(VERSION));
        names.sort();
        names
    }
}

#[test]
fn the_urls_file_name_says_which_variant_a_container_gets() {
    let job = Job::without_driver();
    job.set("nvidia_install_method", "native");
    for driver in
        [TestDriver::new(VERSION).without_compat32(), TestDriver::new(VERSION), TestDriver::new(VERSION).grid()]
    {
        job.world.run(&["cache", "import", &job.brought(&driver)]).ok();
    }
    assert_eq!(job.names_in_cache().len(), 3, "{:?}", job.names_in_cache());
    let url = |ending: &str| format!("https://mirror.invalid/NVIDIA-Linux-{{arch}}-{{version}}{ending}.run");
    job.set_for_all("nvidia_runfile_url", url("-vgpu-kvm"));
    let ran = job.run("create").exits(3);
    assert!(ran.stderr.contains("no container can use it") && ran.stderr.contains("-grid.run"), "{}", ran.stderr);
    job.set_for_all("nvidia_runfile_url", url("-no-compat32"));
    job.run("create").ok();
    let receipt = fs_err::read_to_string(job.receipt()).unwrap();
    let sums = fs_err::read_to_string(job.world.cache().join("SHA256SUMS")).unwrap();
    let line = sums.lines().find(|line| line.ends_with("-no-compat32.run")).unwrap();
    assert!(receipt.contains(line.split(' ').next().unwrap()), "{sums}{receipt}");
}

#[test]
fn a_file_that_was_replaced_changes_no_container_under_its_feet() {
    let job = Job::new().shared();
    job.run("create").ok();
    job.assert_shared(VERSION);
    let file = job.brought(&TestDriver::new(VERSION).library_size(9000));
    let refused = job.world.run(&["cache", "import", &file]).exits(7);
    assert!(refused.stderr.contains(&format!("phoenix-nvidia cache replace {file}")), "{}", refused.stderr);
    let announced = job.world.run(&["cache", "replace", "--dry-run", &file]).ok();
    assert!(announced.stdout.contains("it would replace the file"), "{}", announced.stdout);
    let done = job.world.run(&["cache", "replace", &file]).ok();
    let says = |words: &str| assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    says(&format!("container {} still uses the image of the previous file", job.ctid));
    says(&format!("lib/nvidia/{VERSION}` was extracted from the previous file and is no longer used"));
    let extracted = job.world.run(&["store", "extract", "--dry-run", VERSION]).ok();
    assert_eq!(extracted.stdout, format!("would extract {VERSION}\n"));
    let size = format!("stat -L -c %s {OWN}/current/lib/libcuda.so.1");
    let before = job.inside(&size);
    let other = job.add(job.entry("other"));
    job.world.run(&["create", &other.to_string()]).ok();
    assert_ne!(job.world.inside(other, &size).ok().stdout, before, "the new one has the new file");
    // The previous image is the one that its links were made for, at every later start, too.
    job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
    job.run("create").ok();
    assert_eq!(job.inside(&size), before);
    assert_eq!(job.run("create").ok().stderr.matches("install driver").count(), 0);
    // What the verb says to do installs the new one.
    job.run("uninstall").ok();
    job.run("install").ok();
    assert_ne!(job.inside(&size), before);
    assert_eq!(job.world.mounts().len(), 1, "{:?}", job.world.mounts());
}

#[test]
fn the_hosts_part_of_a_virtual_gpu_is_reported_when_it_comes_and_goes_into_no_container() {
    let job = Job::without_driver();
    let file = TestDriver::new(VERSION).vgpu_kvm().renamed().write_into(&job.world.scratch("")).display().to_string();
    let ran = job.world.run(&["cache", "import", &file]).ok();
    assert!(
        ran.stderr.contains("is the host's part of a virtual GPU (vgpu-kvm): it has no `libcuda`"),
        "{}",
        ran.stderr
    );
    for method in ["runfile", "native", "installer", "shared"] {
        job.set("nvidia_install_method", method);
        let ran = job.run("create").exits(3);
        assert!(
            ran.stderr.contains("only as the host's part of a virtual GPU (`-vgpu-kvm`)"),
            "{method}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains("import the guest's driver there"), "{method}: {}", ran.stderr);
        assert!(!ran.stderr.contains("the method `runfile`"), "{method}: {}", ran.stderr);
        assert!(!job.receipt().exists(), "{method}");
    }
}

#[test]
fn what_is_no_run_file_is_called_by_its_name() {
    let job = Job::without_driver();
    let cuda = "#!/bin/sh\n# This script was generated using Makeself 2.1.4\nCRCsum=\"1\"\nMD5=\"0\"\nlabel=\"CUDA\"\n\
                filesizes=\"12\"\noffset=`head -n 496 \"$0\" | wc -c`\n";
    for (name, bytes, words) in [
        ("cuda_12.8.0_570.86.10_linux.run", cuda.as_bytes(), "--extract="),
        ("libcuda1_570_amd64.deb", b"!<arch>\ndebian-binary   17", "it is a Debian package"),
        ("nvidia_driver-linux-x86_64-570-archive.tar.xz", b"\xfd7zXZ\0\0\x04", "it is a compressed archive"),
    ] {
        let file = job.world.scratch(name);
        fs_err::write(&file, bytes).unwrap();
        let ran = job.world.run(&["cache", "import", &file.display().to_string()]).exits(7);
        assert!(ran.stderr.contains(words), "{name}: {}", ran.stderr);
    }
}
