//! Observing one container for the doctor: its versions, devices and files, read and nothing changed.

use std::path::Path;
use std::time::Duration;

use super::container_nodes::{BoundDriver, DevicesState, NodeInside};
use super::docker::DockerState;
use super::engines::EnginesState;
use super::ids::IdsState;
use super::root_files::RootState;
use super::versions::VersionsState;
use crate::cache::Presence as Cached;
use crate::config::{Container, Method, WantedDriver};
use crate::container_id::ContainerId;
use crate::driver::cdi::FILE_OF_TOOLKIT;
use crate::driver::container_toolkit::{DAEMON_CONFIG, RUNTIME, RUNTIME_CONFIG};
use crate::driver::device::DeviceNode;
use crate::driver::foreign_packages;
use crate::driver::nvidia_smi::{self, Answer};
use crate::error::Result;
use crate::fleet::observe::known_gpus;
use crate::fleet::observe::passthrough::{Passthrough, divided};
use crate::fleet::{Fleet, request};
use crate::hypervisor::{Drift, HostsDriver, State};
use crate::install::cdi::{self, There};
use crate::install::preflight::Needs;
use crate::install::presence::{self, Presence};
use crate::install::{CLibrary, foreign_library, leftovers, receipt};
use crate::sys::idmap::{IdMap, Range};
use crate::sys::readable::Readable;

/// liblxc lets it write an idmap, also as root, where it is there.
const NEWUIDMAP: [&str; 2] = ["/usr/bin/newuidmap", "/bin/newuidmap"];
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
// The database of a container with 3,000 packages has about 4 MB; it may be anything.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";
const DPKG_STATUS_LIMIT: u64 = 32 << 20;
// Written by hand or by one program: a few hundred bytes.
const CONFIG_LIMIT: u64 = 1 << 20;
/// Where rpm keeps its database: Fedora and RHEL 8 and later, and before.
const RPM_DATABASES: [&str; 3] =
    ["/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages"];

/// What was observed of a container that exists; a part that could not be looked at does not hide the others.
pub(super) struct ContainerState {
    pub(super) id: ContainerId,
    pub(super) is_running: bool,
    /// The command that starts it.
    pub(super) start: String,
    /// How many GPUs are assigned to it.
    pub(super) gpus: usize,
    pub(super) versions: Result<VersionsState>,
    pub(super) devices: Result<DevicesState>,
    pub(super) root: Result<RootState>,
    pub(super) ids: IdsState,
    /// Nothing where no driver is wanted.
    pub(super) engines: Option<Result<EnginesState>>,
    /// Nothing where it does not have the features `docker` and `nvidia`.
    pub(super) docker: Option<Result<DockerState>>,
}

/// Observes a container; `None` where it does not exist.
pub(super) fn container_state(fleet: &Fleet<'_>, container: &Container) -> Result<Option<ContainerState>> {
    let state = fleet.hypervisor.state(container.id)?;
    if state == State::Absent {
        return Ok(None);
    }
    let state_in = |root: &dyn Readable| container_state_in(fleet, container, state, root);
    match fleet.look_into(container.id, |root| Ok(state_in(root)))? {
        Some(state) => Ok(Some(state)),
        // It has to be mounted for that.
        None => Ok(Some(state_in(&fleet.hypervisor.rootfs(container.id)?))),
    }
}

fn container_state_in(fleet: &Fleet<'_>, container: &Container, state: State, rootfs: &dyn Readable) -> ContainerState {
    let is_running = matches!(state, State::Running { .. });
    let presence = presence::observe(&fleet.guest(container.id), rootfs);
    let is_docker = ["docker", "nvidia"].iter().all(|it| container.features.iter().any(|feature| feature == it));
    ContainerState {
        id: container.id,
        is_running,
        start: match container.keeps_settings {
            true => fleet.hypervisor.start_command(container.id),
            false => format!("phoenix-nvidia create {}", container.id),
        },
        gpus: container.gpus.count(),
        devices: devices_state(fleet, container, rootfs, is_running),
        root: root_state(fleet, container, rootfs, presence.as_ref().ok()),
        ids: ids_state(rootfs.idmap()),
        versions: presence.and_then(|presence| versions_state(fleet, container, presence, is_running)),
        engines: container.driver.as_ref().map(|_| engines_state(fleet, container, rootfs)),
        docker: is_docker.then(|| docker_state(container, rootfs)),
    }
}

fn versions_state(
    fleet: &Fleet<'_>,
    container: &Container,
    presence: Presence,
    is_running: bool,
) -> Result<VersionsState> {
    let gpus = container.gpus.count();
    let host = fleet.host.loaded.clone();
    // One that was never to use a GPU, or has no driver, need not answer.
    let is_asked = is_running && gpus > 0 && host.is_some() && presence != Presence::Absent;
    Ok(VersionsState {
        id: container.id,
        wanted: container.driver.as_ref().map(|driver| driver.version.clone()),
        on_disk: if host.is_some() { fleet.host.on_disk(fleet.context.cancel) } else { None },
        host,
        presence,
        answer: if is_asked { Some(ask_nvidia_smi(fleet, container)?) } else { None },
        gpus,
    })
}

fn ask_nvidia_smi(fleet: &Fleet<'_>, container: &Container) -> Result<(i32, Answer)> {
    let output = fleet.guest(container.id).ask(&nvidia_smi::QUERY, ANSWER_DEADLINE)?;
    Ok((output.code, nvidia_smi::answer(output.code, &output.stdout_text())))
}

fn devices_state(
    fleet: &Fleet<'_>,
    container: &Container,
    rootfs: &dyn Readable,
    is_running: bool,
) -> Result<DevicesState> {
    // A node that this host lacks hides neither the container's settings nor its other GPUs.
    let (passthrough, drift, undecided) = match fleet.passthrough(container) {
        Ok(passthrough) => (passthrough, fleet.drift(container)?, None),
        Err(error) => (Passthrough::default(), Drift::default(), Some(error)),
    };
    let without_dri = passthrough.without_dri();
    let wanted = if is_running { passthrough.devices } else { Vec::new() };
    Ok(DevicesState {
        id: container.id,
        keeps_settings: container.keeps_settings,
        refused: fleet.hypervisor.refused_nodes(container.id, &wanted)?,
        nodes: wanted.into_iter().map(|node| inside(node, rootfs)).collect::<Result<_>>()?,
        divided: divided(container, fleet.host)?,
        without_dri,
        undecided,
        hosts_driver: bound_driver(fleet, container)?,
        waiting: passthrough.waiting,
        drift: drift.changes,
        restart: drift.restart,
        moved: known_gpus::moved_since(fleet.context.layout, container, fleet.host)?,
    })
}

/// Where a container wants no driver, the host's may be the one that its operator has chosen.
fn bound_driver(fleet: &Fleet<'_>, container: &Container) -> Result<Vec<BoundDriver>> {
    if container.driver.is_none() {
        return Ok(Vec::new());
    }
    let of_options = |bound: &HostsDriver| {
        container.lxc_options.iter().any(|option| option.key == bound.key && option.value == bound.value)
    };
    let of_mounts = |bound: &HostsDriver| {
        let sources = container.mounts.iter().map(|mount| mount.host_path.display().to_string());
        sources.into_iter().any(|source| {
            bound.value.starts_with(&format!("{source} ")) || bound.value.starts_with(&format!("{source},"))
        })
    };
    let place = |bound: &HostsDriver| match (of_options(bound), of_mounts(bound)) {
        (true, _) => format!("lxc_configs.{}.lxc_options", container.id),
        (_, true) => format!("lxc_configs.{}.mount_points", container.id),
        _ => bound.file.display().to_string(),
    };
    let bound = fleet.hypervisor.hosts_driver(container.id)?;
    Ok(bound.iter().map(|it| BoundDriver { line: format!("{}: {}", it.key, it.value), place: place(it) }).collect())
}

fn root_state(
    fleet: &Fleet<'_>,
    container: &Container,
    rootfs: &dyn Readable,
    presence: Option<&Presence>,
) -> Result<RootState> {
    let guest = fleet.guest(container.id);
    let dpkg = rootfs.read(DPKG_STATUS, DPKG_STATUS_LIMIT).ok().flatten().unwrap_or_default();
    let is_worked_on = fleet.is_worked_on(container.id)?;
    Ok(RootState {
        id: container.id,
        wants_driver: container.driver.is_some(),
        libraries: presence::library_versions(rootfs)?,
        receipt: receipt::load(&guest, rootfs)?.map(|receipt| (receipt.method, receipt.version)),
        installer_log: presence::backup_log(rootfs).ok().flatten().map(|log| log.version),
        packages: foreign_packages::in_dpkg_status(&String::from_utf8_lossy(&dpkg)),
        rpm: is_any_there(rootfs, &RPM_DATABASES)?,
        c_library: CLibrary::of(rootfs)?,
        foreign_library: match presence.and_then(Presence::version) {
            Some(installed) => foreign_library(rootfs, installed)?,
            None => None,
        },
        left: if is_worked_on { Vec::new() } else { leftovers(rootfs)? },
        left_snapshot: if is_worked_on { None } else { fleet.left_snapshot(container.id)? },
        room: presence.map(|presence| room(fleet, container, rootfs, presence)).transpose()?.flatten(),
    })
}

/// Free and needed bytes below `/usr`, where a driver is to come whose run file is here and says how large it is.
fn room(
    fleet: &Fleet<'_>,
    container: &Container,
    rootfs: &dyn Readable,
    presence: &Presence,
) -> Result<Option<(u64, u64)>> {
    // The method `shared` puts links there and no files.
    let puts_files = |driver: &&WantedDriver| driver.method() != Method::Shared && !presence.satisfies(driver);
    let Some(driver) = container.driver.as_ref().filter(puts_files) else {
        return Ok(None);
    };
    Ok(match fleet.cache.look(&request(driver))? {
        Cached::Trusted { bytes, .. } | Cached::Unchecked { bytes, .. } => {
            Some((rootfs.available("/usr")?, Needs::of_run_file(bytes, None).installed))
        }
        Cached::Partial { .. } | Cached::Absent => None,
    })
}

fn inside(wanted: DeviceNode, rootfs: &dyn Readable) -> Result<NodeInside> {
    let path = wanted.path.to_string_lossy().into_owned();
    let (mode, user, _) = rootfs.access(&path)?.unwrap_or_default();
    let users = rootfs.idmap().users();
    let owned = users.iter().any(|range| user.checked_sub(range.outside).is_some_and(|offset| offset < range.count));
    Ok(NodeInside { found: rootfs.look(&path)?, wanted, mode, owned })
}

/// Nothing where the tools that read the files are missing, or the container has no user namespace.
fn ids_state(idmap: &IdMap) -> IdsState {
    let is_limited = !idmap.is_identity() && NEWUIDMAP.iter().any(|path| Path::new(path).exists());
    let map = |ranges: &[Range], file: &'static str| {
        let ranges = if is_limited { ranges.to_vec() } else { Vec::new() };
        (ranges, file, fs_err::read_to_string(file).unwrap_or_default())
    };
    IdsState { maps: [map(idmap.users(), "/etc/subuid"), map(idmap.groups(), "/etc/subgid")] }
}

fn engines_state(fleet: &Fleet<'_>, container: &Container, rootfs: &dyn Readable) -> Result<EnginesState> {
    let mut others = Vec::new();
    if container.cdi != Some(false) {
        others.extend(cdi::of_others(rootfs)?);
        others.extend(rootfs.look(FILE_OF_TOOLKIT)?.map(|_| FILE_OF_TOOLKIT.to_owned()));
    }
    let presence = presence::observe(&fleet.guest(container.id), rootfs)?;
    let is_installed = container.driver.as_ref().is_some_and(|driver| presence.satisfies(driver));
    let fault = if is_installed { fleet.specification_fault(container, rootfs)? } else { None };
    Ok(EnginesState { fault, others })
}

fn docker_state(container: &Container, rootfs: &dyn Readable) -> Result<DockerState> {
    let read = |path: &str| match rootfs.read(path, CONFIG_LIMIT) {
        Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(error.message().to_owned()),
    };
    let runtime = ["/usr/bin", "/usr/local/bin"].map(|directory| format!("{directory}/{RUNTIME}"));
    let mut toolkit = false;
    for path in &runtime {
        toolkit |= rootfs.is_executable(path)?;
    }
    let has_specification = matches!(cdi::look(rootfs)?, There::Ours(_));
    Ok(DockerState {
        id: container.id,
        has_specification,
        toolkit,
        config: read(RUNTIME_CONFIG),
        daemon: read(DAEMON_CONFIG),
    })
}

fn is_any_there(rootfs: &dyn Readable, paths: &[&str]) -> Result<bool> {
    for path in paths {
        if rootfs.look(path)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
