//! What lies in unpacked packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file or link of a package.
pub(crate) struct Found {
    /// Below the directory of the packages, with `/` at its beginning.
    pub(crate) below: String,
    pub(crate) path: PathBuf,
    /// What a link says.
    pub(crate) target: Option<PathBuf>,
    size: u64,
}

impl Found {
    pub(crate) fn name(&self) -> &str {
        self.below.rsplit('/').next().unwrap_or_default()
    }
}

/// Every file and link below a directory, by their paths.
pub(crate) fn find(directory: &Path) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs_err::read_dir(next)? {
            let (entry_path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if metadata.is_dir() {
                left.push(entry_path);
                continue;
            }
            let below = entry_path.strip_prefix(directory).unwrap_or(&entry_path);
            let target = if metadata.is_symlink() { Some(fs_err::read_link(&entry_path)?) } else { None };
            let below = format!("/{}", below.display());
            found.push(Found { below, path: entry_path, target, size: metadata.len() });
        }
    }
    found.sort_by(|one, other| one.below.cmp(&other.below));
    Ok(found)
}

/// One for each key that `key_of` gives. Of several with one key the largest counts: packages have small files that are
/// named after them.
pub(crate) fn largest_by(found: &[Found], key_of: impl Fn(&Found) -> Option<String>) -> BTreeMap<String, &Found> {
    let mut largest: BTreeMap<String, &Found> = BTreeMap::new();
    for one in found {
        let Some(key) = key_of(one) else { continue };
        let known = largest.entry(key).or_insert(one);
        if one.size > known.size {
            *known = one;
        }
    }
    largest
}
