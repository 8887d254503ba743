//! Any text as what `nvidia-smi` and the probe of CUDA print in a container, which may be anything: little is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::driver::cuda;
use phoenix_nvidia::driver::nvidia_smi::{self, Answer};

fuzz_target!(|text: &str| {
    let _ = nvidia_smi::help_version(text);
    for code in [0, 1, 6, 9, 12, 14, 15, 18, 127, 255] {
        match nvidia_smi::answer(code, text) {
            Answer::Versions { versions, warnings } => {
                assert!((1..=64).contains(&versions.len()) && warnings.len() <= 8);
                assert!(versions.iter().all(|version| text.contains(version.as_str())));
            }
            Answer::Failed(failure) => assert!(!failure.cause().is_empty()),
        }
    }
    let asked = cuda::read(text);
    assert!(asked.len() <= 64);
    assert!(asked.iter().flat_map(|asked| &asked.library).all(|library| library.is_ascii() && library.len() <= 300));
});
