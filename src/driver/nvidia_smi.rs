//! `nvidia-smi`: the question that is asked, and what its answers and exit codes mean.

use super::DriverVersion;

/// What is asked: one line per GPU, and a format that no release has changed (the banner did change, with R610).
pub const QUERY: [&str; 3] = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"];

/// The only question that is answered without a driver; its first line names the user space's version.
pub const HELP: [&str; 2] = ["nvidia-smi", "--help"];

/// An answer of `nvidia-smi --query-gpu=driver_version`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The driver has answered.
    Versions {
        /// One version per GPU that works.
        versions: Vec<DriverVersion>,
        /// What it said besides: a GPU that is lost, an infoROM that is corrupted. At most eight lines.
        warnings: Vec<String>,
    },
    /// It failed, for this reason.
    Failed(Failure),
}

/// Why `nvidia-smi` failed. What the exit codes mean is said in nvidia-smi(1), section RETURN VALUE; the texts were seen
/// with 550.163.01 and in public reports. Everything is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// 9: no kernel module behind the device node, or no device node.
    NoDriver,
    /// 12: `libnvidia-ml.so.1` is not found.
    NoLibrary,
    /// 18: the kernel module is of another version.
    VersionMismatch,
    /// 255 with "Failed to initialize NVML: Unknown Error": the container's device cgroup denies the node.
    Denied,
    /// 4: the mode or the owner of a node keeps the user out.
    NoPermission,
    /// 6: no GPU that it was asked about.
    NoGpu,
    /// 15, or "Unable to determine the device handle": a GPU has fallen off the bus.
    Lost,
    /// 8: a GPU's power cables are not attached.
    NoPower,
    /// 10: the kernel module does not get a GPU's interrupts.
    NoInterrupts,
    /// 124, as timeout(1) says it: it did not finish.
    Hangs,
    /// 126 and 127: there is no such program in the container, or it cannot run there.
    NotThere,
    /// Any other exit code.
    Other,
    /// It succeeded and printed something else than versions.
    Unreadable,
}

impl Failure {
    /// The cause in one phrase.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NoDriver => "it cannot reach an NVIDIA kernel module",
            Self::NoLibrary => "it does not find libnvidia-ml.so.1",
            Self::VersionMismatch => {
                "the version of the host's kernel module differs from that of the container's libraries"
            }
            Self::Denied => "the container's device cgroup denies it the GPU",
            Self::NoPermission => "the mode or owner of a device node denies access",
            Self::NoGpu => "it sees no GPU",
            Self::Lost => "a GPU no longer answers",
            Self::NoPower => "a GPU's power cables are not attached",
            Self::NoInterrupts => "the kernel does not receive a GPU's interrupts",
            Self::Hangs => "it does not finish: a GPU or its driver may hang",
            Self::NotThere => "no working `nvidia-smi` is in the container",
            Self::Other => "it failed",
            Self::Unreadable => "its answer is not a list of versions",
        }
    }

    /// Whether the driver's files are right all the same: what is wrong is a GPU, or the way to it.
    pub fn is_of_gpu(self) -> bool {
        match self {
            Self::NoDriver | Self::Denied | Self::NoPermission | Self::NoGpu | Self::Lost => true,
            Self::NoPower | Self::NoInterrupts | Self::Hangs => true,
            Self::NoLibrary | Self::VersionMismatch | Self::NotThere | Self::Other | Self::Unreadable => false,
        }
    }
}

const MOST_GPUS: usize = 64;
const MOST_WARNINGS: usize = 8;
/// Exit codes that say something of a GPU, and nothing against the driver that answers for the others.
const OF_ONE_GPU: [i32; 4] = [8, 10, 14, 15];
/// The exit code of timeout(1), and of a question that is given up.
pub const GIVEN_UP: i32 = 124;

/// Reads an answer. At most 64 lines are believed: the text comes from a container.
pub fn answer(code: i32, stdout: &str) -> Answer {
    let lines = stdout.lines().map(str::trim).filter(|line| !line.is_empty()).take(MOST_GPUS);
    let (mut versions, mut warnings, mut has_other) = (Vec::new(), Vec::new(), false);
    for line in lines {
        match line.parse() {
            Ok(version) => versions.push(version),
            Err(_) if is_warning(line) => warnings.push(line.to_owned()),
            Err(_) => has_other = true,
        }
    }
    warnings.truncate(MOST_WARNINGS);
    // With a GPU that is lost or unhealthy beside one that works, the exit code is that of the first one.
    if !versions.is_empty() && !has_other && (code == 0 || !warnings.is_empty() || OF_ONE_GPU.contains(&code)) {
        return Answer::Versions { versions, warnings };
    }
    Answer::Failed(failure(code, stdout))
}

/// A line about one GPU that says nothing against the driver.
fn is_warning(line: &str) -> bool {
    let at_its_end = line.starts_with("Failed to properly shut down NVML") && !line.contains("version mismatch");
    line.starts_with("WARNING:") || at_its_end || is_of_lost_gpu(line)
}

/// Also in the place of its version, in brackets: `[GPU requires reset]`, `[Unknown Error]`.
fn is_of_lost_gpu(line: &str) -> bool {
    let in_place = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_fault = |text: &str| ["Error", "lost", "reset"].iter().any(|word| text.contains(word));
    let is_lost = ["GPU is lost", "GPU requires reset"].iter().any(|text| line.contains(text));
    line.starts_with("Unable to determine the device handle for") || is_lost || in_place.is_some_and(is_fault)
}

fn failure(code: i32, stdout: &str) -> Failure {
    match code {
        4 => Failure::NoPermission,
        6 => Failure::NoGpu,
        8 => Failure::NoPower,
        10 => Failure::NoInterrupts,
        9 => Failure::NoDriver,
        12 => Failure::NoLibrary,
        15 => Failure::Lost,
        18 => Failure::VersionMismatch,
        GIVEN_UP => Failure::Hangs,
        126 | 127 => Failure::NotThere,
        _ if stdout.contains("version mismatch") => Failure::VersionMismatch,
        _ if stdout.contains("Insufficient Permissions") => Failure::NoPermission,
        _ if stdout.lines().any(|line| is_of_lost_gpu(line.trim())) => Failure::Lost,
        255 if stdout.contains("Failed to initialize NVML: Unknown Error") => Failure::Denied,
        0 if stdout.trim_start().starts_with("No devices") => Failure::NoGpu,
        0 => Failure::Unreadable,
        _ => Failure::Other,
    }
}

/// The version in the first line of `nvidia-smi --help`: `NVIDIA System Management Interface -- v550.163.01`.
pub fn help_version(stdout: &str) -> Option<DriverVersion> {
    stdout.lines().next()?.rsplit_once("-- v")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_per_gpu_is_read() {
        let answer = answer(0, "580.76.05\n580.76.05\n");
        let version: DriverVersion = "580.76.05".parse().unwrap();
        assert_eq!(answer, Answer::Versions { versions: vec![version.clone(), version], warnings: Vec::new() });
    }

    #[test]
    fn every_known_exit_code_has_its_cause() {
        let no_driver = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n\n";
        assert_eq!(answer(9, no_driver), Answer::Failed(Failure::NoDriver));
        assert_eq!(answer(255, "Failed to initialize NVML: Unknown Error\n"), Answer::Failed(Failure::Denied));
        let mismatch = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.163\n";
        assert_eq!(answer(18, mismatch), Answer::Failed(Failure::VersionMismatch));
        assert_eq!(answer(1, mismatch), Answer::Failed(Failure::VersionMismatch));
        assert_eq!(answer(12, "NVIDIA-SMI couldn't find libnvidia-ml.so library"), Answer::Failed(Failure::NoLibrary));
        assert_eq!(answer(127, ""), Answer::Failed(Failure::NotThere));
        assert_eq!(answer(0, "No devices were found\n"), Answer::Failed(Failure::NoGpu));
    }

    /// The GPUs that work, and how many lines were said besides.
    fn read(code: i32, stdout: &str) -> (usize, usize) {
        match answer(code, stdout) {
            Answer::Versions { versions, warnings } => (versions.len(), warnings.len()),
            Answer::Failed(failure) => panic!("{failure:?}"),
        }
    }

    #[test]
    fn a_warning_about_a_gpu_says_nothing_against_the_driver() {
        let inforom = "580.95.05\nWARNING: infoROM is corrupted at gpu 0000:01:00.0\n";
        assert_eq!(read(14, inforom), (1, 1));
        assert_eq!(read(0, inforom), (1, 1));
        let lost = "580.95.05\nUnable to determine the device handle for GPU0000:02:00.0: Unknown Error\n";
        assert_eq!(read(255, lost), (1, 1));
        assert_eq!(read(15, "580.95.05\n"), (1, 0));
    }

    #[test]
    fn one_gpu_that_needs_a_reset_says_nothing_against_the_driver_of_the_others() {
        for line in ["[GPU requires reset]", "[Unknown Error]", "[GPU is lost]"] {
            assert_eq!(read(0, &format!("580.95.05\n{line}\n")), (1, 1), "{line}");
            assert_eq!(answer(0, &format!("{line}\n")), Answer::Failed(Failure::Lost), "{line}");
        }
        let at_its_end = "580.95.05\nFailed to properly shut down NVML: Unknown Error\n";
        assert_eq!(read(255, at_its_end), (1, 1));
        let mismatch = "580.95.05\nFailed to properly shut down NVML: Driver/library version mismatch\n";
        assert_eq!(answer(18, mismatch), Answer::Failed(Failure::VersionMismatch));
        assert_eq!((read(10, "580.95.05\n"), read(8, "580.95.05\n")), ((1, 0), (1, 0)));
        for (code, failure) in [(8, Failure::NoPower), (10, Failure::NoInterrupts), (124, Failure::Hangs)] {
            assert_eq!(answer(code, ""), Answer::Failed(failure));
            assert!(failure.is_of_gpu());
        }
        assert_eq!(answer(0, "580.95.05\n[N/A]\n"), Answer::Failed(Failure::Unreadable));
    }

    #[test]
    fn a_gpu_off_the_bus_and_a_closed_node_are_not_the_cgroups_doing() {
        let lost = "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n";
        assert_eq!(answer(255, lost), Answer::Failed(Failure::Lost));
        assert_eq!(answer(15, ""), Answer::Failed(Failure::Lost));
        let closed = "Failed to initialize NVML: Insufficient Permissions\n";
        assert_eq!(answer(4, closed), Answer::Failed(Failure::NoPermission));
    }

    #[test]
    fn an_answer_that_is_not_versions_is_never_success() {
        for lie in ["", "\n", "all fine", "580.76.05\nroot:x:0:0", "580"] {
            assert_eq!(answer(0, lie), Answer::Failed(Failure::Unreadable), "{lie:?}");
        }
    }

    #[test]
    fn the_help_names_the_user_space() {
        let help = "NVIDIA System Management Interface -- v550.163.01\n\nNVSMI provides monitoring information";
        assert_eq!(help_version(help).unwrap().as_str(), "550.163.01");
        assert_eq!(help_version("usage: nvidia-smi"), None);
    }
}
