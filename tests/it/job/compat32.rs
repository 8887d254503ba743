//! Profiles with 32-bit libraries, by each method: found by the loader of 32 bits, gone again, refused where they
//! cannot be.

use super::fixture::{Job, VERSION};
use crate::test_driver::TestDriver;
use crate::tree;
use crate::world::Privilege;

const DIRECTORY: &str = "/usr/lib/i386-linux-gnu";
const METHODS: [&str; 4] = ["runfile", "installer", "native", "shared"];

impl Job {
    /// A running container that has a place for 32-bit libraries, or none.
    fn compat32(method: &str, has_place: bool) -> Self {
        let job = Self::native_running(Privilege::Unprivileged);
        job.want(VERSION, method, "full+compat32");
        if has_place {
            job.inside(&format!("mkdir {DIRECTORY} && echo {DIRECTORY} > /etc/ld.so.conf.d/i386.conf && ldconfig"));
        }
        job
    }

    /// What the loader of 32 bits finds of the driver.
    fn found_of_32_bits(&self) -> Vec<String> {
        let cached = self.inside("ldconfig -p");
        let lines = cached.lines().filter(|line| line.contains(" => ") && !line.contains("x86-64"));
        lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }
}

#[test]
fn each_way_brings_libraries_of_32_bits_and_takes_them_out_again() {
    for method in METHODS {
        let job = Job::compat32(method, true);
        let before = job.plain_tree();
        job.run("install").ok();
        assert_eq!(job.found_of_32_bits(), ["libcuda.so.1", "libGLX_nvidia.so.0"], "{method}");
        let file = job.inside(&format!("readlink -f {DIRECTORY}/vdpau/libvdpau_nvidia.so.1"));
        assert!(file.ends_with(&format!("/vdpau/libvdpau_nvidia.so.{VERSION}\n")), "{method}: {file}");
        assert_eq!(job.status()["profile"], "full+compat32", "{method}");
        let again = job.run("install").ok();
        assert!(again.stderr.contains("is already installed"), "{method}: {}", again.stderr);
        job.run("uninstall").ok();
        assert_eq!(tree::differences(&before, &job.plain_tree()), "", "{method}");
        assert_eq!(job.found_of_32_bits(), [""; 0], "{method}");
    }
}

#[test]
fn another_profile_takes_the_libraries_of_32_bits_away() {
    for method in METHODS {
        let job = Job::compat32(method, true);
        job.run("install").ok();
        job.want(VERSION, method, "full");
        job.run("install").ok();
        assert_eq!(
            (&job.status()["installed"], &job.status()["profile"]),
            (&VERSION.into(), &"full".into()),
            "{method}"
        );
        assert_eq!(job.found_of_32_bits(), [""; 0], "{method}");
        assert_eq!(job.inside(&format!("ls {DIRECTORY}")), "", "{method}");
    }
}

#[test]
fn computing_in_32_bits_needs_no_graphics() {
    for method in ["native", "shared"] {
        let job = Job::compat32(method, true);
        job.want(VERSION, method, "compute+compat32");
        job.run("install").ok();
        assert_eq!(job.found_of_32_bits(), ["libcuda.so.1"], "{method}");
        assert!(!job.inside("ldconfig -p").contains("libGLX_nvidia"), "{method}");
    }
}

#[test]
fn a_container_without_a_place_for_32_bits_is_left_as_it_is() {
    for method in METHODS {
        let job = Job::compat32(method, false);
        let before = job.tree();
        let ran = job.run("install").exits(3);
        assert!(ran.stderr.contains("it has no directory for 32-bit libraries"), "{}", ran.stderr);
        assert!(ran.stderr.contains("apt-get install libc6:i386"), "{}", ran.stderr);
        assert_eq!(tree::differences(&before, &job.tree()), "", "{method}");
    }
}

#[test]
fn a_driver_without_libraries_of_32_bits_is_named() {
    for method in ["native", "shared"] {
        let job = Job::compat32(method, true);
        job.cache(&TestDriver::new(VERSION).without_compat32());
        let before = job.tree();
        let ran = job.run("install").exits(3);
        let expected = format!("the cache has driver {VERSION} only as the file without 32-bit libraries");
        assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
        assert_eq!(tree::differences(&before, &job.tree()), "", "{method}");
    }
}
