//! What images there are, whether they are what they were, and which of them may go.

use std::path::PathBuf;
use std::time::Duration;

use crate::driver::Sha256;
use crate::error::{Error, Kind, Result};
use crate::sys::atomic;

use super::image::{FileSystem, Image, ImageName, RECORD};
use super::{Store, names_in, rename_and_remove, version_of_temporary};

/// One image of the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImageEntry {
    /// Where it lies.
    pub path: PathBuf,
    /// Which one its name says; none for what a killed process left.
    #[serde(rename = "image")]
    pub name: Option<ImageName>,
    /// Whether it is mounted on this host.
    pub mounted: bool,
    /// How it is.
    #[serde(flatten)]
    pub sort: ImageSort,
}

/// How an image can be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ImageSort {
    /// It looks as it did when it was made.
    #[serde(rename = "ok")]
    Sound {
        /// The size of its file in bytes.
        bytes: u64,
        /// What the file holds.
        file_system: FileSystem,
        /// The sum that the file had when it was made.
        sha256: Sha256,
    },
    /// It is not used, and will be made again.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// One that is just being made or removed, or what a killed process left of that.
    Temporary,
}

impl Store<'_> {
    /// The images in the order of their names; what is none is not among them.
    ///
    /// # Errors
    /// The file system refused.
    pub fn images(&self) -> Result<Vec<ImageEntry>> {
        let mut entries = Vec::new();
        for (text, path) in names_in(&self.context.layout.images())? {
            if version_of_temporary(&text).is_some() {
                entries.push(ImageEntry { path, name: None, mounted: false, sort: ImageSort::Temporary });
                continue;
            }
            let Ok(name) = text.parse::<ImageName>() else { continue };
            let sort = match Image::open(&name, &path)? {
                Ok(image) => {
                    ImageSort::Sound { bytes: image.bytes(), file_system: image.file_system(), sha256: image.sha256() }
                }
                Err(fault) => ImageSort::Damaged { reason: fault.to_string() },
            };
            entries.push(ImageEntry { path, mounted: self.is_mounted(&name)?, name: Some(name), sort });
        }
        Ok(entries)
    }

    /// Reads a whole image and compares it with what was made.
    ///
    /// An image that is not what it was is taken out of use: it is made anew when it is wanted next.
    ///
    /// # Errors
    /// [`Kind::Verification`] when it has changed; [`Kind::Usage`] when there is no such image; [`Kind::Busy`],
    /// [`Kind::Interrupted`], or the host refused.
    pub fn verify_image(&self, name: &ImageName) -> Result<Image> {
        let directory = name.directory(self.context.layout);
        if !super::is_there(&directory)? {
            return Err(Error::new(Kind::Usage, format!("there is no image {name}")));
        }
        let _alone = self.lock(&name.version, self.patience)?;
        let fault = match Image::open(name, &directory)? {
            Ok(image) if self.sum_of(image.path())? == image.sha256() => return Ok(image),
            Ok(_) => "its contents have changed".to_owned(),
            Err(fault) => fault.to_string(),
        };
        atomic::remove_if_there(&directory.join(RECORD))?;
        let message = format!("the image in `{}` has changed: {fault}", directory.display());
        Err(Error::new(Kind::Verification, message)
            .hint("install the driver again in the containers that use it; that makes a new image"))
    }

    /// What [`Store::prune_images`] would remove, as far as nobody is working on it.
    ///
    /// # Errors
    /// The file system refused.
    pub fn prunable_images(&self, keep: &[ImageName]) -> Result<Vec<ImageEntry>> {
        let mut entries = self.images()?;
        entries.retain(|entry| entry.name.as_ref().is_none_or(|name| !keep.contains(name)));
        Ok(entries)
    }

    /// Unmounts and removes all images but these, and what killed processes left. Returns what was removed.
    ///
    /// Whoever calls this names every image that a container's receipt names. Running containers keep what they see.
    ///
    /// # Errors
    /// [`Kind::Interrupted`], or the host refused.
    pub fn prune_images(&self, keep: &[ImageName]) -> Result<Vec<ImageEntry>> {
        self.unmount_unneeded(|| Ok(keep.to_vec()))?;
        let mut removed = Vec::new();
        for entry in self.prunable_images(keep)? {
            let text = entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let version = entry.name.as_ref().map(|name| name.version.clone());
            let Some(version) = version.or_else(|| version_of_temporary(&text)) else { continue };
            match self.lock(&version, Duration::ZERO) {
                Ok(_alone) => {
                    match entry.sort {
                        ImageSort::Temporary => fs_err::remove_dir_all(&entry.path)?,
                        ImageSort::Sound { .. } | ImageSort::Damaged { .. } => {
                            rename_and_remove(&entry.path, &version)?
                        }
                    }
                    removed.push(entry);
                }
                Err(error) if error.kind() == Kind::Busy => {
                    self.context
                        .listener
                        .warn(None, format!("`{}` was not removed: {}", entry.path.display(), error.message()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
