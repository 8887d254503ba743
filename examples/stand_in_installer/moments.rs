//! The moments of an installation at which it can be killed: a test counts them, and lets it stop at any one for ever.
//!
//! The real one takes seconds, and lists a file only when it is whole and an original only when it has been moved; what
//! matters is what lies there in between.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::misbehave;

/// Holds the number of a moment; it is renamed to [`REACHED`] there.
const CONTROL: &str = "/stand-in-stops-at";
/// What tells the test that the moment has come.
const REACHED: &str = "/stand-in-has-stopped";

/// Holds how many moments there were, where the wanted one has not come.
const COUNTED: &str = "/stand-in-has-counted";

static COUNT: AtomicU32 = AtomicU32::new(0);
static STOP: OnceLock<Option<u32>> = OnceLock::new();

/// One more moment; the last one of this process where a test has said so.
pub(crate) fn pass() {
    let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let stop = STOP.get_or_init(|| fs_err::read_to_string(CONTROL).ok()?.trim().parse().ok());
    if *stop == Some(number) && fs_err::rename(CONTROL, REACHED).is_ok() {
        misbehave::hang();
    }
}

/// Tells the test how many moments there were.
pub(crate) fn end() {
    if STOP.get().copied().flatten().is_some() {
        let _ = fs_err::write(COUNTED, COUNT.load(Ordering::Relaxed).to_string());
    }
}
