//! Which device nodes a container gets, on texts: no device node of the machine under test is needed.

use std::collections::BTreeMap;

use super::*;
use crate::config::{Configuration, Layout};
use crate::driver::proc_files::Gpu;
use crate::fleet::observe::container_record::KnownGpu;

const UUID: &str = "GPU-eaf23aa1-4d3d-596c-da66-b86b0e5db584";

fn gpu(minor: u32, pci: &str, uuid: Option<&str>) -> Gpu {
    Gpu {
        minor,
        pci_address: pci.to_owned(),
        uuid: uuid.map(str::to_owned),
        model: "NVIDIA GeForce RTX 3090".to_owned(),
    }
}

fn host() -> NvidiaHost {
    let gpus = vec![gpu(202, "0000:07:00.0", None), gpu(200, "0000:81:00.0", Some(UUID))];
    NvidiaHost::of("580.76.05".parse().unwrap(), gpus)
}

fn without_module() -> NvidiaHost {
    let mut host = host();
    host.loaded = None;
    host.gpus.clear();
    host
}

fn container(gpus: &str) -> Container {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path());
    fs_err::create_dir_all(directory.path().join("etc")).unwrap();
    let entry = serde_json::json!({ "name": "gpu", "template": "t.tar.zst", "gpu_assignment": gpus });
    let text = serde_json::json!({ "lxc_configs": { "901": entry } }).to_string();
    fs_err::write(layout.containers_file(), text).unwrap();
    Configuration::load(&layout).unwrap().container("901".parse().unwrap()).unwrap().clone()
}

fn held(nodes: &[&str], known: &[(&str, u32, &str)]) -> Held {
    let card = |(name, minor, pci): &(&str, u32, &str)| {
        ((*name).to_owned(), KnownGpu { minor: *minor, pci_address: (*pci).to_owned(), uuid: None, instance: None })
    };
    Held {
        nodes: nodes.iter().map(|node| PathBuf::from(format!("/dev/{node}"))).collect(),
        gpus: known.iter().map(card).collect::<BTreeMap<_, _>>(),
    }
}

fn kept(container: &Container, host: &NvidiaHost, held: &Held) -> Vec<String> {
    // No node of the companions is on a machine without a driver, so each test holds them.
    let passthrough = passthrough(container, host, held).unwrap();
    passthrough.kept.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn a_gpu_is_found_by_each_of_its_names() {
    let minors = |name: &str| minors_of(&container(name), &host()).unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(minors("202"), [202]);
    assert_eq!(minors("0000:07:00.0"), [202]);
    assert_eq!(minors("GPU-EAF23AA1-4d3d-596c-da66-b86b0e5db584"), [200]);
}

#[test]
fn a_gpu_that_is_not_there_and_never_was_is_a_fault_of_the_configuration() {
    for name in ["0000:08:00.0", "203"] {
        let error = passthrough(&container(name), &host(), &Held::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration, "{name}");
        assert!(error.message().contains("this host has no GPU"), "{}", error.message());
    }
}

#[test]
fn without_a_module_everything_that_is_assigned_stays() {
    let has = held(&["nvidia200", "nvidia201", "nvidiactl", "nvidia-uvm"], &[]);
    assert_eq!(
        kept(&container("200"), &without_module(), &has),
        ["/dev/nvidia200", "/dev/nvidiactl", "/dev/nvidia-uvm"]
    );
    let waiting = passthrough(&container("200"), &without_module(), &has).unwrap().waiting;
    assert_eq!(
        waiting,
        ["its GPUs are pending until the host's NVIDIA kernel module is loaded: no NVIDIA kernel module is loaded \
             on this host"]
    );
}

#[test]
fn without_a_module_a_gpu_whose_number_nobody_knows_may_be_any_of_them() {
    let has = held(&["nvidia200", "nvidia201", "nvidiactl"], &[]);
    assert_eq!(kept(&container(UUID), &without_module(), &has).len(), 3);
    let known = held(&["nvidia200", "nvidia201", "nvidiactl"], &[(UUID, 201, "0000:81:00.0")]);
    assert_eq!(kept(&container(UUID), &without_module(), &known), ["/dev/nvidia201", "/dev/nvidiactl"]);
}

#[test]
fn without_a_module_a_container_that_never_had_a_gpu_gets_none() {
    let found = passthrough(&container("200"), &without_module(), &Held::default()).unwrap();
    assert_eq!((found.kept, found.waiting), (Vec::new(), Vec::new()));
    assert!(found.withheld.is_some());
}

#[test]
fn a_lost_gpu_stays_and_waits() {
    let companions = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];
    let with = |gpu: &'static str| [&[gpu][..], &companions].concat();
    let by_number = held(&with("nvidia203"), &[]);
    assert!(kept(&container("203"), &host(), &by_number).contains(&"/dev/nvidia203".to_owned()));
    let by_address = held(&with("nvidia203"), &[("0000:08:00.0", 203, "0000:08:00.0")]);
    assert!(kept(&container("0000:08:00.0"), &host(), &by_address).contains(&"/dev/nvidia203".to_owned()));
    let waiting = passthrough(&container("0000:08:00.0"), &host(), &by_address).unwrap().waiting;
    assert!(waiting.contains(&"GPU 0000:08:00.0 is pending: this host lacks it".to_owned()), "{waiting:?}");
}

#[test]
fn the_number_of_a_lost_gpu_that_is_anothers_by_now_is_not_kept() {
    let companions = ["nvidia202", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];
    let has = held(&companions, &[("0000:08:00.0", 202, "0000:08:00.0")]);
    let found = passthrough(&container("0000:08:00.0"), &host(), &has).unwrap();
    assert!(!found.kept.contains(&PathBuf::from("/dev/nvidia202")), "{found:?}");
    assert!(!found.waiting.is_empty());
}

#[test]
fn all_gpus_are_those_that_the_host_drives_and_none_is_taken_while_it_drives_none() {
    let all = container("all");
    let had = held(&["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], &[]);
    let nodes = ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"];
    assert_eq!(kept(&all, &without_module(), &had), nodes);
    let mut without_gpus = host();
    without_gpus.gpus.clear();
    assert_eq!(kept(&all, &without_gpus, &had), nodes);
    let waiting = passthrough(&all, &without_gpus, &had).unwrap().waiting;
    assert_eq!(waiting, ["its GPUs are pending: this host has none"]);
}

#[test]
fn of_all_gpus_the_one_that_is_lost_stays_and_waits() {
    let mut all = container("all");
    all.gpus = GpuAssignment::All([GpuSelector::Minor(200), GpuSelector::Minor(202)].into());
    let had = held(
        &["nvidia200", "nvidia201", "nvidia202", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"],
        &[],
    );
    let found = passthrough(&all, &host(), &had).unwrap();
    assert!(found.kept.contains(&"/dev/nvidia201".into()), "{found:?}");
    assert!(found.waiting.contains(&"GPU 201 is pending: this host lacks it".to_owned()), "{found:?}");
    // Where the version of the module is not understood, its GPUs are reported all the same.
    let mut unread = host();
    unread.loaded = None;
    assert_eq!(kept(&all, &unread, &had).len(), had.nodes.len());
}
