//! What follows from what was seen of a container, without asking its driver. Pure.

use crate::config::{Method, WantedDriver, what_passes_nodes};
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::error::Error;
use crate::hypervisor::Drift;
use crate::install::presence::Presence;
use crate::install::verify::{WAITING_HINT, host_decides};

use super::{Nodes, Verdict};

/// What was seen of a container that exists and wants a driver.
pub(super) struct Seen<'a> {
    pub(super) id: ContainerId,
    /// Its settings are its operator's.
    pub(super) keeps_settings: bool,
    pub(super) wanted: &'a WantedDriver,
    pub(super) presence: &'a Presence,
    /// The host's loaded kernel module.
    pub(super) host: Option<&'a DriverVersion>,
    /// The host's kernel module on disk, where the loaded one is not the wanted one.
    pub(super) on_disk: Option<&'a DriverVersion>,
    /// How many GPUs are assigned.
    pub(super) gpus: usize,
    /// Its device nodes, where they could be looked at.
    pub(super) nodes: Option<&'a Nodes>,
    /// What of its GPUs waits for the host.
    pub(super) waiting: &'a [String],
    pub(super) drift: &'a Drift,
    /// What is wrong with its CDI specification.
    pub(super) specification: Option<&'a str>,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) in_sync: Option<bool>,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
}

/// Judges. Of several faults, reports the one to fix first.
pub(super) fn judge(seen: &Seen<'_>) -> Judgement {
    let fault = driver_fault(seen)
        .or_else(|| host_fault(seen))
        .or_else(|| waiting(seen))
        .or_else(|| node_fault(seen))
        .or_else(|| drift(seen))
        .or_else(|| specification(seen));
    if let Some(fault) = fault {
        return fault;
    }
    if seen.host.is_none() {
        let reason = Some("no NVIDIA kernel module on this host".to_owned());
        return Judgement { reason, ..Judgement::of(Verdict::NotVerifiedLive, None) };
    }
    Judgement::of(Verdict::InSync, Some(true))
}

fn driver_fault(seen: &Seen<'_>) -> Option<Judgement> {
    let (id, wanted) = (seen.id, &seen.wanted.version);
    match seen.presence {
        Presence::Absent => Some(Judgement {
            verdict: Verdict::NotInstalled,
            in_sync: Some(false),
            reason: None,
            hint: Some(format!("install the driver with `phoenix-nvidia install {id}`")),
        }),
        Presence::Incomplete { why, .. } => {
            wrong(why.clone(), format!("reinstall the driver with `phoenix-nvidia install {id}`"))
        }
        Presence::Complete { version, .. } if version != wanted => {
            let hint = match seen.host {
                Some(host) if host == version => host_decides(wanted, host, seen.on_disk),
                _ => format!("install {wanted} with `phoenix-nvidia install {id}`"),
            };
            wrong(format!("driver {wanted} is wanted, but {version} is installed"), hint)
        }
        Presence::Complete { method, profile, .. } if !seen.presence.satisfies(seen.wanted) => {
            let (is, was) = (method.unwrap_or(Method::Runfile).word(), seen.wanted.method().word());
            let (is_profile, was_profile) = (profile.word(), seen.wanted.profile().word());
            wrong(
                format!(
                    "the method `{was}` with profile `{was_profile}` is wanted, but `{is}` with `{is_profile}` is \
                     installed"
                ),
                format!("install the driver with `phoenix-nvidia install {id}`"),
            )
        }
        Presence::Complete { .. } => None,
    }
}

fn host_fault(seen: &Seen<'_>) -> Option<Judgement> {
    let wanted = &seen.wanted.version;
    let host = seen.host.filter(|host| *host != wanted && seen.gpus > 0)?;
    let reason = format!("driver {wanted} is wanted, but the host's kernel module is {host}");
    wrong(reason, host_decides(wanted, host, seen.on_disk))
}

fn waiting(seen: &Seen<'_>) -> Option<Judgement> {
    Some(Judgement {
        verdict: Verdict::GpuUnavailable,
        in_sync: Some(false),
        reason: Some(seen.waiting.first()?.clone()),
        hint: Some(WAITING_HINT.to_owned()),
    })
}

fn node_fault(seen: &Seen<'_>) -> Option<Judgement> {
    let first = seen.nodes?.missing.first()?.display().to_string();
    wrong(
        format!("the device node `{first}` is missing in the container, has another number, or may not be opened"),
        format!("pass it with {}", what_passes_nodes(seen.id, seen.keeps_settings)),
    )
}

/// The driver may be right all the same: somebody else may have made the container.
fn drift(seen: &Seen<'_>) -> Option<Judgement> {
    let id = seen.id;
    let differ = |reason: &str, hint: String| {
        let verdict = Judgement::of(Verdict::SettingsDiffer, Some(false));
        Some(Judgement { reason: Some(reason.to_owned()), hint: Some(hint), ..verdict })
    };
    if !seen.drift.changes.is_empty() {
        let hint = format!("show the differences with `phoenix-nvidia plan {id}`");
        return differ("its settings differ from the configuration", hint);
    }
    if seen.drift.restart {
        let hint = format!("restart it with `phoenix-nvidia apply --restart {id}`");
        return differ("it runs with older settings than its configuration file", hint);
    }
    None
}

/// Engines in the container then give another driver on, or none.
fn specification(seen: &Seen<'_>) -> Option<Judgement> {
    let hint = Some(format!("update it with `phoenix-nvidia apply {}`", seen.id));
    let verdict = Judgement::of(Verdict::SettingsDiffer, Some(false));
    Some(Judgement { reason: Some(seen.specification?.to_owned()), hint, ..verdict })
}

fn wrong(reason: impl Into<String>, hint: String) -> Option<Judgement> {
    Some(Judgement { verdict: Verdict::OutOfSync, in_sync: Some(false), reason: Some(reason.into()), hint: Some(hint) })
}

impl Judgement {
    pub(super) fn of(verdict: Verdict, in_sync: Option<bool>) -> Self {
        Self { verdict, in_sync, reason: None, hint: None }
    }

    /// A container that could not be looked at is not known to be in sync.
    pub(super) fn failed(error: &Error) -> Self {
        Self {
            verdict: Verdict::Error,
            in_sync: Some(false),
            reason: Some(error.message().to_owned()),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Configuration, Layout};
    use crate::driver::placement::Profile;

    fn version(text: &str) -> DriverVersion {
        text.parse().unwrap()
    }

    fn wanted() -> WantedDriver {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        fs_err::create_dir_all(directory.path().join("etc")).unwrap();
        let text = r#"{ "nvidia_driver_version": "580.76.05", "nvidia_install_method": "native", "lxc_configs": {
            "901": { "name": "gpu", "template": "t.tar.zst", "features": ["nvidia"], "gpu_assignment": "0" } } }"#;
        fs_err::write(layout.containers_file(), text).unwrap();
        let configuration = Configuration::load(&layout).unwrap();
        configuration.container("901".parse().unwrap()).unwrap().driver.clone().unwrap()
    }

    fn complete(version: &str, method: Method) -> Presence {
        Presence::Complete { version: version.parse().unwrap(), method: Some(method), profile: Profile::default() }
    }

    /// The judgement of what was seen, where all that `change` leaves is as it should be.
    fn judged(change: impl FnOnce(&mut Case)) -> Judgement {
        let wanted = wanted();
        let mut case = Case {
            presence: complete("580.76.05", Method::Native),
            host: Some(version("580.76.05")),
            on_disk: None,
            gpus: 1,
            nodes: Some(Nodes { wanted: 5, missing: Vec::new() }),
            drift: Drift::default(),
            specification: None,
        };
        change(&mut case);
        judge(&Seen {
            waiting: &[],
            id: "901".parse().unwrap(),
            keeps_settings: false,
            wanted: &wanted,
            presence: &case.presence,
            host: case.host.as_ref(),
            on_disk: case.on_disk.as_ref(),
            gpus: case.gpus,
            nodes: case.nodes.as_ref(),
            drift: &case.drift,
            specification: case.specification.as_deref(),
        })
    }

    struct Case {
        presence: Presence,
        host: Option<DriverVersion>,
        on_disk: Option<DriverVersion>,
        gpus: usize,
        nodes: Option<Nodes>,
        drift: Drift,
        specification: Option<String>,
    }

    fn is_wrong(judgement: &Judgement, reason: &str, hint: &str) {
        is_fault(Verdict::OutOfSync, judgement, reason, hint);
    }

    fn is_fault(verdict: Verdict, judgement: &Judgement, reason: &str, hint: &str) {
        assert_eq!((judgement.verdict, judgement.in_sync), (verdict, Some(false)), "{judgement:?}");
        assert_eq!(judgement.reason.as_deref(), Some(reason));
        assert!(judgement.hint.as_ref().is_some_and(|it| it.contains(hint)), "{judgement:?}");
    }

    #[test]
    fn what_agrees_is_in_sync_and_says_that_nobody_was_asked() {
        assert_eq!(judged(|_| {}), Judgement::of(Verdict::InSync, Some(true)));
        // A stopped container has no device nodes to look at.
        assert_eq!(judged(|case| case.nodes = None), Judgement::of(Verdict::InSync, Some(true)));
    }

    #[test]
    fn without_a_kernel_module_nothing_is_called_in_sync() {
        let judgement = judged(|case| case.host = None);
        assert_eq!((judgement.verdict, judgement.in_sync), (Verdict::NotVerifiedLive, None));
        assert_eq!(judgement.reason.as_deref(), Some("no NVIDIA kernel module on this host"));
    }

    #[test]
    fn a_module_of_another_version_is_the_side_to_change_and_a_reboot_where_one_is_pending() {
        let reason = "driver 580.76.05 is wanted, but the host's kernel module is 570.133.20";
        let other = |case: &mut Case| case.host = Some(version("570.133.20"));
        is_wrong(&judged(other), reason, "upgrade the host and reboot");
        let pending = judged(|case| {
            other(case);
            case.on_disk = Some(version("580.76.05"));
        });
        is_wrong(&pending, reason, "reboot the host");
        // Without GPUs, the host's module is none of its business.
        let without = judged(|case| {
            other(case);
            case.gpus = 0;
        });
        assert_eq!(without.in_sync, Some(true));
    }

    #[test]
    fn another_version_another_way_and_half_a_driver_are_wrong() {
        let older = judged(|case| case.presence = complete("570.133.20", Method::Native));
        is_wrong(&older, "driver 580.76.05 is wanted, but 570.133.20 is installed", "`phoenix-nvidia install 901`");
        let by_hosts = judged(|case| {
            case.presence = complete("570.133.20", Method::Native);
            case.host = Some(version("570.133.20"));
        });
        assert!(by_hosts.hint.is_some_and(|hint| hint.contains("set `nvidia_driver_version` to \"570.133.20\"")));
        let method = judged(|case| case.presence = complete("580.76.05", Method::Runfile));
        let reason = "the method `native` with profile `full` is wanted, but `runfile` with `full` is installed";
        is_wrong(&method, reason, "`phoenix-nvidia install 901`");
        let why = "`/usr/bin/nvidia-smi` has changed since its installation".to_owned();
        let half =
            judged(|case| case.presence = Presence::Incomplete { versions: Default::default(), why: why.clone() });
        is_wrong(&half, &why, "reinstall the driver");
        let none = judged(|case| case.presence = Presence::Absent);
        assert_eq!((none.verdict, none.in_sync), (Verdict::NotInstalled, Some(false)));
    }

    #[test]
    fn missing_nodes_are_wrong_and_other_settings_are_reported() {
        let missing = vec!["/dev/nvidia-uvm".into(), "/dev/nvidiactl".into()];
        let nodes = judged(|case| case.nodes = Some(Nodes { wanted: 5, missing }));
        is_wrong(
            &nodes,
            "the device node `/dev/nvidia-uvm` is missing in the container, has another number, or may not be opened",
            "create 901",
        );
        let settings = judged(|case| case.drift.changes = vec!["+ lxc.uts.name = gpu".to_owned()]);
        is_fault(
            Verdict::SettingsDiffer,
            &settings,
            "its settings differ from the configuration",
            "`phoenix-nvidia plan 901`",
        );
        let restart = judged(|case| case.drift.restart = true);
        is_fault(
            Verdict::SettingsDiffer,
            &restart,
            "it runs with older settings than its configuration file",
            "`phoenix-nvidia apply --restart 901`",
        );
    }
}
