//! Installing: the old driver out, what is in the way aside, files in, links in, `ldconfig`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::backup_log::{self, Log};
use crate::copy;
use crate::destination::Destinations;
use crate::journal::Journal;
use crate::manifest::{Entry, Manifest};
use crate::misbehave::{self, Misbehaviour, WRONG_VERSION};
use crate::options::Options;
use crate::{Failure, moments, system, uninstall};

/// Installs the package in the current directory.
pub(crate) fn install(manifest: &Manifest, options: &Options, journal: &mut Journal) -> Result<(), Failure> {
    let misbehaviour = Misbehaviour::asked_for()?;
    if misbehaviour == Some(Misbehaviour::Hang) {
        misbehave::hang();
    }
    may_install(options)?;
    moments::pass();
    remove_old_driver(options, journal)?;
    moments::pass();
    match misbehaviour {
        Some(Misbehaviour::Fail) => return Err(Failure("The installation was told to fail.".to_owned())),
        Some(Misbehaviour::Lie) => {}
        _ => put_in_place(manifest, options, journal, misbehaviour)?,
    }
    journal.tell(&format!(
        "Installation of the NVIDIA Accelerated Graphics Driver for Linux-{} (version: {}) is now complete.",
        std::env::consts::ARCH,
        manifest.version
    ));
    moments::pass();
    moments::end();
    Ok(())
}

fn may_install(options: &Options) -> Result<(), Failure> {
    system::require_utilities()?;
    if !options.has("no-kernel-module") && !options.has("no-kernel-modules") {
        return Err(Failure(
            "Unable to find the kernel source tree for the currently running kernel: this stand-in installs no kernel \
             modules and wants `--no-kernel-module`."
                .to_owned(),
        ));
    }
    if !options.has("no-x-check") && x_server_runs() {
        return Err(Failure("You appear to be running an X server; please exit X before installing.".to_owned()));
    }
    if !options.has("no-nouveau-check") && Path::new("/sys/module/nouveau").exists() {
        return Err(Failure("The Nouveau kernel driver is currently in use by your system.".to_owned()));
    }
    let alternate = Path::new("/usr/lib/nvidia/alternate-install-present");
    if !options.has("no-check-for-alternate-installs") && alternate.exists() {
        return Err(Failure(
            "The installation was canceled due to the availability or presence of an alternate driver installation."
                .to_owned(),
        ));
    }
    Ok(())
}

fn x_server_runs() -> bool {
    let lock = fs_err::read_to_string("/tmp/.X0-lock").unwrap_or_default();
    lock.trim().parse::<u32>().is_ok_and(|pid| Path::new("/proc").join(pid.to_string()).exists())
}

/// Runs the uninstaller of the driver that is there. What fails later leaves the system without any driver.
fn remove_old_driver(options: &Options, journal: &mut Journal) -> Result<(), Failure> {
    if backup_log::read()?.is_none() {
        return Ok(());
    }
    if system::find("nvidia-uninstall").is_none() {
        return uninstall::uninstall(options, journal);
    }
    if !system::run("nvidia-uninstall", &["-s", "--log-file-name=/var/log/nvidia-uninstall.log"], journal) {
        journal.warn("The installed driver could not be uninstalled.");
    }
    Ok(())
}

/// What goes where.
struct Placement<'a> {
    entry: &'a Entry,
    to: PathBuf,
}

fn put_in_place(
    manifest: &Manifest,
    options: &Options,
    journal: &mut Journal,
    misbehaviour: Option<Misbehaviour>,
) -> Result<(), Failure> {
    let destinations = Destinations::find(&manifest.version, options);
    let placements: Vec<Placement<'_>> =
        manifest
            .entries
            .iter()
            .filter_map(|entry| Some(Placement { entry, to: destinations.of(entry)? }))
            .map(|placement| {
                if misbehaviour == Some(Misbehaviour::WrongVersion) {
                    placement.mislabelled(manifest)
                } else {
                    placement
                }
            })
            .collect();
    let mut log = Log::start(&manifest.version, "NVIDIA Accelerated Graphics Driver for Linux-x86_64")?;
    clear_the_way(&placements, options, journal, &mut log)?;
    let (links, files): (Vec<&Placement<'_>>, Vec<_>) =
        placements.iter().partition(|placement| placement.entry.kind.is_link);
    for (number, placement) in files.iter().enumerate() {
        if number * 2 >= files.len() {
            stop_half_way(misbehaviour);
        }
        copy::make_parents(&placement.to, &mut log)?;
        log.add(&copy::place_file(&placement.content(manifest, misbehaviour)?, placement.entry.mode, &placement.to)?)?;
        journal.log(&format!("installing '{}'", placement.to.display()));
    }
    for placement in links {
        let Some(target) = destinations.target_of(placement.entry) else { continue };
        copy::make_parents(&placement.to, &mut log)?;
        log.add(&copy::place_link(&relabelled(&target, manifest, misbehaviour), &placement.to)?)?;
    }
    if destinations.native != Path::new("/usr/lib") {
        let target = destinations.native.join("libGL.so.1").display().to_string();
        log.add(&copy::place_link(&target, Path::new("/usr/lib/libGL.so.1"))?)?;
    }
    system::run("ldconfig", &[], journal);
    moments::pass();
    Ok(())
}

fn stop_half_way(misbehaviour: Option<Misbehaviour>) {
    match misbehaviour {
        Some(Misbehaviour::HangAfterHalf) => misbehave::hang(),
        Some(Misbehaviour::Sigbus) => misbehave::die_of_sigbus(),
        _ => {}
    }
}

fn relabelled(text: &str, manifest: &Manifest, misbehaviour: Option<Misbehaviour>) -> String {
    match misbehaviour {
        Some(Misbehaviour::WrongVersion) => text.replace(&manifest.version, WRONG_VERSION),
        _ => text.to_owned(),
    }
}

impl Placement<'_> {
    fn mislabelled(mut self, manifest: &Manifest) -> Self {
        self.to = PathBuf::from(self.to.display().to_string().replace(&manifest.version, WRONG_VERSION));
        self
    }

    fn content(&self, manifest: &Manifest, misbehaviour: Option<Misbehaviour>) -> Result<Vec<u8>, Failure> {
        let bytes = fs_err::read(&self.entry.file)
            .map_err(|error| Failure(format!("Unable to read '{}': {error}", self.entry.file)))?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) if self.entry.kind.name == "DOT_DESKTOP" => {
                text.replace("__UTILS_PATH__", "/usr/bin").into_bytes()
            }
            Ok(text) => relabelled(&text, manifest, misbehaviour).into_bytes(),
            Err(binary) => binary.into_bytes(),
        })
    }
}

/// Moves aside, or with `--no-backup` deletes, what has the name of a library of the package or lies in a file's place.
fn clear_the_way(
    placements: &[Placement<'_>],
    options: &Options,
    journal: &mut Journal,
    log: &mut Log,
) -> Result<(), Failure> {
    let stems: BTreeSet<String> = placements
        .iter()
        .filter_map(|placement| placement.entry.name().split_once(".so").map(|(stem, _)| format!("{stem}.so")))
        .collect();
    let mut in_the_way: BTreeSet<PathBuf> = placements
        .iter()
        .map(|placement| placement.to.clone())
        .filter(|path| fs_err::symlink_metadata(path).is_ok())
        .collect();
    let mut seen = BTreeSet::new();
    for directory in ["/usr/lib", "/usr/lib32", "/usr/lib64"] {
        find_named(Path::new(directory), &stems, &mut seen, &mut in_the_way);
    }
    for path in in_the_way {
        journal.log(&format!("moving '{}' out of the way", path.display()));
        if options.has("no-backup") { copy::remove(&path)? } else { copy::back_up(&path, log)? }
    }
    Ok(())
}

fn find_named(directory: &Path, stems: &BTreeSet<String>, seen: &mut BTreeSet<PathBuf>, found: &mut BTreeSet<PathBuf>) {
    let Ok(real) = directory.canonicalize() else { return };
    if !seen.insert(real.clone()) {
        return;
    }
    for entry in fs_err::read_dir(&real).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            find_named(&path, stems, seen, found);
        } else if name.split_once(".so").is_some_and(|(stem, _)| stems.contains(&format!("{stem}.so"))) {
            found.insert(path);
        }
    }
}
