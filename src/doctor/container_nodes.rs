//! Rules about the device nodes in a container, its settings, and whether its GPUs are still the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Finding, Rule, listed};
use crate::container_id::ContainerId;
use crate::driver::device::{DeviceNode, is_dri};
use crate::error::{Error, Kind};
use crate::fleet::observe::nodes_inside::waits_for_a_start;
use crate::install::verify::WAITING_HINT;
use crate::sys::rootfs::Found;

/// What is known of a container's devices.
#[derive(Debug)]
pub(super) struct DevicesState {
    pub(super) id: ContainerId,
    /// Its settings are its operator's.
    pub(super) keeps_settings: bool,
    /// The nodes that it must have, each with what lies there; nothing while it does not run.
    pub(super) nodes: Vec<NodeInside>,
    /// What of its GPUs waits for the host, a sentence each.
    pub(super) waiting: Vec<String>,
    /// Those that it has and may not open.
    pub(super) refused: Vec<PathBuf>,
    /// Its whole GPUs that the host has divided, a sentence each.
    pub(super) divided: Vec<String>,
    /// The note about its GPUs that have no node to draw with.
    pub(super) without_dri: Option<String>,
    /// Why it cannot be said which nodes it must have; the rest is looked at all the same.
    pub(super) undecided: Option<Error>,
    /// What brings the host's own driver in beside the one that it wants, and where to take that out.
    pub(super) hosts_driver: Vec<BoundDriver>,
    /// What separates its settings from those of the configuration, a phrase each.
    pub(super) drift: Vec<String>,
    /// Only a restart brings its settings in.
    pub(super) restart: bool,
    /// Its GPUs that are others than when it was configured, one sentence each.
    pub(super) moved: Vec<String>,
}

/// A setting by which the host's own driver comes in.
#[derive(Debug, Clone)]
pub(super) struct BoundDriver {
    /// The setting as it stands there.
    pub(super) line: String,
    /// A file, or a key of the configuration.
    pub(super) place: String,
}

/// A device node in a container.
#[derive(Debug, Clone)]
pub(super) struct NodeInside {
    /// As it must be.
    pub(super) wanted: DeviceNode,
    /// What lies there.
    pub(super) found: Option<Found>,
    /// Its permission bits.
    pub(super) mode: u32,
    /// It belongs to somebody whom the container's idmap knows.
    pub(super) owned: bool,
}

/// Every rule of this subject.
pub(super) fn examine(state: &DevicesState) -> Vec<Finding> {
    let create = match state.keeps_settings {
        true => "pass it by a line of the container's own settings, then restart the container".to_owned(),
        false => format!("phoenix-nvidia create {}, which restarts the container if needed", state.id),
    };
    let unavailable = |sentence: &String| Finding::new(Rule::GpuUnavailable, sentence, WAITING_HINT);
    let mut findings: Vec<Finding> = state.waiting.iter().map(unavailable).collect();
    findings.extend(state.undecided.iter().map(undecided));
    let of = |choose: &dyn Fn(&NodeInside) -> bool| -> Vec<String> {
        state.nodes.iter().filter(|node| choose(node)).map(|node| shown(&node.wanted.path)).collect()
    };
    let missing = of(&|node| node.found.is_none() && !comes_with_the_next_start(state, node));
    if !missing.is_empty() {
        let cause = format!("{} not in the container", is_or_are(&missing));
        findings.push(Finding::new(Rule::ContainerNodeMissing, cause, &create));
    }
    let wrong = of(&|node| node.found.is_some() && !is_right(node) && !comes_with_the_next_start(state, node));
    if !wrong.is_empty() {
        let cause = format!("{} not the device of the host's driver", is_or_are(&wrong));
        findings.push(Finding::new(Rule::ContainerNodeWrong, cause, &create));
    }
    let came_later = of(&|node| comes_with_the_next_start(state, node));
    if !came_later.is_empty() {
        let cause = format!("{} not in the container, which started before the node existed", is_or_are(&came_later));
        let remedy = format!("restart container {}; CUDA works without it", state.id);
        findings.push(Finding::new(Rule::ContainerNodeLater, cause, remedy));
    }
    findings.extend(closed(state));
    findings.extend(closed_to_draw_with(state));
    if !state.refused.is_empty() {
        let names: Vec<String> = state.refused.iter().map(|path| shown(path)).collect();
        let cause = format!("{} denied to the container: its settings allow other device numbers", is_or_are(&names));
        findings.push(Finding::new(Rule::ContainerNodeAccess, cause, &create));
    }
    if !state.drift.is_empty() || state.restart {
        findings.push(drift(state, create));
    }
    findings.extend(host_driver_bound(state));
    findings.extend(state.divided.iter().map(|sentence| {
        let remedy = format!(
            "name an instance in `lxc_configs.{id}.gpu_assignment`, then `phoenix-nvidia create {id}`",
            id = state.id
        );
        Finding::new(Rule::GpuDivided, sentence, remedy)
    }));
    findings.extend(state.without_dri.iter().map(|sentence| {
        let remedy = format!(
            "`modprobe nvidia-drm`, then `phoenix-nvidia create {id}`; or set `lxc_configs.{id}.nvidia_dri` to false",
            id = state.id
        );
        Finding::new(Rule::DriMissing, sentence, remedy)
    }));
    findings.extend(state.moved.iter().map(|sentence| {
        let remedy = format!(
            "name the GPU by its UUID in `lxc_configs.{id}.gpu_assignment`, then `phoenix-nvidia create {id}`",
            id = state.id
        );
        Finding::new(Rule::GpuMoved, sentence, remedy)
    }));
    findings
}

/// What the host lacks is no fault of the looking.
fn undecided(error: &Error) -> Finding {
    let finding = Finding::of_error(error, None);
    let rule = if error.kind() == Kind::Host { Rule::GpuUnavailable } else { finding.rule };
    Finding::new(rule, finding.cause, finding.remedy)
}

/// liblxc mounts over the installed files at every start; what is installed then is under it, and nobody sees it.
fn host_driver_bound(state: &DevicesState) -> Option<Finding> {
    if state.hosts_driver.is_empty() {
        return None;
    }
    let cause = "the container's settings mount the host's driver over the installed one at every start";
    let places: BTreeSet<String> = state.hosts_driver.iter().map(|bound| format!("`{}`", bound.place)).collect();
    let remedy = format!(
        "remove these lines from {}, restart the container, then `phoenix-nvidia install {}`",
        places.into_iter().collect::<Vec<_>>().join(" and "),
        state.id
    );
    let lines = state.hosts_driver.iter().map(|bound| bound.line.clone()).collect();
    Some(Finding::new(Rule::HostDriverBound, cause, remedy).with_details(lines))
}

fn drift(state: &DevicesState, remedy: String) -> Finding {
    let cause = match state.drift.is_empty() {
        true => "the container runs with other settings than its configuration file".to_owned(),
        false => "the container's settings differ from the configuration".to_owned(),
    };
    Finding::new(Rule::SettingsDrift, cause, remedy).with_details(state.drift.clone())
}

/// Nodes that programs which do not run as root cannot open; in an unprivileged container, often root cannot either.
fn closed(state: &DevicesState) -> Option<Finding> {
    let closed: Vec<&NodeInside> =
        state.nodes.iter().filter(|node| is_closed(node) && !is_dri(&node.wanted.path)).collect();
    let first = closed.first()?;
    let who =
        if first.owned { "only its root and group may open them" } else { "no user in the container may open them" };
    let names: Vec<String> = closed.iter().map(|node| shown(&node.wanted.path)).collect();
    let cause = format!("{} of mode {:04o} in the container: {who}", is_or_are(&names), first.mode);
    let remedy = "set `options nvidia NVreg_DeviceFileMode=0666` in /etc/modprobe.d, load the module again, then \
                  `phoenix-nvidia host prepare`";
    Some(Finding::new(Rule::ContainerNodeAccess, cause, remedy))
}

/// Nodes to draw with that the host's own belong to: its root and a group, whom an unprivileged container does not know.
/// One that knows the owner is as every host is.
fn closed_to_draw_with(state: &DevicesState) -> Option<Finding> {
    let closed = state.nodes.iter().filter(|node| is_closed(node) && is_dri(&node.wanted.path) && !node.owned);
    let closed: Vec<&NodeInside> = closed.collect();
    let names: Vec<String> = closed.iter().map(|node| shown(&node.wanted.path)).collect();
    let cause = format!(
        "{} of mode {:04o} in the container: no user in the container may open them",
        is_or_are(&names),
        closed.first()?.mode
    );
    let remedy = "let udev open them: a line `SUBSYSTEM==\"drm\", KERNEL==\"card*|renderD*\", MODE=\"0666\"` in \
                  /etc/udev/rules.d of the host, then `udevadm control --reload` and `udevadm trigger /dev/dri/*`";
    Some(Finding::new(Rule::ContainerNodeAccess, cause, remedy))
}

fn is_closed(node: &NodeInside) -> bool {
    is_right(node) && node.mode & 0o006 != 0o006
}

/// Whether nothing but a restart is left to do for a node: the settings pass it.
fn comes_with_the_next_start(state: &DevicesState, node: &NodeInside) -> bool {
    state.drift.is_empty() && !state.restart && waits_for_a_start(&node.wanted.path, node.found.as_ref())
}

fn is_right(node: &NodeInside) -> bool {
    node.found == Some(Found::CharacterDevice { major: node.wanted.major, minor: node.wanted.minor })
}

fn is_or_are(names: &[String]) -> String {
    format!("{} {}", listed(names), if names.len() == 1 { "is" } else { "are" })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;

    const RIGHT: Found = Found::CharacterDevice { major: 195, minor: 0 };

    fn state(found: Option<Found>, mode: u32, owned: bool) -> DevicesState {
        let wanted = DeviceNode { path: "/dev/nvidia0".into(), major: 195, minor: 0, mode: 0o666, group: 0 };
        DevicesState {
            id: "901".parse().unwrap(),
            keeps_settings: false,
            nodes: vec![NodeInside { wanted, found, mode, owned }],
            waiting: Vec::new(),
            refused: Vec::new(),
            drift: Vec::new(),
            restart: false,
            divided: Vec::new(),
            without_dri: None,
            undecided: None,
            hosts_driver: Vec::new(),
            moved: Vec::new(),
        }
    }

    fn found(state: &DevicesState) -> Vec<&'static str> {
        rules_of(&examine(state))
    }

    #[test]
    fn a_node_is_missing_wrong_or_right() {
        assert_eq!(found(&state(Some(RIGHT), 0o666, false)), Vec::<&str>::new());
        assert_eq!(found(&state(None, 0, false)), ["container-node-missing"]);
        // What a bind mount onto nothing leaves: an empty file that nobody may open.
        assert_eq!(found(&state(Some(Found::File { size: 0, mode: 0 }), 0, false)), ["container-node-wrong"]);
        let stale = Found::CharacterDevice { major: 511, minor: 0 };
        assert_eq!(found(&state(Some(stale), 0o666, true)), ["container-node-wrong"]);
    }

    #[test]
    fn nvidia_modeset_comes_with_the_next_start() {
        let mut absent = state(Some(Found::File { size: 0, mode: 0 }), 0, false);
        absent.nodes[0].wanted.path = "/dev/nvidia-modeset".into();
        let findings = examine(&absent);
        assert_eq!(rules_of(&findings), ["container-node-later"]);
        assert_eq!(findings[0].remedy, "restart container 901; CUDA works without it");
        // Where something else restarts it anyway, and where another device lies there, it is as any other.
        absent.restart = true;
        assert_eq!(found(&absent), ["container-node-wrong", "settings-drift"]);
        (absent.restart, absent.nodes[0].found) = (false, Some(Found::CharacterDevice { major: 1, minor: 3 }));
        assert_eq!(found(&absent), ["container-node-wrong"]);
    }

    #[test]
    fn a_closed_node_says_whom_it_is_closed_to() {
        let open_to_nobody = examine(&state(Some(RIGHT), 0o660, false));
        assert_eq!(rules_of(&open_to_nobody), ["container-node-access"]);
        assert!(
            open_to_nobody[0].cause.ends_with("mode 0660 in the container: no user in the container may open them")
        );
        let open_to_root = examine(&state(Some(RIGHT), 0o660, true));
        assert!(open_to_root[0].cause.ends_with("only its root and group may open them"));
    }

    #[test]
    fn a_node_to_draw_with_is_closed_only_to_whom_its_owner_is_nobody() {
        let of = |owned| {
            let mut state = state(Some(RIGHT), 0o660, owned);
            state.nodes[0].wanted.path = "/dev/dri/card0".into();
            examine(&state)
        };
        assert_eq!(rules_of(&of(true)), Vec::<&str>::new());
        assert_eq!(rules_of(&of(false)), ["container-node-access"]);
        assert!(of(false)[0].remedy.contains("/etc/udev/rules.d"));
    }

    #[test]
    fn a_node_that_the_host_lacks_is_its_own_finding_and_hides_no_other() {
        let mut state = state(Some(RIGHT), 0o666, true);
        state.moved = vec!["GPU 0 was 0000:07:00.0 and is 0000:81:00.0 now".to_owned()];
        state.undecided = Some(Error::new(Kind::Host, "the device node `/dev/nvidiactl` is missing on this host"));
        assert_eq!(found(&state), ["gpu-unavailable", "gpu-moved"]);
        state.undecided = Some(Error::new(Kind::Configuration, "this host has no GPU `7`"));
        assert_eq!(found(&state), ["configuration", "gpu-moved"]);
    }

    #[test]
    fn the_hosts_own_driver_is_reported_with_where_to_take_it_out() {
        let mut state = state(Some(RIGHT), 0o666, true);
        let bound = |line: &str, place: &str| BoundDriver { line: line.to_owned(), place: place.to_owned() };
        state.hosts_driver = vec![
            bound("lxc.hook.mount: /usr/share/lxc/hooks/nvidia", "/var/lib/lxc/901/config"),
            bound("lxc.mount.entry: /usr/bin/nvidia-smi usr/bin/nvidia-smi none bind", "lxc_configs.901.lxc_options"),
        ];
        let findings = examine(&state);
        assert_eq!(rules_of(&findings), ["host-driver-bound"]);
        assert_eq!(findings[0].details.len(), 2);
        let places = "`/var/lib/lxc/901/config` and `lxc_configs.901.lxc_options`, restart the container, then";
        assert!(findings[0].remedy.contains(places), "{}", findings[0].remedy);
    }

    #[test]
    fn settings_and_cards_are_reported_beside_the_nodes() {
        let mut state = state(Some(RIGHT), 0o666, true);
        state.drift = vec!["memory 512 MiB".to_owned()];
        state.moved = vec!["GPU 0 was 0000:07:00.0 and is 0000:81:00.0 now".to_owned()];
        assert_eq!(found(&state), ["settings-drift", "gpu-moved"]);
        assert_eq!(examine(&state)[0].details, state.drift);
    }
}
