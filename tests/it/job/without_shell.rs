//! Containers of images of applications: no shell, no init, no `ldconfig`; the application is all that runs.

use serde_json::json;

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::application::{self, APPLICATION};
use crate::gpu_host::PretendedGpuHost;
use crate::test_driver::TestDriver;
use crate::tree;

impl Job {
    /// A container of an application, made by the program, without a driver yet; it does not run.
    fn of_application(method: &str) -> Self {
        let job = Self::without_driver();
        for version in [VERSION, OTHER_VERSION] {
            job.cache(&TestDriver::new(version).nvidia_smi(application::program()));
        }
        job.set("template", application::template(&job.world).to_str().unwrap());
        job.set("lxc_options", json!([format!("lxc.init.cmd={APPLICATION} serve"), "lxc.signal.halt=SIGTERM"]));
        job.set("features", json!([]));
        job.run("create").ok();
        job.world.lxc("lxc-stop", job.ctid, &[]).ok();
        job.set("features", json!(["nvidia"]));
        job.set("nvidia_install_method", method);
        fs_err::write(job.rootfs("etc/pretended-kernel-module"), VERSION).unwrap();
        job
    }
}

#[test]
fn an_application_that_runs_gets_its_driver_by_the_ways_that_need_no_installer() {
    for method in ["native", "shared"] {
        let job = Job::of_application(method);
        let before = job.tree();
        let host = PretendedGpuHost::with_one_gpu(VERSION);
        let ran = job.run_on(&host, "create").ok();
        assert!(ran.stdout.contains(&format!("driver {VERSION} verified")), "{method}: {}", ran.stdout);
        assert!(!ran.stderr.contains("warning"), "{method}: {}", ran.stderr);
        job.run_on(&host, "uninstall").ok();
        assert_eq!(tree::differences(&before, &job.tree()), "", "{method}");
    }
}

#[test]
fn an_application_that_runs_changes_its_driver_from_way_to_way() {
    let job = Job::of_application("shared");
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    job.run_on(&host, "create").ok();
    for method in ["native", "shared"] {
        job.set("nvidia_install_method", method);
        let ran = job.run_on(&host, "create").ok();
        assert!(
            ran.stdout.contains(&format!("by method `{method}`; driver {VERSION} verified")),
            "{method}: {}",
            ran.stdout
        );
    }
}

#[test]
fn an_application_that_is_stopped_gets_its_driver_without_being_started() {
    for method in ["native", "shared"] {
        let job = Job::of_application(method);
        let host = PretendedGpuHost::with_one_gpu(VERSION);
        // One that ends at once where its GPU does not answer could not be started for it.
        let config = job.world.lxcpath().join(job.ctid.to_string()).join("config");
        let text = fs_err::read_to_string(&config).unwrap();
        fs_err::write(&config, text.replace(APPLICATION, "/not-there")).unwrap();
        let ran = job.run_on(&host, "install").ok();
        assert!(!ran.stderr.contains("warning: ") || ran.stderr.contains("does not run"), "{method}: {}", ran.stderr);
        fs_err::write(&config, fs_err::read_to_string(&config).unwrap().replace("/not-there", APPLICATION)).unwrap();
        let ran = job.run_on(&host, "create").ok();
        assert!(ran.stdout.contains(&format!("driver {VERSION} verified")), "{method}: {}", ran.stdout);
    }
}

#[test]
fn an_installer_says_before_anything_is_changed_that_an_application_has_no_shell() {
    for method in ["runfile", "installer"] {
        for runs in [true, false] {
            let job = Job::of_application(method);
            if runs {
                job.world.lxc("lxc-start", job.ctid, &["--daemon"]).ok();
            }
            let before = job.tree();
            let ran = job.run("install").exits(3);
            assert!(ran.stderr.contains("needs a shell"), "{method}: {}", ran.stderr);
            assert!(ran.stderr.contains("`nvidia_install_method`"), "{method}: {}", ran.stderr);
            assert!(!ran.stderr.contains("start"), "{method}: it was started for nothing: {}", ran.stderr);
            assert_eq!(tree::differences(&before, &job.tree()), "", "{method}");
        }
    }
}
