//! Rules about our files on the host: run files, extracted drivers, locks, receipts, room, and what killed runs left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Finding, Rule};
use crate::cache;
use crate::container_id::ContainerId;
use crate::store;
use crate::sys::held_locks::HeldLock;

// Nothing that is done under a lock takes this long, unless it hangs or waits for somebody.
const LONG: Duration = Duration::from_secs(3600);

/// What is known of our files.
#[derive(Debug, Clone, Default)]
pub(super) struct FilesState {
    /// Directories and files that could not be read, and why.
    pub(super) unreadable: Vec<String>,
    /// The cache, where it cannot be written, and why.
    pub(super) unwritable: Option<String>,
    /// What lies in the cache.
    pub(super) cache: Vec<cache::Entry>,
    /// What lies in the store.
    pub(super) store: Vec<store::Entry>,
    /// Bytes that are free where the cache lies, and bytes that wanted run files still need there.
    pub(super) room: Option<(PathBuf, u64, u64)>,
    /// The locks that are held.
    pub(super) locks: Vec<HeldLock>,
    /// Receipts that cannot be read.
    pub(super) receipts: Vec<(ContainerId, PathBuf)>,
    /// Receipts that were renamed.
    pub(super) renamed_receipts: Vec<PathBuf>,
    /// Files that were to replace another and never did.
    pub(super) unfinished: Vec<PathBuf>,
}

impl FilesState {
    /// Whether somebody works on this version just now.
    fn is_worked_on(&self, version: &str) -> bool {
        let name =
            |lock: &HeldLock| lock.path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with(version));
        self.locks.iter().any(name)
    }
}

/// Every rule of this subject.
pub(super) fn examine(state: &FilesState) -> Vec<Finding> {
    let mut findings = Vec::new();
    let look = "check its owner and mode, and the disk: `dmesg | tail`";
    findings.extend(state.unreadable.iter().map(|why| Finding::new(Rule::Unreadable, why, look)));
    findings.extend(state.unwritable.iter().map(|why| {
        Finding::new(Rule::Unwritable, why, "run it as root, or mount the file system writable: `mount -o remount,rw`")
    }));
    findings.extend(room(state));
    findings.extend(state.cache.iter().filter_map(|entry| cached(state, entry)));
    findings.extend(state.store.iter().filter_map(|entry| stored(state, entry)));
    findings.extend(state.locks.iter().filter(|lock| lock.age > LONG).map(held));
    findings.extend(state.receipts.iter().map(|(id, path)| receipt(*id, path)));
    findings.extend(state.renamed_receipts.iter().map(|path| {
        let cause = format!("`{}` is a renamed receipt that could not be read", path.display());
        Finding::new(Rule::ReceiptRenamed, cause, format!("inspect it, then `rm {}`", path.display()))
    }));
    findings.extend(state.unfinished.iter().map(|path| {
        let cause = format!("a killed run left `{}`", path.display());
        Finding::new(Rule::LeftOver, cause, format!("rm {}", path.display()))
    }));
    findings
}

fn room(state: &FilesState) -> Option<Finding> {
    let (path, free, needed) = state.room.as_ref()?;
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let cause = format!(
        "`{}` has {} MB free, and the missing run files need about {} MB",
        path.display(),
        megabytes(*free),
        megabytes(*needed)
    );
    let remedy = "phoenix-nvidia cache prune; phoenix-nvidia store prune";
    (free < needed).then(|| Finding::new(Rule::DiskFull, cause, remedy))
}

fn cached(state: &FilesState, entry: &cache::Entry) -> Option<Finding> {
    let path = entry.path.display();
    let version = entry.version.as_ref().map(ToString::to_string).unwrap_or_default();
    match entry.sort {
        cache::Sort::Trusted { .. } => None,
        // Whoever works on it knows.
        _ if !version.is_empty() && state.is_worked_on(&version) => None,
        cache::Sort::Unchecked => {
            let cause = format!("`{path}` has changed since it was checked, or was never checked");
            Some(Finding::new(Rule::RunFileUnchecked, cause, "phoenix-nvidia cache verify"))
        }
        cache::Sort::Refused { is_sound: true } => {
            let cause = format!("`{path}` is intact, but differs from the file that was first recorded under its name");
            Some(Finding::new(Rule::RunFileOther, cause, format!("phoenix-nvidia cache replace {path}")))
        }
        cache::Sort::Refused { is_sound: false } => {
            let cause = format!("`{path}` is damaged");
            Some(Finding::new(Rule::RunFileWrong, cause, "phoenix-nvidia cache prune"))
        }
        cache::Sort::Wrong => {
            let cause = format!("`{path}` failed verification and was renamed");
            Some(Finding::new(Rule::RunFileWrong, cause, "phoenix-nvidia cache prune"))
        }
        cache::Sort::Partial if path.to_string().ends_with(".json") => None,
        cache::Sort::Partial => {
            let cause = format!("`{path}` is an interrupted download");
            let remedy = format!("phoenix-nvidia cache fetch {version}, which resumes it; or remove it");
            Some(Finding::new(Rule::LeftOver, cause, remedy))
        }
        cache::Sort::Temporary => {
            let cause = format!("a killed run left `{path}`");
            Some(Finding::new(Rule::LeftOver, cause, format!("rm {path}")))
        }
    }
}

fn stored(state: &FilesState, entry: &store::Entry) -> Option<Finding> {
    let version = entry.version.to_string();
    let path = entry.path.display();
    match &entry.sort {
        store::Sort::Sound { .. } => None,
        _ if state.is_worked_on(&version) => None,
        store::Sort::Damaged { reason } => {
            let cause = format!("the extracted driver in `{path}` is not used: {reason}");
            Some(Finding::new(Rule::TreeDamaged, cause, format!("phoenix-nvidia store extract {version}")))
        }
        store::Sort::Temporary => {
            let cause = format!("a killed run left `{path}`");
            Some(Finding::new(Rule::LeftOver, cause, "phoenix-nvidia store prune"))
        }
    }
}

fn held(lock: &HeldLock) -> Finding {
    let (path, process, hours) = (lock.path.display(), lock.process, lock.age.as_secs() / 3600);
    let cause = format!("process {process} has held the lock `{path}` for {hours} h");
    let remedy = format!("inspect it with `ps -fp {process}`; the lock ends with the process, its file stays");
    Finding::new(Rule::LockHeld, cause, remedy)
}

fn receipt(id: ContainerId, path: &Path) -> Finding {
    let cause = format!("the receipt `{}` is damaged, or was written by a later release", path.display());
    let remedy = format!("phoenix-nvidia install {id}, which renames it and writes a new one");
    Finding::new(Rule::ReceiptUnreadable, cause, remedy).about(id)
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;
    use crate::driver::Variant;

    fn cached(name: &str, sort: cache::Sort) -> cache::Entry {
        let version = Some("580.76.05".parse().unwrap());
        let path = PathBuf::from("/cache").join(name);
        cache::Entry {
            path,
            bytes: 1,
            version,
            architecture: Some("x86_64".to_owned()),
            variant: Some(Variant::Full),
            sort,
        }
    }

    fn lock(name: &str, age: Duration) -> HeldLock {
        HeldLock { path: PathBuf::from("/locks").join(name), process: 4711, age }
    }

    #[test]
    fn what_lies_in_the_cache_is_reported_by_its_sort() {
        let cache = vec![
            cached("a.run", cache::Sort::Unchecked),
            cached("a.run.partial", cache::Sort::Partial),
            cached("a.run.partial.json", cache::Sort::Partial),
            cached("a.run.wrong", cache::Sort::Wrong),
            cached("b.run", cache::Sort::Refused { is_sound: true }),
            cached("c.run", cache::Sort::Refused { is_sound: false }),
        ];
        let state = FilesState { cache, ..FilesState::default() };
        assert_eq!(
            rules_of(&examine(&state)),
            ["run-file-unchecked", "left-over", "run-file-wrong", "run-file-other", "run-file-wrong"]
        );
    }

    #[test]
    fn what_somebody_works_on_is_not_left_over() {
        let entry = store::Entry {
            path: "/store/.phoenix-nvidia-580.76.05-x".into(),
            version: "580.76.05".parse().unwrap(),
            sort: store::Sort::Temporary,
        };
        let mut state = FilesState { store: vec![entry], ..FilesState::default() };
        assert_eq!(rules_of(&examine(&state)), ["left-over"]);
        state.locks = vec![lock("store-580.76.05.lock", Duration::from_secs(5))];
        assert_eq!(rules_of(&examine(&state)), Vec::<&str>::new());
    }

    #[test]
    fn a_lock_is_reported_after_an_hour_with_its_holder() {
        let locks = vec![lock("901.lock", Duration::from_secs(2 * 3600)), lock("902.lock", Duration::from_secs(60))];
        let findings = examine(&FilesState { locks, ..FilesState::default() });
        assert_eq!(rules_of(&findings), ["lock-held"]);
        assert_eq!(findings[0].cause, "process 4711 has held the lock `/locks/901.lock` for 2 h");
    }

    #[test]
    fn room_is_compared_with_what_is_still_to_come() {
        let room = |free, needed| FilesState { room: Some(("/cache".into(), free, needed)), ..FilesState::default() };
        assert_eq!(rules_of(&examine(&room(100, 400))), ["disk-full"]);
        assert_eq!(examine(&room(0, 0)), []);
    }

    #[test]
    fn a_receipt_that_cannot_be_read_is_about_its_container() {
        let id: ContainerId = "901".parse().unwrap();
        let receipts = vec![(id, PathBuf::from("/receipts/901.json"))];
        let findings = examine(&FilesState { receipts, ..FilesState::default() });
        assert_eq!((rules_of(&findings), findings[0].container), (vec!["receipt-unreadable"], Some(id)));
    }
}
