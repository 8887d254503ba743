//! Whether a container has a program.

use crate::error::Result;
use crate::sys::readable::Readable;

use super::PROGRAM_DIRECTORIES;

/// Whether a container has a program, somewhere in the `PATH` of its root.
///
/// # Errors
/// It cannot be examined.
pub(super) fn has_program(rootfs: &dyn Readable, program: &str) -> Result<bool> {
    for directory in PROGRAM_DIRECTORIES {
        if rootfs.is_executable(&format!("{directory}/{program}"))? {
            return Ok(true);
        }
    }
    Ok(false)
}
