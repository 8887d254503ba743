//! The variants of one version's run file, known by what is inside: names can be changed, and often are.

/// For whom NVIDIA has packed a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Everything.
    Full,
    /// Without 32-bit libraries.
    NoCompat32,
    /// For guests with a virtual GPU: beside the driver the licence daemon.
    Grid,
    /// For the host that divides a GPU into virtual ones: no CUDA, no graphics.
    VgpuKvm,
}

impl Variant {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::NoCompat32, Self::Grid, Self::VgpuKvm];

    /// Answers by the paths of the package's files (as published lists of 535 and 570 packages have them). Packages for
    /// other machines than x86_64 have no 32-bit libraries, and NVIDIA calls them by no other name for that.
    pub fn of_files<'f>(architecture: &str, files: impl Iterator<Item = &'f str>) -> Self {
        let (mut compat32, mut grid, mut vgpu, mut cuda) = (architecture != "x86_64", false, false, false);
        for path in files {
            let name = path.rsplit('/').next().unwrap_or(path);
            compat32 |= path.starts_with("32/");
            grid |= name == "nvidia-gridd";
            vgpu |= name == "nvidia-vgpu-mgr" || name.starts_with("libnvidia-vgpu.so");
            cuda |= path.starts_with("libcuda.so.");
        }
        // What somebody has merged of both parts is a driver all the same.
        match (vgpu && !cuda, grid, compat32) {
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

    /// The variant that a name means, by what it has between the version and `.run`. Clouds have their own
    /// `-grid-aws` and the like.
    pub fn of_ending(ending: &str) -> Option<Self> {
        let is = |variant: &Self| {
            let rest = ending.strip_prefix(variant.ending());
            *variant != Self::Full && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        if ending.is_empty() { Some(Self::Full) } else { Self::ALL.into_iter().find(is) }
    }

    /// Its name in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            other => &other.ending()[1..],
        }
    }

    /// What it is, for somebody who has wanted another.
    pub fn description(self) -> &'static str {
        match self {
            Self::Full => "the full file",
            Self::NoCompat32 => "the file without 32-bit libraries (`-no-compat32`)",
            Self::Grid => "the file for guests with a virtual GPU (`-grid`)",
            Self::VgpuKvm => "the host's part of a virtual GPU (`-vgpu-kvm`)",
        }
    }

    /// The variants that do in its place, the best first. All but the host's part of a virtual GPU have the same
    /// libraries of 64 bits; who wants a guest's driver wants its licence daemon, too.
    pub fn stand_ins(self, compat32: bool) -> &'static [Self] {
        match (self, compat32) {
            (Self::Full, false) => &[Self::NoCompat32, Self::Grid],
            (Self::Full, true) => &[Self::Grid],
            (Self::NoCompat32, _) => &[Self::Full, Self::Grid],
            (Self::Grid | Self::VgpuKvm, _) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_known_by_its_files() {
        let of = |files: &[&str]| Variant::of_files("x86_64", files.iter().copied());
        assert_eq!(of(&["libcuda.so.570.148.08", "32/libcuda.so.570.148.08"]), Variant::Full);
        assert_eq!(of(&["libcuda.so.570.148.08"]), Variant::NoCompat32);
        assert_eq!(of(&["libcuda.so.570.148.08", "nvidia-gridd", "32/libcuda.so.570.148.08"]), Variant::Grid);
        assert_eq!(of(&["nvidia-vgpu-mgr", "libnvidia-ml.so.570.148.06"]), Variant::VgpuKvm);
        assert_eq!(of(&["nvidia-vgpu-mgr", "libcuda.so.570.148.06", "32/libcuda.so.570.148.06"]), Variant::Full);
        assert_eq!(Variant::of_files("aarch64", ["libcuda.so.570.148.08"].into_iter()), Variant::Full);
    }

    #[test]
    fn a_variant_is_known_by_its_ending_and_no_other_one_means_any() {
        for variant in Variant::ALL {
            assert_eq!(Variant::of_ending(variant.ending()), Some(variant));
        }
        assert_eq!(Variant::of_ending("-grid-aws"), Some(Variant::Grid));
        assert_eq!(Variant::of_ending("-vgpu-kvm-aie"), Some(Variant::VgpuKvm));
        for other in ["-pkg2", "-gridless", "-open", "-"] {
            assert_eq!(Variant::of_ending(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_but_itself_does_for_a_guest_and_the_hosts_part_for_nobody() {
        for (wanted, compat32) in [(Variant::Full, false), (Variant::Full, true), (Variant::NoCompat32, true)] {
            assert!(!wanted.stand_ins(compat32).contains(&Variant::VgpuKvm));
        }
        assert!(!Variant::Full.stand_ins(true).contains(&Variant::NoCompat32));
        assert!(Variant::Grid.stand_ins(false).is_empty());
    }
}
