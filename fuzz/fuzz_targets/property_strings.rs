//! Two lines as property strings of Proxmox VE: what is merged into one is in it, and the rest stays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::hypervisor::proxmox::fuzzing;

fuzz_target!(|text: &str| {
    let (left, right) = text.split_once('\n').unwrap_or((text, ""));
    fuzzing::property_strings(left, right);
});
