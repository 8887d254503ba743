//! Interruption: a flag that threads look at between steps, and a file descriptor that wakes those who wait.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, Kind, Result};

/// Set once, by the operator's Ctrl-C or a termination signal; never taken back.
///
/// It has two degrees: a request to stop, and the insistence on it, which also stops what is being finished.
#[derive(Debug)]
pub struct Cancel {
    request: Bell,
    insistence: Bell,
}

/// A flag with a file descriptor that becomes readable when it is set.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    descriptor: OwnedFd,
}

thread_local! {
    /// Whether this thread finishes what it has begun, and hears only the insistence.
    static FINISHING: Cell<bool> = const { Cell::new(false) };
}

impl Cancel {
    /// A flag that nobody has set.
    ///
    /// # Errors
    /// The kernel has no file descriptor left.
    pub fn new() -> Result<Self> {
        Ok(Self { request: Bell::new()?, insistence: Bell::new()? })
    }

    /// Asks everybody to stop at the next safe place, and wakes those who wait.
    pub fn request(&self) {
        self.request.ring();
    }

    /// As [`Cancel::request`], and asks those to stop, too, who are finishing something.
    pub fn insist(&self) {
        self.request.ring();
        self.insistence.ring();
    }

    /// Whether somebody has asked this thread to stop.
    pub fn is_requested(&self) -> bool {
        self.bell().rung.load(Ordering::SeqCst)
    }

    /// Does something that is better finished than stopped: in this thread, only [`Cancel::insist`] is heard.
    pub fn finishing<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Restores the flag also when `work` panics.
        struct Restore(bool);
        impl Drop for Restore {
            fn drop(&mut self) {
                FINISHING.set(self.0);
            }
        }
        let _restore = Restore(FINISHING.replace(true));
        work()
    }

    /// The same work for a thread of its own, which hears what this thread hears: whether something is being finished is
    /// known thread by thread.
    pub fn as_here<T>(&self, work: impl FnOnce() -> T) -> impl FnOnce() -> T {
        let finishing = FINISHING.get();
        move || {
            FINISHING.set(finishing);
            work()
        }
    }

    /// Goes on, or fails with the interruption.
    ///
    /// # Errors
    /// Somebody has asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() {
            return Err(Error::new(Kind::Interrupted, "interrupted")
                .hint("run the same command again; it continues where it stopped"));
        }
        Ok(())
    }

    /// Waits for `duration`, or fails at once when somebody asks to stop.
    ///
    /// # Errors
    /// Somebody has asked to stop.
    pub fn wait(&self, duration: Duration) -> Result<()> {
        let timeout = Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) };
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.check(),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    fn bell(&self) -> &Bell {
        if FINISHING.get() { &self.insistence } else { &self.request }
    }
}

impl AsFd for Cancel {
    /// Readable as soon as somebody has asked this thread to stop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell().descriptor.as_fd()
    }
}

impl Bell {
    fn new() -> Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        Ok(Self { rung: AtomicBool::new(false), descriptor })
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        // The counter can only be full when it has been rung before, and then everybody is awake.
        let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
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

    #[test]
    fn what_is_being_finished_stops_only_when_somebody_insists() {
        let cancel = Cancel::new().unwrap();
        cancel.request();
        cancel.finishing(|| cancel.wait(Duration::from_millis(1))).unwrap();
        assert!(cancel.check().is_err(), "what comes after it does not begin");
        cancel.insist();
        assert!(cancel.finishing(|| cancel.wait(Duration::from_secs(3600))).is_err());
    }

    #[test]
    fn a_thread_that_helps_to_finish_something_hears_what_its_starter_hears() {
        let cancel = Cancel::new().unwrap();
        cancel.request();
        let helped = |work: fn(&Cancel) -> Result<()>| {
            std::thread::scope(|scope| scope.spawn(cancel.as_here(|| work(&cancel))).join().unwrap())
        };
        assert!(helped(Cancel::check).is_err());
        cancel.finishing(|| helped(Cancel::check)).unwrap();
    }
}
