//! Files that are no full driver: told by what is inside.

use super::fixture::{Job, VERSION};
use crate::test_driver::TestDriver;

#[test]
fn the_hosts_part_of_a_virtual_gpu_is_told_when_it_comes_and_goes_into_no_container() {
    let job = Job::without_driver();
    let file = TestDriver::new(VERSION).vgpu_kvm().renamed().write_into(&job.world.scratch("")).display().to_string();
    let ran = job.world.run(&["cache", "import", &file]).ok();
    assert!(
        ran.stderr.contains("is the host's part of a virtual GPU (vgpu-kvm): it has no `libcuda`"),
        "{}",
        ran.stderr
    );
    for way in ["runfile", "native", "installer", "shared"] {
        job.set("nvidia_install_method", way);
        let ran = job.run("create").exits(3);
        assert!(
            ran.stderr.contains("is here as the host's part of a virtual GPU (`-vgpu-kvm`) alone"),
            "{way}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains("import the guest's driver there"), "{way}: {}", ran.stderr);
        assert!(!ran.stderr.contains("the way `runfile`"), "{way}: {}", ran.stderr);
        assert!(!job.receipt().exists(), "{way}");
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
