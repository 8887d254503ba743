//! Parts of a GPU that its driver has divided (MIG), and the capabilities by which a process may use one. The names are
//! those of NVIDIA's Multi-Instance GPU User Guide, "Device Nodes and Capabilities".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What tells the UUIDs of the instances, each with its index on its GPU.
pub const LIST: [&str; 2] = ["nvidia-smi", "-L"];

/// What tells, by that index, the numbers of the instances; the UUID stands there with some drivers only.
pub const DETAILS: [&str; 3] = ["nvidia-smi", "-q", "-x"];

/// A compute instance in a GPU instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MigInstance {
    /// The number of the GPU instance, which `nvidia-smi` calls `GI ID`.
    pub gpu_instance: u32,
    /// The number of the compute instance in it, `CI ID`.
    pub compute_instance: u32,
}

impl MigInstance {
    /// What must be opened to use it on the GPU with this minor, by the path below `/proc/driver/nvidia/capabilities`.
    pub fn capabilities(self, gpu: u32) -> [String; 2] {
        let Self { gpu_instance, compute_instance } = self;
        let directory = format!("gpu{gpu}/mig/gi{gpu_instance}");
        [format!("{directory}/access"), format!("{directory}/ci{compute_instance}/access")]
    }
}

impl std::fmt::Display for MigInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.gpu_instance, self.compute_instance)
    }
}

/// An instance by the name that NVIDIA gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedInstance {
    /// `MIG-` and a UUID.
    pub uuid: String,
    /// The address of its GPU as `nvidia-smi` writes it: `00000000:01:00.0`.
    pub pci_address: String,
    /// Its numbers.
    pub instance: MigInstance,
}

/// The named instances of a host, from what both questions were answered with (forms of 470 to 575). One whose UUID and
/// whose numbers do not meet is left out.
pub fn named_instances(list: &str, details: &str) -> Vec<NamedInstance> {
    let listed = listed(list);
    let named = |gpu: &Gpu| {
        let of_gpu = |found: &Instance| {
            let by_index = || listed.get(&(gpu.uuid.clone()?, found.index?)).cloned();
            Some(NamedInstance {
                uuid: found.uuid.clone().or_else(by_index)?,
                pci_address: gpu.pci_address.clone(),
                instance: MigInstance { gpu_instance: found.gpu_instance?, compute_instance: found.compute_instance? },
            })
        };
        gpu.instances.iter().filter_map(of_gpu).collect::<Vec<_>>()
    };
    gpus(details).iter().flat_map(named).collect()
}

/// The UUIDs of instances by their GPU's UUID and their index: `  MIG 1g.10gb     Device  0: (UUID: MIG-…)` below
/// `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-…)`.
fn listed(list: &str) -> BTreeMap<(String, u32), String> {
    let mut gpu = None;
    let mut found = BTreeMap::new();
    for line in list.lines().map(str::trim) {
        let Some((head, uuid)) = line.rsplit_once("(UUID: ") else { continue };
        let uuid = uuid.trim_end_matches(')').to_owned();
        if uuid.starts_with("GPU-") {
            gpu = Some(uuid);
        } else if let (Some(gpu), Some((_, index))) = (&gpu, head.rsplit_once("Device ")) {
            let index = index.trim().trim_end_matches(':').parse().ok();
            found.extend(index.map(|index| ((gpu.clone(), index), uuid)));
        }
    }
    found
}

/// A GPU of the details.
#[derive(Default)]
struct Gpu {
    pci_address: String,
    uuid: Option<String>,
    instances: Vec<Instance>,
}

/// A `mig_device` of the details.
#[derive(Default)]
struct Instance {
    index: Option<u32>,
    uuid: Option<String>,
    gpu_instance: Option<u32>,
    compute_instance: Option<u32>,
}

fn gpus(details: &str) -> Vec<Gpu> {
    let mut gpus: Vec<Gpu> = Vec::new();
    let mut is_inside = false;
    for (tag, text) in details.split('<').filter_map(|piece| piece.split_once('>')) {
        if let Some(address) = tag.strip_prefix("gpu id=\"") {
            let pci_address = address.trim_end_matches('"').to_owned();
            gpus.push(Gpu { pci_address, ..Gpu::default() });
            continue;
        }
        let Some(gpu) = gpus.last_mut() else { continue };
        match (tag, is_inside) {
            ("mig_device", _) => {
                is_inside = true;
                gpu.instances.push(Instance::default());
            }
            ("/mig_device", _) => is_inside = false,
            ("uuid", false) => gpu.uuid = Some(text.trim().to_owned()),
            (tag, true) => gpu.instances.last_mut().into_iter().for_each(|instance| instance.read(tag, text.trim())),
            _ => {}
        }
    }
    gpus
}

impl Instance {
    fn read(&mut self, tag: &str, text: &str) {
        match tag {
            "index" => self.index = text.parse().ok(),
            "uuid" => self.uuid = text.starts_with("MIG-").then(|| text.to_owned()),
            "gpu_instance_id" => self.gpu_instance = text.parse().ok(),
            "compute_instance_id" => self.compute_instance = text.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-fcf41002-68b6-5900-d7d1-74026173bb44)
  MIG 3g.20gb     Device  0: (UUID: MIG-e07a497d-1bb6-5a42-b670-1c33bf55ab6e)
  MIG 1g.5gb      Device  1: (UUID: MIG-ffda444c-c706-57c6-98c9-67c441a0b109)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-d8594bd4-0fc3-8595-e355-7c98138f3b95)
  MIG 1c.3g.20gb  Device  0: (UUID: MIG-fe9bc608-60f5-5479-8cc4-1827021d27a9)
";

    /// What `nvidia-smi -q -x` prints of a GPU; the order is the one of 535 and 575.
    fn details(pci: &str, uuid: &str, instances: &[(u32, u32, u32)]) -> String {
        let devices: String = instances
            .iter()
            .map(|(index, gi, ci)| {
                format!(
                    "\t\t\t<mig_device>\n\t\t\t\t<index>{index}</index>\n\t\t\t\t<gpu_instance_id>{gi}</gpu_instance_id>\n\
                     \t\t\t\t<compute_instance_id>{ci}</compute_instance_id>\n\t\t\t\t<fb_memory_usage>\n\t\t\t\t\t<total>40448 \
                     MiB</total>\n\t\t\t\t</fb_memory_usage>\n\t\t\t</mig_device>\n"
                )
            })
            .collect();
        let devices = if devices.is_empty() { "\t\t\tNone\n".to_owned() } else { devices };
        format!(
            "\t<gpu id=\"{pci}\">\n\t\t<mig_mode>\n\t\t\t<current_mig>Enabled</current_mig>\n\t\t</mig_mode>\n\t\t<mig_devices>\n\
             {devices}\t\t</mig_devices>\n\t\t<uuid>{uuid}</uuid>\n\t\t<processes>\n\t\t\t<process_info>\n\
             \t\t\t\t<gpu_instance_id>9</gpu_instance_id>\n\t\t\t</process_info>\n\t\t</processes>\n\t</gpu>\n"
        )
    }

    fn named(list: &str, details: &str) -> Vec<(String, String, String)> {
        let of = |named: NamedInstance| (named.uuid[4..12].to_owned(), named.pci_address, named.instance.to_string());
        named_instances(list, details).into_iter().map(of).collect()
    }

    fn of(uuid: &str, pci: &str, instance: &str) -> (String, String, String) {
        (uuid.to_owned(), pci.to_owned(), instance.to_owned())
    }

    #[test]
    fn a_uuid_is_found_by_its_gpu_and_its_index() {
        let details = details("00000000:81:00.0", "GPU-d8594bd4-0fc3-8595-e355-7c98138f3b95", &[(0, 2, 1)])
            + &details("00000000:07:00.0", "GPU-fcf41002-68b6-5900-d7d1-74026173bb44", &[(1, 9, 0), (0, 1, 0)])
            + &details("00000000:0A:00.0", "GPU-513536b6-7d19-9063-b049-1e69664bb298", &[]);
        assert_eq!(
            named(LISTED, &details),
            [
                of("fe9bc608", "00000000:81:00.0", "2:1"),
                of("ffda444c", "00000000:07:00.0", "9:0"),
                of("e07a497d", "00000000:07:00.0", "1:0"),
            ]
        );
    }

    #[test]
    fn what_does_not_meet_is_left_out_and_a_uuid_of_the_details_wins() {
        let other = details("00000000:07:00.0", "GPU-00000000-68b6-5900-d7d1-74026173bb44", &[(0, 1, 0)]);
        assert_eq!(named(LISTED, &other), []);
        let index = details("00000000:07:00.0", "GPU-fcf41002-68b6-5900-d7d1-74026173bb44", &[(7, 1, 0)]);
        assert_eq!(named(LISTED, &index), []);
        let text = index.replace("<index>7", "<uuid>MIG-a65afc88-50b5-5ccf-b0a8-f93b3247ae9e</uuid>\n<index>7");
        assert_eq!(named("", &text), [of("a65afc88", "00000000:07:00.0", "1:0")]);
        for nonsense in ["", "<", "<mig_device>", "<gpu id=\"", "<gpu id=\"x\"><mig_device></gpu><index>", LISTED] {
            assert_eq!(named(nonsense, nonsense), [], "{nonsense}");
        }
    }

    #[test]
    fn an_instance_needs_the_capability_of_its_gpu_instance_and_its_own() {
        let instance = MigInstance { gpu_instance: 3, compute_instance: 1 };
        assert_eq!(instance.capabilities(2), ["gpu2/mig/gi3/access", "gpu2/mig/gi3/ci1/access"]);
        assert_eq!(instance.to_string(), "3:1");
    }
}
