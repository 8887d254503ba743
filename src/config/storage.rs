//! What is mounted in a container: directories of the host (`mount_points`) and volumes of a storage pool.

use std::path::{Component, Path, PathBuf};

use super::finding::{Finding, Severity};
use super::json_value::Node;

/// A directory of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mount {
    /// The directory on the host, absolute.
    pub host_path: PathBuf,
    /// Where the container sees it, absolute.
    pub container_path: PathBuf,
    /// The owner that the directory shall have, as the container counts users.
    pub owner_uid: Option<u32>,
    /// The group that the directory shall have, as the container counts groups.
    pub owner_gid: Option<u32>,
}

/// A volume of a storage pool that a container has beside its root file system.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Volume {
    /// Its name in the configuration.
    pub name: String,
    /// The storage pool.
    pub pool: String,
    /// Its size in GiB.
    pub size_gb: u64,
    /// Where the container sees it, absolute.
    pub mount_point: PathBuf,
}

const PATH: &str = "an absolute path without `..`, commas and line breaks";
const POOL: &str = "the name of a storage pool: letters, digits, `_`, `.` and `-`";
const NAME: &str = "a name: letters, digits, `_`, `.` and `-`";

impl Mount {
    /// Reads `mount_points`.
    pub(super) fn read_all(node: &Node<'_>, findings: &mut Vec<Finding>) -> Vec<Self> {
        objects(node, "`host_path` and `container_path`", findings)
            .iter()
            .filter_map(|entry| {
                let host_path = path(entry, "host_path", findings);
                let container_path = path(entry, "container_path", findings);
                let owner_uid = owner(entry, "owner_uid", findings);
                let owner_gid = owner(entry, "owner_gid", findings);
                Some(Self { host_path: host_path?, container_path: container_path?, owner_uid, owner_gid })
            })
            .collect()
    }
}

impl Volume {
    /// Reads `volumes` or `zfs_volumes`.
    pub(super) fn read_all(node: &Node<'_>, findings: &mut Vec<Finding>) -> Vec<Self> {
        objects(node, "`name`, `pool`, `size_gb` and `mount_point`", findings)
            .iter()
            .filter_map(|entry| {
                let name = word(entry, "name", NAME, findings);
                let pool = word(entry, "pool", POOL, findings);
                let size = set_member(entry, "size_gb", "`size_gb`: a whole number of GiB", findings)
                    .and_then(|size| size.whole_number(1..=1 << 20, " of GiB", findings));
                let mount_point = path(entry, "mount_point", findings);
                Some(Self { name: name?, pool: pool?, size_gb: size?, mount_point: mount_point? })
            })
            .collect()
    }
}

/// Reads the name of a storage pool.
pub(super) fn pool(node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<String> {
    let text = node.text(POOL, findings)?;
    if !is_word(text) {
        findings.push(node.wrong_value(POOL));
        return None;
    }
    Some(text.to_owned())
}

/// A path that can stand in an option list of `pct` and cannot climb.
pub(super) fn is_safe_path(text: &str) -> bool {
    let path = Path::new(text);
    path.is_absolute()
        && !path.components().any(|component| component == Component::ParentDir)
        && !text.contains(|c: char| c == ',' || c.is_control())
}

fn objects<'d>(node: &Node<'d>, keys: &str, findings: &mut Vec<Finding>) -> Vec<Node<'d>> {
    if !node.is_list() {
        findings.push(node.wrong_type(&format!("a list of objects with {keys}")));
    }
    let (objects, others): (Vec<_>, Vec<_>) = node.elements().partition(Node::is_object);
    for other in others {
        let message = format!("an element of `{}` is {}", other.key(), other.what());
        findings.push(other.finding(Severity::Error, message).expected(format!("an object with {keys}")));
    }
    objects
}

fn path(entry: &Node<'_>, key: &str, findings: &mut Vec<Finding>) -> Option<PathBuf> {
    let member = set_member(entry, key, &format!("`{key}`: {PATH}"), findings)?;
    let text = member.text(PATH, findings)?;
    if !is_safe_path(text) {
        findings.push(member.wrong_value(PATH));
        return None;
    }
    Some(PathBuf::from(text))
}

fn word(entry: &Node<'_>, key: &str, expected: &str, findings: &mut Vec<Finding>) -> Option<String> {
    let member = set_member(entry, key, &format!("`{key}`: {expected}"), findings)?;
    let text = member.text(expected, findings)?;
    if !is_word(text) {
        findings.push(member.wrong_value(expected));
        return None;
    }
    Some(text.to_owned())
}

fn owner(entry: &Node<'_>, key: &str, findings: &mut Vec<Finding>) -> Option<u32> {
    // The highest number is the kernel's word for "leave it".
    let number = entry.member(key).filter(Node::is_set)?.whole_number(0..=u64::from(u32::MAX) - 1, "", findings)?;
    u32::try_from(number).ok()
}

fn set_member<'d>(entry: &Node<'d>, key: &str, expected: &str, findings: &mut Vec<Finding>) -> Option<Node<'d>> {
    let member = entry.member(key).filter(Node::is_set);
    if member.is_none() {
        let message = format!("an entry of `{}` lacks `{key}`", entry.key());
        findings.push(entry.finding(Severity::Error, message).expected(expected));
    }
    member
}

fn is_word(text: &str) -> bool {
    let characters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    characters && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::source::Source;

    fn document(value: &str) -> Document {
        Document::parse(Source::new("x", format!(r#"{{ "list": {value} }}"#))).map_err(|f| f.render()).unwrap()
    }

    #[test]
    fn mounts_with_and_without_an_owner_are_read() {
        let document = document(
            r#"[ { "host_path": "/a", "container_path": "/b", "owner_uid": 33 }, { "host_path": "/c", "container_path": "/d e" } ]"#,
        );
        let mut findings = Vec::new();
        let mounts = Mount::read_all(&document.root().member("list").unwrap(), &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(mounts[0].owner_uid, Some(33));
        assert_eq!(mounts[1].container_path, Path::new("/d e"));
    }

    #[test]
    fn paths_that_climb_or_break_an_option_list_are_refused() {
        for wrong in ["", "relative", "/a/../etc", "/a,backup=1", "/a\\nb", "/.."] {
            let document = document(&format!(r#"[ {{ "host_path": "{wrong}", "container_path": "/b" }} ]"#));
            let mut findings = Vec::new();
            assert!(Mount::read_all(&document.root().member("list").unwrap(), &mut findings).is_empty(), "{wrong}");
            assert_eq!(findings.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_volume_needs_all_four_keys() {
        let document = document(r#"[ { "name": "m" }, 5 ]"#);
        let mut findings = Vec::new();
        assert!(Volume::read_all(&document.root().member("list").unwrap(), &mut findings).is_empty());
        assert_eq!(findings.len(), 4, "{findings:?}");
    }
}
