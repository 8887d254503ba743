//! The version of pve-container, and what of Proxmox VE it decides.

use std::fmt;

/// A version of the package `pve-container`: `6.1.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// The oldest that this program drives: that of Proxmox VE 7.
    pub(super) const OLDEST: Self = Self(4, 0, 0);

    /// Reads what `dpkg-query -W -f '${Version}' pve-container` prints: `6.1.10`, `5.0.7~1`, `4.4-5`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(['.', '-', '~', '+']).map(|part| part.parse::<u32>().ok());
        Some(Self(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    /// Whether `pct set --devN` exists (5.0.7, Proxmox VE 8.1).
    pub(super) fn has_device_entries(self) -> bool {
        self >= Self(5, 0, 7)
    }

    /// Whether a new `devN` comes into a running container at once (6.0.4, Proxmox VE 9.0).
    pub(super) fn adds_devices_to_running(self) -> bool {
        self >= Self(6, 0, 4)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_dpkg_prints_them_and_ordered_by_number() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert_eq!(version("6.1.10\n").to_string(), "6.1.10");
        assert!(version("6.1.10") > version("6.1.9"));
        assert!(version("4.4-5") < version("5.0.7~1"));
        assert!(Version::parse("").is_none() && Version::parse("unknown").is_none());
    }

    #[test]
    fn each_release_is_asked_for_what_it_has() {
        let has = |text: &str| {
            let version = Version::parse(text).unwrap();
            (version.has_device_entries(), version.adds_devices_to_running())
        };
        assert_eq!(has("5.0.6"), (false, false));
        assert_eq!(has("5.0.7"), (true, false));
        assert_eq!(has("6.0.4"), (true, true));
    }
}
