//! `nvidia-smi`: the question that is asked, and what its answers and exit codes mean.

use super::DriverVersion;

/// What is asked: one line per GPU, and a format that no release has changed (the banner did change, with R610).
pub const QUERY: [&str; 3] = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"];

/// The only question that is answered without a driver; its first line names the user space's version.
pub const HELP: [&str; 2] = ["nvidia-smi", "--help"];

/// An answer of `nvidia-smi --query-gpu=driver_version`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One version per GPU that the container sees.
    Versions(Vec<DriverVersion>),
    /// It failed, for this reason.
    Failed(Failure),
}

/// Why `nvidia-smi` failed. The exit codes were measured with 550.163.01; everything is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// 9: no kernel module behind the device node, or no device node.
    NoDriver,
    /// 12: `libnvidia-ml.so.1` is not found.
    NoLibrary,
    /// 18: the kernel module is of another version.
    VersionMismatch,
    /// 255 with "Unknown Error": the container's device cgroup denies the node.
    Denied,
    /// 6: no GPU that it was asked about.
    NoGpu,
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
            Self::NoDriver => "it reaches no NVIDIA kernel module",
            Self::NoLibrary => "it does not find libnvidia-ml.so.1",
            Self::VersionMismatch => "the host's kernel module has another version than the container's libraries",
            Self::Denied => "the container's device cgroup denies it the GPU",
            Self::NoGpu => "it sees no GPU",
            Self::NotThere => "there is no nvidia-smi that runs in the container",
            Self::Other => "it failed",
            Self::Unreadable => "its answer is not a list of versions",
        }
    }
}

/// Reads an answer. At most 64 lines are believed: the text comes from a container.
pub fn answer(code: i32, stdout: &str) -> Answer {
    match code {
        0 => {}
        6 => return Answer::Failed(Failure::NoGpu),
        9 => return Answer::Failed(Failure::NoDriver),
        12 => return Answer::Failed(Failure::NoLibrary),
        18 => return Answer::Failed(Failure::VersionMismatch),
        126 | 127 => return Answer::Failed(Failure::NotThere),
        _ if stdout.contains("version mismatch") => return Answer::Failed(Failure::VersionMismatch),
        255 if stdout.contains("Unknown Error") => return Answer::Failed(Failure::Denied),
        _ => return Answer::Failed(Failure::Other),
    }
    let lines: Vec<&str> = stdout.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.first().is_some_and(|line| line.starts_with("No devices")) {
        return Answer::Failed(Failure::NoGpu);
    }
    let versions: Result<Vec<DriverVersion>, _> = lines.iter().take(64).map(|line| line.parse()).collect();
    match versions {
        Ok(versions) if !versions.is_empty() => Answer::Versions(versions),
        _ => Answer::Failed(Failure::Unreadable),
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
        assert_eq!(answer, Answer::Versions(vec![version.clone(), version]));
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
