//! The majors of this host's character devices, and which of them a line of a container allows for NVIDIA's sake.

use std::collections::BTreeMap;

use crate::driver::device::MAJOR;
use crate::error::Result;

/// The majors of character devices on this host, from `/proc/devices`.
#[derive(Debug, Clone, Default)]
pub(super) struct Majors {
    taken: BTreeMap<u32, String>,
}

/// The majors that the kernel gives out by itself (`Documentation/admin-guide/devices.txt`).
const DYNAMIC: [std::ops::RangeInclusive<u32>; 2] = [234..=254, 384..=511];

impl Majors {
    /// Those of this boot.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn read() -> Result<Self> {
        Ok(Self::parse(&fs_err::read_to_string("/proc/devices")?))
    }

    /// Reads the text of `/proc/devices`.
    pub(super) fn parse(text: &str) -> Self {
        let characters = text.split("\n\n").next().unwrap_or_default();
        let line = |line: &str| {
            let (major, name) = line.trim().split_once(' ')?;
            Some((major.parse().ok()?, name.trim().to_owned()))
        };
        Self { taken: characters.lines().filter_map(line).collect() }
    }

    /// Whether a line that allows this major allows devices of NVIDIA's.
    ///
    /// Where a container has NVIDIA's nodes, or is to have them, a major that this host gives to nobody is a stale one: that
    /// of `nvidia-uvm` is another after every boot, and scripts have written it as a constant. While `nvidia-uvm` itself
    /// has none, nobody knows which is stale.
    pub(super) fn is_nvidias(&self, major: u32, has_gpus: bool) -> bool {
        let knows = || self.taken.values().any(|name| name == "nvidia-uvm");
        major == MAJOR
            || match self.taken.get(&major) {
                Some(name) => name.starts_with("nvidia"),
                None => has_gpus && DYNAMIC.iter().any(|range| range.contains(&major)) && knows(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_major_of_nobody_is_stale_where_gpus_are_and_the_right_one_is_known() {
        let devices =
            "Character devices:\n  1 mem\n195 nvidia\n243 hidraw\n510 nvidia-uvm\n\nBlock devices:\n511 nothing\n";
        let majors = Majors::parse(devices);
        let of = |has_gpus| [195, 510, 243, 508, 511, 237, 10].map(|major| majors.is_nvidias(major, has_gpus));
        assert_eq!(of(true), [true, true, false, true, true, true, false]);
        assert_eq!(of(false), [true, true, false, false, false, false, false]);
        let without = Majors::parse("Character devices:\n195 nvidia\n\n");
        assert!(without.is_nvidias(195, true) && !without.is_nvidias(508, true));
    }
}
