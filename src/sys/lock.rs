//! Locks between processes and threads: a file, locked by `flock`, and a wait that one can see and interrupt.

use std::fs::TryLockError;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Listener};
use crate::sys::cancel::Cancel;

// flock cannot be waited for together with anything else, so the wait looks again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A lock that is held until it is dropped; the kernel lets go of it when the process dies, however that happens.
#[derive(Debug)]
pub struct FileLock {
    _file: std::fs::File,
}

impl FileLock {
    /// Takes the lock, or waits for it until `patience` is over; the wait is told to `listener` once.
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
        let mut told = false;
        loop {
            match file.file().try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(
                        Error::new(Kind::Host, format!("`{}` could not be locked", path.display())).caused_by(error)
                    );
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = read_holder(&mut file);
                    if Instant::now() >= deadline {
                        return Err(Error::new(Kind::Busy, format!("{subject} is in use by {holder}"))
                            .hint("wait until it has finished, then run the same command again"));
                    }
                    if !told {
                        listener.hear(&Event::Waiting { reason: format!("{subject} is in use by {holder}") });
                        told = true;
                    }
                    cancel.wait(LOOK_AGAIN)?;
                }
            }
        }
        write_holder(&mut file)?;
        Ok(Self { _file: file.into_parts().0 })
    }
}

fn read_holder(file: &mut fs_err::File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(20).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
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
    use crate::event::Deaf;

    #[test]
    fn a_held_lock_is_busy_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/run.lock");
        let cancel = Cancel::new().unwrap();
        let held = FileLock::acquire(&path, "the run file", Duration::ZERO, &Deaf, &cancel).unwrap();
        let error = FileLock::acquire(&path, "the run file", Duration::ZERO, &Deaf, &cancel).unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        assert_eq!(error.message(), format!("the run file is in use by process {}", std::process::id()));
        drop(held);
        FileLock::acquire(&path, "the run file", Duration::ZERO, &Deaf, &cancel).unwrap();
    }

    #[test]
    fn a_wait_ends_when_the_holder_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.lock");
        let cancel = Cancel::new().unwrap();
        let held = FileLock::acquire(&path, "it", Duration::ZERO, &Deaf, &cancel).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| FileLock::acquire(&path, "it", Duration::from_secs(60), &Deaf, &cancel));
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
}
