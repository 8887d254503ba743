//! How a container's user and group numbers map to the host's.

use crate::error::{Error, Kind, Result};

/// One range of a map: `count` numbers from `inside` on are `outside` and following on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first number inside the container.
    pub inside: u32,
    /// The first number on the host.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

/// The maps of a container; a privileged one has the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl IdMap {
    /// The map of a privileged container.
    pub fn identity() -> Self {
        let all = vec![Range { inside: 0, outside: 0, count: u32::MAX }];
        Self { users: all.clone(), groups: all }
    }

    /// A map of these ranges.
    pub fn new(users: Vec<Range>, groups: Vec<Range>) -> Self {
        Self { users, groups }
    }

    /// Reads the kernel's form, `/proc/<pid>/uid_map` and `gid_map`: three numbers a line.
    ///
    /// # Errors
    /// The text is not in that form.
    pub fn parse(users: &str, groups: &str) -> Result<Self> {
        let ranges = |text: &str| -> Option<Vec<Range>> { text.lines().map(range).collect() };
        match (ranges(users), ranges(groups)) {
            (Some(users), Some(groups)) => Ok(Self { users, groups }),
            _ => Err(Error::new(Kind::Host, "the container's idmap is not in the kernel's form")),
        }
    }

    /// What nobody can work in a container without, and this map lacks: where users, groups or root have no number on
    /// the host, liblxc does not start the container, and no file can be made for it.
    pub fn lack(&self) -> Option<&'static str> {
        [
            (self.users.is_empty(), "users"),
            (self.groups.is_empty(), "groups"),
            (self.user(0).is_none(), "root as a user"),
            (self.group(0).is_none(), "root's group"),
        ]
        .into_iter()
        .find_map(|(is_lacking, what)| is_lacking.then_some(what))
    }

    /// Whether the container's root is the host's.
    pub fn is_identity(&self) -> bool {
        self.user(0) == Some(0)
    }

    /// The host's number for a user of the container; `None` when the map does not cover it.
    pub fn user(&self, inside: u32) -> Option<u32> {
        outside(&self.users, inside)
    }

    /// The host's number for a group of the container; `None` when the map does not cover it.
    pub fn group(&self, inside: u32) -> Option<u32> {
        outside(&self.groups, inside)
    }

    /// The container's number for a user of the host; `None` when the map does not cover it.
    pub fn user_inside(&self, outside: u32) -> Option<u32> {
        inside(&self.users, outside)
    }

    /// The container's number for a group of the host; `None` when the map does not cover it.
    pub fn group_inside(&self, outside: u32) -> Option<u32> {
        inside(&self.groups, outside)
    }

    /// The ranges of the users.
    pub fn users(&self) -> &[Range] {
        &self.users
    }

    /// The ranges of the groups.
    pub fn groups(&self) -> &[Range] {
        &self.groups
    }
}

fn range(line: &str) -> Option<Range> {
    let mut numbers = line.split_whitespace().map(str::parse);
    let range = Range { inside: numbers.next()?.ok()?, outside: numbers.next()?.ok()?, count: numbers.next()?.ok()? };
    numbers.next().is_none().then_some(range)
}

fn outside(ranges: &[Range], inside: u32) -> Option<u32> {
    let range =
        ranges.iter().find(|range| inside.checked_sub(range.inside).is_some_and(|offset| offset < range.count))?;
    range.outside.checked_add(inside - range.inside)
}

fn inside(ranges: &[Range], outside: u32) -> Option<u32> {
    let range =
        ranges.iter().find(|range| outside.checked_sub(range.outside).is_some_and(|offset| offset < range.count))?;
    range.inside.checked_add(outside - range.outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_map_by_their_range() {
        let map = IdMap::parse("0 100000 1000\n1000 1000 1\n", "         0     100000      65536\n").unwrap();
        assert_eq!(
            (map.user(0), map.user(999), map.user(1000), map.user(1001)),
            (Some(100_000), Some(100_999), Some(1000), None)
        );
        assert_eq!(map.group(65_535), Some(165_535));
        assert_eq!(
            (map.user_inside(100_999), map.user_inside(1000), map.user_inside(0)),
            (Some(999), Some(1000), None)
        );
        assert_eq!(map.group_inside(165_535), Some(65_535));
        assert!(!map.is_identity());
    }

    #[test]
    fn the_kernels_identity_is_an_identity() {
        let line = "         0          0 4294967295\n";
        assert!(IdMap::parse(line, line).unwrap().is_identity());
    }

    #[test]
    fn a_map_lacks_users_groups_or_root() {
        let lack = |users: &str, groups: &str| IdMap::parse(users, groups).unwrap().lack();
        let all = "0 100000 65536\n";
        assert_eq!(lack(all, all), None);
        assert_eq!(lack("", all), Some("users"));
        assert_eq!(lack(all, ""), Some("groups"));
        assert_eq!(lack("1 100001 65535\n", all), Some("root as a user"));
        assert_eq!(lack(all, "1 100001 65535\n"), Some("root's group"));
        assert_eq!(IdMap::identity().lack(), None);
    }

    #[test]
    fn another_form_is_refused() {
        assert!(IdMap::parse("0 100000", "").is_err());
        assert!(IdMap::parse("0 1 2 3", "").is_err());
    }
}
