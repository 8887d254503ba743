//! What follows from what was seen of a container, without asking its driver. Pure.

use crate::config::{WantedDriver, Way};
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::hypervisor::Drift;
use crate::install::presence::Presence;
use crate::install::verify::host_decides;

use super::{Nodes, Verdict};

/// What was seen of a container that exists and wants a driver.
pub(super) struct Seen<'a> {
    pub(super) id: ContainerId,
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
    pub(super) drift: &'a Drift,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) in_step: Option<bool>,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
}

/// Judges. Of several faults the one is told that is to be mended first.
pub(super) fn judge(seen: &Seen<'_>) -> Judgement {
    let fault = driver_fault(seen).or_else(|| host_fault(seen)).or_else(|| node_fault(seen)).or_else(|| drift(seen));
    if let Some(fault) = fault {
        return fault;
    }
    if seen.host.is_none() {
        let reason = Some("no NVIDIA kernel module on this host".to_owned());
        return Judgement { reason, ..Judgement::of(Verdict::NotVerifiedLive, None) };
    }
    Judgement::of(Verdict::InStep, Some(true))
}

fn driver_fault(seen: &Seen<'_>) -> Option<Judgement> {
    let (id, wanted) = (seen.id, &seen.wanted.version);
    match seen.presence {
        Presence::Absent => Some(Judgement {
            verdict: Verdict::NotInstalled,
            in_step: Some(false),
            reason: None,
            hint: Some(format!("install it with `phoenix-nvidia install {id}`")),
        }),
        Presence::Incomplete { why, .. } => {
            wrong(why.clone(), format!("install it again with `phoenix-nvidia install {id}`"))
        }
        Presence::Complete { version, .. } if version != wanted => {
            let hint = match seen.host {
                Some(host) if host == version => host_decides(wanted, host, seen.on_disk),
                _ => format!("bring {wanted} in with `phoenix-nvidia install {id}`"),
            };
            wrong(format!("driver {wanted} was asked for but {version} is installed"), hint)
        }
        Presence::Complete { way, profile, .. } if !seen.presence.satisfies(seen.wanted) => {
            let (is, was) = (way.unwrap_or(Way::Runfile).word(), seen.wanted.way().word());
            let (is_profile, was_profile) = (profile.word(), seen.wanted.profile().word());
            wrong(
                format!(
                    "the way `{was}` with profile `{was_profile}` was asked for, and `{is}` with `{is_profile}` is installed"
                ),
                format!("bring it in with `phoenix-nvidia install {id}`"),
            )
        }
        Presence::Complete { .. } => None,
    }
}

fn host_fault(seen: &Seen<'_>) -> Option<Judgement> {
    let wanted = &seen.wanted.version;
    let host = seen.host.filter(|host| *host != wanted && seen.gpus > 0)?;
    let reason = format!("driver {wanted} was asked for and the host's kernel module is {host}");
    wrong(reason, host_decides(wanted, host, seen.on_disk))
}

fn node_fault(seen: &Seen<'_>) -> Option<Judgement> {
    let first = seen.nodes?.missing.first()?.display().to_string();
    wrong(
        format!("the device node `{first}` is not in the container, or is another one"),
        format!("bring it in with `phoenix-nvidia create {}`, which restarts the container where it must", seen.id),
    )
}

fn drift(seen: &Seen<'_>) -> Option<Judgement> {
    let id = seen.id;
    if !seen.drift.changes.is_empty() {
        return wrong(
            "its settings are not those of the configuration",
            format!("see which with `phoenix-nvidia plan {id}`"),
        );
    }
    if seen.drift.restart {
        return wrong(
            "it runs with other settings than those that it has by now",
            format!("restart it with `phoenix-nvidia apply --restart {id}`"),
        );
    }
    None
}

fn wrong(reason: impl Into<String>, hint: String) -> Option<Judgement> {
    Some(Judgement { verdict: Verdict::Wrong, in_step: Some(false), reason: Some(reason.into()), hint: Some(hint) })
}
