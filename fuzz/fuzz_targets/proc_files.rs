//! Any text, cut at its empty lines, as the files of the kernel module below `/proc` and as the kernel's log: the nodes that
//! follow from them are NVIDIA's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::driver::host_nodes::{self, KernelAnswers};
use phoenix_nvidia::driver::{kernel_log, proc_files, secure_boot};

fuzz_target!(|text: &str| {
    let _ = proc_files::module_version(text);
    let _ = secure_boot::refusal(text);
    for not_driven in kernel_log::not_driven(text) {
        assert!(!not_driven.text.contains('\n'));
    }
    let parts: Vec<&str> = text.split("\n\n").collect();
    let gpus: Vec<_> = (0..).zip(&parts).map(|(place, part)| proc_files::gpu("0000:01:00.0", place, part)).collect();
    let capabilities: Vec<_> = parts.iter().filter_map(|part| proc_files::capability(part)).collect();
    let _ = proc_files::listed_minor(text, "gpu0/mig/gi1/access");
    let _ = proc_files::given_node_mode(text);
    let access = proc_files::node_access(text);
    let answers = KernelAnswers { devices: text, gpus: &gpus, access, capabilities: &capabilities };
    for node in host_nodes::wanted(&answers) {
        assert!(node.name.starts_with("nvidia") && !node.name.contains(".."), "{node:?}");
        assert!(node.device.mode <= 0o777, "{node:?}");
    }
});
