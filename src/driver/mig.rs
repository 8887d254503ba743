//! Parts of a GPU that its driver has divided (MIG), and the capabilities by which a process may use one. The names are
//! those of NVIDIA's Multi-Instance GPU User Guide, "Device Nodes and Capabilities".

/// A compute instance in a GPU instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_needs_the_capability_of_its_gpu_instance_and_its_own() {
        let instance = MigInstance { gpu_instance: 3, compute_instance: 1 };
        assert_eq!(instance.capabilities(2), ["gpu2/mig/gi3/access", "gpu2/mig/gi3/ci1/access"]);
        assert_eq!(instance.to_string(), "3:1");
    }
}
