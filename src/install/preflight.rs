//! What must be right in a container before 400 MB are copied into it; found out without running anything there.

use crate::driver::installer::{INSTALLER_NEEDS, OPENED_BY_INSTALLER, STAND_INS, STUB_NEEDS};
use crate::driver::manifest::Manifest;
use crate::driver::placement::{Profile, Target, placements};
use crate::error::{Error, Kind, Result};
use crate::store::Tree;
use crate::sys::readable::Readable;
use crate::sys::rootfs::{Found, Rootfs, Space};

use super::programs::has_program;
use super::{CLibrary, Guest, OWN_DIRECTORY, target};

/// What a run of NVIDIA's installer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes for what is only there during the installation: the run file, and what it unpacks to.
    pub scratch: u64,
    /// Bytes for what is installed, at most.
    pub installed: u64,
    /// The programs that it cannot do without.
    pub programs: &'static [&'static [&'static str]],
}

impl Needs {
    /// The needs of a run file. One that does not say how large it unpacks gets three times its size: NVIDIA's
    /// unpack to 2.6 (zstd, 550.163.01) and 2.8 (xz, 470.256.02) times theirs. What it installs is never more.
    pub fn of_run_file(run_file: u64, unpacked: Option<u64>) -> Self {
        let unpacked = unpacked.unwrap_or(run_file.saturating_mul(3));
        let programs: &[&[&str]] = &[&STUB_NEEDS, &INSTALLER_NEEDS];
        Self { scratch: run_file.saturating_add(unpacked), installed: unpacked, programs }
    }

    /// The needs of an installer that finds its package unpacked; it writes small files alone beside the driver's
    /// (1 MB, measured with 550.144.03).
    pub fn of_package(installed: u64) -> Self {
        Self { scratch: 16_000_000, installed, programs: &[&["sh"], &INSTALLER_NEEDS] }
    }
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The directory in the container below which the run file is put and unpacked.
    pub workplace: &'static str,
    /// Programs that the container lacks and that a stand-in does for.
    pub stand_ins: Vec<&'static str>,
}

/// Looks whether the container can take the driver, and where.
///
/// # Errors
/// What the container lacks, with what to do about it.
pub fn check(guest: &Guest<'_>, rootfs: &Rootfs, needs: Needs, profile: Profile) -> Result<Ready> {
    require_shell(guest, rootfs)?;
    require_regular_files(rootfs, &OPENED_BY_INSTALLER)?;
    require_glibc(guest, rootfs)?;
    require_compat32(guest, rootfs, profile)?;
    require_programs(guest, rootfs, needs)?;
    let mut stand_ins = Vec::new();
    for program in STAND_INS {
        if !has_program(rootfs, program)? {
            stand_ins.push(program);
        }
    }
    Ok(Ready { workplace: find_workplace(guest, rootfs, needs)?, stand_ins })
}

/// That NVIDIA's installer finds a shell: images of applications have none.
///
/// # Errors
/// There is none.
pub fn require_shell(guest: &Guest<'_>, rootfs: &dyn Readable) -> Result<()> {
    if has_program(rootfs, "sh")? {
        return Ok(());
    }
    let message = format!("container {}: NVIDIA's installer needs a shell, which the container lacks", guest.id);
    Err(Error::new(Kind::Configuration, message)
        .hint("set `nvidia_install_method` to \"native\" or \"shared\", which run no program in the container"))
}

/// That these are ordinary files, or not there: a program that opens a FIFO waits for ever.
///
/// # Errors
/// The first that is something else.
pub(super) fn require_regular_files(rootfs: &Rootfs, paths: &[&str]) -> Result<()> {
    paths.iter().try_for_each(|path| rootfs.open_file(path).map(drop))
}

/// That the container's programs are of the kind that the driver's libraries are made for.
///
/// # Errors
/// They are not, and why.
pub(super) fn require_glibc(guest: &Guest<'_>, rootfs: &Rootfs) -> Result<()> {
    match CLibrary::of(rootfs)?.fault() {
        None => Ok(()),
        Some((cause, remedy)) => {
            Err(Error::new(Kind::Configuration, format!("container {}: {cause}", guest.id)).hint(remedy))
        }
    }
}

/// That the package has what makes the profile what it is, and the container a place for it.
///
/// # Errors
/// What is missing, on which side.
pub(super) fn require_profile(guest: &Guest<'_>, rootfs: &Rootfs, tree: &Tree, profile: Profile) -> Result<()> {
    require_cuda(guest, tree.manifest())?;
    let target = Target::of_any_system();
    let native = target.library_directory.as_str();
    let mut needed: Vec<(&str, &[&str])> = vec![(native, &["libcuda.so."]), (native, &["libnvidia-ml.so."])];
    if matches!(profile, Profile::Graphics | Profile::GraphicsCompat32) {
        // libGLX_nvidia came with GLVND in 361; before, the driver's own libGL did its work.
        needed.push((native, &["libGLX_nvidia.so.", "libGL.so."]));
    }
    if let Some(directory) = target.compat32_directory.as_deref().filter(|_| profile.has_compat32()) {
        needed.push((directory, &["libcuda.so."]));
    }
    let placed = placements(tree.manifest(), &target, profile);
    for (directory, stems) in needed {
        let path = |stem: &&str| format!("{directory}/{stem}{}", tree.version());
        let has = |path: String| placed.iter().any(|placement| placement.destination == path);
        if !stems.iter().map(path).any(has) {
            let bits = if directory == native { "" } else { " of 32 bits" };
            let (id, version, word, stem) = (guest.id, tree.version(), profile.word(), stems.first().unwrap_or(&""));
            return Err(Error::new(
                Kind::Configuration,
                format!(
                    "container {id}: driver {version} has no `{stem}{version}`{bits}, which the profile `{word}` needs"
                ),
            )
            .hint("choose another profile or version"));
        }
    }
    require_compat32(guest, rootfs, profile)
}

/// That CUDA can start with what the package has. NVIDIA's own installer does not ask.
///
/// # Errors
/// It has no `libcuda`: it is the host's part of a virtual GPU.
pub(super) fn require_cuda(guest: &Guest<'_>, manifest: &Manifest) -> Result<()> {
    if manifest.files().any(|entry| entry.file.starts_with("libcuda.so.")) {
        return Ok(());
    }
    let message = format!(
        "container {}: the package of driver {} has no `libcuda`: it is the host's part of a virtual GPU (vgpu-kvm)",
        guest.id, manifest.version
    );
    Err(Error::new(Kind::Configuration, message).hint(
        "no method makes it usable in a container; run the container in a guest that has a virtual GPU, with the \
         guest's driver, whose file ends in `-grid.run`",
    ))
}

/// That there is a place for 32-bit libraries, where the profile has them. Without one NVIDIA's installer leaves them
/// out and says that it succeeded.
///
/// # Errors
/// There is none.
fn require_compat32(guest: &Guest<'_>, rootfs: &Rootfs, profile: Profile) -> Result<()> {
    if !profile.has_compat32() || target::has_compat32(rootfs)? {
        return Ok(());
    }
    let word = profile.word();
    let message = format!(
        "container {}: it has no directory for 32-bit libraries, which the profile `{word}` asks for",
        guest.id
    );
    Err(Error::new(Kind::Configuration, message).hint(
        "enable 32-bit programs in the container (on Debian and Ubuntu: `dpkg --add-architecture i386`, `apt-get \
         update`, `apt-get install libc6:i386`), or choose a profile without `+compat32`",
    ))
}

fn require_programs(guest: &Guest<'_>, rootfs: &Rootfs, needs: Needs) -> Result<()> {
    let mut missing = Vec::new();
    for program in needs.programs.iter().copied().flatten().copied() {
        if !has_program(rootfs, program)? {
            missing.push(program);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join("`, `");
    Err(Error::new(
        Kind::Configuration,
        format!("container {}: the installer needs `{names}`, which it lacks", guest.id),
    )
    .hint("install them in the container; on Debian and Ubuntu they are in coreutils, tar, grep, mawk and libc-bin"))
}

fn find_workplace(guest: &Guest<'_>, rootfs: &Rootfs, needs: Needs) -> Result<&'static str> {
    let target = require_writable(guest, rootfs)?;
    rootfs.make_directory(OWN_DIRECTORY, 0o755)?;
    let mut refusals: Vec<(String, Vec<&str>)> = Vec::new();
    for directory in [OWN_DIRECTORY, "/var/tmp", "/tmp", "/root"] {
        // A link here could lead anywhere in the container; the other candidates will do.
        if rootfs.look(directory)? != Some(Found::Directory) {
            continue;
        }
        match refusal(rootfs.space(directory)?, target, needs) {
            None => return Ok(directory),
            // Directories of one file system are refused alike, and reported together.
            Some(refusal) => match refusals.iter_mut().find(|(found, _)| *found == refusal) {
                Some((_, directories)) => directories.push(directory),
                None => refusals.push((refusal, vec![directory])),
            },
        }
    }
    let reason = |(refusal, directories): &(String, Vec<&str>)| format!("`{}`: {refusal}", directories.join("`, `"));
    let reasons = refusals.iter().map(reason).collect::<Vec<_>>().join("; ");
    Err(Error::new(
        Kind::Host,
        format!("container {}: no directory has enough space to install from: {reasons}", guest.id),
    )
    .hint(format!(
        "{} are needed in total; make the container's disk larger, or free some space in it",
        megabytes(needs.scratch.saturating_add(needs.installed))
    )))
}

/// That `/usr` can be written; its room and rules.
///
/// # Errors
/// It is mounted read-only.
pub(super) fn require_writable(guest: &Guest<'_>, rootfs: &Rootfs) -> Result<Space> {
    let usr = rootfs.space("/usr")?;
    if usr.read_only {
        return Err(Error::new(
            Kind::Configuration,
            format!("container {}: its `/usr` is mounted read-only", guest.id),
        )
        .hint("mount it writable for the installation"));
    }
    Ok(usr)
}

/// Why a directory will not do; `None` when it will.
fn refusal(space: Space, target: Space, needs: Needs) -> Option<String> {
    let here = needs.scratch;
    let shared = if space.device == target.device { needs.installed } else { 0 };
    if space.read_only {
        Some("read-only".to_owned())
    } else if space.noexec {
        Some("mounted noexec".to_owned())
    } else if space.available < here.saturating_add(shared) {
        Some(format!("{} free and {} needed", megabytes(space.available), megabytes(here + shared)))
    } else if shared == 0 && target.available < needs.installed {
        let (free, needed) = (megabytes(target.available), megabytes(needs.installed));
        Some(format!("it would fit, but `/usr` has {free} free and {needed} are needed"))
    } else {
        None
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { scratch: 1_400_000_000, installed: 1_000_000_000, programs: &[] };

    fn space(available: u64, device: u64) -> Space {
        Space { available, noexec: false, read_only: false, device }
    }

    #[test]
    fn one_file_system_must_hold_file_extraction_and_driver() {
        let enough = space(2_400_000_000, 1);
        assert_eq!(refusal(enough, enough, NEEDS), None);
        let short = space(2_399_999_999, 1);
        assert_eq!(refusal(short, short, NEEDS).unwrap(), "2400 MB free and 2400 MB needed");
    }

    #[test]
    fn two_file_systems_are_counted_apart() {
        assert_eq!(refusal(space(1_400_000_000, 2), space(1_000_000_000, 1), NEEDS), None);
        assert!(refusal(space(1_400_000_000, 2), space(999_999_999, 1), NEEDS).unwrap().contains("`/usr` has 1000 MB"));
    }

    #[test]
    fn nothing_is_run_from_noexec() {
        let noexec = Space { noexec: true, ..space(u64::MAX, 1) };
        assert_eq!(refusal(noexec, space(u64::MAX, 2), NEEDS).unwrap(), "mounted noexec");
    }
}
