//! What must hold for any archive of a driver; the fuzzer looks for one where it does not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{ErrorKind, Read};

use crate::cache::archive::{self, Stopped};
use crate::cache::member::{Gate, Member, MemberKind};
use crate::driver::manifest::Manifest;

const MOST_BYTES: u64 = 1 << 20;

/// A tree in memory: every path with what it is, and with its bytes if it is a file.
type Tree = BTreeMap<String, (MemberKind, Vec<u8>)>;

/// Any bytes as an archive: what is admitted stays within the tree, and leads nowhere else.
///
/// # Panics
/// Something leaves it.
pub fn archive(bytes: &[u8]) {
    let Some(tree) = extracted(bytes) else { return };
    for (path, (kind, content)) in &tree {
        assert!(!path.starts_with('/') && path.split('/').all(is_plain), "{path}");
        for (end, _) in path.match_indices('/') {
            let parent = tree.get(&path[..end]);
            assert!(parent.is_none_or(|(kind, _)| *kind == MemberKind::Directory), "{path}");
        }
        match kind {
            MemberKind::Directory => {}
            MemberKind::File { size, mode } => {
                assert_eq!((*size, mode & !0o755), (content.len() as u64, 0), "{path}");
            }
            MemberKind::Link { target } => assert!(!target.starts_with('/') && !target.split('/').any(|it| it == "..")),
            MemberKind::HardLink { target } => {
                assert!(matches!(tree[target].0, MemberKind::File { .. } | MemberKind::HardLink { .. }));
            }
        }
    }
    if let Some((_, manifest)) = tree.get(Manifest::NAME) {
        // Read as `extract` does; what a manifest must be has a target of its own.
        let _ = Manifest::parse(manifest);
    }
}

fn is_plain(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

/// The tree of an archive that is admitted as a whole.
fn extracted(bytes: &[u8]) -> Option<Tree> {
    let (mut gate, mut tree) = (Gate::new(Some(MOST_BYTES)), Tree::new());
    let walked = archive::walk(bytes, |raw, content| {
        let Some(Member { path, kind }) = gate.admit(raw)? else { return Ok(()) };
        let mut bytes = Vec::new();
        if let MemberKind::File { size, .. } = kind {
            content.take(size).read_to_end(&mut bytes).map_err(Stopped::<Infallible>::Unreadable)?;
            if bytes.len() as u64 != size {
                return Err(Stopped::Unreadable(ErrorKind::UnexpectedEof.into()));
            }
        }
        tree.insert(path, (kind, bytes));
        Ok(())
    });
    walked.is_ok().then_some(tree)
}

#[cfg(test)]
mod tests {
    use fs_err::{read, read_dir};

    #[test]
    fn every_seed_is_an_archive_and_stays_within_its_tree() {
        for seed in read_dir("fuzz/seeds/archive").unwrap() {
            let bytes = read(seed.unwrap().path()).unwrap();
            assert!(super::extracted(&bytes).is_some_and(|tree| !tree.is_empty()));
            super::archive(&bytes);
        }
    }
}
