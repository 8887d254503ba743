//! The directory that an image is made from: the tree's own files by hard links where their modes allow it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::driver::placement::image::{OF_LIBRARIES, image_placements};
use crate::driver::placement::{Content, Kind as Placed, Placement};
use crate::error::{Error, Kind, Result};
use crate::sys::command::Command;

use super::Store;
use super::image::Contents;
use super::tree::{FileFacts, Tree};

// A mapped root owns nothing of an image, so that everybody must be able to read all of it.
const READABLE: u32 = 0o444;
// No set-user-ID here: the mounts would take no notice of it, and the image need not rely on that.
const PERMISSIONS: u32 = 0o777;

impl Store<'_> {
    /// Puts everything that an image of these contents has into an empty directory.
    pub(super) fn stage(&self, tree: &Tree, contents: Contents, directory: &Path) -> Result<()> {
        make_directory(directory)?;
        match contents {
            Contents::Package => stage_package(tree, directory)?,
            Contents::Placed(profile) => {
                for placement in image_placements(tree.manifest(), profile) {
                    stage_placement(tree, &placement, directory)?;
                }
                self.add_sonames(directory)?;
            }
        }
        self.context.cancel.check()
    }

    /// Makes the links that the loader's cache will name: a container cannot make them in what is read-only.
    fn add_sonames(&self, directory: &Path) -> Result<()> {
        for directory in OF_LIBRARIES.map(|name| directory.join(name)) {
            if directory.is_dir() {
                // `-n`: these directories alone, and no cache.
                Command::new("ldconfig").arg("-n").arg(directory).run_ok(self.context.cancel)?;
            }
        }
        Ok(())
    }
}

fn stage_package(tree: &Tree, directory: &Path) -> Result<()> {
    for (path, facts) in tree.files() {
        let destination = prepared(directory, path)?;
        stage_file(tree, path, facts, facts.mode, &destination)?;
    }
    for path in tree.links() {
        let target = fs_err::read_link(tree.path().join(path))?;
        fs_err::os::unix::fs::symlink(target, prepared(directory, path)?)?;
    }
    Ok(())
}

fn stage_placement(tree: &Tree, placement: &Placement, directory: &Path) -> Result<()> {
    let destination = prepared(directory, &placement.destination)?;
    let (source, mode, content) = match &placement.kind {
        Placed::Link { target, .. } => return Ok(fs_err::os::unix::fs::symlink(target, destination)?),
        Placed::File { source, mode, content } => (source, *mode, *content),
    };
    if content != Content::AsIs {
        let bytes = content.rendered(fs_err::read(tree.path().join(source))?);
        fs_err::File::create_new(&destination)?.write_all(&bytes)?;
        return set_mode(&destination, mode);
    }
    let facts = tree.file(source).ok_or_else(|| {
        let message = format!("the manifest of driver {} names `{source}`, which its tree lacks", tree.version());
        Error::new(Kind::Bug, message)
    })?;
    stage_file(tree, source, facts, mode, &destination)
}

/// A hard link shares its mode with the tree's file, so that it will do only where both are to have the same.
fn stage_file(tree: &Tree, path: &str, facts: &FileFacts, mode: u32, destination: &Path) -> Result<()> {
    let source = tree.path().join(path);
    if in_image(mode) == facts.mode {
        return Ok(fs_err::hard_link(source, destination)?);
    }
    // Shared with the tree's file where the file system can (`copy_file_range(2)`).
    fs_err::copy(source, destination)?;
    set_mode(destination, mode)
}

fn in_image(mode: u32) -> u32 {
    let executable = if mode & 0o100 != 0 { 0o111 } else { 0 };
    (mode & PERMISSIONS) | READABLE | executable
}

fn set_mode(file: &Path, mode: u32) -> Result<()> {
    Ok(fs_err::set_permissions(file, std::fs::Permissions::from_mode(in_image(mode)))?)
}

/// The place of a path below `directory`, whose directories are there.
fn prepared(directory: &Path, path: &str) -> Result<PathBuf> {
    let place = directory.join(path);
    let missing: Vec<&Path> = place.ancestors().skip(1).take_while(|parent| !parent.exists()).collect();
    missing.into_iter().rev().try_for_each(make_directory)?;
    Ok(place)
}

fn make_directory(directory: &Path) -> Result<()> {
    fs_err::create_dir(directory)?;
    Ok(fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_can_read_an_image_and_nobody_becomes_somebody_else_by_it() {
        assert_eq!(in_image(0o600), 0o644);
        assert_eq!(in_image(0o500), 0o555);
        assert_eq!(in_image(0o4755), 0o755);
        assert_eq!(in_image(0o644), 0o644);
    }
}
