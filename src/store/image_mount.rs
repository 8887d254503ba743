//! Images on this host: mounted once each, found again after a crash, and let go when nobody needs them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::sys::mount::{self, DetachedMount, Mounted};

use super::image::{Contents, Image, ImageName, NeededImage};
use super::{Store, names_in};

impl Store<'_> {
    /// Mounts an image where the configurations of containers look for it; the directory of the driver's files.
    ///
    /// One that is mounted already stays so; one of a file that was replaced makes room for the new one.
    ///
    /// # Errors
    /// [`Kind::Host`] when the kernel refuses, [`Kind::Busy`], [`Kind::Interrupted`].
    pub fn mount(&self, image: &Image) -> Result<PathBuf> {
        let _alone = self.lock(&image.name().version, self.patience)?;
        self.mount_alone(image)
    }

    /// A copy of an image's mount for a container; it outlives the mount on this host.
    ///
    /// # Errors
    /// As [`Store::mount`].
    pub fn detached(&self, image: &Image) -> Result<DetachedMount> {
        let _alone = self.lock(&image.name().version, self.patience)?;
        let driver = self.mount_alone(image)?;
        let copy = DetachedMount::of(&driver);
        // Nothing but this copy needs the package, and no configuration names it.
        if image.name().contents == Contents::Package {
            self.unmount_alone(image.name())?;
        }
        copy
    }

    /// Sees to it that all these images are mounted, after the host's start for example. Those that can be are, even
    /// when others cannot.
    ///
    /// An image that is gone or damaged is made again from its tree; never from that of another run file.
    ///
    /// # Errors
    /// The first that could not be mounted, with why.
    pub fn ensure_mounted(&self, needed: &[NeededImage]) -> Result<()> {
        let mut failed = None;
        for image in needed {
            self.context.cancel.check()?;
            let name = &image.name;
            if let Err(error) = self.require_image(image).and_then(|image| self.mount(&image)) {
                let error = error.within(format!("the image {name} could not be mounted"));
                if failed.is_some() {
                    self.context.listener.warn(None, error.to_string());
                } else {
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Unmounts the images on this host that nobody needs, and returns their names. Running containers keep what they
    /// see.
    ///
    /// `needed` is asked while nobody else can mount the image that it is asked for: who writes down that an image is
    /// needed, and mounts it after that, finds it mounted.
    ///
    /// # Errors
    /// What is needed is not known, or the kernel refused.
    pub fn unmount_unneeded(&self, needed: impl Fn() -> Result<Vec<ImageName>>) -> Result<Vec<ImageName>> {
        let mut unmounted = Vec::new();
        for (name, _) in names_in(&self.context.layout.mounts())? {
            let Ok(name) = name.parse::<ImageName>() else { continue };
            match self.lock(&name.version, Duration::ZERO) {
                Ok(_alone) => {
                    if !needed()?.contains(&name) {
                        self.unmount_alone(&name)?;
                        unmounted.push(name);
                    }
                }
                // Somebody is just making or mounting it.
                Err(error) if error.kind() == Kind::Busy => {}
                Err(error) => return Err(error),
            }
        }
        Ok(unmounted)
    }

    /// Whether an image is mounted on this host.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn is_mounted(&self, name: &ImageName) -> Result<bool> {
        Ok(mount::at(&name.mount_point(self.context.layout))?.is_some())
    }

    fn require_image(&self, needed: &NeededImage) -> Result<Image> {
        let NeededImage { name, run_file_sha256: sum } = needed;
        match self.open_image(name)? {
            Some(image) if image.run_file_sha256() == *sum => return Ok(image),
            Some(_) => return Err(of_another_file(name)),
            None => {}
        }
        let tree = self.open(&name.version)?.ok_or_else(|| {
            Error::new(Kind::Host, format!("neither the image {name} nor its extracted driver is on this host"))
                .hint(format!("extract it again with `phoenix-nvidia store extract {}`", name.version))
        })?;
        if tree.run_file_sha256() != *sum {
            return Err(of_another_file(name));
        }
        let image = self.image_called(&tree, name, None)?;
        if image.name() == name { Ok(image) } else { Err(of_another_file(name)) }
    }

    fn mount_alone(&self, image: &Image) -> Result<PathBuf> {
        let name = image.name();
        let point = name.mount_point(self.context.layout);
        if let Some(mounted) = mount::at(&point)? {
            if is_of(&mounted, image) {
                return Ok(name.mounted_driver(self.context.layout));
            }
            self.unmount_alone(name)?;
        }
        fs_err::create_dir_all(&point)?;
        // A container's mapped root looks its mounts up by their paths.
        for directory in [self.context.layout.mounts(), point.clone()] {
            fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
        }
        mount::mount_image(image.path(), image.file_system().word(), &point, self.context.cancel)?;
        Ok(name.mounted_driver(self.context.layout))
    }

    /// Takes an image's mount away with its directory; the caller holds the lock.
    pub(super) fn unmount_alone(&self, name: &ImageName) -> Result<()> {
        let point = name.mount_point(self.context.layout);
        while mount::at(&point)?.is_some() {
            mount::unmount(&point)?;
        }
        match fs_err::remove_dir(&point) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The run file was replaced, and the image that was made of the previous one has gone.
fn of_another_file(name: &ImageName) -> Error {
    let version = &name.version;
    Error::new(
        Kind::Host,
        format!("the extracted driver {version} on this host is from another run file than the image {name}"),
    )
    .hint(
        "reinstall the driver in the containers that use it: `phoenix-nvidia uninstall CTID`, then `phoenix-nvidia \
         install CTID`",
    )
}

/// Whether a mount is of this very file, and is as it must be.
fn is_of(mounted: &Mounted, image: &Image) -> bool {
    let has = |option: &str| mounted.options.iter().any(|it| it == option);
    let same_file = mounted.backing_file().is_some_and(|file| {
        let real = |path: &std::path::Path| fs_err::canonicalize(path).ok();
        real(&file).is_some() && real(&file) == real(image.path())
    });
    same_file && ["ro", "nosuid", "nodev"].into_iter().all(has)
}
