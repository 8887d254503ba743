//! Writing files so that they are old or new and never between: file, fsync, rename, fsync of the directory.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{NamedTempFile, PersistError};

use crate::error::{Error, Kind, Result};

/// Replaces the contents of `path`, or makes it, with these permission bits; parents are made where missing.
///
/// # Errors
/// The file system refused; the old file is then untouched and nothing is left beside it.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    fs_err::create_dir_all(directory_of(path))?;
    place(path, contents, mode, |file| file.persist(path))
}

/// Makes a file that is not there yet, and its parents where missing; never replaces one.
///
/// # Errors
/// There is one already, or the file system refused; nothing is left beside it then.
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    fs_err::create_dir_all(directory_of(path))?;
    place(path, contents, mode, |file| file.persist_noclobber(path))
}

/// As [`write`], for a file that the operator has named: a directory that is missing is not made, but a mistake.
///
/// # Errors
/// As [`write`], and [`require_directory`].
pub fn write_named(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    require_directory(path)?;
    place(path, contents, mode, |file| file.persist(path))
}

/// That a file that the operator has named can have a place; to be asked before the work that it is to hold.
///
/// # Errors
/// [`Kind::Usage`] when there is no such directory.
pub fn require_directory(path: &Path) -> Result<()> {
    let directory = directory_of(path);
    if directory.is_dir() {
        return Ok(());
    }
    let (path, directory) = (path.display(), directory.display());
    Err(Error::new(Kind::Usage, format!("`{path}` cannot be written, because there is no directory `{directory}`"))
        .hint(format!("name a file in another directory, or make this one with `mkdir -p {directory}`")))
}

fn place(
    path: &Path,
    contents: &[u8],
    mode: u32,
    give_name: impl FnOnce(NamedTempFile) -> std::result::Result<std::fs::File, PersistError>,
) -> Result<()> {
    let directory = directory_of(path);
    let failed =
        |error: std::io::Error| Error::from(error).within(format!("`{}` could not be written", path.display()));
    let mut file = tempfile::Builder::new().prefix(".phoenix-nvidia-").tempfile_in(directory).map_err(failed)?;
    file.write_all(contents).map_err(failed)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    give_name(file).map_err(|error| failed(error.error))?;
    sync_directory(directory)
}

/// As [`write`], for a file that only the holder of a lock writes: under a temporary name that is always the same, so
/// that what a killed run left goes with the next one's.
///
/// # Errors
/// The file system refused; the old file is then untouched.
pub fn write_under_lock(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let directory = directory_of(path);
    fs_err::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".phoenix-nvidia-{name}"));
    let written = replace(&temporary, path, contents, mode);
    if written.is_err() {
        let _ = fs_err::remove_file(&temporary);
    }
    written.map_err(|error| error.within(format!("`{}` could not be written", path.display())))
}

fn replace(temporary: &Path, path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).open(temporary)?;
    file.write_all(contents)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    rename_synced(temporary, path)
}

/// Makes everything in a directory and below reach the disk: one system call for a thousand files (`syncfs`).
///
/// What else waits to be written to the same file system is written too.
///
/// # Errors
/// The file system refused, or something could not be written (reported since Linux 5.8).
pub fn sync_tree(directory: &Path) -> Result<()> {
    let directory_file = fs_err::File::open(directory)?;
    rustix::fs::syncfs(directory_file.file()).map_err(|error| {
        let error = std::io::Error::from(error);
        Error::new(Kind::Host, format!("`{}` could not be synced", directory.display())).caused_by(error)
    })
}

/// Gives a file or directory that is complete its final name.
///
/// It and the directory that holds it reach the disk before this returns; what a directory holds does not.
///
/// # Errors
/// The file system refused; `from` then still exists.
pub fn rename_synced(from: &Path, to: &Path) -> Result<()> {
    fs_err::File::open(from)?.sync_all()?;
    fs_err::rename(from, to)?;
    sync_directory(directory_of(to))
}

/// Removes a file if it exists; the removal reaches the disk before this returns.
///
/// # Errors
/// The file system refused.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs_err::remove_file(path) {
        Ok(()) => sync_directory(directory_of(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the names in a directory reach the disk.
///
/// # Errors
/// The file system refused.
pub fn sync_directory(directory: &Path) -> Result<()> {
    fs_err::File::open(directory)?.sync_all().map_err(|error| {
        Error::new(Kind::Host, format!("`{}` could not be synced", directory.display())).caused_by(error)
    })
}

/// The directory that holds `path`; a bare name lies in `.`.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_mode_are_replaced_and_nothing_is_left_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/receipt.json");
        write(&path, b"old", 0o600).unwrap();
        write(&path, b"new", 0o644).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"new");
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_run_has_left_under_a_lock_goes_with_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("901.json");
        fs_err::write(directory.path().join(".phoenix-nvidia-901.json"), "half a rec").unwrap();
        write_under_lock(&path, b"whole", 0o600).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"whole");
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        fs_err::create_dir(&path).unwrap();
        assert!(write(&path, b"new", 0o644).is_err());
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        remove_if_there(&directory.path().join("nothing")).unwrap();
    }

    #[test]
    fn a_directory_that_the_operator_has_misspelled_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = write_named(&missing.join("a/page.html"), b"", 0o644).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.message().ends_with(&format!("there is no directory `{}/a`", missing.display())), "{error}");
        assert!(!missing.exists());
        write_named(&directory.path().join("page.html"), b"page", 0o644).unwrap();
    }

    #[test]
    fn a_bare_name_lies_in_the_current_directory() {
        assert_eq!(directory_of(Path::new("name")), Path::new("."));
    }
}
