//! Containers that do not exist, for the tests of page and metrics.

use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::status::{ContainerStatus, Verdict};

use super::Fleet;

pub(super) fn row(id: u64, verdict: Verdict) -> ContainerStatus {
    let in_sync = match verdict {
        Verdict::Verified | Verdict::InSync => Some(true),
        Verdict::OutOfSync
        | Verdict::GpuUnavailable
        | Verdict::SettingsDiffer
        | Verdict::NotInstalled
        | Verdict::Error => Some(false),
        Verdict::NotVerifiedLive
        | Verdict::Unknown
        | Verdict::NotKnownFromHere
        | Verdict::Absent
        | Verdict::NotConfigured
        | Verdict::NoDriverWanted => None,
    };
    ContainerStatus {
        moved_gpus: Vec::new(),
        cluster_node: None,
        id: id.to_string().parse().unwrap(),
        name: format!("gpu-{id}"),
        state: "running",
        gpus: vec!["0".to_owned()],
        wanted: "580.76.05".parse().ok(),
        host: "580.76.05".parse().ok(),
        installed: "580.76.05".parse().ok(),
        reported: Vec::new(),
        method: None,
        profile: None,
        nodes: None,
        cached: Some("yes"),
        verdict,
        in_sync,
        reason: None,
        hint: None,
    }
}

pub(super) fn fleet<'a>(rows: Vec<ContainerStatus>, host: &'a NvidiaHost, host_name: &str) -> Fleet<'a> {
    let at = "2026-11-23T04:34:56Z".parse().unwrap();
    Fleet { rows, host, on_disk: None, newest: None, host_name: host_name.to_owned(), asked: false, at, refresh: None }
}
