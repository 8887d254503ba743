//! What happens while work is done, reported to a listener; the library itself never prints.

use crate::container_id::ContainerId;

/// What a progress figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Bytes of a run file that came over the network.
    Download,
    /// Bytes of a run file whose sums were computed.
    Verify,
    /// Bytes unpacked from a run file into the store.
    Extract,
    /// Bytes of a run file, or of an extracted driver, written into a container.
    Copy,
    /// Files that the installer unpacked in a container.
    Install,
}

/// One thing that happened. `container` is absent where the work is the host's alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step of a plan begins.
    StepStarted {
        /// Whose step it is.
        container: Option<ContainerId>,
        /// What is done, as a phrase: `install driver 580.76.05`.
        step: String,
    },
    /// A step of a plan has been done.
    StepFinished {
        /// Whose step it was.
        container: Option<ContainerId>,
        /// The same phrase as at its start.
        step: String,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
    /// Some more of a long activity is done. The last one of an activity has `done == total`, or says `finished`.
    Progress {
        /// Whose activity it is.
        container: Option<ContainerId>,
        /// What is counted.
        activity: Activity,
        /// The file or driver that it is about.
        subject: String,
        /// How much is done, in bytes (in files for [`Activity::Install`]).
        done: u64,
        /// How much there is, if that is known.
        total: Option<u64>,
        /// Nothing more will come of this activity.
        finished: bool,
    },
    /// Work pauses until somebody else lets go of something.
    Waiting {
        /// What is waited for and who holds it.
        reason: String,
    },
    /// Something that is right and worth knowing.
    Note {
        /// Whom it is about.
        container: Option<ContainerId>,
        /// One sentence.
        text: String,
    },
    /// Something that is doubtful and did not stop the work.
    Warning {
        /// Whom it is about.
        container: Option<ContainerId>,
        /// One sentence.
        text: String,
    },
}

/// Somebody who wants to know. Called from the thread that does the work, so it must be quick.
pub trait Listener: Sync {
    /// Takes notice of one event.
    fn hear(&self, event: &Event);
}

/// Hears everything and does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoListener;

impl Listener for NoListener {
    fn hear(&self, _event: &Event) {}
}

impl dyn Listener + '_ {
    /// Reports something worth knowing.
    pub fn note(&self, container: Option<ContainerId>, text: impl Into<String>) {
        self.hear(&Event::Note { container, text: text.into() });
    }

    /// Reports something doubtful.
    pub fn warn(&self, container: Option<ContainerId>, text: impl Into<String>) {
        self.hear(&Event::Warning { container, text: text.into() });
    }
}
