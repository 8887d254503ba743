//! Any bytes as `/etc/ld.so.cache`: refused, or read and written without loss, in an order that stays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::driver::loader_cache::{CacheFault, LibraryFlags, LoaderCache};

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = LoaderCache::parse(bytes) else { return };
    let number = read.libraries().count();
    let written = match read.to_bytes() {
        Ok(written) => written,
        // What is written takes more bytes where names overlapped.
        Err(CacheFault::TooLong | CacheFault::NamesTooLong) => return,
        Err(fault) => panic!("{fault}"),
    };
    let again = LoaderCache::parse(&written).unwrap();
    assert_eq!(again.libraries().count(), number);
    assert_eq!(again.to_bytes().unwrap(), written);
    let path = "/usr/lib/libnvidia-ml.so.1";
    let changed = again.with("libnvidia-ml.so.1", path, LibraryFlags::X86_64);
    assert!(changed.libraries().any(|library| library.path().as_os_str() == path));
    assert_eq!(changed.without(|_| true).libraries().count(), 0);
});
