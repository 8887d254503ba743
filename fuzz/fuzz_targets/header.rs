//! Any bytes as the beginning of a run file: refused or read, and what is read is usable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::driver::run_file::Header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::parse(bytes) {
        assert!((header.payload_at as usize) < bytes.len());
        assert!(header.summed_from <= header.payload_at);
        assert!(!header.target_directory.contains('/') && !header.target_directory.starts_with('.'));
    }
});
