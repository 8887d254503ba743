//! What the kernel module says in `/proc`: its version, its GPUs, and how its device nodes shall be.

use super::DriverVersion;

/// The version in the first line of `/proc/driver/nvidia/version`.
///
/// Forms seen: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  …` and
/// `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.58.02  Release Build …`.
pub fn module_version(text: &str) -> Option<DriverVersion> {
    let (_, after) = text.lines().next()?.split_once("Module")?;
    after.split_whitespace().find_map(|word| word.parse().ok())
}

/// One GPU as `/proc/driver/nvidia/gpus/<pci>/information` describes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Gpu {
    /// N of `/dev/nvidiaN`; neither `nvidia-smi`'s index nor the order on the bus.
    pub minor: u32,
    /// `0000:01:00.0`.
    pub pci_address: String,
    /// `GPU-eaf23aa1-…`; absent until the GPU was first used.
    pub uuid: Option<String>,
    /// `NVIDIA GeForce RTX 3090`.
    pub model: String,
}

/// Reads the description of the GPU in the directory of this name, the `place`-th in the order of their addresses.
///
/// Drivers up to 384 list no device minor: they number the GPUs in that order.
pub fn gpu(directory: &str, place: u32, text: &str) -> Gpu {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    Gpu {
        minor: field("Device Minor").and_then(|minor| minor.parse().ok()).unwrap_or(place),
        pci_address: field("Bus Location").unwrap_or_else(|| directory.to_owned()),
        uuid: field("GPU UUID").filter(|uuid| uuid.starts_with("GPU-") && !uuid.contains('?')),
        model: field("Model").unwrap_or_default(),
    }
}

/// The major of a character device in `/proc/devices`, by the driver's name there.
pub fn character_major(devices: &str, name: &str) -> Option<u32> {
    let characters = devices.lines().skip_while(|line| !line.starts_with("Character devices")).skip(1);
    let mut entries =
        characters.take_while(|line| !line.trim().is_empty()).filter_map(|line| line.trim().split_once(' '));
    entries.find(|(_, driver)| driver.trim() == name).and_then(|(major, _)| major.parse().ok())
}

/// Whom device nodes belong to, as `/proc/driver/nvidia/params` says it (`NVreg_DeviceFileUID` and its siblings).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAccess {
    /// Nodes are ours to make and to change; `NVreg_ModifyDeviceFiles=0` says that somebody else does that.
    pub modify: bool,
    /// The owner.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// The permission bits.
    pub mode: u32,
}

/// What holds where the module says nothing: the defaults of NVIDIA's module (580).
impl Default for NodeAccess {
    fn default() -> Self {
        Self { modify: true, user: 0, group: 0, mode: 0o666 }
    }
}

/// Reads `/proc/driver/nvidia/params`, where all numbers are decimal: `DeviceFileMode: 438`.
pub fn node_access(params: &str) -> NodeAccess {
    let number = |name: &str| number_of(params, name);
    let default = NodeAccess::default();
    NodeAccess {
        modify: number("ModifyDeviceFiles") != Some(0),
        user: number("DeviceFileUID").unwrap_or(default.user),
        group: number("DeviceFileGID").unwrap_or(default.group),
        mode: number("DeviceFileMode").map_or(default.mode, |mode| mode & 0o777),
    }
}

/// The mode as it stands there: 432 for 0660, and 660 for who wrote `NVreg_DeviceFileMode=660`.
pub fn given_node_mode(params: &str) -> Option<u32> {
    number_of(params, "DeviceFileMode")
}

/// A capability of the driver, which is used through `/dev/nvidia-caps/nvidia-cap<minor>`: to configure MIG, say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The minor of its node.
    pub minor: u32,
    /// The permission bits of its node.
    pub mode: u32,
    /// The node is ours to make and to change.
    pub modify: bool,
}

/// Reads a file below `/proc/driver/nvidia/capabilities`; `None` when it names no minor.
pub fn capability(text: &str) -> Option<Capability> {
    Some(Capability {
        minor: number_of(text, "DeviceFileMinor")?,
        // Not to be opened by everybody unless the driver says so.
        mode: number_of(text, "DeviceFileMode").map_or(0o400, |mode| mode & 0o777),
        modify: number_of(text, "DeviceFileModify") != Some(0),
    })
}

/// The minor that a list such as `/proc/driver/nvidia-caps/mig-minors` has for a capability: `config 1`.
///
/// The list writes `gpu0/gi1/access` where the capability's path is `gpu0/mig/gi1/access`.
pub fn listed_minor(list: &str, capability: &str) -> Option<u32> {
    let name = capability.split('/').filter(|part| *part != "mig").collect::<Vec<_>>().join("/");
    let mut entries = list.lines().filter_map(|line| line.trim().rsplit_once(' '));
    entries.find(|(listed, _)| listed.trim() == name).and_then(|(_, minor)| minor.parse().ok())
}

/// The number behind `name:`.
fn number_of(text: &str, name: &str) -> Option<u32> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_every_known_form() {
        let forms = [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024\nGCC version: 12",
                "470.256.02",
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.58.02  Release Build  (dvs-builder)  Tue Jun 25 01:26:03 UTC 2024",
                "555.58.02",
            ),
            ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.142  Release Build", "580.142"),
        ];
        for (text, version) in forms {
            assert_eq!(module_version(text).unwrap().as_str(), version);
        }
        assert_eq!(module_version("garbage"), None);
    }

    #[test]
    fn the_minor_is_the_one_that_the_driver_says() {
        let text = "Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 77\nGPU UUID: \t GPU-eaf23aa1-4d3d-596c-da66-b86b0e5db584\nBus Location: \t 0000:07:00.0\nDevice Minor: \t 2\n";
        let gpu = gpu("0000:07:00.0", 0, text);
        assert_eq!((gpu.minor, gpu.pci_address.as_str()), (2, "0000:07:00.0"));
        assert_eq!(gpu.uuid.as_deref(), Some("GPU-eaf23aa1-4d3d-596c-da66-b86b0e5db584"));
    }

    #[test]
    fn where_a_driver_says_no_minor_the_order_of_the_addresses_does() {
        // 340.108 and 384.130 end with the bus location.
        let text = "Model: \t\t GeForce GTX 580\nIRQ:   \t\t 77\nBus Location: \t 0000:02:00.0\n";
        let found = gpu("0000:02:00.0", 1, text);
        assert_eq!((found.minor, found.pci_address.as_str(), found.uuid), (1, "0000:02:00.0", None));
        assert_eq!(gpu("0000:02:00.0", 0, "").pci_address, "0000:02:00.0");
    }

    #[test]
    fn a_uuid_of_question_marks_is_no_uuid() {
        let text =
            "GPU UUID: \t GPU-????????-????-????-????-????????????\nBus Location: 0000:01:00.0\nDevice Minor: 0\n";
        assert_eq!(gpu("0000:01:00.0", 0, text).uuid, None);
    }

    #[test]
    fn majors_come_from_the_character_section_alone() {
        let devices =
            "Character devices:\n  1 mem\n195 nvidia\n235 nvidia-uvm\n\nBlock devices:\n  7 loop\n243 nvidia-uvm\n";
        assert_eq!(character_major(devices, "nvidia-uvm"), Some(235));
        assert_eq!(character_major(devices, "loop"), None);
    }

    #[test]
    fn the_access_of_nodes_is_what_the_module_was_loaded_with() {
        let params = "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 44\nDeviceFileMode: 432\n";
        assert_eq!(node_access(params), NodeAccess { modify: true, user: 0, group: 44, mode: 0o660 });
        assert_eq!(node_access(""), NodeAccess::default());
        assert!(!node_access("ModifyDeviceFiles: 0\n").modify);
    }

    #[test]
    fn a_capability_names_its_node_and_who_may_open_it() {
        let config = capability("DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 1\n").unwrap();
        assert_eq!(config, Capability { minor: 1, mode: 0o400, modify: true });
        assert_eq!(capability("DeviceFileMinor: 2\n").unwrap().mode, 0o400);
        assert_eq!(capability("DeviceFileMode: 256\n"), None);
    }

    #[test]
    fn a_list_of_minors_leaves_out_the_word_mig() {
        let list = "config 1\nmonitor 2\ngpu0/gi1/access 12\n";
        assert_eq!(listed_minor(list, "mig/config"), Some(1));
        assert_eq!(listed_minor(list, "gpu0/mig/gi1/access"), Some(12));
        assert_eq!(listed_minor(list, "gpu0/mig/gi2/access"), None);
    }
}
