//! Making images: from a tree, once, by one process at a time, whole or not at all.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::driver::Sha256;
use crate::error::{Error, Kind, Result};
use crate::sys::command::Command;
use crate::sys::{atomic, mount};

use super::digest::Digest;
use super::image::{Contents, DRIVER, FILE, FileSystem, Image, ImageName, Record};
use super::tree::Tree;
use super::{Store, rename_and_remove, temporary};

const DEADLINE: Duration = Duration::from_secs(60 * 60);
const BUFFER: usize = 512 << 10;
// The file systems' own structures, above what the files have.
const OVERHEAD: u64 = 16 << 20;

/// How an image is made, so that the same tree gives the same bytes: root owns everything, no times, no names of its
/// own, one thread where the order of the blocks depends on it.
const EROFS: &[&str] = &["--quiet", "--all-root", "-T0", "-x-1", "-U", "00000000-0000-0000-0000-000000000000"];
const SQUASHFS: &[&str] = &[
    "-noI",
    "-noD",
    "-noF",
    "-noX",
    "-no-xattrs",
    "-all-root",
    "-mkfs-time",
    "0",
    "-all-time",
    "0",
    "-noappend",
    "-no-progress",
    "-quiet",
    "-processors",
    "1",
];

impl Store<'_> {
    /// The image of a tree: the one that is there, if it is sound and of the same run file, or a new one.
    ///
    /// Everybody who wants the same one at the same time waits for one to be made.
    ///
    /// # Errors
    /// [`Kind::Host`] when this host cannot make or mount images, with what it lacks; [`Kind::Busy`],
    /// [`Kind::Interrupted`]. The store is then as it was.
    pub fn image(&self, tree: &Tree, contents: Contents) -> Result<Image> {
        self.image_as(tree, contents, None)
    }

    /// As [`Store::image`], as this file system instead of the first that the kernel knows.
    ///
    /// # Errors
    /// As [`Store::image`].
    pub fn image_as(&self, tree: &Tree, contents: Contents, chosen: Option<FileSystem>) -> Result<Image> {
        let name = ImageName { version: tree.version().clone(), contents, edition: None };
        self.image_called(tree, &self.name_for(tree, name)?, chosen)
    }

    /// The image of this name that is of this tree: the one that is there, or a new one.
    pub(super) fn image_called(&self, tree: &Tree, name: &ImageName, chosen: Option<FileSystem>) -> Result<Image> {
        if let Some(image) = self.image_of(tree, name, chosen)? {
            return Ok(image);
        }
        // The tree's lock: nobody removes the tree while its image is made.
        let _alone = self.lock(&name.version, self.patience)?;
        // Somebody else may have taken the name meanwhile, for another run file.
        let name = &self.name_for(tree, name.clone())?;
        if let Some(image) = self.image_of(tree, name, chosen)? {
            return Ok(image);
        }
        let file_system = match chosen {
            Some(chosen) => chosen,
            None => self.file_system()?,
        };
        self.make_image(tree, name, file_system)
    }

    /// This name, or the one with the run file in it where containers may see an image of another run file under this one.
    /// Nobody but the installation that mounts it sees a package.
    fn name_for(&self, tree: &Tree, name: ImageName) -> Result<ImageName> {
        if name.contents == Contents::Package {
            return Ok(name);
        }
        let there = Record::read(&name.directory(self.context.layout))?;
        let is_others = there.is_some_and(|record| record.run_file_sha256 != tree.run_file_sha256());
        Ok(if is_others { name.of_edition(tree.run_file_sha256()) } else { name })
    }

    /// The image that is there, if it came from this tree's run file.
    fn image_of(&self, tree: &Tree, name: &ImageName, chosen: Option<FileSystem>) -> Result<Option<Image>> {
        let is_wanted = |image: &Image| {
            image.run_file_sha256() == tree.run_file_sha256()
                && chosen.is_none_or(|chosen| chosen == image.file_system())
        };
        Ok(self.open_image(name)?.filter(is_wanted))
    }

    fn make_image(&self, tree: &Tree, name: &ImageName, file_system: FileSystem) -> Result<Image> {
        let images = self.context.layout.images();
        self.sweep(&images, &name.version)?;
        let coming = temporary(&images, &name.version)?;
        // What is copied into the staging directory is small: nearly everything is a link.
        self.require_space(&name.version, coming.path(), tree.bytes().saturating_add(OVERHEAD))?;
        let (staged, made) = (coming.path().join("staged"), coming.path().join("made"));
        fs_err::create_dir(&staged)?;
        self.stage(tree, name.contents, &staged.join(DRIVER))?;
        fs_err::create_dir(&made)?;
        let file = made.join(FILE);
        self.format(file_system, &staged, &file)?;
        fs_err::File::open(&file)?.sync_all()?;
        let sha256 = self.sum_of(&file)?;
        Record::new(&file, file_system, tree.run_file_sha256(), sha256)?.write(&made)?;
        let place = name.directory(self.context.layout);
        rename_and_remove(&place, &name.version)?;
        atomic::rename_synced(&made, &place)?;
        coming.close()?;
        let image = Image::open(name, &place)?.map_err(|fault| {
            Error::new(Kind::Bug, format!("`{}` is wrong although it was just made: {fault}", place.display()))
        })?;
        let megabytes = image.bytes().div_ceil(1_000_000);
        self.context.listener.note(None, format!("made the image {name}, {megabytes} MB as {}", file_system.word()));
        Ok(image)
    }

    /// The file system to use on this host.
    fn file_system(&self) -> Result<FileSystem> {
        for file_system in [FileSystem::Erofs, FileSystem::Squashfs] {
            if mount::is_known(file_system.word(), self.context.cancel)? {
                return Ok(file_system);
            }
        }
        Err(Error::new(Kind::Host, "this host's kernel supports neither EROFS nor Squashfs")
            .hint("use the method `native` or `runfile`, or a kernel with one of the two"))
    }

    fn format(&self, file_system: FileSystem, directory: &Path, file: &Path) -> Result<()> {
        let (program, _) = program_for(file_system);
        if !is_installed(program) {
            return Err(no_program_for(file_system));
        }
        let command = match file_system {
            FileSystem::Erofs => Command::new(program).args(EROFS).arg(file).arg(directory),
            FileSystem::Squashfs => Command::new(program).arg(directory).arg(file).args(SQUASHFS),
        };
        let made = command.deadline(DEADLINE).run_ok(self.context.cancel);
        made.map(|_| ()).map_err(|error| error.within("an image could not be made"))
    }

    /// That this host has a program that makes images; changes nothing.
    ///
    /// # Errors
    /// It has none.
    pub fn require_image_maker(&self) -> Result<()> {
        let has_one = [FileSystem::Erofs, FileSystem::Squashfs].iter().any(|it| is_installed(program_for(*it).0));
        if has_one { Ok(()) } else { Err(no_program_for(FileSystem::Erofs)) }
    }

    /// The sum of a whole file.
    pub(super) fn sum_of(&self, file: &Path) -> Result<Sha256> {
        let mut file = fs_err::File::open(file)?;
        let mut digest = Digest::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            self.context.cancel.check()?;
            match file.read(&mut buffer)? {
                0 => return Ok(digest.finish().sha256),
                count => digest.update(&buffer[..count]),
            }
        }
    }
}

/// The program that makes this file system, and the Debian package that it is in.
fn program_for(file_system: FileSystem) -> (&'static str, &'static str) {
    match file_system {
        FileSystem::Erofs => ("mkfs.erofs", "erofs-utils"),
        FileSystem::Squashfs => ("mksquashfs", "squashfs-tools"),
    }
}

fn no_program_for(file_system: FileSystem) -> Error {
    let (program, package) = program_for(file_system);
    Error::new(Kind::Host, format!("`{program}`, which makes images, is not on this host"))
        .hint(format!("install it: `apt-get install {package}`"))
}

fn is_installed(program: &str) -> bool {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).any(|directory| directory.join(program).is_file())
}
