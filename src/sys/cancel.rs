//! Interruption: a flag that threads look at between steps, and a file descriptor that wakes those who wait.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, Kind, Result};

/// Set once, by the operator's Ctrl-C or a termination signal; never taken back.
#[derive(Debug)]
pub struct Cancel {
    requested: AtomicBool,
    bell: OwnedFd,
}

impl Cancel {
    /// A flag that nobody has set.
    ///
    /// # Errors
    /// The kernel has no file descriptor left.
    pub fn new() -> Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        Ok(Self { requested: AtomicBool::new(false), bell })
    }

    /// Asks everybody to stop at the next safe place, and wakes those who wait.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        // The counter can only be full when it has been rung before, and then everybody is awake.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Whether somebody has asked to stop.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Goes on, or fails with the interruption.
    ///
    /// # Errors
    /// Somebody has asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() {
            return Err(Error::new(Kind::Interrupted, "interrupted")
                .hint("run the same command again; it goes on where it stopped"));
        }
        Ok(())
    }

    /// Waits for `duration`, or fails at once when somebody asks to stop.
    ///
    /// # Errors
    /// Somebody has asked to stop.
    pub fn wait(&self, duration: Duration) -> Result<()> {
        let timeout = Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.bell, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.check(),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }
}

impl AsFd for Cancel {
    /// Readable as soon as somebody has asked to stop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_a_wait_at_once() {
        let cancel = Cancel::new().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cancel.wait(Duration::from_secs(3600)));
            cancel.request();
            assert_eq!(waiting.join().unwrap().unwrap_err().kind(), Kind::Interrupted);
        });
        assert!(cancel.check().is_err());
    }

    #[test]
    fn a_wait_without_a_request_ends_well() {
        Cancel::new().unwrap().wait(Duration::from_millis(1)).unwrap();
    }
}
