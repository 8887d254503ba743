//! How much a verdict asks for the reader's eye: in the table and on the page.

use anstyle::{AnsiColor, Style};
use phoenix_nvidia::status::Verdict;

/// How much a verdict asks for the reader's eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Bad,
    Doubtful,
    Good,
    Quiet,
}

impl Tone {
    pub(super) const ALL: [Self; 4] = [Self::Bad, Self::Doubtful, Self::Good, Self::Quiet];

    pub(super) fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::OutOfSync | Verdict::GpuUnavailable | Verdict::NotInstalled | Verdict::Error => Self::Bad,
            Verdict::NotVerifiedLive | Verdict::SettingsDiffer | Verdict::Unknown => Self::Doubtful,
            Verdict::Verified | Verdict::InSync => Self::Good,
            Verdict::Absent | Verdict::NoDriverWanted | Verdict::NotConfigured | Verdict::NotKnownFromHere => {
                Self::Quiet
            }
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Doubtful => "doubtful",
            Self::Good => "good",
            Self::Quiet => "quiet",
        }
    }

    /// What the containers of this tone are, in the summary.
    pub(super) fn summary(self) -> &'static str {
        match self {
            Self::Bad => "not in sync",
            Self::Doubtful => "not verified live, or other settings",
            Self::Good => "in sync",
            Self::Quiet => "no driver wanted, not configured, absent, or on another node",
        }
    }

    /// Its colour on a terminal.
    pub(super) fn style(self) -> Style {
        match self {
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Quiet => Style::new().dimmed(),
        }
    }
}
