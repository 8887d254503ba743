//! Which C library the programs of a container use, by the loader that starts them: NVIDIA's driver needs glibc.

use crate::driver::elf::SharedObject;
use crate::error::Result;
use crate::sys::readable::Readable;
use crate::sys::rootfs::Found;

/// Where the loader of glibc lies on every distribution but NixOS: the place is part of the machine's ABI.
pub(super) const LOADER: &str =
    if cfg!(target_arch = "aarch64") { "/lib/ld-linux-aarch64.so.1" } else { "/lib64/ld-linux-x86-64.so.2" };

const NAMES_LIMIT: usize = 10_000;
// That of glibc 2.41 has 240 KiB.
const LOADER_LIMIT: u64 = 64 << 20;

/// The C library of a container's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CLibrary {
    /// glibc, where programs from elsewhere find it.
    Glibc,
    /// glibc of NixOS: programs from elsewhere find neither it nor what is put below `/usr`.
    NixOs,
    /// musl, with a loader in glibc's place that only looks like it: gcompat, libc6-compat.
    Compatibility,
    /// musl alone.
    Musl,
    /// None of these.
    Unknown,
}

impl CLibrary {
    /// Looks which one it is.
    ///
    /// # Errors
    /// The container's files cannot be examined.
    pub fn of(rootfs: &dyn Readable) -> Result<Self> {
        let is_there = rootfs.is_executable(LOADER)?;
        if is_there && is_glibcs(rootfs)? {
            return Ok(Self::Glibc);
        }
        if matches!(rootfs.look("/etc/NIXOS")?, Some(Found::File { .. } | Found::Link(_))) {
            return Ok(Self::NixOs);
        }
        let has_musl = rootfs.names("/lib", NAMES_LIMIT)?.iter().any(|name| name.starts_with("ld-musl-"));
        Ok(match (is_there, has_musl) {
            (true, _) => Self::Compatibility,
            (false, true) => Self::Musl,
            (false, false) => Self::Unknown,
        })
    }

    /// What prevents NVIDIA's driver, and what to do; nothing where it is glibc.
    pub fn fault(self) -> Option<(String, &'static str)> {
        let template =
            "use a template of Debian, Ubuntu, Fedora or similar, then create it again with `phoenix-nvidia create`";
        match self {
            Self::Glibc => None,
            Self::NixOs => Some((
                "the container is NixOS, whose programs load libraries only from `/nix/store`".to_owned(),
                "install the driver with its own configuration: `hardware.graphics.enable` and \
                 `hardware.nvidia.package` of the host's version; and remove `nvidia` from its `features`",
            )),
            Self::Compatibility => Some((
                format!(
                    "the container's C library is not glibc, which NVIDIA's driver needs: `{LOADER}` belongs to a \
                     layer for compatibility (gcompat), which is not enough"
                ),
                template,
            )),
            Self::Musl => Some((
                "the container's C library is musl (Alpine), and NVIDIA's driver needs glibc".to_owned(),
                template,
            )),
            Self::Unknown => Some((
                format!("NVIDIA's driver needs glibc, which the container lacks (`{LOADER}` is missing)"),
                template,
            )),
        }
    }
}

/// Whether the loader calls itself what glibc's does; a layer for compatibility has a program or musl's loader there.
fn is_glibcs(rootfs: &dyn Readable) -> Result<bool> {
    let Some(loader) = rootfs.read(LOADER, LOADER_LIMIT)? else { return Ok(false) };
    let soname = SharedObject::read(&mut std::io::Cursor::new(loader)).ok().and_then(|loader| loader.soname);
    Ok(soname.is_some_and(|soname| LOADER.ends_with(&format!("/{soname}"))))
}
