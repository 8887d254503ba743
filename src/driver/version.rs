//! The version of a driver: text with an order, because `580.76.05` is not `580.76.5`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Two or three numbers with dots, kept as they are written: `580.76.05`, `580.142`.
///
/// The text is what URLs and file names hold. Two versions of the same numbers but other text (`580.76.05` and
/// `580.76.5`) are different, and ordered by their text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DriverVersion(String);

/// Why a text is not a driver version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a driver version: expected two or three dot-separated numbers, such as `580.76.05`")]
pub struct NotAVersion(pub String);

impl DriverVersion {
    /// The text as NVIDIA writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number before the first dot, NVIDIA's branch: 580 of `580.76.05`.
    pub fn branch(&self) -> u32 {
        self.numbers().next().unwrap_or_default()
    }

    /// Whether this version is `text` or later; for the tables of what came with which release.
    pub fn is_at_least(&self, numbers: &[u32]) -> bool {
        self.numbers().cmp(numbers.iter().copied()) != Ordering::Less
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        // The parser has let only digits and dots in, and no number over eight digits.
        self.0.split('.').map(|part| part.parse().unwrap_or_default())
    }
}

impl FromStr for DriverVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let parts: Vec<&str> = text.split('.').collect();
        let numeric = |part: &&str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        // NVIDIA's branches have had three digits since 100.14 (2007); fewer are texts of another kind.
        let plausible = (2..=3).contains(&parts.len()) && parts.iter().all(numeric) && parts[0].len() >= 2;
        if plausible { Ok(Self(text.to_owned())) } else { Err(NotAVersion(text.to_owned())) }
    }
}

impl Ord for DriverVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers().cmp(other.numbers()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for DriverVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for DriverVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for DriverVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> DriverVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_text_is_kept_as_it_was_written() {
        assert_eq!(version("580.76.05").to_string(), "580.76.05");
        assert_ne!(version("580.76.05"), version("580.76.5"));
    }

    #[test]
    fn the_order_is_by_numbers() {
        assert!(version("570.133.20") < version("580.76.05"));
        assert!(version("580.76.05") < version("580.142"));
        assert!(version("580.142") < version("580.142.01"));
        assert!(version("99.1") < version("100.14.11"));
    }

    #[test]
    fn what_came_with_a_release_is_decided_by_numbers() {
        assert!(version("520.56.06").is_at_least(&[520, 56, 6]));
        assert!(!version("470.256.02").is_at_least(&[520, 56, 6]));
        assert!(version("610.57").is_at_least(&[545, 23, 6]));
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in ["", "580", "580.", "580.76.05.1", "580.x", "v580.76", "580.76.05 ", "1.2", "580.123456789"] {
            assert!(wrong.parse::<DriverVersion>().is_err(), "{wrong}");
        }
    }
}
