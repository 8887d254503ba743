//! Whether CUDA can start, asked in the container: what people met with an `nvidia-smi` that answered.

use super::fixture::{Job, OTHER_VERSION, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::shared_object::shared_object;
use crate::test_driver::libcuda;

/// What the stand-in's `cuInit` returns, to root and to others.
const ANSWER: &str = "etc/pretended-cuda";

impl Job {
    fn let_cuda_answer(&self, numbers: &str) {
        fs_err::write(self.rootfs(ANSWER), numbers).unwrap();
    }

    /// Verifies in vain: what is told.
    #[track_caller]
    fn is_not_verified_on(&self, host: &PretendedGpuHost) -> String {
        let ran = self.run_on(host, "verify").exits(7);
        assert!(!ran.stdout.contains(" verified"), "{}", ran.stdout);
        self.assert_nothing_is_left();
        ran.stderr
    }

    #[track_caller]
    fn status_on(&self, host: &PretendedGpuHost) -> String {
        self.world.run_on(host, &["status", "--live"]).stdout
    }
}

#[test]
fn cuda_compat_that_comes_first_is_found_with_and_without_a_gpu_until_it_is_gone() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    let compat = job.rootfs("usr/local/cuda/compat");
    fs_err::create_dir_all(&compat).unwrap();
    fs_err::write(compat.join("libcuda.so.1"), libcuda(OTHER_VERSION, 0)).unwrap();
    fs_err::write(job.rootfs("etc/ld.so.conf.d/000_cuda.conf"), "/usr/local/cuda/compat\n").unwrap();
    job.inside("ldconfig");

    let reason = format!(
        "error: container {}: programs get `/usr/local/cuda/compat/libcuda.so.1` for `libcuda.so.1`, which is not the driver's\n",
        job.ctid
    );
    let said = job.is_not_verified_on(&host);
    assert!(said.starts_with(&reason) && said.contains("or `/etc/ld.so.conf.d/000_cuda.conf`, which"), "{said}");
    assert!(job.run("verify").exits(7).stderr.starts_with(&reason));
    assert!(job.status_on(&host).contains("GPU unavailable"), "{}", job.status_on(&host));
    let doctor = |job: &Job| job.run_on(&host, "doctor").stdout;
    assert!(doctor(&job).contains("foreign-library"), "{}", doctor(&job));

    job.inside("rm /etc/ld.so.conf.d/000_cuda.conf && ldconfig");
    job.run_on(&host, "verify").ok();
    assert!(!doctor(&job).contains("foreign-library"), "{}", doctor(&job));
}

#[test]
fn what_a_former_installation_has_left_in_usr_local_lib_is_named_and_debians_own_file_is_not_blamed() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    // As Debian's libc6 has it, and first in the order of the names.
    fs_err::write(job.rootfs("etc/ld.so.conf.d/libc.conf"), "/usr/local/lib\n").unwrap();
    for name in ["libnvidia-ml", "libcuda"] {
        let left = job.rootfs(&format!("usr/local/lib/{name}.so.{OTHER_VERSION}"));
        fs_err::write(&left, shared_object(&format!("{name}.so.1"), 0)).unwrap();
        job.inside("ldconfig");

        let said = job.is_not_verified_on(&host);
        let reason = format!(
            "error: container {}: programs get `/usr/local/lib/{name}.so.1` for `{name}.so.1`, which is not the driver's\n",
            job.ctid
        );
        assert!(said.starts_with(&reason) && !said.contains("libc.conf"), "{said}");
        let remedy = format!("remove `/usr/local/lib/{name}.so.1` and the file that it leads to, then run `ldconfig`");
        assert!(said.contains(&remedy), "{said}");
        let doctor = job.run_on(&host, "doctor").stdout;
        assert!(doctor.contains("[foreign-library]") && doctor.contains(&remedy), "{doctor}");

        fs_err::remove_file(job.rootfs(&format!("usr/local/lib/{name}.so.1"))).unwrap();
        fs_err::remove_file(left).unwrap();
        job.inside("ldconfig");
        job.run_on(&host, "verify").ok();
    }
}

#[test]
fn an_nvidia_smi_that_answers_is_not_enough_when_cuda_does_not_start() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    for (number, meaning, remedy) in [
        (100, "it finds no GPU", "phoenix-nvidia doctor"),
        (801, "this system is not supported", "`cpu: host`"),
        (802, "the system is not ready", "nvidia-fabricmanager"),
        (803, "of another version than the host's kernel module", "cuda-compat"),
        (804, "a forward-compatibility library", "cuda-compat"),
        (999, "unknown error", "modprobe nvidia_uvm"),
    ] {
        job.let_cuda_answer(&number.to_string());
        let said = job.is_not_verified_on(&host);
        let told = format!("error: container {}: CUDA does not start as root: `cuInit` of `", job.ctid);
        assert!(said.starts_with(&told) && said.contains(&format!("returns {number}: ")), "{said}");
        assert!(said.contains(meaning) && said.contains(remedy), "{said}");
    }
    job.let_cuda_answer("11");
    assert!(job.is_not_verified_on(&host).contains("ends its program by signal 6\n"));
    fs_err::remove_file(job.rootfs(ANSWER)).unwrap();
    let ran = job.run_on(&host, "verify").ok();
    assert!(ran.stdout.ends_with("  verified\n"), "{}", ran.stdout);
    job.assert_nothing_is_left();
}

#[test]
fn cuda_that_starts_for_root_alone_is_not_verified() {
    let job = Job::privileged();
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).node_mode(0o600).start();
    let said = job.created_on(&host, VERSION).exits(7).stderr;
    let reason =
        format!("container {}: CUDA does not start as the user 65534, though it does as root: `cuInit` of `", job.ctid);
    assert!(said.contains(&reason) && said.contains("returns 100: it finds no GPU\n"), "{said}");
    assert!(
        said.contains(&format!("see with `phoenix-nvidia doctor {}` which device node is closed", job.ctid)),
        "{said}"
    );
}

/// Of two GPUs, somebody has left the programs of a container one.
#[test]
fn gpus_that_cuda_visible_devices_hides_from_programs_are_not_called_unavailable() {
    let job = Job::new();
    let host = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start();
    job.set("gpu_assignment", "0,1");
    job.created_on(&host, VERSION).ok();
    let settings = job.world.lxcpath().join(job.ctid.to_string()).join("config");
    let text = fs_err::read_to_string(&settings).unwrap();
    for visible in ["1", ""] {
        job.world.lxc("lxc-stop", job.ctid, &["--kill"]).ok();
        let hides = format!("{text}lxc.environment = CUDA_VISIBLE_DEVICES={visible}\n");
        fs_err::write(&settings, hides).unwrap();
        job.world.lxc_on(&host, "lxc-start", job.ctid, &["--daemon"]).ok();
        let ran = job.run_on(&host, "verify").ok();
        assert!(ran.stdout.ends_with("  verified\n"), "{}", ran.stdout);
    }
}

#[test]
fn a_container_in_which_no_program_can_be_put_is_not_called_verified() {
    let (job, host) = (Job::new(), PretendedGpuHost::with_one_gpu(VERSION));
    job.created_on(&host, VERSION).ok();
    for directory in ["var/lib/phoenix-nvidia", "var/tmp", "tmp", "root"] {
        let place = job.rootfs(directory);
        let aside = place.with_extension("aside");
        fs_err::rename(&place, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &place).unwrap();
    }
    let ran = job.run_on(&host, "verify").ok();
    let reason = "installed, not verified live: no directory of the container can hold the program that checks CUDA";
    assert!(ran.stdout.contains(reason), "{}", ran.stdout);
}
