//! The number that names a container: Proxmox's CTID, and the container's name on plain LXC.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind};

/// A CTID, 100 … 999 999 999 as Proxmox VE allows them (its `pve-vmid` format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ContainerId(u32);

impl ContainerId {
    /// The CTID of this number, if it is in the range that hypervisors accept.
    pub fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().filter(|number| (100..=999_999_999).contains(number)).map(Self)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> serde::Deserialize<'de> for ContainerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| serde::de::Error::custom(format!("{number} is not a CTID")))
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().and_then(Self::new).ok_or_else(|| {
            Error::new(Kind::Usage, format!("`{text}` is not a CTID"))
                .hint("a CTID is a number from 100 to 999999999, such as 901")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_proxmox_takes_are_ctids() {
        assert_eq!("901".parse::<ContainerId>().unwrap().to_string(), "901");
        for wrong in ["", "0901", "99", "1000000000", "9x", "-1", "../901", "901 "] {
            assert!(wrong.parse::<ContainerId>().is_err(), "{wrong}");
        }
    }
}
