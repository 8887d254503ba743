//! Which device nodes a host must have, and what is to be done about each as it is found. Pure.

use super::device::{COMPANIONS, MAJOR};
use super::proc_files::{self, Capability, Gpu, NodeAccess};
use crate::sys::device_node::{CharacterDevice, Found};

/// The directory of the capabilities' nodes, below `/dev`.
pub const CAPABILITIES: &str = "nvidia-caps";

/// A node as it must be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WantedNode {
    /// Its name below `/dev`: `nvidia0`, `nvidia-caps/nvidia-cap1`.
    pub name: String,
    /// Its numbers, its mode and its owner.
    #[serde(flatten)]
    pub device: CharacterDevice,
    /// It is ours to make and to change; the module's parameters can say that somebody else does that.
    #[serde(skip)]
    pub modify: bool,
}

impl WantedNode {
    /// Its link in `/dev/char`, by which programs find a node by its number.
    pub fn char_link(&self) -> String {
        format!("char/{}:{}", self.device.major, self.device.minor)
    }

    /// What that link says.
    pub fn char_link_target(&self) -> String {
        format!("../{}", self.name)
    }
}

/// What the module says about itself in `/proc`.
#[derive(Debug, Clone, Copy)]
pub struct KernelAnswers<'a> {
    /// `/proc/devices`.
    pub devices: &'a str,
    /// Its GPUs.
    pub gpus: &'a [Gpu],
    /// Whom nodes belong to.
    pub access: NodeAccess,
    /// Its capabilities.
    pub capabilities: &'a [Capability],
}

/// All nodes that this module answers at.
///
/// What is not in `/proc/devices` has no driver behind it, and a node for it would only hide that. `nvidia-modeset` is made
/// all the same: its number is fixed, CUDA does not need it, and a container that was given it while its module was loaded
/// does not start on Proxmox VE where the node is missing.
pub fn wanted(answers: &KernelAnswers<'_>) -> Vec<WantedNode> {
    let NodeAccess { modify, user, group, mode } = answers.access;
    let node = |name: String, major, minor| WantedNode {
        name,
        device: CharacterDevice { major, minor, mode, user, group },
        modify,
    };
    let major = |name| proc_files::character_major(answers.devices, name);
    let mut nodes: Vec<_> =
        answers.gpus.iter().map(|gpu| node(format!("nvidia{}", gpu.minor), MAJOR, gpu.minor)).collect();
    for companion in &COMPANIONS {
        let (dynamic, minor) = companion.numbers;
        let found = match dynamic {
            Some(name) => major(name),
            None => Some(MAJOR),
        };
        nodes.extend(found.map(|major| node(companion.name.to_owned(), major, minor)));
    }
    if let Some(major) = major("nvidia-caps") {
        for capability in answers.capabilities {
            let name = format!("{CAPABILITIES}/nvidia-cap{}", capability.minor);
            let mut node = node(name, major, capability.minor);
            node.device.mode = capability.mode;
            node.modify = modify && capability.modify;
            nodes.push(node);
        }
    }
    nodes
}

/// How a node is, compared with how it must be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// As it must be.
    Right,
    /// Not there.
    Missing,
    /// A device of another number: of another driver, or of this one before it was loaded again.
    WrongNumbers {
        /// The major that it has.
        #[serde(rename = "found_major")]
        major: u32,
        /// The minor that it has.
        #[serde(rename = "found_minor")]
        minor: u32,
    },
    /// The right device with another mode or owner.
    WrongAccess {
        /// The permission bits that it has.
        #[serde(rename = "found_mode")]
        mode: u32,
    },
    /// An empty file, as a bind mount leaves it behind that was made onto nothing.
    EmptyFile,
    /// Something that may be somebody's, and is not ours to remove.
    OtherFile {
        /// What it is, in words.
        what: String,
    },
}

/// Compares what lies where a node should be with what it must be.
pub fn judge(wanted: &WantedNode, found: Option<Found>) -> Verdict {
    match found {
        None => Verdict::Missing,
        Some(Found::File(0)) => Verdict::EmptyFile,
        Some(Found::File(size)) => Verdict::OtherFile { what: format!("a file of {size} bytes") },
        Some(Found::Other(what)) => Verdict::OtherFile { what: what.to_owned() },
        Some(Found::Device(CharacterDevice { major, minor, .. }))
            if (major, minor) != (wanted.device.major, wanted.device.minor) =>
        {
            Verdict::WrongNumbers { major, minor }
        }
        // Where nodes are not ours to change, somebody else decides who may open them.
        Some(Found::Device(device)) if wanted.modify && device != wanted.device => {
            Verdict::WrongAccess { mode: device.mode }
        }
        Some(Found::Device(_)) => Verdict::Right,
    }
}

impl Verdict {
    /// How it is, as a phrase.
    pub fn phrase(&self) -> String {
        match self {
            Self::Right => "ok".to_owned(),
            Self::Missing => "missing".to_owned(),
            Self::WrongNumbers { major, minor } => format!("wrong: it is {major}:{minor}"),
            Self::WrongAccess { mode } => format!("wrong: its mode is {mode:04o}, or its owner another"),
            Self::EmptyFile => "wrong: an empty file, left by a bind mount onto a missing node".to_owned(),
            Self::OtherFile { what } => format!("wrong: {what} is there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: &str =
        "Character devices:\n195 nvidia\n195 nvidia-modeset\n195 nvidiactl\n507 nvidia-caps\n508 nvidia-uvm\n\n";

    fn gpu(minor: u32) -> Gpu {
        Gpu { minor, pci_address: format!("0000:0{minor}:00.0"), uuid: None, model: String::new() }
    }

    fn names(devices: &str, access: NodeAccess) -> Vec<String> {
        let gpus = [gpu(0), gpu(2)];
        let capabilities = [Capability { minor: 1, mode: 0o400, modify: true }];
        let nodes = wanted(&KernelAnswers { devices, gpus: &gpus, access, capabilities: &capabilities });
        nodes
            .iter()
            .map(|it| format!("{} {}:{} {:o}", it.name, it.device.major, it.device.minor, it.device.mode))
            .collect()
    }

    #[test]
    fn the_nodes_are_those_that_the_module_answers_at() {
        assert_eq!(
            names(DEVICES, NodeAccess { mode: 0o660, ..NodeAccess::default() }),
            [
                "nvidia0 195:0 660",
                "nvidia2 195:2 660",
                "nvidiactl 195:255 660",
                "nvidia-uvm 508:0 660",
                "nvidia-uvm-tools 508:1 660",
                "nvidia-modeset 195:254 660",
                "nvidia-caps/nvidia-cap1 507:1 400",
            ]
        );
    }

    #[test]
    fn what_has_no_driver_behind_it_gets_no_node() {
        let without = "Character devices:\n195 nvidia\n195 nvidiactl\n\n";
        let nodes = ["nvidia0 195:0 666", "nvidia2 195:2 666", "nvidiactl 195:255 666", "nvidia-modeset 195:254 666"];
        assert_eq!(names(without, NodeAccess::default()), nodes);
    }

    #[test]
    fn a_node_is_judged_by_number_mode_and_owner() {
        let uvm = CharacterDevice { major: 508, minor: 0, mode: 0o666, user: 0, group: 0 };
        let node = WantedNode { name: "nvidia-uvm".to_owned(), device: uvm, modify: true };
        let device = |major, mode| Some(Found::Device(CharacterDevice { major, mode, ..uvm }));
        assert_eq!(judge(&node, device(508, 0o666)), Verdict::Right);
        assert_eq!(judge(&node, device(511, 0o666)), Verdict::WrongNumbers { major: 511, minor: 0 });
        assert_eq!(judge(&node, device(508, 0o600)), Verdict::WrongAccess { mode: 0o600 });
        assert_eq!(judge(&WantedNode { modify: false, ..node.clone() }, device(508, 0o600)), Verdict::Right);
        assert_eq!(judge(&node, Some(Found::File(0))), Verdict::EmptyFile);
        assert_eq!(judge(&node, None), Verdict::Missing);
        assert!(matches!(judge(&node, Some(Found::File(1))), Verdict::OtherFile { .. }));
        assert!(matches!(judge(&node, Some(Found::Other("a directory"))), Verdict::OtherFile { .. }));
    }

    #[test]
    fn the_link_of_a_node_leads_back_to_it() {
        let access = NodeAccess::default();
        let capabilities = [Capability { minor: 1, mode: 0o400, modify: true }];
        let nodes = wanted(&KernelAnswers { devices: DEVICES, gpus: &[], access, capabilities: &capabilities });
        let cap = nodes.last().unwrap();
        assert_eq!(
            (cap.char_link().as_str(), cap.char_link_target().as_str()),
            ("char/507:1", "../nvidia-caps/nvidia-cap1")
        );
    }
}
