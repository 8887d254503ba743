//! A specification of the Container Device Interface (CDI): how an engine in a container, such as Podman or Docker, gives
//! the driver and the GPUs on to its own containers. Pure.
//!
//! Version 0.5.0 of the interface, the first whose device nodes have a `hostPath`, which Podman 4.1 and later read. No
//! hooks: a hook is a program that runs with the engine's rights. glibc finds a library by its SONAME in its own
//! directories without a cache, so mounts are enough (measured with Podman 4.3.1, runc 1.1.5).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DriverVersion;

/// Where engines look for it. What lies in `/var/run/cdi` comes before it.
pub const FILE: &str = "/etc/cdi/nvidia.json";

/// Where NVIDIA's container toolkit writes one of its own.
pub const FILE_OF_TOOLKIT: &str = "/var/run/cdi/nvidia.yaml";

/// What an engine calls the devices.
pub const KIND: &str = "nvidia.com/gpu";

/// The variable that names the driver in an engine's containers, and by which our specification is known as ours.
const MARKER: &str = "PHOENIX_NVIDIA_DRIVER=";

/// Where images have their libraries: Debian and Ubuntu, and others.
const OF_IMAGES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"];

/// Where a system has those of the driver.
const OF_SYSTEM: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib/i386-linux-gnu"];

/// What else of a driver programs look for.
pub const DATA: [&str; 6] = [
    "/etc/OpenCL/vendors/",
    "/etc/vulkan/",
    "/usr/share/vulkan/",
    "/usr/share/glvnd/",
    "/usr/share/egl/",
    "/usr/share/nvidia/",
];

/// The programs that programs of an engine may want.
pub const PROGRAMS: [&str; 5] =
    ["nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"];

/// A file or link of the driver, as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// Where a system looks for it.
    pub path: String,
    /// Where it lies.
    pub source: String,
}

/// A GPU that the engine can give on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// NVIDIA's UUID, where it is known.
    pub uuid: Option<String>,
    /// `/dev/nvidiaN`.
    pub node: PathBuf,
}

/// The specification.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    cdi_version: String,
    kind: String,
    devices: Vec<Device>,
    container_edits: Edits,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    container_edits: Edits,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edits {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    device_nodes: Vec<Node>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
}

/// The text of a specification. The same driver, GPUs and nodes make the same bytes. `gpus` are in the order in which
/// NVIDIA counts them, `others` the nodes that go with every GPU. `None` without GPUs, for it would describe nothing.
pub fn specification(version: &DriverVersion, placed: &[Placed], gpus: &[Gpu], others: &[PathBuf]) -> Option<String> {
    if gpus.is_empty() {
        return None;
    }
    let by_index = gpus.iter().enumerate().map(|(index, gpu)| (index.to_string(), vec![gpu]));
    let by_uuid = gpus.iter().filter_map(|gpu| Some((gpu.uuid.clone()?, vec![gpu])));
    let all = [("all".to_owned(), gpus.iter().collect())];
    let devices = by_index.chain(by_uuid).chain(all).map(|(name, gpus)| Device {
        name,
        container_edits: Edits { device_nodes: gpus.iter().map(|gpu| node(&gpu.node)).collect(), ..Edits::default() },
    });
    let specification = Specification {
        cdi_version: "0.5.0".to_owned(),
        kind: KIND.to_owned(),
        devices: devices.collect(),
        container_edits: Edits {
            // A toolkit that is there, too, does nothing then.
            env: vec!["NVIDIA_VISIBLE_DEVICES=void".to_owned(), format!("{MARKER}{version}")],
            device_nodes: others.iter().map(|path| node(path)).collect(),
            mounts: mounts(placed),
        },
    };
    serde_json::to_string_pretty(&specification).ok().map(|text| text + "\n")
}

/// Whether a text is a specification that this program has written.
pub fn is_ours(text: &[u8]) -> bool {
    serde_json::from_slice::<Specification>(text)
        .is_ok_and(|it| it.kind == KIND && it.container_edits.env.iter().any(|variable| variable.starts_with(MARKER)))
}

fn node(path: &std::path::Path) -> Node {
    let path = path.display().to_string();
    Node { path: path.clone(), host_path: path }
}

fn mounts(placed: &[Placed]) -> Vec<Mount> {
    let of = |it: &Placed| -> Vec<(String, String)> {
        in_image(&it.path).into_iter().map(|path| (path, it.source.clone())).collect()
    };
    let by_path: BTreeMap<String, String> = placed.iter().flat_map(of).collect();
    let options = ["ro", "nosuid", "nodev", "rbind", "rprivate"].map(str::to_owned).to_vec();
    let mount = |(container_path, host_path)| Mount { host_path, container_path, options: options.clone() };
    by_path.into_iter().map(mount).collect()
}

/// Where an engine's container is to have what a system has at this path; nowhere, where nobody there needs it.
fn in_image(path: &str) -> Vec<String> {
    let is_program = path.strip_prefix("/usr/bin/").is_some_and(|name| PROGRAMS.contains(&name));
    if is_program || DATA.iter().any(|directory| path.starts_with(directory)) {
        return vec![path.to_owned()];
    }
    let below = |directory: &str| path.strip_prefix(directory)?.strip_prefix('/');
    let Some((directory, name)) = OF_SYSTEM.iter().find_map(|directory| Some((*directory, below(directory)?))) else {
        return Vec::new();
    };
    match is_of_driver(name) {
        false => Vec::new(),
        true if directory.contains("i386") => vec![path.to_owned()],
        true => OF_IMAGES.iter().map(|directory| format!("{directory}/{name}")).collect(),
    }
}

/// Whether a library is the driver's alone: what dispatches to drivers of all vendors is the image's.
pub fn is_of_driver(name: &str) -> bool {
    let library = name.rsplit('/').next().unwrap_or(name);
    let marks = ["nvidia", "libcuda", "libnvcuvid", "libnvoptix"];
    library.contains(".so") && marks.iter().any(|mark| library.contains(mark)) && !name.starts_with("xorg/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(paths: &[&str]) -> Vec<Placed> {
        paths.iter().map(|path| Placed { path: (*path).to_owned(), source: format!("/of{path}") }).collect()
    }

    fn gpu(minor: u32) -> Gpu {
        Gpu { uuid: Some(format!("GPU-{minor}")), node: PathBuf::from(format!("/dev/nvidia{minor}")) }
    }

    fn text(paths: &[&str]) -> String {
        let version = "580.76.05".parse().unwrap();
        specification(&version, &placed(paths), &[gpu(3), gpu(0)], &["/dev/nvidiactl".into()]).unwrap()
    }

    #[test]
    fn a_specification_has_each_gpu_by_index_and_uuid_and_all() {
        insta::assert_snapshot!(text(&["/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/bin/nvidia-smi"]));
    }

    #[test]
    fn the_same_driver_makes_the_same_bytes() {
        let paths = ["/usr/lib64/libcuda.so.1", "/usr/lib64/libnvidia-ml.so.1"];
        assert_eq!(text(&paths), text(&[paths[1], paths[0], paths[0]]));
    }

    #[test]
    fn without_gpus_there_is_nothing_to_describe() {
        assert_eq!(specification(&"580.76.05".parse().unwrap(), &placed(&["/usr/bin/nvidia-smi"]), &[], &[]), None);
    }

    #[test]
    fn libraries_come_where_images_have_theirs_and_dispatchers_stay_the_images() {
        let both = ["/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1"];
        assert_eq!(in_image("/usr/lib64/libcuda.so.1"), both);
        assert_eq!(in_image("/usr/lib/x86_64-linux-gnu/vdpau/libvdpau_nvidia.so.1").len(), 2);
        assert_eq!(in_image("/usr/lib/i386-linux-gnu/libcuda.so.1"), ["/usr/lib/i386-linux-gnu/libcuda.so.1"]);
        assert_eq!(in_image("/usr/share/vulkan/icd.d/nvidia_icd.json").len(), 1);
        for not_needed in [
            "/usr/lib/x86_64-linux-gnu/libGL.so.1",
            "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1",
            "/usr/lib/xorg/modules/drivers/nvidia_drv.so",
            "/usr/bin/nvidia-uninstall",
            "/usr/lib/phoenix-nvidia/current",
            "/etc/ld.so.conf.d/00-phoenix-nvidia.conf",
        ] {
            assert_eq!(in_image(not_needed), Vec::<String>::new(), "{not_needed}");
        }
    }

    #[test]
    fn a_specification_is_known_as_ours_and_nobody_elses_is() {
        assert!(is_ours(text(&[]).as_bytes()));
        let foreign = r#"{ "cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [], "containerEdits": {} }"#;
        for other in [foreign, "", "{}", "kind: nvidia.com/gpu"] {
            assert!(!is_ours(other.as_bytes()), "{other}");
        }
    }
}
