//! The variants of one version's run file, known by what is inside: names can be changed, and often are.

/// For whom NVIDIA has packed a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Everything.
    Full,
    /// Without libraries of 32 bits.
    NoCompat32,
    /// For guests with a virtual GPU: beside the driver the licence daemon.
    Grid,
    /// For the host that divides a GPU into virtual ones: no CUDA, no graphics.
    VgpuKvm,
}

impl Variant {
    /// Told by the paths of the package's files (as published lists of 535 and 570 packages have them).
    pub fn of_files<'f>(files: impl Iterator<Item = &'f str>) -> Self {
        let (mut compat32, mut grid, mut vgpu) = (false, false, false);
        for path in files {
            let name = path.rsplit('/').next().unwrap_or(path);
            compat32 |= path.starts_with("32/");
            grid |= name == "nvidia-gridd";
            vgpu |= name == "nvidia-vgpu-mgr" || name.starts_with("libnvidia-vgpu.so");
        }
        match (vgpu, grid, compat32) {
            (true, _, _) => Self::VgpuKvm,
            (_, true, _) => Self::Grid,
            (_, _, true) => Self::Full,
            _ => Self::NoCompat32,
        }
    }

    /// What NVIDIA's names have behind the version.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::NoCompat32 => "-no-compat32",
            Self::Grid => "-grid",
            Self::VgpuKvm => "-vgpu-kvm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_known_by_its_files() {
        let of = |files: &[&str]| Variant::of_files(files.iter().copied());
        assert_eq!(of(&["libcuda.so.570.148.08", "32/libcuda.so.570.148.08"]), Variant::Full);
        assert_eq!(of(&["libcuda.so.570.148.08"]), Variant::NoCompat32);
        assert_eq!(of(&["libcuda.so.570.148.08", "nvidia-gridd", "32/libcuda.so.570.148.08"]), Variant::Grid);
        assert_eq!(of(&["nvidia-vgpu-mgr", "libnvidia-ml.so.570.148.06"]), Variant::VgpuKvm);
    }
}
