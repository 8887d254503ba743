//! Looking at containers: files through the in-root door, settings, device nodes; the driver itself only when asked to.

use std::sync::OnceLock;

use crate::cache::Presence as Cached;
use crate::config::{Container, WantedDriver};
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::device::DeviceNode;
use crate::error::Result;
use crate::fleet::observe::known_gpus;
use crate::fleet::observe::passthrough::Passthrough;
use crate::fleet::{Fleet, request, workers};
use crate::hypervisor::State;
use crate::hypervisor::cluster::Cluster;
use crate::install::presence::{self, Presence};
use crate::install::verify;
use crate::sys::readable::Readable;

use super::elsewhere::row_of_another_node;
use super::judgement::{Judgement, Seen, judge};
use super::{Asking, ContainerStatus, Nodes, Verdict};

/// What was seen in a container's root.
struct SeenIn {
    presence: Presence,
    /// Nothing where the container does not run, or has no nodes.
    nodes: Option<Nodes>,
    /// What is wrong with its CDI specification, where its driver is the wanted one.
    specification: Option<String>,
    /// What an interrupted run left.
    left: Result<Option<String>>,
}

/// The version of the host's kernel module on disk, found out once and only when it matters.
type OnDisk = OnceLock<Option<DriverVersion>>;

/// How these containers are, in their order; whatever cannot be found out is said in the row.
///
/// Where nobody is asked, no process is started for a container that plain LXC runs.
///
/// # Errors
/// The operator interrupted.
pub fn status(fleet: &Fleet<'_>, ids: &[ContainerId], asking: Asking) -> Result<Vec<ContainerStatus>> {
    status_in(fleet, ids, asking, None)
}

/// The same, where the cluster has been looked at before.
pub(super) fn status_in(
    fleet: &Fleet<'_>,
    ids: &[ContainerId],
    asking: Asking,
    cluster: Option<&Cluster>,
) -> Result<Vec<ContainerStatus>> {
    let states = fleet.hypervisor.states(ids);
    // An unknown state may be that of a container of another node.
    let looked_at = match cluster {
        None if states.iter().any(Result::is_err) => fleet.hypervisor.cluster().ok().flatten(),
        _ => None,
    };
    let cluster = cluster.or(looked_at.as_ref());
    let states: std::collections::BTreeMap<_, _> = ids.iter().zip(states).collect();
    let on_disk = OnDisk::new();
    let rows = workers::run(
        ids,
        |_| Vec::new(),
        fleet.jobs,
        |id| match cluster.and_then(|cluster| Some((cluster, cluster.elsewhere(id)?))) {
            Some((cluster, container)) => row_of_another_node(fleet, container, cluster),
            None => row(fleet, id, states.get(&id), asking, &on_disk),
        },
    );
    fleet.context.cancel.check()?;
    Ok(rows)
}

fn row(
    fleet: &Fleet<'_>,
    id: ContainerId,
    state: Option<&Result<State>>,
    asking: Asking,
    on_disk: &OnDisk,
) -> ContainerStatus {
    let mut row = ContainerStatus::empty(id, fleet.host.loaded.clone());
    let filled = match (fleet.configuration.container(id), state) {
        (Err(error), _) => Err(error),
        (Ok(container), Some(Ok(state))) => fill(fleet, container, *state, asking, on_disk, &mut row),
        (Ok(container), Some(Err(error))) => {
            fill_wanted(fleet, container, &mut row).map(|()| row.judge(Judgement::failed(error)))
        }
        (Ok(_), None) => Ok(()),
    };
    if let Err(error) = filled {
        row.judge(Judgement::failed(&error));
    }
    row
}

fn fill_wanted(fleet: &Fleet<'_>, container: &Container, row: &mut ContainerStatus) -> Result<()> {
    row.name.clone_from(&container.name);
    row.gpus = container.gpus.iter().map(ToString::to_string).collect();
    let Some(driver) = &container.driver else { return Ok(()) };
    row.wanted = Some(driver.version.clone());
    row.cached = Some(match fleet.cache.look(&request(driver))? {
        Cached::Trusted { .. } => "yes",
        Cached::Unchecked { .. } => "unchecked",
        Cached::Partial { .. } => "partly",
        Cached::Absent => "no",
    });
    Ok(())
}

fn fill(
    fleet: &Fleet<'_>,
    container: &Container,
    state: State,
    asking: Asking,
    on_disk: &OnDisk,
    row: &mut ContainerStatus,
) -> Result<()> {
    row.state = state.word();
    fill_wanted(fleet, container, row)?;
    if state != State::Absent {
        row.moved_gpus = known_gpus::moved_since(fleet.context.layout, container, fleet.host)?;
    }
    let Some(wanted) = &container.driver else {
        return fill_without_driver(fleet, container, row);
    };
    if state == State::Absent {
        let create = format!("create it with `phoenix-nvidia create {}`", container.id);
        row.judge(Judgement { hint: Some(create), ..Judgement::of(Verdict::Absent, None) });
        return Ok(());
    }
    let is_running = matches!(state, State::Running { .. });
    let Passthrough { devices, waiting, .. } = fleet.passthrough(container)?;
    let nodes = if is_running { devices } else { Vec::new() };
    let Some(seen) = fleet.look_into(container.id, |root| seen_in(fleet, container, root, &nodes))? else {
        let reason = "the container does not run, and its disk would have to be mounted to read it".to_owned();
        row.judge(Judgement { reason: Some(reason), ..Judgement::of(Verdict::Unknown, None) });
        return Ok(());
    };
    row.take(Some(&seen.presence));
    row.nodes = seen.nodes.clone();
    let judgement = judged(fleet, container, wanted, &seen, row.nodes.as_ref(), &waiting, on_disk)?;
    row.judge(judgement);
    if row.reason.is_none() || row.verdict == Verdict::NotVerifiedLive {
        tell_leftovers(container.id, seen.left?, row);
    }
    if asking == Asking::Drivers && is_running {
        ask(fleet, container, row)?;
    }
    Ok(())
}

/// A container that wants no driver, or of which nobody can say which it wants.
fn fill_without_driver(fleet: &Fleet<'_>, container: &Container, row: &mut ContainerStatus) -> Result<()> {
    if !container.is_found {
        row.judge(Judgement::of(Verdict::NoDriverWanted, None));
        return Ok(());
    }
    row.take(fleet.presence(container)?.as_ref());
    let verdict = if row.installed.is_some() { Verdict::NotVerifiedLive } else { Verdict::NotInstalled };
    let reason = Some("no NVIDIA kernel module on this host, so no version is wanted".to_owned());
    let hint = Some("load it with `modprobe nvidia`; `phoenix-nvidia doctor` says why it is missing".to_owned());
    row.judge(Judgement { reason, hint, ..Judgement::of(verdict, None) });
    Ok(())
}

fn seen_in(fleet: &Fleet<'_>, container: &Container, root: &dyn Readable, nodes: &[DeviceNode]) -> Result<SeenIn> {
    let presence = presence::observe(&fleet.guest(container.id), root)?;
    let is_installed = container.driver.as_ref().is_some_and(|driver| presence.satisfies(driver));
    Ok(SeenIn {
        specification: if is_installed { fleet.specification_fault(container, root)? } else { None },
        presence,
        nodes: match nodes.len() {
            0 => None,
            wanted => Some(Nodes { wanted, missing: fleet.wrong_nodes(container.id, root, nodes)? }),
        },
        left: fleet.left_in(container.id, root),
    })
}

fn judged(
    fleet: &Fleet<'_>,
    container: &Container,
    wanted: &WantedDriver,
    seen: &SeenIn,
    nodes: Option<&Nodes>,
    waiting: &[String],
    on_disk: &OnDisk,
) -> Result<Judgement> {
    let drift = fleet.drift(container)?;
    let host = fleet.host.loaded.as_ref();
    let other = host.is_some_and(|host| *host != wanted.version);
    let on_disk = other.then(|| on_disk.get_or_init(|| fleet.host.on_disk(fleet.context.cancel)).as_ref()).flatten();
    let gpus = container.gpus.count();
    let (id, keeps_settings) = (container.id, container.keeps_settings);
    Ok(judge(&Seen {
        id,
        keeps_settings,
        wanted,
        presence: &seen.presence,
        host,
        on_disk,
        gpus,
        nodes,
        waiting,
        drift: &drift,
        specification: seen.specification.as_deref(),
    }))
}

/// Asks the driver; what the files say stands unless the driver's answer says more.
fn ask(fleet: &Fleet<'_>, container: &Container, row: &mut ContainerStatus) -> Result<()> {
    let verification = fleet.verification(container, false)?;
    row.installed = verification.installed;
    row.reported = verification.reported;
    match verification.verdict {
        // A driver that answers does not make settings right that are not.
        verify::Verdict::Verified if row.in_sync == Some(true) => {
            row.judge(Judgement::of(Verdict::Verified, Some(true)));
        }
        verify::Verdict::Verified => {}
        verify::Verdict::NotVerifiedLive { reason } if row.verdict == Verdict::InSync => {
            row.verdict = Verdict::NotVerifiedLive;
            row.reason = Some(reason);
        }
        verify::Verdict::NotVerifiedLive { .. } => {}
        verify::Verdict::GpuUnavailable { reason, hint, .. } => row.judge(Judgement {
            verdict: Verdict::GpuUnavailable,
            in_sync: Some(false),
            reason: Some(reason),
            hint: Some(hint),
        }),
        verify::Verdict::Wrong { reason, hint, .. } => row.judge(Judgement {
            verdict: if row.installed.is_none() { row.verdict } else { Verdict::OutOfSync },
            in_sync: Some(false),
            reason: Some(reason),
            hint: Some(hint),
        }),
    }
    Ok(())
}

/// The driver may be right all the same: the run was killed before or after its work on it.
fn tell_leftovers(id: ContainerId, left: Option<String>, row: &mut ContainerStatus) {
    let Some(left) = left else { return };
    let hint = Some(format!("remove it with `phoenix-nvidia apply {id}`"));
    row.judge(Judgement { reason: Some(left), hint, ..Judgement::of(Verdict::OutOfSync, Some(false)) });
}
