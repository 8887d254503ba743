//! The ways in which it can be told to go wrong: one word in a file `misbehave` beside it in the package.

use crate::Failure;

/// How it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// Ends with an error after the old driver is gone and before the new one is there.
    Fail,
    /// Never ends, and does nothing.
    Hang,
    /// Never ends, with half of the files installed.
    HangAfterHalf,
    /// Dies of SIGBUS with half of the files installed, as on a full disk.
    Sigbus,
    /// Says that it has installed everything, and has installed nothing.
    Lie,
    /// Installs files that belong to another version.
    WrongVersion,
}

/// The version that [`Misbehaviour::WrongVersion`] installs.
pub(crate) const WRONG_VERSION: &str = "999.99.99";

impl Misbehaviour {
    /// What the package asks for; none where it has no such file.
    pub(crate) fn asked_for() -> Result<Option<Self>, Failure> {
        let text = match fs_err::read_to_string("misbehave") {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(match text.trim() {
            "fail" => Self::Fail,
            "hang" => Self::Hang,
            "hang-after-half" => Self::HangAfterHalf,
            "sigbus" => Self::Sigbus,
            "lie" => Self::Lie,
            "wrong-version" => Self::WrongVersion,
            other => return Err(Failure(format!("`{other}` is no way to misbehave"))),
        }))
    }
}

/// Waits until it is killed.
pub(crate) fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Dies as a program does that writes to a mapped file on a full disk.
pub(crate) fn die_of_sigbus() -> ! {
    eprintln!("Received signal SIGBUS; aborting.");
    loop {
        // The first one only resets the handler that Rust has installed for stack overflows.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS);
    }
}
