//! Any bytes as a receipt: refused, or one that is written and read without loss, and whose paths are plain.
#![no_main]

use std::path::Component;

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::install::receipt::Receipt;

fuzz_target!(|bytes: &[u8]| {
    let Some(receipt) = Receipt::parse(bytes) else { return };
    let written = serde_json::to_vec(&receipt).unwrap();
    assert_eq!(Receipt::parse(&written).as_ref(), Some(&receipt));
    let files = receipt.files.iter().map(|file| &file.path);
    let links = receipt.links.iter().map(|link| &link.path);
    for path in files.chain(links).chain(&receipt.directories) {
        assert!(path.is_absolute() && !path.components().any(|part| part == Component::ParentDir), "{path:?}");
    }
    let _ = (receipt.chosen(), receipt.image());
});
