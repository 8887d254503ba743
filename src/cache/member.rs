//! The members of a driver's archive, admitted one by one: nothing that leaves the tree, is no plain file, or is too much.

use std::collections::BTreeMap;

use tar::EntryType;

use crate::driver::manifest::Manifest;

// Real packages have about 1250 members (580.159.03: 1248 lines in its manifest).
const MEMBERS: usize = 20_000;
const DEEPEST: usize = 16;
// What the kernel takes for a name and for a path.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 1024;
// The largest package so far unpacks to 1.8 GB (610.57.04).
const HARD_LIMIT: u64 = 16 << 30;
// The declared size is what `du` counted on the machine that made the package, so it is only nearly right.
const SLACK: u64 = 16 << 20;
const SET_ID_OR_STICKY: u32 = 0o7000;
// The one program that NVIDIA means to be set to root; its manifest says so, and the tree does not.
const MODPROBE: &str = "nvidia-modprobe";

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArchiveFault {
    #[error("it has more than {MEMBERS} members")]
    TooManyMembers,
    #[error("it unpacks to more than {limit} bytes, though it declares {declared}")]
    TooLarge { limit: u64, declared: String },
    #[error("`{0}` is not a path inside the archive")]
    Path(String),
    #[error("`{0}` occurs twice")]
    Twice(String),
    #[error("`{path}` lies in `{parent}`, which is not a directory")]
    NotADirectory { path: String, parent: String },
    #[error("`{path}` links to `{target}`, which is outside the archive")]
    Link { path: String, target: String },
    #[error("`{path}` is a hard link to `{target}`, which is not a file that came before")]
    HardLink { path: String, target: String },
    #[error("`{path}` is a {sort}, not a file, directory or link")]
    Sort { path: String, sort: &'static str },
    #[error("`{path}` has the mode {mode:04o}, which would change privileges")]
    SetId { path: String, mode: u32 },
    #[error("`{0}` is too long for what it is")]
    TooLong(String),
    #[error("it has no `{}`", Manifest::NAME)]
    NoManifest,
    #[error("its manifest names `{0}`, which is not in it")]
    Missing(String),
    #[error("{0} bytes or more follow its end")]
    Trailing(u64),
}

/// A member as its header has it.
#[derive(Debug, Clone)]
pub(crate) struct RawMember {
    pub(crate) path: Vec<u8>,
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) sort: EntryType,
    pub(crate) mode: u32,
    pub(crate) size: u64,
}

/// A member that may be made in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its path in the tree, without `./`.
    pub(crate) path: String,
    pub(crate) kind: MemberKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberKind {
    Directory,
    File { size: u64, mode: u32 },
    Link { target: String },
    HardLink { target: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Directory,
    File,
    Link,
}

/// Remembers what has been admitted.
#[derive(Debug)]
pub(crate) struct Gate {
    seen: BTreeMap<String, Seen>,
    members: usize,
    bytes: u64,
    limit: u64,
    declared: Option<u64>,
}

impl Gate {
    /// For an archive that declares to unpack to so many bytes.
    pub(crate) fn new(declared: Option<u64>) -> Self {
        let limit = declared.map_or(HARD_LIMIT, |bytes| bytes.saturating_add(bytes / 2).saturating_add(SLACK));
        Self { seen: BTreeMap::new(), members: 0, bytes: 0, limit: limit.min(HARD_LIMIT), declared }
    }

    /// Admits a member, or says what is wrong with it; the directory of the whole archive is no member.
    pub(crate) fn admit(&mut self, raw: &RawMember) -> Result<Option<Member>, ArchiveFault> {
        self.count(raw)?;
        let path = member_path(&raw.path)?;
        if path.is_empty() {
            return match raw.sort {
                EntryType::Directory => Ok(None),
                _ => Err(ArchiveFault::Path("./".to_owned())),
            };
        }
        let kind = self.kind_of(&path, raw)?;
        let seen = match kind {
            MemberKind::Directory => Seen::Directory,
            MemberKind::File { .. } | MemberKind::HardLink { .. } => Seen::File,
            MemberKind::Link { .. } => Seen::Link,
        };
        self.enter(&path, seen)?;
        Ok(Some(Member { path, kind }))
    }

    /// Whether a path is a regular file of the archive.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.seen.get(path) == Some(&Seen::File)
    }

    fn count(&mut self, raw: &RawMember) -> Result<(), ArchiveFault> {
        self.members += 1;
        if self.members > MEMBERS {
            return Err(ArchiveFault::TooManyMembers);
        }
        self.bytes = self.bytes.saturating_add(raw.size);
        if self.bytes > self.limit {
            let declared = self.declared.map_or("no size".to_owned(), |bytes| bytes.to_string());
            return Err(ArchiveFault::TooLarge { limit: self.limit, declared });
        }
        Ok(())
    }

    fn kind_of(&self, path: &str, raw: &RawMember) -> Result<MemberKind, ArchiveFault> {
        let sort = |sort| ArchiveFault::Sort { path: path.to_owned(), sort };
        match raw.sort {
            EntryType::Directory => Ok(MemberKind::Directory),
            EntryType::Regular => {
                let may_have_bits = path.rsplit('/').next() == Some(MODPROBE);
                if raw.mode & SET_ID_OR_STICKY != 0 && !may_have_bits {
                    return Err(ArchiveFault::SetId { path: path.to_owned(), mode: raw.mode & 0o7777 });
                }
                let mode = if raw.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                Ok(MemberKind::File { size: raw.size, mode })
            }
            EntryType::Symlink => {
                let target = target_text(path, raw)?;
                let inside = !target.is_empty() && !target.starts_with('/') && !target.split('/').any(|it| it == "..");
                if inside {
                    Ok(MemberKind::Link { target })
                } else {
                    Err(ArchiveFault::Link { path: path.to_owned(), target })
                }
            }
            EntryType::Link => {
                let target = target_text(path, raw)?;
                match member_path(target.as_bytes()) {
                    Ok(inside) if self.has_file(&inside) => Ok(MemberKind::HardLink { target: inside }),
                    _ => Err(ArchiveFault::HardLink { path: path.to_owned(), target }),
                }
            }
            EntryType::Char | EntryType::Block => Err(sort("device node")),
            EntryType::Fifo => Err(sort("pipe")),
            EntryType::GNUSparse => Err(sort("sparse file")),
            _ => Err(sort("member of an unknown sort")),
        }
    }

    /// Takes a path and its parents; only directories may be there already.
    fn enter(&mut self, path: &str, seen: Seen) -> Result<(), ArchiveFault> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.seen.get(parent) {
                Some(Seen::Directory) => {}
                None => drop(self.seen.insert(parent.to_owned(), Seen::Directory)),
                Some(_) => {
                    return Err(ArchiveFault::NotADirectory { path: path.to_owned(), parent: parent.to_owned() });
                }
            }
        }
        match self.seen.insert(path.to_owned(), seen) {
            None => Ok(()),
            Some(Seen::Directory) if seen == Seen::Directory => Ok(()),
            Some(_) => Err(ArchiveFault::Twice(path.to_owned())),
        }
    }
}

/// A path without `./` at its beginning and `/` at its end.
fn member_path(bytes: &[u8]) -> Result<String, ArchiveFault> {
    let wrong = || ArchiveFault::Path(shown(bytes));
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let path = text.strip_prefix("./").unwrap_or(text);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        // `/` alone is the root of the host, and no path of the archive.
        return if text.starts_with('/') || text.is_empty() { Err(wrong()) } else { Ok(String::new()) };
    }
    let plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= LONGEST_NAME;
    let parts_are_plain = path.split('/').all(plain) && path.split('/').count() <= DEEPEST;
    if parts_are_plain && path.len() <= LONGEST_PATH && !path.chars().any(char::is_control) {
        Ok(path.to_owned())
    } else {
        Err(wrong())
    }
}

fn target_text(path: &str, raw: &RawMember) -> Result<String, ArchiveFault> {
    let bytes = raw.target.as_deref().unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= LONGEST_PATH && !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(ArchiveFault::Link { path: path.to_owned(), target: shown(bytes) }),
    }
}

/// Bytes from an archive, short and clean enough to be printed.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|character| !character.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(path: &str, sort: EntryType) -> RawMember {
        RawMember { path: path.into(), target: None, sort, mode: 0o644, size: 0 }
    }

    fn link(path: &str, target: &str, sort: EntryType) -> RawMember {
        RawMember { target: Some(target.into()), ..raw(path, sort) }
    }

    fn admit_all(members: &[RawMember]) -> Result<Vec<Member>, ArchiveFault> {
        let mut gate = Gate::new(None);
        let admitted = members.iter().map(|member| gate.admit(member)).collect::<Result<Vec<_>, _>>()?;
        Ok(admitted.into_iter().flatten().collect())
    }

    #[test]
    fn what_a_package_holds_is_admitted() {
        let modprobe = RawMember { mode: 0o4755, ..raw("./nvidia-modprobe", EntryType::Regular) };
        let members = [
            raw("./", EntryType::Directory),
            raw("./.manifest", EntryType::Regular),
            raw("./kernel/", EntryType::Directory),
            raw("./kernel/common/nv.h", EntryType::Regular),
            link("./libcuda.so.1", "libcuda.so.5", EntryType::Symlink),
            link("./LICENSE", "./.manifest", EntryType::Link),
            modprobe,
        ];
        let admitted = admit_all(&members).unwrap();
        let paths: Vec<&str> = admitted.iter().map(|member| &*member.path).collect();
        assert_eq!(paths, [".manifest", "kernel", "kernel/common/nv.h", "libcuda.so.1", "LICENSE", "nvidia-modprobe"]);
        assert_eq!(admitted[4].kind, MemberKind::HardLink { target: ".manifest".to_owned() });
        assert_eq!(admitted[5].kind, MemberKind::File { size: 0, mode: 0o755 });
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        let long = "x/".repeat(DEEPEST) + "x";
        for path in ["/etc/passwd", "../x", "./a/../../x", "a//b", "/", "", "a/./b", ".//etc", "a\nb", &long] {
            let fault = admit_all(&[raw(path, EntryType::Regular)]).unwrap_err();
            assert!(matches!(fault, ArchiveFault::Path(_)), "{path}: {fault:?}");
        }
        let bytes = RawMember { path: b"\xff".to_vec(), ..raw("", EntryType::Regular) };
        assert!(matches!(admit_all(&[bytes]), Err(ArchiveFault::Path(_))));
        let file = raw("./", EntryType::Regular);
        assert_eq!(admit_all(&[file]), Err(ArchiveFault::Path("./".to_owned())));
    }

    #[test]
    fn links_that_leave_the_tree_are_refused() {
        for target in ["/etc/passwd", "../../etc", "a/../..", "", "a\0b"] {
            let fault = admit_all(&[link("./x", target, EntryType::Symlink)]).unwrap_err();
            assert!(matches!(fault, ArchiveFault::Link { .. }), "{target}: {fault:?}");
        }
        let symlink = link("./x", "y", EntryType::Symlink);
        for target in ["/etc/passwd", "../y", "unknown", "x", ""] {
            let fault = admit_all(&[symlink.clone(), link("./z", target, EntryType::Link)]).unwrap_err();
            assert!(matches!(fault, ArchiveFault::HardLink { .. }), "{target}: {fault:?}");
        }
    }

    #[test]
    fn nothing_is_made_through_a_link_or_a_file() {
        for first in [link("./x", "kernel", EntryType::Symlink), raw("./x", EntryType::Regular)] {
            let fault = admit_all(&[first, raw("./x/y", EntryType::Regular)]).unwrap_err();
            assert_eq!(fault, ArchiveFault::NotADirectory { path: "x/y".into(), parent: "x".into() });
        }
    }

    #[test]
    fn nothing_is_there_twice_but_directories() {
        let (file, directory) = (raw("./x", EntryType::Regular), raw("./x", EntryType::Directory));
        admit_all(&[directory.clone(), raw("./x/y", EntryType::Regular), directory.clone()]).unwrap();
        let symlink = link("./x", "y", EntryType::Symlink);
        for second in [file.clone(), raw("x", EntryType::Regular), directory, symlink] {
            assert_eq!(admit_all(&[file.clone(), second]), Err(ArchiveFault::Twice("x".to_owned())));
        }
    }

    #[test]
    fn devices_pipes_and_other_sorts_are_refused() {
        for sort in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse, EntryType::Continuous] {
            assert!(matches!(admit_all(&[raw("./x", sort)]), Err(ArchiveFault::Sort { .. })), "{sort:?}");
        }
    }

    #[test]
    fn bits_that_give_other_rights_are_refused() {
        for mode in [0o4755, 0o2755, 0o1644] {
            let member = RawMember { mode, ..raw("./nvidia-smi", EntryType::Regular) };
            assert_eq!(admit_all(&[member]), Err(ArchiveFault::SetId { path: "nvidia-smi".into(), mode }));
        }
    }

    #[test]
    fn more_than_was_declared_is_refused() {
        let member = |path: &str, size| RawMember { size, ..raw(path, EntryType::Regular) };
        let mut gate = Gate::new(Some(100 << 20));
        gate.admit(&member("./a", 160 << 20)).unwrap();
        assert!(matches!(gate.admit(&member("./b", 10 << 20)), Err(ArchiveFault::TooLarge { .. })));
        let mut gate = Gate::new(Some(u64::MAX));
        assert!(matches!(gate.admit(&member("./a", u64::MAX)), Err(ArchiveFault::TooLarge { .. })));
        let mut gate = Gate::new(None);
        for index in 0..MEMBERS {
            gate.admit(&member(&index.to_string(), 0)).unwrap();
        }
        assert_eq!(gate.admit(&member("more", 0)), Err(ArchiveFault::TooManyMembers));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_admitted_stays_in_the_tree(
            path in proptest::collection::vec(proptest::num::u8::ANY, 0..12),
            dots in "[a./]{0,10}", target in "[a./]{0,10}",
        ) {
            let mut gate = Gate::new(None);
            for raw in [
                RawMember { path, ..raw("", EntryType::Regular) },
                link(&dots, &target, EntryType::Symlink),
                raw(&dots, EntryType::Directory),
            ] {
                let Ok(Some(member)) = gate.admit(&raw) else { continue };
                let target = match member.kind { MemberKind::Link { target } => target, _ => String::new() };
                for text in [&member.path, &target] {
                    proptest::prop_assert!(!text.starts_with('/') && text.split('/').all(|part| part != ".."));
                }
            }
        }
    }
}
