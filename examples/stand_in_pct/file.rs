//! A container's file, as Proxmox VE reads and writes it: sections, keys in order, raw lines after them.

use std::collections::BTreeMap;

/// One section: the container now, what waits for its next start, or a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// Comment lines, which Proxmox VE takes for the description.
    pub(crate) comments: Vec<String>,
    pub(crate) keys: BTreeMap<String, String>,
    /// Raw lines in their order.
    pub(crate) raw: Vec<(String, String)>,
}

/// The whole file.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    pub(crate) main: Section,
    pub(crate) pending: Section,
    pub(crate) snapshots: BTreeMap<String, Section>,
}

impl File {
    pub(crate) fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let mut section = &mut file.main;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = match name {
                    "pve:pending" => &mut file.pending,
                    name => file.snapshots.entry(name.to_owned()).or_default(),
                };
            } else if line.starts_with('#') {
                section.comments.push(line.to_owned());
            } else if let Some((key, value)) = raw_line(line) {
                section.raw.push((key, value));
            } else if let Some((key, value)) = line.split_once(':') {
                section.keys.insert(key.to_owned(), value.trim().to_owned());
            }
        }
        file
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.main.text();
        if self.pending != Section::default() {
            text.push_str(&format!("\n[pve:pending]\n{}", self.pending.text()));
        }
        for (name, section) in &self.snapshots {
            text.push_str(&format!("\n[{name}]\n{}", section.text()));
        }
        text
    }

    /// Brings in what has waited, as a start does.
    pub(crate) fn apply_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for (key, value) in pending.keys {
            if key == "delete" {
                value.split(',').for_each(|key| {
                    self.main.keys.remove(key);
                });
            } else {
                self.main.keys.insert(key, value);
            }
        }
    }
}

impl Section {
    fn text(&self) -> String {
        let comments = self.comments.iter().map(|line| format!("{line}\n"));
        let keys = self.keys.iter().map(|(key, value)| format!("{key}: {value}\n"));
        let raw = self.raw.iter().map(|(key, value)| format!("{key}: {value}\n"));
        comments.chain(keys).chain(raw).collect()
    }

    /// The keys of one kind, with their numbers: `dev0`, `mp3`.
    pub(crate) fn numbered<'s>(&'s self, word: &'s str) -> impl Iterator<Item = (&'s str, &'s str)> {
        let is_one = move |key: &str| key.strip_prefix(word).is_some_and(|rest| rest.parse::<u32>().is_ok());
        self.keys.iter().filter(move |(key, _)| is_one(key)).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn raw_line(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once([':', '='])?;
    key.starts_with("lxc.").then(|| (key.trim().to_owned(), value.trim().to_owned()))
}

/// The first part of a property string, which may lack its key, and the value of a key.
pub(crate) fn property<'v>(value: &'v str, key: &str) -> Option<&'v str> {
    value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}

/// The part of a property string without a key.
pub(crate) fn first(value: &str) -> &str {
    value.split(',').next().unwrap_or_default()
}
