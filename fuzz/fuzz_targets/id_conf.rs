//! Any text as an `ID.conf` of Proxmox VE: an edit changes nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| phoenix_nvidia::hypervisor::proxmox::fuzzing::id_conf(text));
