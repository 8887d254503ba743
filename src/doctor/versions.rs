//! Rules about the four versions of a container: wanted, host, installed, reported. Which pair disagrees, which side to
//! change.

use super::{Finding, Rule};
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::nvidia_smi::{Answer, Failure};
use crate::install::presence::Presence;

/// What is known of the versions.
#[derive(Debug, Clone)]
pub(super) struct VersionsState {
    pub(super) id: ContainerId,
    /// The version that the configuration names; nothing where it asks for no driver.
    pub(super) wanted: Option<DriverVersion>,
    /// The version of the host's loaded module.
    pub(super) host: Option<DriverVersion>,
    /// The version of the host's module on disk.
    pub(super) on_disk: Option<DriverVersion>,
    /// What lies in the container.
    pub(super) presence: Presence,
    /// What `nvidia-smi` answered, and its exit code; nothing where it was not asked.
    pub(super) answer: Option<(i32, Answer)>,
    /// How many GPUs are assigned.
    pub(super) gpus: usize,
}

/// Every rule of this subject.
pub(super) fn examine(state: &VersionsState) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        [wanted_and_host, presence, installed].iter().filter_map(|rule| rule(state)).collect();
    match &state.answer {
        Some((_, Answer::Versions { versions, warnings })) => {
            findings.extend(reported_versions(state, versions));
            findings.extend(complaint(warnings));
        }
        // What `nvidia-smi` says then follows from the versions, and would be reported twice.
        Some((_, Answer::Failed(Failure::VersionMismatch))) if !findings.is_empty() => {}
        Some((code, Answer::Failed(failure))) => findings.push(failed(state, *code, *failure)),
        None => {}
    }
    findings
}

fn wanted_and_host(state: &VersionsState) -> Option<Finding> {
    let (wanted, host) = (state.wanted.as_ref()?, state.host.as_ref()?);
    let id = state.id;
    let remedy = if state.on_disk.as_ref() == Some(wanted) {
        "reboot the host: its kernel module on disk is already the wanted one".to_owned()
    } else {
        format!("set `nvidia_driver_version` to \"{host}\", then `phoenix-nvidia apply {id}`; or upgrade the host")
    };
    let cause = format!("driver {wanted} is wanted, but the host's kernel module is {host}");
    (wanted != host).then(|| Finding::new(Rule::WantedNotHost, cause, remedy))
}

fn presence(state: &VersionsState) -> Option<Finding> {
    let wanted = state.wanted.as_ref()?;
    let install = format!("phoenix-nvidia install {}", state.id);
    match &state.presence {
        Presence::Absent => Some(Finding::new(
            Rule::DriverMissing,
            format!("driver {wanted} is wanted, but none is installed"),
            install,
        )),
        // Covered by the rule about several versions.
        Presence::Incomplete { versions, .. } if versions.len() > 1 => None,
        Presence::Incomplete { why, .. } => Some(Finding::new(Rule::DriverIncomplete, why, install)),
        Presence::Complete { .. } => None,
    }
}

fn installed(state: &VersionsState) -> Option<Finding> {
    let installed = state.presence.version()?;
    let id = state.id;
    match (&state.wanted, &state.host) {
        // The configuration is what has to change then.
        (Some(wanted), Some(host)) if installed == host && wanted != host => None,
        (Some(wanted), _) if installed != wanted => Some(Finding::new(
            Rule::InstalledNotWanted,
            format!("driver {installed} is installed, but {wanted} is wanted"),
            format!("phoenix-nvidia install {id}"),
        )),
        (None, Some(host)) if installed != host => Some(Finding::new(
            Rule::InstalledNotHost,
            format!(
                "driver {installed} is installed, the host's kernel module is {host}, and `nvidia` is not among the \
                 features, so nothing keeps them in sync"
            ),
            format!("add \"nvidia\" to `lxc_configs.{id}.features`, then `phoenix-nvidia apply {id} --target host`"),
        )),
        _ => None,
    }
}

fn reported_versions(state: &VersionsState, reported: &[DriverVersion]) -> Option<Finding> {
    if let (Some(installed), Some(other)) =
        (state.presence.version(), reported.iter().find(|it| Some(*it) != state.presence.version()))
    {
        let cause = format!("`nvidia-smi` reports driver {other}, but {installed} is installed");
        let remedy = format!(
            "check which `nvidia-smi` and libraries come first in the container, then `phoenix-nvidia install {}`",
            state.id
        );
        return Some(Finding::new(Rule::ReportedNotInstalled, cause, remedy));
    }
    let cause = format!("{} GPUs are assigned, but `nvidia-smi` reports {}", state.gpus, reported.len());
    let remedy = "nvidia-smi -L on the host: a GPU may have fallen off the bus";
    (reported.len() < state.gpus).then(|| Finding::new(Rule::GpuMissing, cause, remedy))
}

fn complaint(warnings: &[String]) -> Option<Finding> {
    let first = warnings.first()?;
    let remedy =
        "the driver is not the cause: look at `nvidia-smi -q` and `dmesg | grep -i -e nvrm -e xid` on the host";
    Some(Finding::new(Rule::GpuWarning, format!("`nvidia-smi` says: {first}"), remedy))
}

fn failed(state: &VersionsState, code: i32, failure: Failure) -> Finding {
    let cause = format!("`nvidia-smi` in the container fails with exit code {code}: {}", failure.cause());
    let id = state.id;
    let (rule, remedy) = match failure {
        Failure::Denied => {
            let remedy = format!(
                "phoenix-nvidia create {id}, which restarts the container if needed; where that finds nothing to do, \
                 remove a conflicting `devices.deny` from the container's own settings, and restart it: a reload of \
                 systemd may have revoked its devices"
            );
            (Rule::Denied, remedy)
        }
        // Where the versions themselves disagree, that is already reported.
        Failure::VersionMismatch => (
            Rule::ReportedNotInstalled,
            format!(
                "check which libraries come before the driver's in the container: `ldconfig -p | grep libnvidia-ml`, \
                 `LD_LIBRARY_PATH` among `lxc.environment` of its settings; remove those, then `phoenix-nvidia verify \
                 {id}`"
            ),
        ),
        Failure::Hangs => (
            Rule::DriverSilent,
            "`nvidia-smi` and `dmesg | grep -i -e nvrm -e xid` on the host: if a GPU hangs, reset it or reboot the host"
                .to_owned(),
        ),
        Failure::NoLibrary | Failure::NotThere => (Rule::DriverSilent, format!("phoenix-nvidia install {id}")),
        Failure::NoGpu => (Rule::GpuMissing, "nvidia-smi -L on the host: a GPU may have fallen off the bus".to_owned()),
        Failure::Lost => (
            Rule::GpuMissing,
            "`dmesg | grep -i -e nvrm -e xid` on the host says why; reset the GPU or reboot the host"
                .to_owned(),
        ),
        Failure::NoPermission => (
            Rule::ContainerNodeAccess,
            "set `options nvidia NVreg_DeviceFileMode=0666` in /etc/modprobe.d, load the module again, then \
             `phoenix-nvidia host prepare`"
                .to_owned(),
        ),
        Failure::NoPower | Failure::NoInterrupts => (
            Rule::DriverSilent,
            "check the GPU that `nvidia-smi` on the host reports: its power cables, its slot, and the firmware's \
             settings"
                .to_owned(),
        ),
        Failure::NoDriver | Failure::Other | Failure::Unreadable => (
            Rule::DriverSilent,
            "nvidia-smi on the host; if it fails there too, repair the host's driver first".to_owned(),
        ),
    };
    Finding::new(rule, cause, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;
    use crate::driver::nvidia_smi;
    use crate::driver::placement::Profile;

    const ONE: &str = "580.76.05";
    const OTHER: &str = "570.133.20";

    fn version(text: &str) -> DriverVersion {
        text.parse().unwrap()
    }

    fn complete(text: &str) -> Presence {
        Presence::Complete { version: version(text), method: None, profile: Profile::Full }
    }

    fn state(wanted: &str, host: &str, installed: &str) -> VersionsState {
        VersionsState {
            id: "901".parse().unwrap(),
            wanted: Some(version(wanted)),
            host: Some(version(host)),
            on_disk: Some(version(host)),
            presence: complete(installed),
            answer: None,
            gpus: 1,
        }
    }

    fn found(state: &VersionsState) -> Vec<&'static str> {
        rules_of(&examine(state))
    }

    #[test]
    fn every_pair_that_disagrees_is_named_once() {
        assert_eq!(found(&state(ONE, ONE, ONE)), Vec::<&str>::new());
        assert_eq!(found(&state(ONE, ONE, OTHER)), ["installed-not-wanted"]);
        assert_eq!(found(&state(ONE, OTHER, OTHER)), ["wanted-not-host"]);
        assert_eq!(found(&state(ONE, OTHER, ONE)), ["wanted-not-host"]);
        assert_eq!(found(&state(ONE, OTHER, "550.163.01")), ["wanted-not-host", "installed-not-wanted"]);
    }

    #[test]
    fn a_pending_reboot_changes_the_side_to_change() {
        let mut state = state(ONE, OTHER, ONE);
        assert!(examine(&state)[0].remedy.contains("nvidia_driver_version"));
        state.on_disk = Some(version(ONE));
        assert!(examine(&state)[0].remedy.starts_with("reboot the host"));
    }

    #[test]
    fn answers_of_nvidia_smi_have_their_rules() {
        // Measured with 550.163.01.
        let denied = "Failed to initialize NVML: Unknown Error\n";
        let no_driver = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n\n";
        let mismatch = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.163\n";
        for (code, text, rule) in [
            (255, denied, "denied"),
            (9, no_driver, "driver-silent"),
            (12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", "driver-silent"),
            (18, mismatch, "reported-not-installed"),
            (124, "", "driver-silent"),
            (10, "", "driver-silent"),
            (6, "", "gpu-missing"),
            (127, "", "driver-silent"),
            (0, "570.133.20\n", "reported-not-installed"),
        ] {
            let answer = Some((code, nvidia_smi::answer(code, text)));
            assert_eq!(found(&VersionsState { answer, ..state(ONE, ONE, ONE) }), [rule], "{code}");
        }
        let two = Some((0, nvidia_smi::answer(0, "580.76.05\n580.76.05\n")));
        assert_eq!(found(&VersionsState { answer: two.clone(), gpus: 2, ..state(ONE, ONE, ONE) }), Vec::<&str>::new());
        assert_eq!(found(&VersionsState { answer: two, gpus: 3, ..state(ONE, ONE, ONE) }), ["gpu-missing"]);
        let answer = Some((18, nvidia_smi::answer(18, mismatch)));
        assert_eq!(found(&VersionsState { answer, ..state(ONE, OTHER, ONE) }), ["wanted-not-host"]);
    }

    #[test]
    fn no_driver_and_half_a_driver_are_reported_where_one_is_wanted() {
        let mut state = state(ONE, ONE, ONE);
        state.presence = Presence::Absent;
        assert_eq!(found(&state), ["driver-missing"]);
        state.presence =
            Presence::Incomplete { versions: [version(ONE)].into(), why: "`/usr/bin/x` is gone".to_owned() };
        assert_eq!(found(&state), ["driver-incomplete"]);
        state.presence = Presence::Absent;
        state.wanted = None;
        assert_eq!(found(&state), Vec::<&str>::new());
        state.presence = complete(OTHER);
        assert_eq!(found(&state), ["installed-not-host"]);
    }
}
