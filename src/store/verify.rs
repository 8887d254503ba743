//! Reading every file of a tree again, and taking a tree that is not what it was out of use.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::digest::Digest;
use super::tree::{FileFacts, RECORD, Tree, TreeFault};
use super::{Store, is_there};
use crate::driver::DriverVersion;
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event};
use crate::sys::atomic;

const BUFFER: usize = 512 << 10;
// Hashing is bound by the processor up to here, and by the disk beyond.
const THREADS: usize = 4;
const SHOWN: usize = 10;

impl Store<'_> {
    /// Reads all of a version's tree and compares it with what was extracted.
    ///
    /// A tree that is not what it was is taken out of use: the next extraction makes it anew.
    ///
    /// # Errors
    /// [`Kind::Verification`] with what has changed; [`Kind::Usage`] when there is no such tree; [`Kind::Busy`],
    /// [`Kind::Interrupted`], or the host refused.
    pub fn verify(&self, version: &DriverVersion) -> Result<Tree> {
        let directory = self.context.layout.stored_driver(version);
        if !is_there(&directory)? {
            return Err(Error::new(Kind::Usage, format!("driver {version} is not in the store"))
                .hint(format!("extract it with `phoenix-nvidia store extract {version}`")));
        }
        let _alone = self.lock(version, self.patience)?;
        let faults = match Tree::open(&directory, version)? {
            Ok(tree) => match self.faults_of(&tree)? {
                faults if faults.is_empty() => return Ok(tree),
                faults => faults,
            },
            Err(fault) => vec![fault],
        };
        atomic::remove_if_there(&directory.join(RECORD))?;
        let lines: Vec<String> = faults.iter().take(SHOWN).map(ToString::to_string).collect();
        let message = format!("the extracted driver in `{}` was modified after extraction", directory.display());
        Err(Error::new(Kind::Verification, message)
            .output(lines.join("\n"))
            .hint(format!("extract it again with `phoenix-nvidia store extract {version}`")))
    }

    fn faults_of(&self, tree: &Tree) -> Result<Vec<TreeFault>> {
        let mut faults = strangers_in(tree)?;
        let files: Vec<(&str, &FileFacts)> = tree.files().collect();
        let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let work = || -> Result<Vec<TreeFault>> {
            let mut changed = Vec::new();
            while let Some((name, facts)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !self.is_as_extracted(&tree.path().join(name), facts)? {
                    changed.push(TreeFault::Changed((*name).to_owned()));
                }
                let done = done.fetch_add(facts.size, Ordering::Relaxed) + facts.size;
                self.tell(tree, done, false);
            }
            Ok(changed)
        };
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(self.context.cancel.as_here(work))).collect();
            for thread in threads {
                let panicked = |_| Error::new(Kind::Bug, "a thread that checks a tree has panicked");
                faults.extend(thread.join().map_err(panicked)??);
            }
            Ok::<_, Error>(())
        })?;
        self.tell(tree, tree.bytes(), true);
        Ok(faults)
    }

    fn is_as_extracted(&self, path: &Path, facts: &FileFacts) -> Result<bool> {
        let mut file = fs_err::File::open(path)?;
        let mut digest = Digest::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            self.context.cancel.check()?;
            match file.read(&mut buffer)? {
                0 => break,
                count => digest.update(&buffer[..count]),
            }
        }
        let sums = digest.finish();
        Ok((sums.sha256, sums.crc) == (facts.sha256, facts.crc))
    }

    fn tell(&self, tree: &Tree, done: u64, finished: bool) {
        self.context.listener.hear(&Event::Progress {
            container: None,
            activity: Activity::Verify,
            subject: format!("driver {}", tree.version()),
            done,
            total: Some(tree.bytes()),
            finished,
        });
    }
}

/// Files and links that nobody extracted.
fn strangers_in(tree: &Tree) -> Result<Vec<TreeFault>> {
    let known: BTreeSet<&Path> = tree.files().map(|(name, _)| name).chain(tree.links()).map(Path::new).collect();
    let mut strangers = Vec::new();
    let mut left = vec![tree.path().to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs_err::read_dir(&directory)? {
            let path = entry?.path();
            if fs_err::symlink_metadata(&path)?.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(tree.path()).unwrap_or(&path);
            if !known.contains(name) {
                strangers.push(TreeFault::Stranger(name.display().to_string()));
            }
        }
    }
    Ok(strangers)
}
