//! What names a container: Proxmox VE's CTID, or the name of a container of plain LXC.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Kind};

/// The longest name, as for a directory (`NAME_MAX`) with room for what is written beside it.
const LONGEST_NAME: usize = 200;

/// Every name that this process has taken, each once, so that an identity stays as small as a number.
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// A CTID, 100 … 999 999 999 as Proxmox VE allows them (its `pve-vmid` format), or a name, which only plain LXC has.
///
/// A name consists of letters, digits, `.`, `_` and `-`, begins with a letter or a digit and is no number, so it is neither
/// a mistyped CTID nor an option nor a path. In JSON, a CTID is a number and a name is a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(untagged)]
pub enum ContainerId {
    /// A CTID.
    Number(u32),
    /// A name.
    Name(&'static str),
}

impl ContainerId {
    /// The CTID of this number, if it is in the range that hypervisors accept.
    pub fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().filter(|number| (100..=999_999_999).contains(number)).map(Self::Number)
    }

    /// The number, where it is a CTID.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(number),
            Self::Name(_) => None,
        }
    }

    /// The identity that a text is, where it is a CTID or a name that this process works with already. For texts that
    /// others have written, such as the names of sockets: they are compared, and not kept.
    pub fn known(text: &str) -> Option<Self> {
        ctid(text).or_else(|| NAMES.lock().unwrap_or_else(PoisonError::into_inner).get(text).copied().map(Self::Name))
    }

    fn named(text: &str) -> Option<Self> {
        if !is_name(text) {
            return None;
        }
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(text).copied().unwrap_or_else(|| String::from(text).leak());
        names.insert(name);
        Some(Self::Name(name))
    }
}

fn ctid(text: &str) -> Option<ContainerId> {
    let digits = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().and_then(ContainerId::new)
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(is_part)
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => fmt::Display::fmt(number, f),
            Self::Name(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl<'de> serde::Deserialize<'de> for ContainerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Name(String),
        }
        let (found, text) = match Either::deserialize(deserializer)? {
            Either::Number(number) => (Self::new(number), number.to_string()),
            Either::Name(name) => (Self::named(&name), name),
        };
        found.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is neither a CTID nor a name")))
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        ctid(text).or_else(|| Self::named(text)).ok_or_else(|| {
            Error::new(Kind::Usage, format!("`{text}` is neither a CTID nor the name of a container"))
                .hint("a CTID is a number from 100 to 999999999, such as 901; a name has letters, such as `jellyfin`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_proxmox_takes_are_ctids_and_words_are_names() {
        assert_eq!("901".parse::<ContainerId>().unwrap(), ContainerId::Number(901));
        assert_eq!("2fauth".parse::<ContainerId>().unwrap(), ContainerId::Name("2fauth"));
        assert_eq!("jelly-fin_2.x".parse::<ContainerId>().unwrap(), ContainerId::Name("jelly-fin_2.x"));
        let long = "x".repeat(LONGEST_NAME + 1);
        for wrong in ["", "0901", "99", "1000000000", "-1", "../901", "901 ", ".x", "_x", "a/b", "a b", &long] {
            assert!(wrong.parse::<ContainerId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_tells_a_name_from_a_ctid() {
        for json in ["901", "\"jellyfin\""] {
            let id: ContainerId = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
        }
        for wrong in ["99", "\"901\"", "\"../x\"", "null"] {
            assert!(serde_json::from_str::<ContainerId>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_of_others_becomes_no_name() {
        assert_eq!(ContainerId::known("never-named-before"), None);
        let named = "named-here".parse().unwrap();
        assert_eq!(ContainerId::known("named-here"), Some(named));
        assert_eq!(ContainerId::known("901"), Some(ContainerId::Number(901)));
    }
}
