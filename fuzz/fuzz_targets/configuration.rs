//! Any two texts, with a zero byte between them, as `phoenix_lxc_configs.json` and `phoenix_hypervisor_config.json`: every
//! finding can be shown, and nothing that is written into a container's settings breaks its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_nvidia::config::{Configuration, Container};

fuzz_target!(|text: &str| {
    let (containers, hypervisor) = match text.split_once('\0') {
        Some((containers, hypervisor)) => (containers, Some(hypervisor)),
        None => (text, None),
    };
    let Ok(configuration) = Configuration::of_texts(containers, hypervisor) else { return };
    for finding in configuration.findings() {
        assert!(!finding.render().is_empty());
    }
    for (id, container) in configuration.containers() {
        let Ok(container) = container else { continue };
        assert_eq!(container.id, id);
        has_whole_lines(container);
    }
});

fn has_whole_lines(container: &Container) {
    for option in &container.lxc_options {
        assert!(option.key.starts_with("lxc.") && !option.value.contains(char::is_control), "{option:?}");
    }
    let words = container.pct_options.iter().chain(&container.apparmor_profile).chain(&container.storage_pool);
    let snapshots = container.template_snapshot_name.iter().chain(&container.clone_snapshot);
    for word in words.chain(snapshots).chain([&container.name]) {
        assert!(!word.contains(char::is_control), "{word:?}");
    }
    for mount in &container.mounts {
        for path in [&mount.host_path, &mount.container_path] {
            let text = path.to_str().unwrap();
            assert!(path.is_absolute() && !text.contains(char::is_control), "{path:?}");
        }
    }
}
