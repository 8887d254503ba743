//! NVIDIA's installer: which options a version takes, what its exit codes mean, and what it needs around it.

use super::DriverVersion;

/// Programs that the run file's shell stub cannot do without (read from the stubs of makeself 1.6.0-nv2 and -nv4).
pub const STUB_NEEDS: [&str; 16] = [
    "sh", "tail", "cksum", "awk", "md5sum", "cut", "grep", "mktemp", "uname", "tar", "head", "chmod", "mkdir", "rm",
    "id", "chown",
];

/// Programs that the installer itself looks for and really uses, beside those of the stub.
pub const INSTALLER_NEEDS: [&str; 1] = ["ldconfig"];

/// Programs that the installer insists on and never needs while it installs no kernel modules: an executable that
/// does nothing satisfies it (measured with 550.144.03, 535.216.01 and 470.256.02).
pub const STAND_INS: [&str; 5] = ["modprobe", "rmmod", "lsmod", "depmod", "dmesg"];

/// Where NVIDIA's installer writes its log; it starts anew at every run.
pub const LOG: &str = "/var/log/nvidia-installer.log";

/// Where the uninstallation writes its log.
pub const UNINSTALL_LOG: &str = "/var/log/nvidia-uninstall.log";

/// Where the installer keeps what it did, for `nvidia-uninstall`.
pub const BACKUP_LOG: &str = "/var/lib/nvidia/log";

/// Where the installer keeps which directories it made, one a line, as it made them.
pub const BACKUP_DIRECTORIES: &str = "/var/lib/nvidia/dirs";

/// What an installation opens for writing, or reads to move it away, while it is still the container's own.
pub const OPENED_BY_INSTALLER: [&str; 4] = [LOG, BACKUP_LOG, "/usr/bin/nvidia-smi", "/usr/bin/nvidia-installer"];

/// What an uninstallation opens for writing or reading.
pub const OPENED_BY_UNINSTALLER: [&str; 3] = [LOG, UNINSTALL_LOG, BACKUP_LOG];

/// Options with the first release that knows them, read from the option tables of nvidia-installer's release tags.
/// An option that a release does not know ends it with exit code 1, after the whole extraction.
const OPTIONS: [(&str, &[u32]); 10] = [
    ("--silent", &[0]),
    // `--no-kernel-modules` exists only since 515.43.04; this one is accepted by every release.
    ("--no-kernel-module", &[0]),
    ("--no-x-check", &[1, 0, 7184]),
    ("--no-nouveau-check", &[71, 86, 15]),
    ("--no-nvidia-modprobe", &[319, 12]),
    ("--no-check-for-alternate-installs", &[325, 8]),
    ("--skip-depmod", &[418, 30]),
    ("--no-systemd", &[465, 19, 1]),
    ("--no-dkms", &[520, 56, 6]),
    ("--no-rebuild-initramfs", &[545, 23, 6]),
];

/// An empty `/usr/lib/i386-linux-gnu` is enough to make the installer add 314 MB of 32-bit libraries, unless it is told
/// otherwise. Earlier releases only ask.
const SINCE_COMPAT32: &[u32] = &[346, 16];

/// The options for an installation of the user-space driver alone, that this version knows; with 32-bit libraries or
/// without them.
pub fn install_options(version: &DriverVersion, compat32: bool) -> Vec<&'static str> {
    let compat32 = if compat32 { "--install-compat32-libs" } else { "--no-install-compat32-libs" };
    let known = OPTIONS.into_iter().chain([(compat32, SINCE_COMPAT32)]).filter(|(_, since)| version.is_at_least(since));
    known.map(|(option, _)| option).collect()
}

/// The options for a removal that this version knows.
pub fn uninstall_options(version: &DriverVersion) -> Vec<&'static str> {
    let mut options = vec!["--uninstall", "--silent"];
    if version.is_at_least(&[418, 30]) {
        options.push("--skip-depmod");
    }
    options
}

/// 128 and the signal: the installer copies through a mapping of the new file, which then has no block below it.
const SIGBUS: i32 = 135;

/// What an exit code of `sh X.run …` means, which has said this at its end, and what can be done about it.
pub fn exit_meaning(code: i32, said: &str) -> (&'static str, &'static str) {
    match code {
        1 => ("the installer gave up", "the reason is in the last lines of its log"),
        2 => (
            "the run file's checksums are wrong inside the container",
            "check for a full or failing disk below the container",
        ),
        15 if says_killed(said) => (
            "the run file could not be extracted in the container, because the kernel killed a process",
            "give the container more memory with `memory_mb`: files in a tmpfs count as its memory",
        ),
        15 => (
            "the run file could not be extracted in the container",
            "make room on the container's disk, or give it a temporary directory that is not mounted noexec",
        ),
        126 | 127 => (
            "the installer cannot run in this container",
            "NVIDIA's driver needs glibc; a container with musl, such as Alpine, cannot use it",
        ),
        SIGBUS => (
            "the installer died of SIGBUS: the container's disk filled up while it copied",
            "make the container's disk larger",
        ),
        137 => ("the installer was killed", "check whether the container was stopped, or ran out of memory"),
        _ => ("the installer failed", "the reason is in the last lines of its log"),
    }
}

/// Whether the exit code alone says that the disk was full.
pub fn means_full(code: i32) -> bool {
    code == SIGBUS
}

/// Whether a shell has said that a process of its pipe was killed: `Killed` (dash 0.5, with bash 5 at the line's end).
fn says_killed(output: &str) -> bool {
    output.lines().any(|line| line.split_whitespace().any(|word| word == "Killed"))
}

/// Whether decompressor or archiver have said that what they were given is damaged: zstd 1.5, xz 5.4 and tar 1.34.
pub fn says_damaged(output: &str) -> bool {
    [
        "doesn't match checksum",
        "Compressed data is corrupt",
        "Data corruption detected",
        "does not look like a tar archive",
    ]
    .iter()
    .any(|words| output.contains(words))
}

/// Whether a log of the installer says that this version was installed to the end.
pub fn log_says_complete(log: &str, version: &DriverVersion) -> bool {
    let version = format!("(version: {version})");
    log.lines()
        .any(|line| line.contains("Installation of the") && line.contains(&version) && line.contains("is now complete"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: &str) -> Vec<&'static str> {
        install_options(&version.parse().unwrap(), false)
    }

    #[test]
    fn a_process_that_ran_out_of_memory_is_no_full_disk() {
        let killed = exit_meaning(15, "Killed\ntar: Unexpected EOF in archive");
        assert!(killed.1.contains("`memory_mb`"), "{killed:?}");
        let full = exit_meaning(15, "tar: ./a: Wrote only 512 of 10240 bytes\ntar: Killed-by-nobody");
        assert!(full.1.starts_with("make room"), "{full:?}");
    }

    #[test]
    fn every_version_gets_only_the_options_that_it_knows() {
        assert_eq!(
            options("470.256.02"),
            [
                "--silent",
                "--no-kernel-module",
                "--no-x-check",
                "--no-nouveau-check",
                "--no-nvidia-modprobe",
                "--no-check-for-alternate-installs",
                "--skip-depmod",
                "--no-systemd",
                "--no-install-compat32-libs",
            ]
        );
        assert!(options("520.56.06").contains(&"--no-dkms"));
        assert!(!options("515.105.01").contains(&"--no-dkms"));
        assert!(options("580.76.05").contains(&"--no-rebuild-initramfs"));
        assert!(!options("390.157").contains(&"--skip-depmod"));
        let with_compat32 = install_options(&"580.76.05".parse().unwrap(), true);
        assert!(with_compat32.contains(&"--install-compat32-libs"));
        assert!(!with_compat32.contains(&"--no-install-compat32-libs"));
    }

    #[test]
    fn damage_is_reported_from_a_lack_of_room() {
        let zstd = "/*stdin*\\ : Decoding error (36) : Restored data doesn't match checksum";
        assert!(says_damaged(zstd));
        assert!(!says_damaged("tar: ./libcuda.so: Cannot write: No space left on device"));
    }

    #[test]
    fn the_success_line_counts_only_for_its_version() {
        let log = "-> done.\nInstallation of the NVIDIA Accelerated Graphics Driver for Linux-x86_64 (version: 580.76.05) is now complete.\n";
        assert!(log_says_complete(log, &"580.76.05".parse().unwrap()));
        assert!(!log_says_complete(log, &"580.76.5".parse().unwrap()));
        assert!(!log_says_complete("", &"580.76.05".parse().unwrap()));
    }
}
