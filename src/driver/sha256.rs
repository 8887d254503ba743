//! A SHA-256 sum as NVIDIA publishes it: 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

/// The SHA-256 sum of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// Why a text is not a SHA-256 sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 sum: 64 hexadecimal digits are expected")]
pub struct NotASum(pub String);

impl Sha256 {
    /// The sum of these 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Sha256 {
    type Err = NotASum;

    fn from_str(text: &str) -> Result<Self, NotASum> {
        let wrong = || NotASum(text.chars().take(80).collect());
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            if digits.starts_with('+') {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd";

    #[test]
    fn a_sum_is_printed_as_it_was_read() {
        assert_eq!(SUM.parse::<Sha256>().unwrap().to_string(), SUM);
        assert_eq!(SUM.to_uppercase().parse::<Sha256>().unwrap().to_string(), SUM);
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in ["", &SUM[1..], &format!("{}g", &SUM[1..]), &format!("+{}", &SUM[1..]), &"é".repeat(32)] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
    }
}
