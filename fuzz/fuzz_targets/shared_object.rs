//! Any bytes as a shared object: refused or read, and its SONAME is a plain file name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::driver::elf::SharedObject;

fuzz_target!(|bytes: &[u8]| {
    let Ok(library) = SharedObject::read(&mut std::io::Cursor::new(bytes)) else { return };
    if let Some(soname) = library.soname {
        assert!(!soname.is_empty() && !soname.contains('/') && soname.len() <= 255);
    }
});
