//! What the kernel's log says of GPUs that NVIDIA's module does not drive. Pure.

/// Why a GPU is not driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The loaded module is the proprietary one, and the GPU needs the open one (Blackwell and later).
    NeedsOpenModule,
    /// The loaded module is the open one, and the GPU has no GSP, which that needs (before Turing).
    NeedsProprietaryModule,
    /// The driver has dropped the GPU.
    Dropped,
    /// The driver does not know the GPU, or does not know it yet.
    NotSupported,
    /// It was driven and has fallen off the bus.
    FellOffTheBus,
    /// The host's firmware has given it no room among the addresses of the bus.
    NoRoomOnBus,
    /// The kernel did not find the firmware that the module loads into it.
    NoFirmware,
    /// The module could not bring it up.
    NotInitialised,
    /// Another driver had it when the module was loaded.
    OwnedByAnother,
}

/// One such GPU.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NotDriven {
    /// `0000:01:00.0`; empty where the log does not say it.
    pub pci_address: String,
    /// Why.
    pub why: Why,
    /// What the log says, as one line.
    pub text: String,
}

/// What stands in a message, and what it means; the first that fits. The texts are those of NVIDIA's module: of
/// `nv-pci.c` of the open one (515 to 615) and of public reports of the proprietary one.
const MEANINGS: [(&str, Why); 10] = [
    ("requires use of the NVIDIA open kernel modules", Why::NeedsOpenModule),
    ("not supported by open", Why::NeedsProprietaryModule),
    ("Legacy drivers", Why::Dropped),
    ("is not supported by the", Why::NotSupported),
    ("has fallen off the bus", Why::FellOffTheBus),
    ("GPU is lost", Why::FellOffTheBus),
    (" is 0M @ ", Why::NoRoomOnBus),
    ("RmInitAdapter failed", Why::NotInitialised),
    ("probe routine was not called", Why::OwnedByAnother),
    ("probe routine failed", Why::NotInitialised),
];

/// The first line of the module when it is loaded (470 to 610), before it looks at any GPU.
const LOADED: &str = "nvidia-nvlink: Nvlink Core is being initialized";

/// The log since the module was loaded last: that looks at every GPU anew, so what was said before is of the past.
fn since_loaded(log: &str) -> &str {
    log.rfind(LOADED).map_or(log, |at| &log[at..])
}

/// The GPUs that are not driven, by address, each with the cause behind the last of its messages: a GPU whose module is the
/// wrong one also fails to initialise, which says less.
pub fn not_driven(log: &str) -> Vec<NotDriven> {
    let log = since_loaded(log);
    let mut found: Vec<NotDriven> = Vec::new();
    for text in messages(log) {
        let Some((_, why)) = MEANINGS.iter().find(|(words, _)| text.contains(words)) else { continue };
        let new = NotDriven { pci_address: address(&text).unwrap_or_default(), why: *why, text };
        match found.iter_mut().find(|known| known.pci_address == new.pci_address) {
            Some(known) if new.why == Why::NotInitialised && known.why != Why::NotInitialised => {}
            Some(known) => *known = new,
            None => found.push(new),
        }
    }
    // At its end, the module counts those of which it has logged the cause before.
    if found.len() > 1 {
        found.retain(|gpu| gpu.why != Why::NotInitialised || !gpu.pci_address.is_empty());
    }
    for gpu in found.iter_mut().filter(|gpu| gpu.why == Why::NotInitialised && !gpu.pci_address.is_empty()) {
        if let Some(line) = missing_firmware(log, &gpu.pci_address) {
            (gpu.why, gpu.text) = (Why::NoFirmware, line);
        }
    }
    found
}

/// The kernel's own line about firmware of a GPU that is not there. Alone it says little: it is looked for again after the
/// initramfs, and a driver may do without.
fn missing_firmware(log: &str, pci_address: &str) -> Option<String> {
    let of_gpu = format!("nvidia {pci_address}: ");
    let text = |line: &str| line.find(&of_gpu).map(|at| line[at..].trim().to_owned());
    log.lines().filter_map(text).rfind(|text| {
        let loads = ["Direct firmware load for nvidia/", "loading /lib/firmware/nvidia/"];
        loads.iter().any(|words| text.contains(words)) && text.contains("failed with error")
    })
}

/// The messages of the module, each as one line: it breaks sentences over lines that all begin with `NVRM:`.
fn messages(log: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for line in log.lines() {
        let Some((_, text)) = line.split_once("NVRM: ") else { continue };
        let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| text.starts_with(beginning));
        match messages.last_mut() {
            Some(last) if is_open(last) && !begins(&["The NVIDIA", "GPU ", "Xid", "loading"]) => {
                last.push(' ');
                last.push_str(text.trim());
            }
            _ => messages.push(text.trim().to_owned()),
        }
    }
    messages
}

/// Whether a message goes on: one about a GPU in many lines does up to its first full stop, or ten of them.
fn is_open(message: &str) -> bool {
    message.starts_with("The NVIDIA") && !message.ends_with('.') && message.len() < 1000
}

/// `0000:01:00.0` from `GPU 0000:01:00.0`, `(PCI:0000:01:00)`, `PCI:1:0:0`.
fn address(text: &str) -> Option<String> {
    let is_address = |word: &&str| {
        let parts: Vec<&str> = word.split([':', '.']).collect();
        let lengths = parts.iter().map(|part| part.len());
        let is_hexadecimal = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
        is_hexadecimal && (lengths.clone().eq([4, 2, 2, 1]) || lengths.eq([4, 2, 2]))
    };
    let words =
        text.split([' ', '(', ')', ',']).map(|word| word.trim_start_matches("PCI:").trim_end_matches([':', '.']));
    let word = words.into_iter().find(is_address)?.to_ascii_lowercase();
    Some(if word.contains('.') { word } else { format!("{word}.0") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(log: &str) -> (String, Why) {
        let found = not_driven(log);
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].pci_address.clone(), found[0].why)
    }

    #[test]
    fn the_wrong_kind_of_module_is_the_cause_and_not_what_follows_from_it() {
        let blackwell = "\
[    5.499014] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.105.08  Wed Oct 29 23:15:11 UTC 2025
[    5.559842] NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)
               NVRM: installed in this system requires use of the NVIDIA open kernel modules.
[    5.559858] NVRM: GPU 0000:02:00.0: RmInitAdapter failed! (0x22:0x56:884)
[    5.560313] NVRM: GPU 0000:02:00.0: rm_init_adapter failed, device minor number 0
";
        assert_eq!(one(blackwell), ("0000:02:00.0".to_owned(), Why::NeedsOpenModule));
        let volta = "\
[ 1157.049096] NVRM: The NVIDIA GPU 0000:af:00.0 (PCI ID: 10de:1db5)
               NVRM: installed in this system is not supported by open
               NVRM: nvidia.ko because it does not include the required GPU
               NVRM: System Processor (GSP).
";
        assert_eq!(one(volta), ("0000:af:00.0".to_owned(), Why::NeedsProprietaryModule));
    }

    #[test]
    fn a_dropped_gpu_names_its_branch() {
        let kepler = "\
[    4.1] NVRM: The NVIDIA Quadro K600 GPU installed in this system is
[    4.1] NVRM:  supported through the NVIDIA 470.xx Legacy drivers. Please
[    4.1] NVRM:  visit http://www.nvidia.com/object/unix.html for more
[    4.1] NVRM:  information.  The 525.60.11 NVIDIA driver will ignore
[    4.1] NVRM:  this GPU.  Continuing probe...
";
        let found = not_driven(kepler);
        assert_eq!(found[0].why, Why::Dropped);
        assert!(found[0].text.contains("supported through the NVIDIA 470.xx Legacy drivers"), "{}", found[0].text);
    }

    #[test]
    fn a_gpu_that_fails_later_is_found_by_its_xid() {
        let lost = "[ 9000.1] NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.\n\
            [ 9000.2] NVRM: GPU 0000:01:00.0: GPU has fallen off the bus.\n";
        assert_eq!(one(lost), ("0000:01:00.0".to_owned(), Why::FellOffTheBus));
        let failed = "[  903.6] NVRM: GPU 0000:98:00.0: RmInitAdapter failed! (0x62:0x65:1792)\n";
        assert_eq!(one(failed), ("0000:98:00.0".to_owned(), Why::NotInitialised));
    }

    #[test]
    fn the_count_at_the_end_is_no_gpu_of_its_own() {
        let failed = "[ 60.1] NVRM: The NVIDIA probe routine failed for 1 device(s).\n\
            [ 60.1] NVRM: None of the NVIDIA devices were initialized.\n";
        let pascal = "[ 60.0] NVRM: The NVIDIA GPU 0000:2c:00.0 (PCI ID: 10de:1d16)\n\
            NVRM: installed in this system is not supported by open\n\
            NVRM: nvidia.ko because it does not include the required GPU\n\
            NVRM: System Processor (GSP).\n";
        assert_eq!(one(&format!("{pascal}{failed}")).1, Why::NeedsProprietaryModule);
        let no_room = "[ 28.1] NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\n\
            NVRM: BAR1 is 0M @ 0x0 (PCI:0000:08:00.0)\n\
            [ 28.1] NVRM: The system BIOS may have misconfigured your GPU.\n";
        assert_eq!(one(&format!("{no_room}{failed}")), ("0000:08:00.0".to_owned(), Why::NoRoomOnBus));
        assert_eq!(one(failed), (String::new(), Why::NotInitialised));
    }

    #[test]
    fn what_was_said_of_a_module_that_was_loaded_before_is_of_the_past() {
        let loaded = "[ 5.1] nvidia-nvlink: Nvlink Core is being initialized, major device number 237\n";
        let failed = "[ 5.2] NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)\n\
            NVRM: installed in this system requires use of the NVIDIA open kernel modules.\n\
            [ 5.3] NVRM: None of the NVIDIA devices were initialized.\n\
            [ 5.4] nvidia-nvlink: Unregistered Nvlink Core, major device number 237\n";
        assert_eq!(one(&format!("{loaded}{failed}")).1, Why::NeedsOpenModule, "unloaded because of that");
        assert_eq!(not_driven(&format!("{loaded}{failed}{loaded}")), Vec::new());
        assert_eq!(one(&format!("{loaded}{loaded}{failed}")).1, Why::NeedsOpenModule);
    }

    #[test]
    fn firmware_that_is_not_there_is_no_fault_of_the_hardware() {
        let firmware = "[ 1637.8] nvidia 0000:01:00.0: Direct firmware load for nvidia/580.76.05/gsp_ga10x.bin failed with error -2\n";
        let failed = "[ 1637.9] NVRM: RmInitAdapter: Cannot initialize GSP firmware RM\n\
            [ 1637.9] NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x62:0x65:1792)\n\
            [ 1637.9] NVRM: GPU 0000:01:00.0: rm_init_adapter failed, device minor number 0\n";
        let found = not_driven(&format!("{firmware}{failed}"));
        assert_eq!((found.len(), found[0].why), (1, Why::NoFirmware));
        assert!(found[0].text.starts_with("nvidia 0000:01:00.0: Direct firmware load"), "{}", found[0].text);
        assert_eq!(not_driven(firmware), Vec::new(), "it may have been found later");
        let of_another = firmware.replace("01:00", "02:00");
        assert_eq!(one(&format!("{of_another}{failed}")).1, Why::NotInitialised);
    }

    #[test]
    fn a_log_without_complaints_says_nothing() {
        let log = "[ 5.4] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.105.08\n[ 6.0] usb 1-1: GPU is lost\n";
        assert_eq!(not_driven(log), Vec::new());
        assert_eq!(not_driven(""), Vec::new());
    }
}
