//! Verification: does the container's driver answer, with the version that was asked for, for every assigned GPU?

use std::time::Duration;

use crate::config::what_passes_nodes;
use crate::driver::DriverVersion;
use crate::driver::device::{DeviceNode, is_optional};
use crate::driver::nvidia_smi::{self, Answer, Failure};
use crate::error::{Error, Kind, Result};
use crate::sys::rootfs::{Found, Rootfs};

use super::Guest;
use super::cuda::{self, Fault};
use super::first_library::foreign_library;
use super::presence::{self, Presence};

const DEADLINE: Duration = Duration::from_secs(60);

/// What a container should have.
#[derive(Debug, Clone)]
pub struct Expectation<'a> {
    /// The version that the configuration names.
    pub wanted: &'a DriverVersion,
    /// The version of the host's loaded kernel module.
    pub host: Option<&'a DriverVersion>,
    /// The version of the host's kernel module on disk, where it is known and the loaded one is not the wanted one.
    pub on_disk: Option<DriverVersion>,
    /// The device nodes that it must have.
    pub devices: &'a [DeviceNode],
    /// How many GPUs are assigned to it.
    pub gpus: usize,
    /// How many CUDA shows of them.
    pub seen_by_cuda: usize,
    /// What of its GPUs waits for the host, a sentence each.
    pub waiting: &'a [String],
    /// It runs with previous settings until a restart that nobody has asked for: device nodes that come in with that
    /// are no fault.
    pub waits_for_restart: bool,
}

/// The four versions, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verification {
    /// The version that the configuration names.
    pub wanted: DriverVersion,
    /// The version of the host's loaded kernel module.
    pub host: Option<DriverVersion>,
    /// The version of the files in the container.
    pub installed: Option<DriverVersion>,
    /// What `nvidia-smi` reports, one entry per GPU.
    pub reported: Vec<DriverVersion>,
    /// What `nvidia-smi` said of GPUs that the driver answers for all the same.
    pub warnings: Vec<String>,
    /// What follows.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What follows from the four versions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// All agree, and the driver answers.
    Verified,
    /// The right files are there, and nobody could ask the driver.
    NotVerifiedLive {
        /// Why not.
        reason: String,
    },
    /// The driver is the right one, and a GPU of the container cannot be used: the host lacks it, it does not answer, or
    /// CUDA does not start on it, for what stands in the way. No other driver would change that.
    GpuUnavailable {
        /// What is wrong, in one phrase.
        reason: String,
        /// What to do.
        hint: String,
        /// What `nvidia-smi` printed.
        output: String,
    },
    /// Two of them disagree, or the driver is not whole.
    Wrong {
        /// Which two, in one phrase.
        reason: String,
        /// Which side to change.
        hint: String,
        /// What `nvidia-smi` printed.
        output: String,
    },
}

impl Verification {
    /// The failure that a wrong verdict is; `require_live` makes one of a verification that was not live.
    ///
    /// # Errors
    /// [`Kind::Verification`], with what to change.
    pub fn into_result(self, guest: &Guest<'_>, require_live: bool) -> Result<Self> {
        let failure = |reason: &str| Error::new(Kind::Verification, format!("container {}: {reason}", guest.id));
        match &self.verdict {
            Verdict::Wrong { reason, hint, output } | Verdict::GpuUnavailable { reason, hint, output } => {
                Err(failure(reason).hint(hint.clone()).output(output.clone()))
            }
            Verdict::NotVerifiedLive { reason } if require_live => {
                let remedy = match &self.host {
                    Some(_) => "remove what prevents that",
                    None => "load the kernel module with `modprobe nvidia`",
                };
                Err(failure(&format!("the driver is installed, not verified live: {reason}"))
                    .hint(format!("{remedy}, or leave out `--require-live`")))
            }
            _ => Ok(self),
        }
    }
}

/// Verifies a running container.
///
/// # Errors
/// It does not run, or cannot be looked into. A wrong driver is an answer, not an error.
pub fn verify(guest: &Guest<'_>, expected: &Expectation<'_>) -> Result<Verification> {
    guest.require_running()?;
    judge(guest, expected, true)
}

/// Verifies the files of a container that does not run; nobody can be asked there.
///
/// # Errors
/// It cannot be looked into. A wrong driver is an answer, not an error.
pub fn verify_files(guest: &Guest<'_>, expected: &Expectation<'_>) -> Result<Verification> {
    judge(guest, expected, false)
}

fn judge(guest: &Guest<'_>, expected: &Expectation<'_>, runs: bool) -> Result<Verification> {
    let rootfs = guest.root()?;
    let presence = presence::observe(guest, &rootfs)?;
    let installed = match presence.version() {
        Some(version) => Some(version.clone()),
        None if runs => installed_by_help(guest)?,
        None => None,
    };
    let mut verification = Verification {
        wanted: expected.wanted.clone(),
        host: expected.host.cloned(),
        installed,
        reported: Vec::new(),
        warnings: Vec::new(),
        verdict: Verdict::Verified,
    };
    let files = judge_files(guest, expected, &presence, verification.installed.as_ref());
    let fault = files.map_or_else(|| judge_first_library(&rootfs, expected.wanted), |wrong| Ok(Some(wrong)))?;
    verification.verdict = match fault {
        Some(wrong) => wrong,
        None => judge_gpus(guest, expected, &rootfs, runs, &mut verification)?,
    };
    Ok(verification)
}

/// The verdict on a container whose files are right.
fn judge_gpus(
    guest: &Guest<'_>,
    expected: &Expectation<'_>,
    rootfs: &Rootfs,
    runs: bool,
    verification: &mut Verification,
) -> Result<Verdict> {
    let waiting = || expected.waiting.first().map(|waiting| unavailable(waiting.clone(), WAITING_HINT));
    match (expected.host, expected.gpus) {
        (None, _) => Ok(waiting().unwrap_or_else(|| not_live("no NVIDIA kernel module on this host"))),
        (Some(_), _) if !runs => Ok(waiting().unwrap_or_else(|| not_live("the container does not run"))),
        (Some(_), 0) => Ok(not_live("no GPU is assigned to the container")),
        (Some(host), _) => {
            if let Some((path, wrong)) = wrong_node(guest, rootfs, expected.devices)? {
                let with_restart = || format!("the device node `{path}` takes effect at the container's next start");
                return Ok(match expected.waits_for_restart {
                    true => waiting().unwrap_or_else(|| not_live(&with_restart())),
                    false => wrong,
                });
            }
            let verdict = match judge_live(guest, expected, host, verification)? {
                Verdict::Verified => judge_cuda(guest, rootfs, expected.seen_by_cuda)?,
                verdict => verdict,
            };
            Ok(match (&verdict, waiting()) {
                (Verdict::Verified | Verdict::GpuUnavailable { .. }, Some(waiting)) => waiting,
                _ => verdict,
            })
        }
    }
}

/// What to do about GPUs that wait for the host.
pub const WAITING_HINT: &str = "run `phoenix-nvidia doctor` to see why the host lacks its GPUs, then run \
                                `phoenix-nvidia host prepare`; the container's settings keep what is assigned";

fn installed_by_help(guest: &Guest<'_>) -> Result<Option<DriverVersion>> {
    let output = guest.ask(&nvidia_smi::HELP, DEADLINE)?;
    Ok(if output.success() { nvidia_smi::help_version(&output.stdout_text()) } else { None })
}

fn not_live(reason: &str) -> Verdict {
    Verdict::NotVerifiedLive { reason: reason.to_owned() }
}

fn unavailable(reason: impl Into<String>, hint: impl Into<String>) -> Verdict {
    Verdict::GpuUnavailable { reason: reason.into(), hint: hint.into(), output: String::new() }
}

fn wrong(reason: impl Into<String>, hint: impl Into<String>) -> Option<Verdict> {
    Some(Verdict::Wrong { reason: reason.into(), hint: hint.into(), output: String::new() })
}

/// What to do when the host's module is of another version than the wanted one.
pub fn host_decides(wanted: &DriverVersion, host: &DriverVersion, on_disk: Option<&DriverVersion>) -> String {
    match on_disk {
        Some(on_disk) if on_disk == wanted => {
            format!(
                "the host's kernel module on disk is already {on_disk}, but {host} is still loaded: reboot the host"
            )
        }
        _ => format!(
            "the host's kernel module is {host}; set `nvidia_driver_version` to \"{host}\", or upgrade the host and \
             reboot"
        ),
    }
}

fn judge_files(
    guest: &Guest<'_>,
    expected: &Expectation<'_>,
    presence: &Presence,
    installed: Option<&DriverVersion>,
) -> Option<Verdict> {
    let wanted = expected.wanted;
    let install = format!("phoenix-nvidia install {}", guest.id);
    let install_again = format!("reinstall the driver with `{install}`");
    match (presence, installed) {
        (Presence::Complete { version, .. }, _) if version == wanted => None,
        (Presence::Incomplete { why, .. }, Some(version)) if version == wanted => {
            wrong(format!("driver {wanted} is not completely installed: {why}"), install_again)
        }
        (Presence::Incomplete { why, .. }, None) => wrong(format!("driver {wanted} is wanted: {why}"), install_again),
        (_, None) => {
            wrong(format!("driver {wanted} is wanted, but none is installed"), format!("install it with `{install}`"))
        }
        (_, Some(version)) => wrong(
            format!("driver {wanted} is wanted, but {version} is installed"),
            match expected.host {
                Some(host) if host == version => host_decides(wanted, host, expected.on_disk.as_ref()),
                _ => format!("install {wanted} with `{install}`"),
            },
        ),
    }
}

/// Whether programs get the driver's libraries, or others that come before them.
fn judge_first_library(rootfs: &Rootfs, installed: &DriverVersion) -> Result<Option<Verdict>> {
    Ok(foreign_library(rootfs, installed)?.map(|foreign| unavailable(foreign.cause(), foreign.remedy())))
}

/// `nvidia-smi` needs less than CUDA does, so its answer alone proves little.
fn judge_cuda(guest: &Guest<'_>, rootfs: &Rootfs, gpus: usize) -> Result<Verdict> {
    Ok(match cuda::ask(guest, rootfs, gpus)? {
        cuda::Outcome::Starts => Verdict::Verified,
        cuda::Outcome::NotAsked { reason } => not_live(&reason),
        cuda::Outcome::NoLibrary(Fault { reason, hint }) => Verdict::Wrong { reason, hint, output: String::new() },
        cuda::Outcome::Fails(Fault { reason, hint }) => unavailable(reason, hint),
    })
}

/// The first node that the container does not have as it should, and what that means.
fn wrong_node(guest: &Guest<'_>, rootfs: &Rootfs, devices: &[DeviceNode]) -> Result<Option<(String, Verdict)>> {
    let remedy = format!("pass it with {}", what_passes_nodes(guest.id, guest.keeps_settings));
    for node in devices {
        let path = node.path.to_string_lossy();
        let found = rootfs.look(&path)?;
        // What CUDA does not need comes in with the next start, and the driver works until then.
        // In its place is then nothing, or the empty file that a mount leaves which is `optional` (liblxc 5.0.2).
        if is_optional(&node.path) && matches!(found, None | Some(Found::File { size: 0, .. })) {
            continue;
        }
        if found != Some(Found::CharacterDevice { major: node.major, minor: node.minor }) {
            let reason = format!("the device node `{path}` ({}:{}) is not in the container", node.major, node.minor);
            return Ok(Some((path.into_owned(), unavailable(reason, remedy))));
        }
    }
    let refused = guest.refused_nodes(devices)?;
    Ok(refused.first().map(|path| {
        let path = path.display().to_string();
        let reason = format!(
            "the container may not open the device node `{path}`: its number has changed since the container started"
        );
        (path, unavailable(reason, remedy))
    }))
}

fn judge_live(
    guest: &Guest<'_>,
    expected: &Expectation<'_>,
    host: &DriverVersion,
    verification: &mut Verification,
) -> Result<Verdict> {
    let output = guest.ask(&nvidia_smi::QUERY, DEADLINE)?;
    let wanted = expected.wanted;
    let host_decides = host_decides(wanted, host, expected.on_disk.as_ref());
    let failure = match nvidia_smi::answer(output.code, &output.stdout_text()) {
        Answer::Failed(failure) => failure,
        Answer::Versions { versions, warnings } => {
            (verification.reported, verification.warnings) = (versions, warnings);
            return Ok(judge_reported(guest, expected, &verification.reported, host_decides));
        }
    };
    // The driver's files are right, so those that disagree with the module are others.
    let is_of_gpu = (failure.is_of_gpu() || failure == Failure::VersionMismatch) && host == wanted;
    let hint = match failure {
        Failure::VersionMismatch if host == wanted => others_come_first(guest),
        Failure::VersionMismatch => host_decides,
        Failure::NoDriver if host != wanted => host_decides,
        Failure::Denied => format!(
            "repair its devices with {}; if nothing is to do there, remove a conflicting `devices.deny` from its own \
             settings, and restart it: a reload of systemd may have revoked its devices",
            what_passes_nodes(guest.id, guest.keeps_settings)
        ),
        Failure::NoPermission => {
            "run `phoenix-nvidia doctor` to see which device node is closed; `NVreg_DeviceFileMode` of the host's \
             module decides their mode"
                .to_owned()
        }
        Failure::Lost | Failure::Hangs => LOST_HINT.to_owned(),
        Failure::NoLibrary | Failure::NotThere => {
            format!("install the driver again with `phoenix-nvidia install {}`", guest.id)
        }
        _ => "run `nvidia-smi` on the host; if it fails there too, repair the host's driver first".to_owned(),
    };
    let reason = format!(
        "driver {wanted} is wanted, but `nvidia-smi` fails with exit code {}: {}",
        output.code,
        failure.cause()
    );
    let output = output.last_lines();
    Ok(if is_of_gpu {
        Verdict::GpuUnavailable { reason, hint, output }
    } else {
        Verdict::Wrong { reason, hint, output }
    })
}

/// What to do where the driver is the host's, and programs get another.
fn others_come_first(guest: &Guest<'_>) -> String {
    format!(
        "libraries of another driver come before the right ones: see `ldconfig -p | grep libnvidia-ml` in the container, and \
         `LD_LIBRARY_PATH` among `lxc.environment` of its settings; then run `phoenix-nvidia verify {}`",
        guest.id
    )
}

const LOST_HINT: &str = "look at `nvidia-smi -L` and `dmesg | grep -i -e nvrm -e xid` on the host: a GPU may have \
                         fallen off the bus, in which case reset it or reboot the host";

fn judge_reported(
    guest: &Guest<'_>,
    expected: &Expectation<'_>,
    reported: &[DriverVersion],
    host_decides: String,
) -> Verdict {
    let wanted = expected.wanted;
    if let Some(other) = reported.iter().find(|version| *version != wanted) {
        let reason = format!("driver {wanted} is wanted, but nvidia-smi reports {other}");
        let hint = if expected.host == Some(wanted) { others_come_first(guest) } else { host_decides };
        return Verdict::Wrong { reason, hint, output: String::new() };
    }
    if reported.len() < expected.gpus {
        let reason = format!("{} GPUs are assigned, but `nvidia-smi` reports {}", expected.gpus, reported.len());
        return unavailable(reason, LOST_HINT);
    }
    Verdict::Verified
}
