//! `ID.conf` of a container: a main section, what waits for the next start, snapshots. Read, and edited byte for byte.
//!
//! The grammar is that of pve-container 6.1.10 (`PVE::LXC::Config`). A line that is appended to the file belongs to the
//! last section, so with a snapshot present it would change the snapshot; here only the main section can be edited.

use std::collections::{BTreeMap, BTreeSet};

use crate::hypervisor::Snapshot;

/// The section of changes that the next start brings in.
const PENDING: &str = "pve:pending";

/// A raw line for liblxc.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) struct RawLine {
    /// `lxc.mount.entry`.
    pub(super) key: String,
    /// What comes after the colon or the equals sign.
    pub(super) value: String,
}

impl RawLine {
    pub(super) fn new(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned() }
    }

    /// A line of a Proxmox file (`key: value`) or of liblxc's (`key = value`).
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (key, value) = line.split_at(line.find([':', '='])?);
        let key = key.trim_end();
        let characters =
            key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte));
        (characters && key.starts_with("lxc.")).then(|| Self::new(key, value[1..].trim()))
    }
}

/// As it stands in the file.
impl std::fmt::Display for RawLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.value)
    }
}

/// What waits for the next start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// Keys that will be there, with their values.
    pub(super) set: BTreeMap<String, String>,
    /// Keys that will be gone.
    pub(super) deleted: BTreeSet<String>,
}

impl Pending {
    /// Every key that will change.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.set.keys().chain(&self.deleted).map(String::as_str)
    }
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ConfigFile {
    text: String,
    /// Where the main section ends, in bytes.
    end: usize,
}

impl ConfigFile {
    /// Takes the file's text, whatever is in it: lines that Proxmox VE would not take are left alone.
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let end = lines_with_place(&text).find(|(_, line)| line.starts_with('[')).map_or(text.len(), |(at, _)| at);
        Self { text, end }
    }

    /// The whole file.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn main(&self) -> &str {
        &self.text[..self.end]
    }

    /// A key of the main section, as the container has it now.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.main().lines().filter_map(property).rfind(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The keys of the main section, as the container has them now.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.main().lines().filter_map(property)
    }

    /// Why the container must be left alone: `backup`, `mounted`, `create`.
    pub(super) fn lock(&self) -> Option<&str> {
        self.value("lock")
    }

    /// Whether the container's root is nobody on the host.
    pub(super) fn is_unprivileged(&self) -> bool {
        self.value("unprivileged").is_some_and(is_on)
    }

    /// The raw lines of the main section, in their order.
    pub(super) fn raw(&self) -> impl Iterator<Item = RawLine> {
        self.main().lines().filter_map(RawLine::parse)
    }

    /// The raw lines of a snapshot's section.
    pub(super) fn raw_of<'t>(&'t self, snapshot: &'t str) -> impl Iterator<Item = RawLine> + 't {
        self.section(snapshot).filter_map(RawLine::parse)
    }

    /// What waits for the next start.
    pub(super) fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        for (key, value) in self.section(PENDING).filter_map(property) {
            if key == "delete" {
                let keys = value.split([',', ' ', ';']).map(|key| key.trim_start_matches('!'));
                pending.deleted.extend(keys.filter(|key| !key.is_empty()).map(str::to_owned));
            } else {
                pending.set.insert(key.to_owned(), value.to_owned());
            }
        }
        pending
    }

    /// The keys of the container as its next start will find them.
    pub(super) fn after_restart(&self) -> BTreeMap<String, String> {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut keys: BTreeMap<String, String> = self.main().lines().filter_map(property).map(owned).collect();
        let pending = self.pending();
        keys.retain(|key, _| !pending.deleted.contains(key));
        keys.extend(pending.set);
        keys
    }

    /// The names of the snapshots, exactly.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let names = self.text[self.end..].lines().filter_map(section_name);
        names.filter(|name| *name != PENDING).map(str::to_owned).collect()
    }

    /// A snapshot, by its exact name. Its section has `snapstate` while it is taken or removed, and after a failure there.
    pub(super) fn snapshot(&self, name: &str) -> Option<Snapshot> {
        self.snapshots().iter().any(|it| it == name).then(|| {
            let comments = self.section(name).filter_map(|line| line.strip_prefix('#'));
            let description = comments.collect::<Vec<_>>().join("\n");
            let is_whole = !self.section(name).filter_map(property).any(|(key, _)| key == "snapstate");
            Snapshot { description, is_whole }
        })
    }

    /// The whole file without these raw lines of the main section and with others at its end; every other byte stays.
    pub(super) fn edited(&self, gone: &[RawLine], come: &[RawLine]) -> String {
        let kept = self
            .main()
            .split_inclusive('\n')
            .filter(|line| !RawLine::parse(line).is_some_and(|line| gone.contains(&line)));
        let mut main: String = kept.collect();
        let blank = main.len() - main.trim_end_matches('\n').len();
        let tail = if self.end < self.text.len() { "\n".repeat(blank.saturating_sub(1)) } else { String::new() };
        main.truncate(main.len() - blank);
        if !main.is_empty() {
            main.push('\n');
        }
        for line in come {
            main.push_str(&format!("{line}\n"));
        }
        main + &tail + &self.text[self.end..]
    }

    fn section<'t>(&'t self, name: &'t str) -> impl Iterator<Item = &'t str> {
        let mut inside = false;
        self.text[self.end..].lines().filter(move |line| {
            if let Some(found) = section_name(line) {
                inside = found == name;
                return false;
            }
            inside
        })
    }
}

/// Every line with the byte that it begins at.
fn lines_with_place(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |place, line| {
        let at = *place;
        *place += line.len();
        Some((at, line))
    })
}

/// `key: value`, as Proxmox VE reads it.
fn property(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let word = key.trim_end_matches(|character: char| character.is_ascii_digit());
    let letters = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (letters && !word.is_empty() && !word.starts_with('_')).then_some((key, value.trim()))
}

fn section_name(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.trim_end().strip_suffix(']')
}

/// The words that Proxmox VE takes for true.
pub(super) fn is_on(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

#[cfg(test)]
#[path = "config_file_tests.rs"]
mod tests;
