//! Undoing an installation by its log, and asking whether it is still whole.

use std::path::Path;

use crate::backup_log::{self, DIRECTORY, Record, sum_of};
use crate::journal::Journal;
use crate::options::Options;
use crate::{Failure, copy, system};

/// Removes what the log names and nobody has changed, and puts the originals back.
pub(crate) fn uninstall(options: &Options, journal: &mut Journal) -> Result<(), Failure> {
    let Some(records) = backup_log::read()? else {
        journal.tell("There is no NVIDIA driver currently installed.");
        return Ok(());
    };
    let version = backup_log::installed_version().unwrap_or_default();
    for record in &records {
        let (Record::InstalledFile { path, .. } | Record::InstalledLink { path, .. }) = record else { continue };
        match is_intact(record) {
            true => copy::remove(path)?,
            false => journal.warn(&format!("The file '{}' has been altered; it is left where it is.", path.display())),
        }
    }
    for record in &records {
        if let Err(Failure(text)) = copy::restore(record) {
            journal.warn(&text);
        }
    }
    for directory in backup_log::directories() {
        if fs_err::remove_dir(&directory).is_err() {
            journal.log(&format!("'{directory}' is left: it is not empty, or gone"));
        }
    }
    fs_err::remove_dir_all(DIRECTORY)?;
    system::run("ldconfig", &[], journal);
    if !options.has("skip-depmod") {
        system::run("depmod", &["-a"], journal);
    }
    journal.tell(&format!("Uninstallation of existing driver: NVIDIA driver {version} is complete."));
    Ok(())
}

/// Whether everything is as it was installed.
pub(crate) fn sanity(journal: &mut Journal) -> Result<(), Failure> {
    let Some(records) = backup_log::read()? else {
        return Err(Failure("There is no NVIDIA driver currently installed.".to_owned()));
    };
    for record in &records {
        if let Record::InstalledFile { path, .. } | Record::InstalledLink { path, .. } = record
            && !is_intact(record)
        {
            return Err(Failure(format!("The file '{}' is not as it was installed.", path.display())));
        }
    }
    journal.tell("The installed driver is as it was installed.");
    Ok(())
}

fn is_intact(record: &Record) -> bool {
    match record {
        Record::InstalledFile { path, sum } => fs_err::read(path).is_ok_and(|bytes| sum_of(&bytes) == *sum),
        Record::InstalledLink { path, target } => fs_err::read_link(path).is_ok_and(|found| found == Path::new(target)),
        Record::BackedUpFile { .. } | Record::BackedUpLink { .. } => true,
    }
}
