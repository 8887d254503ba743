//! The host's record of a container's driver: noted before a snapshot of the container, and put back with it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Layout;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::error::Result;
use crate::sys::atomic;

use super::receipt::Receipt;

/// The host's files about the driver in one container, byte for byte as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptAndIntent {
    /// The receipt.
    receipt: Option<String>,
    /// What was being changed; it is there where a change did not finish.
    intent: Option<String>,
}

impl ReceiptAndIntent {
    /// The host's record now.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn of(layout: &Layout, id: ContainerId) -> Result<Self> {
        let [receipt, intent] = files(layout, id);
        Ok(Self { receipt: read_if_there(&receipt)?, intent: read_if_there(&intent)? })
    }

    /// The version of the driver that the receipt is of.
    pub fn version(&self) -> Option<DriverVersion> {
        Receipt::parse(self.receipt.as_ref()?.as_bytes()).map(|receipt| receipt.version)
    }

    /// Lets the host remember this and nothing else.
    ///
    /// # Errors
    /// The file system refused.
    pub fn put_back(&self, layout: &Layout, id: ContainerId) -> Result<()> {
        for (path, text) in files(layout, id).iter().zip([&self.receipt, &self.intent]) {
            match text {
                Some(text) => atomic::write(path, text.as_bytes(), 0o644)?,
                None if path.exists() => atomic::remove_if_there(path)?,
                None => {}
            }
        }
        Ok(())
    }
}

fn files(layout: &Layout, id: ContainerId) -> [PathBuf; 2] {
    [layout.receipt(id), layout.intent(id)]
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs_err::read(path) {
        // One that is damaged is damaged afterwards, too.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_there_again_and_what_was_not_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, id) = (Layout::new(directory.path()), "901".parse().unwrap());
        atomic::write(&layout.receipt(id), b"previous", 0o644).unwrap();
        let previous = ReceiptAndIntent::of(&layout, id).unwrap();
        atomic::write(&layout.receipt(id), b"new", 0o644).unwrap();
        atomic::write(&layout.intent(id), b"half", 0o644).unwrap();
        previous.put_back(&layout, id).unwrap();
        assert_eq!(fs_err::read(layout.receipt(id)).unwrap(), b"previous");
        assert!(!layout.intent(id).exists());
        assert_eq!(ReceiptAndIntent::of(&layout, id).unwrap(), previous);
    }
}
