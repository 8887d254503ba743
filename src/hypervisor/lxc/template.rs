//! Templates: which files are some, whether there is room for what is in them, and unpacking them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::sys::command::Command;
use crate::sys::idmap::IdMap;
use crate::sys::space::{Room, megabytes};

use super::{Lxc, staging};

const UNPACK_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// A root file system has some hundred thousand names.
const LIST_LIMIT: usize = 256 << 20;
/// No root file system is compressed to less than this part of itself.
const MOST_COMPRESSED: u64 = 16;
/// What a tarball has for each of its members beside the contents: the header, and what fills its last block.
const BESIDE_MEMBER: u64 = 1024;
/// The zeros at the end of a tarball.
const END: u64 = 10_240;
/// Device nodes are LXC's to make.
const LEFT_OUT: [&str; 2] = ["--exclude=./dev/*", "--exclude=dev/*"];

/// The tarball that a container is made from.
pub(super) fn template(container: &Container) -> Result<PathBuf> {
    let id = container.id;
    let Some(template) = &container.template else {
        return Err(Error::new(
            Kind::Configuration,
            format!("container {id} needs `template` or `clone_from_ctid`, but has neither"),
        )
        .hint("set `template` to the path of a root file system tarball"));
    };
    let wrong = |what: &str| {
        Error::new(Kind::Configuration, format!("container {id}: the template `{}` {what}", template.display()))
            .hint("set `template` to the path of a root file system tarball: .tar, .tar.gz, .tar.xz or .tar.zst")
    };
    match fs_err::metadata(template) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(wrong("is not a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(wrong("does not exist")),
        Err(error) => return Err(error.into()),
    }
    match tar_option(&beginning(template)?) {
        Some(_) => Ok(template.clone()),
        None => Err(wrong("is not a tarball")),
    }
}

impl Lxc<'_> {
    /// That what a template unpacks to can fit, where that is certain.
    pub(super) fn require_room(&self, template: &Path, idmap: &IdMap, id: ContainerId) -> Result<()> {
        let room = Room::of(&self.lxcpath)?;
        let free = if idmap.is_identity() { room.bytes_for_root } else { room.bytes };
        let option = decompression(template)?;
        let at_most = fs_err::metadata(template)?.len().saturating_mul(option.map_or(1, |_| MOST_COMPRESSED));
        // To list a template takes as long as to decompress it: only where it may not fit.
        if !room.stores_as_is || free >= at_most {
            return Ok(());
        }
        let needed = self.contents(template, option)?;
        if needed <= free {
            return Ok(());
        }
        Err(self.no_space(
            id,
            &format!("has {}", free_megabytes(free)),
            template,
            &format!("needs {}", megabytes(needed)),
        ))
    }

    /// The bytes that a template's files have, and not more; none where it cannot be read, which unpacking reports.
    fn contents(&self, template: &Path, option: Option<&str>) -> Result<u64> {
        let command = Command::new("tar").args(["--totals"]).args(LEFT_OUT).args(option).args(["-tf", "-"]);
        let file = fs_err::File::open(template)?.into_parts().0;
        let command = command.input_file(file).env("LC_ALL", "C").deadline(UNPACK_DEADLINE).output_limit(LIST_LIMIT);
        let output = match command.run_ok(self.cancel) {
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(_) => return Ok(0),
            Ok(output) => output,
        };
        let members = output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
        let total = total_read(&String::from_utf8_lossy(&output.stderr)).unwrap_or(0);
        Ok(total.saturating_sub(members.saturating_mul(BESIDE_MEMBER)).saturating_sub(END))
    }

    /// Unpacks a template into a directory, as the container's root where it has a map of its own.
    pub(super) fn unpack(&self, template: &Path, root: &Path, idmap: &IdMap, id: ContainerId) -> Result<()> {
        let mut command = Command::new("tar");
        if let (Some(user), Some(group), false) = (idmap.users().first(), idmap.groups().first(), idmap.is_identity()) {
            std::os::unix::fs::chown(root, Some(user.outside), Some(group.outside))?;
            command = Command::new("lxc-usernsexec")
                .args(["-m", &format!("u:{}:{}:{}", user.inside, user.outside, user.count)])
                .args(["-m", &format!("g:{}:{}:{}", group.inside, group.outside, group.count)])
                .args(["--", "tar"]);
        }
        // Opened here: the container's mapped root may not be able to reach the template.
        let file = fs_err::File::open(template)?.into_parts().0;
        let unpacked = command
            .arg("-C")
            .arg(root)
            .args(["--numeric-owner", "--xattrs-include=security.capability", "--warning=no-xattr-write"])
            .args(LEFT_OUT)
            .args(decompression(template)?)
            .args(["-xpf", "-"])
            .input_file(file)
            .env(staging::MARKER, self.staging(id))
            .env("LC_ALL", "C")
            .deadline(UNPACK_DEADLINE)
            .run_ok(self.cancel);
        unpacked.map(|_| ()).map_err(|error| match error.kind() {
            Kind::Host => self.filled_up(id, template, &error),
            _ => error
                .within(format!("container {id}: the template `{}` could not be extracted", template.display()))
                .hint("check the template with `tar -tf` and free space with `df`"),
        })
    }

    /// The failure of an unpacking that has found no room, of which the part is still there that did fit.
    fn filled_up(&self, id: ContainerId, template: &Path, error: &Error) -> Error {
        let lacks_inodes = Room::of(&self.lxcpath).is_ok_and(|room| room.lacks_inodes);
        let what = if lacks_inodes { "has no inode left" } else { "has filled up" };
        self.no_space(id, what, template, "was unpacked in part, which is removed again")
            .output(error.output_text().unwrap_or_default())
    }

    fn no_space(&self, id: ContainerId, has: &str, template: &Path, needs: &str) -> Error {
        let (directory, template) = (self.lxcpath.display(), template.display());
        let message = format!("container {id}: no space: the template `{template}` {needs}, and `{directory}` {has}");
        Error::new(Kind::Host, message).hint(format!(
            "free some space there (`df -h {directory}`, `df -i {directory}`), and run the same command again"
        ))
    }
}

/// Never more than there is.
fn free_megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// The bytes of the tarball, as `tar --totals` says (GNU tar 1.34).
fn total_read(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("Total bytes read: "))?;
    line.split(' ').next()?.parse().ok()
}

/// `tar`'s option for the template's compression.
fn decompression(template: &Path) -> Result<Option<&'static str>> {
    Ok(tar_option(&beginning(template)?).flatten())
}

fn beginning(template: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    fs_err::File::open(template)?.take(512).read_to_end(&mut start)?;
    Ok(start)
}

/// The option for an archive that begins like this; `None` for what is no tarball.
fn tar_option(start: &[u8]) -> Option<Option<&'static str>> {
    let compressed: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "--gzip"), (b"\xfd7zXZ\0", "--xz"), (b"\x28\xb5\x2f\xfd", "--zstd"), (b"BZh", "--bzip2")];
    let option = compressed.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, option)| Some(*option));
    option.or_else(|| (start.get(257..262) == Some(b"ustar")).then_some(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tarballs_are_known_by_their_first_bytes() {
        assert_eq!(tar_option(b"\x28\xb5\x2f\xfd\0"), Some(Some("--zstd")));
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(tar_option(&tar), Some(None));
        assert_eq!(tar_option(b"<!DOCTYPE html>"), None);
        assert_eq!(tar_option(b""), None);
    }

    #[test]
    fn the_size_of_a_tarball_is_what_tar_has_read() {
        let said = "tar: Removing leading `/' from member names\nTotal bytes read: 3010560 (2.9MiB, 1.9GiB/s)\n";
        assert_eq!(total_read(said), Some(3_010_560));
        assert_eq!(total_read("tar: Child returned status 1"), None);
    }
}
