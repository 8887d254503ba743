//! The cache's records of its files: `SHA256SUMS` for everybody, and stamps that spare us reading them again.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::origin::{Expected, Origin};
use super::sum_list::SumList;
use crate::config::Layout;
use crate::driver::{Sha256, Variant};
use crate::error::Result;
use crate::event::Listener;
use crate::sys::atomic;
use crate::sys::cancel::Cancel;
use crate::sys::lock::FileLock;

// Far more than any number of drivers needs; a record that is larger is not ours.
const READ_LIMIT: u64 = 4 << 20;
// Changing the record takes milliseconds, so nobody has to wait for long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a file looked: as long as all of this is the same, its contents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamp {
    /// Its size in bytes.
    #[serde(rename = "size")]
    pub(super) bytes: u64,
    /// When its contents changed, in nanoseconds since 1970.
    mtime: i64,
    /// When its contents, name or owner changed, in nanoseconds since 1970; nobody can set it back.
    ctime: i64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            bytes: metadata.len(),
            mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// A file as it was when all of it was checked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamped {
    #[serde(flatten)]
    pub(super) stamp: Stamp,
    pub(super) sha256: Sha256,
    /// Who vouched for the sum.
    pub(super) origin: Origin,
    /// What is inside; unknown to releases that named no variants.
    #[serde(default)]
    pub(super) variant: Option<Variant>,
}

/// The format of the stamps file.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Stamps {
    format: u32,
    files: BTreeMap<String, Stamped>,
    /// The sums of files that take the place of others: from before that until it is done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    coming: BTreeMap<String, Sha256>,
    /// Files that were read to their end and are not the recorded ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<String, Refused>,
}

/// A file as it was when it was found not to be the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Refused {
    #[serde(flatten)]
    pub(super) stamp: Stamp,
    /// Whether it is a run file without a fault, only another one.
    pub(super) is_sound: bool,
}

const FORMAT: u32 = 1;

/// Sums and stamps of the files in one cache.
#[derive(Debug, Default)]
pub(super) struct Record {
    sums: SumList,
    stamps: BTreeMap<String, Stamped>,
    coming: BTreeMap<String, Sha256>,
    refused: BTreeMap<String, Refused>,
    // Files that could not be understood are renamed before they are replaced.
    damaged_sums: bool,
}

impl Record {
    /// Reads what is remembered. What is damaged counts as not remembered, and the listener is warned.
    ///
    /// # Errors
    /// A file is there and the file system refuses to show it.
    pub(super) fn read(layout: &Layout, listener: &dyn Listener) -> Result<Self> {
        let mut record = Self::default();
        match read_limited(&layout.cache_sums())? {
            Contents::Text(text) => record.sums = SumList::parse(&text),
            Contents::Absent => {}
            Contents::Damaged => {
                record.damaged_sums = true;
                let path = layout.cache_sums();
                listener.warn(None, format!("`{}` is not a list of sums and is ignored", path.display()));
            }
        }
        let stamps = match read_limited(&layout.cache_stamps())? {
            Contents::Text(text) => serde_json::from_str::<Stamps>(&text).ok().filter(|stamps| stamps.format == FORMAT),
            Contents::Absent => Some(Stamps::default()),
            Contents::Damaged => None,
        };
        if stamps.is_none() {
            let path = layout.cache_stamps();
            listener.warn(None, format!("`{}` is damaged; the run files are read again", path.display()));
        }
        let Stamps { files, coming, refused, .. } = stamps.unwrap_or_default();
        Ok(Self { stamps: files, coming, refused, ..record })
    }

    /// The sum that was recorded for a file. Contradicting or damaged lines count as none, and the listener is warned.
    pub(super) fn sum(&self, name: &str, listener: &dyn Listener) -> Option<Sha256> {
        match self.sums.find(name) {
            Ok(None) if self.sums.mentions_without_sum(name) => {
                listener.warn(None, format!("the line of `{name}` in `SHA256SUMS` is damaged and is ignored"));
                None
            }
            Ok(sum) => sum,
            Err(contradiction) => {
                listener.warn(None, format!("`SHA256SUMS` is ignored: {contradiction}"));
                None
            }
        }
    }

    /// The same as a sum that a file of this name has to have.
    pub(super) fn expected(&self, name: &str, listener: &dyn Listener) -> Option<Expected> {
        let sum = self.sum(name, listener)?;
        Some(Expected { sum, coming: self.coming(name), origin: Origin::Record })
    }

    /// How a file looked when it was checked. One whose variant nobody has looked for is checked again.
    pub(super) fn stamped(&self, name: &str) -> Option<&Stamped> {
        self.stamps.get(name).filter(|stamped| stamped.variant.is_some())
    }

    /// Changes the record on disk, alone.
    ///
    /// # Errors
    /// The file system refused, or the operator interrupts; the record on disk is then old or new.
    pub(super) fn change(
        layout: &Layout,
        listener: &dyn Listener,
        cancel: &Cancel,
        change: impl FnOnce(&mut Self),
    ) -> Result<()> {
        let path = layout.cache_record_lock();
        let _alone = FileLock::acquire(&path, "the cache's record", PATIENCE, listener, cancel)?;
        // Whoever needs the record has been warned of what is damaged; here it would be said twice.
        let mut record = Self::read(layout, &crate::event::NoListener)?;
        change(&mut record);
        if record.damaged_sums {
            let sums = layout.cache_sums();
            fs_err::rename(&sums, sums.with_extension("damaged"))?;
        }
        atomic::write(&layout.cache_sums(), record.sums.to_string().as_bytes(), 0o644)?;
        let (files, coming, refused) = (record.stamps, record.coming, record.refused);
        let stamps = Stamps { format: FORMAT, files, coming, refused };
        let mut json = serde_json::to_vec_pretty(&stamps).map_err(std::io::Error::from)?;
        json.push(b'\n');
        atomic::write(&layout.cache_stamps(), &json, 0o644)
    }

    /// Takes a checked file into the record.
    pub(super) fn remember(&mut self, name: &str, stamped: Stamped) {
        self.sums.set(name, stamped.sha256);
        self.coming.remove(name);
        self.refused.remove(name);
        self.stamps.insert(name.to_owned(), stamped);
    }

    /// A file with another sum is about to take the place of the recorded one.
    pub(super) fn expect_too(&mut self, name: &str, sum: Sha256) {
        self.coming.insert(name.to_owned(), sum);
    }

    /// The sum of the file that is about to take the place of the recorded one, or has just done so.
    pub(super) fn coming(&self, name: &str) -> Option<Sha256> {
        self.coming.get(name).copied()
    }

    /// A file is not the recorded one.
    pub(super) fn refuse(&mut self, name: &str, refused: Refused) {
        self.refused.insert(name.to_owned(), refused);
    }

    /// Whether a file that was found not to be the recorded one is sound; none where nobody has looked at it.
    pub(super) fn refused(&self, name: &str, stamp: Stamp) -> Option<bool> {
        self.refused.get(name).filter(|refused| refused.stamp == stamp).map(|refused| refused.is_sound)
    }

    /// A file has another name now. Its sum goes with it; that of another file of the old name stays.
    pub(super) fn renamed(&mut self, old: &str, sum: Sha256) {
        self.stamps.remove(old);
        self.refused.remove(old);
        if self.sums.find(old) == Ok(Some(sum)) {
            self.sums.remove(old);
        }
    }

    /// Forgets how a file looked. Its sum stays: the next file of this name has to have the same.
    pub(super) fn forget_stamp(&mut self, name: &str) {
        self.stamps.remove(name);
        self.refused.remove(name);
    }
}

enum Contents {
    Text(String),
    Absent,
    Damaged,
}

fn read_limited(path: &Path) -> Result<Contents> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Contents::Absent),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    match file.take(READ_LIMIT).read_to_end(&mut bytes) {
        Ok(count) if (count as u64) < READ_LIMIT => {}
        Ok(_) => return Ok(Contents::Damaged),
        // A directory of that name opens and cannot be read.
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => return Ok(Contents::Damaged),
        Err(error) => return Err(error.into()),
    }
    Ok(String::from_utf8(bytes).map_or(Contents::Damaged, Contents::Text))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::event::{Event, NoListener};

    const NAME: &str = "NVIDIA-Linux-x86_64-580.76.05.run";

    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    impl Listener for Warnings {
        fn hear(&self, event: &Event) {
            if let Event::Warning { text, .. } = event {
                self.0.lock().unwrap().push(text.clone());
            }
        }
    }

    fn world() -> (tempfile::TempDir, Layout, Cancel) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        fs_err::create_dir(layout.cache()).unwrap();
        (directory, layout, Cancel::new().unwrap())
    }

    fn stamped(layout: &Layout) -> Stamped {
        let path = layout.cache().join(NAME);
        fs_err::write(&path, "contents").unwrap();
        let stamp = Stamp::of(&fs_err::metadata(&path).unwrap());
        Stamped {
            stamp,
            sha256: Sha256::from_bytes([7; 32]),
            origin: Origin::Published("https://a/b".into()),
            variant: Some(Variant::Full),
        }
    }

    #[test]
    fn what_was_remembered_is_there_and_other_lines_stay() {
        let (_directory, layout, cancel) = world();
        fs_err::write(layout.cache_sums(), "# the operator's own line\n").unwrap();
        let stamped = stamped(&layout);
        Record::change(&layout, &NoListener, &cancel, |record| record.remember(NAME, stamped.clone())).unwrap();
        let record = Record::read(&layout, &NoListener).unwrap();
        assert_eq!(record.stamped(NAME), Some(&stamped));
        assert_eq!(record.sum(NAME, &NoListener), Some(stamped.sha256));
        let text = fs_err::read_to_string(layout.cache_sums()).unwrap();
        assert_eq!(text, format!("# the operator's own line\n{}  {NAME}\n", stamped.sha256));
    }

    #[test]
    fn a_forgotten_stamp_leaves_the_sum() {
        let (_directory, layout, cancel) = world();
        let stamped = stamped(&layout);
        Record::change(&layout, &NoListener, &cancel, |record| record.remember(NAME, stamped.clone())).unwrap();
        Record::change(&layout, &NoListener, &cancel, |record| record.forget_stamp(NAME)).unwrap();
        let record = Record::read(&layout, &NoListener).unwrap();
        assert_eq!((record.stamped(NAME), record.sum(NAME, &NoListener)), (None, Some(stamped.sha256)));
    }

    #[test]
    fn any_change_of_a_file_changes_its_stamp() {
        let (_directory, layout, _cancel) = world();
        let before = stamped(&layout).stamp;
        let path = layout.cache().join(NAME);
        // The same size, and the time of the contents set back: only the time of the change tells.
        let metadata = fs_err::metadata(&path).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        file.file().set_modified(metadata.modified().unwrap() + Duration::from_secs(1)).unwrap();
        file.file().set_modified(metadata.modified().unwrap()).unwrap();
        let after = Stamp::of(&fs_err::metadata(&path).unwrap());
        assert_eq!((after.bytes, after.mtime, after.inode), (before.bytes, before.mtime, before.inode));
        assert_ne!(after, before);
    }

    #[test]
    fn damaged_records_count_as_none_and_are_reported() {
        let (_directory, layout, cancel) = world();
        fs_err::write(layout.cache_sums(), b"\xff\xfe\0").unwrap();
        fs_err::write(layout.cache_stamps(), "{\"format\": 1, \"files\"").unwrap();
        let warnings = Warnings::default();
        let record = Record::read(&layout, &warnings).unwrap();
        assert_eq!((record.sum(NAME, &warnings), record.stamped(NAME)), (None, None));
        assert_eq!(warnings.0.lock().unwrap().len(), 2);
        let stamped = stamped(&layout);
        Record::change(&layout, &NoListener, &cancel, |record| record.remember(NAME, stamped)).unwrap();
        assert_eq!(fs_err::read(layout.cache().join("SHA256SUMS.damaged")).unwrap(), b"\xff\xfe\0");
        assert!(Record::read(&layout, &NoListener).unwrap().stamped(NAME).is_some());
    }

    #[test]
    fn contradicting_sums_count_as_none_and_are_reported() {
        let (_directory, layout, _cancel) = world();
        let (one, two) = (Sha256::from_bytes([1; 32]), Sha256::from_bytes([2; 32]));
        fs_err::write(layout.cache_sums(), format!("{one}  {NAME}\n{two}  {NAME}\n")).unwrap();
        let warnings = Warnings::default();
        assert_eq!(Record::read(&layout, &warnings).unwrap().sum(NAME, &warnings), None);
        assert_eq!(warnings.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn stamps_of_a_later_format_are_not_guessed_at() {
        let (_directory, layout, _cancel) = world();
        fs_err::write(layout.cache_stamps(), "{\"format\": 2, \"files\": {}}").unwrap();
        let warnings = Warnings::default();
        Record::read(&layout, &warnings).unwrap();
        assert_eq!(warnings.0.lock().unwrap().len(), 1);
    }
}
