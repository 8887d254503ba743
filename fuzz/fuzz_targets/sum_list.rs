//! Any text as a list of sums: a sum that is set is found again, and no other changes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| phoenix_nvidia::cache::fuzzing::sum_list(text));
