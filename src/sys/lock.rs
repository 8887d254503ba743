//! Locks between processes and threads: a file, locked by `flock`, and a wait that one can see and interrupt.

use std::fs::TryLockError;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Listener};
use crate::sys::cancel::Cancel;

// flock cannot be waited for together with anything else, so the wait looks again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

// No thread of this process sees another one between taking a lock and writing into its file who has it.
static STEP: Mutex<()> = Mutex::new(());

/// A lock that is held until it is dropped; the kernel lets go of it when the process dies, however that happens.
#[derive(Debug)]
pub struct FileLock {
    file: std::fs::File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _step = STEP.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever takes it next is unknown until he says who he is. Closing the file lets go too, should this fail.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

impl FileLock {
    /// Takes the lock, or waits for it until `patience` is over; the wait is reported to `listener` once.
    ///
    /// `subject` says what the lock protects, as in `the run file 580.76.05`. The file stays behind, on purpose:
    /// removing a lock file lets two processes hold locks of the same name.
    ///
    /// # Errors
    /// [`Kind::Busy`] when somebody else held it the whole time, [`Kind::Interrupted`], or the file cannot be made.
    pub fn acquire(
        path: &Path,
        subject: &str,
        patience: Duration,
        listener: &dyn Listener,
        cancel: &Cancel,
    ) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let mut file = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let deadline = Instant::now() + patience;
        let mut reported = false;
        loop {
            match try_lock(&mut file, path)? {
                None => return Ok(Self { file: file.into_parts().0 }),
                Some(holder) => {
                    if Instant::now() >= deadline {
                        return Err(Error::new(Kind::Busy, format!("{subject} is in use by {holder}"))
                            .hint("wait until it has finished, then run the same command again"));
                    }
                    if !reported {
                        listener.hear(&Event::Waiting { reason: format!("{subject} is in use by {holder}") });
                        reported = true;
                    }
                    cancel.wait(LOOK_AGAIN)?;
                }
            }
        }
    }
}

/// Takes the lock, or says in words who has it.
fn try_lock(file: &mut fs_err::File, path: &Path) -> Result<Option<String>> {
    let _step = STEP.lock().unwrap_or_else(PoisonError::into_inner);
    match file.file().try_lock() {
        Ok(()) => {
            write_holder(file)?;
            Ok(None)
        }
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(file))),
        Err(TryLockError::Error(error)) => {
            Err(Error::new(Kind::Host, format!("`{}` could not be locked", path.display())).caused_by(error))
        }
    }
}

fn read_holder(file: &mut fs_err::File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(20).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(process)) if process == std::process::id() => "another part of this run".to_owned(),
        (Ok(_), Ok(process)) => format!("process {process}"),
        _ => "another process".to_owned(),
    }
}

fn write_holder(file: &mut fs_err::File) -> Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NoListener;

    #[test]
    fn a_held_lock_is_busy_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/run.lock");
        let cancel = Cancel::new().unwrap();
        let acquire = || FileLock::acquire(&path, "the run file", Duration::ZERO, &NoListener, &cancel);
        let held = acquire().unwrap();
        let said = acquire().unwrap_err().message().to_owned();
        assert_eq!(said, "the run file is in use by another part of this run");
        drop(held);
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "");
        // Another process, as far as this one knows, which has said who it is, and one that has not yet.
        let theirs = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        theirs.file().lock().unwrap();
        for (written, holder) in [("", "another process"), ("4711\n", "process 4711")] {
            fs_err::write(&path, written).unwrap();
            let error = acquire().unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Busy, &*format!("the run file is in use by {holder}")));
        }
        drop(theirs);
        acquire().unwrap();
    }

    #[test]
    fn a_wait_ends_when_the_holder_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.lock");
        let cancel = Cancel::new().unwrap();
        let held = FileLock::acquire(&path, "it", Duration::ZERO, &NoListener, &cancel).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| FileLock::acquire(&path, "it", Duration::from_secs(60), &NoListener, &cancel));
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
}
