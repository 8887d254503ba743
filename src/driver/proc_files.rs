//! What the kernel module tells in `/proc`: its version, its GPUs, and the majors of its device nodes.

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

/// Reads such a description; `None` when it lacks the device minor or the bus location.
pub fn gpu(text: &str) -> Option<Gpu> {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    Some(Gpu {
        minor: field("Device Minor")?.parse().ok()?,
        pci_address: field("Bus Location")?,
        uuid: field("GPU UUID").filter(|uuid| uuid.starts_with("GPU-") && !uuid.contains('?')),
        model: field("Model").unwrap_or_default(),
    })
}

/// The major of a character device in `/proc/devices`, by the driver's name there.
pub fn character_major(devices: &str, name: &str) -> Option<u32> {
    let characters = devices.lines().skip_while(|line| !line.starts_with("Character devices")).skip(1);
    let mut entries =
        characters.take_while(|line| !line.trim().is_empty()).filter_map(|line| line.trim().split_once(' '));
    entries.find(|(_, driver)| driver.trim() == name).and_then(|(major, _)| major.parse().ok())
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
        let gpu = gpu(text).unwrap();
        assert_eq!((gpu.minor, gpu.pci_address.as_str()), (2, "0000:07:00.0"));
        assert_eq!(gpu.uuid.as_deref(), Some("GPU-eaf23aa1-4d3d-596c-da66-b86b0e5db584"));
    }

    #[test]
    fn a_uuid_of_question_marks_is_no_uuid() {
        let text =
            "GPU UUID: \t GPU-????????-????-????-????-????????????\nBus Location: 0000:01:00.0\nDevice Minor: 0\n";
        assert_eq!(gpu(text).unwrap().uuid, None);
    }

    #[test]
    fn majors_come_from_the_character_section_alone() {
        let devices =
            "Character devices:\n  1 mem\n195 nvidia\n235 nvidia-uvm\n\nBlock devices:\n  7 loop\n243 nvidia-uvm\n";
        assert_eq!(character_major(devices, "nvidia-uvm"), Some(235));
        assert_eq!(character_major(devices, "loop"), None);
    }
}
