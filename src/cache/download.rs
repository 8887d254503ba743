//! Getting one file from one URL: continued where it broke off, tried again where that can help.

use std::path::Path;
use std::time::Duration;

use super::Settings;
use super::partial::{Partial, Source};
use crate::driver::run_file::looks_like_html;
use crate::error::{Error, Kind, Result};
use crate::event::{Activity, Event, Listener};
use crate::sys::cancel::Cancel;
use crate::sys::http::{Answer, Fault, Http};

/// No run file comes near this size; an answer that reaches it never ends.
const MAXIMUM: u64 = 4 << 30;
// An attempt that brought this much more than any before it has not failed in vain.
const WORTH_COUNTING: u64 = 1 << 20;
const PROGRESS_EVERY: u64 = 1 << 20;
// The first bytes that are looked at before more is taken.
const FIRST_BYTES: usize = 64;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: u64 = 60;

/// Why nothing came from this URL.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another URL may do better.
    Url(String),
    /// Something came, and it is not what was wanted.
    Wrong(String),
    /// No URL can: the disk is full, the operator interrupted.
    All(Error),
}

/// Why one attempt failed.
enum Failure {
    Passing { reason: String, pause: Option<Duration> },
    Lasting(String),
    Stop(Error),
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), pause: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Passing(reason) => Self::passing(reason),
            Fault::Lasting(reason) | Fault::Unknown(reason) => Self::Lasting(reason),
            Fault::Interrupted(error) => Self::Stop(error),
        }
    }
}

/// What is downloaded, and on whose behalf.
pub(super) struct Download<'a> {
    pub(super) http: &'a Http,
    pub(super) settings: &'a Settings,
    pub(super) listener: &'a dyn Listener,
    pub(super) cancel: &'a Cancel,
    /// The file's name, for those who watch.
    pub(super) subject: &'a str,
    /// Where it is written to.
    pub(super) path: &'a Path,
}

impl Download<'_> {
    /// Gets the whole file into the partial file. Says whether its beginning is from an earlier download.
    ///
    /// # Errors
    /// Why it did not work; the partial file stays unless it is worth nothing.
    pub(super) fn fetch(&self, url: &str) -> Result<bool, Refusal> {
        let mut failures = 0;
        let mut furthest = Partial::length_of(self.path);
        let mut continued = None;
        loop {
            let attempt = self.attempt(url, &mut continued);
            if attempt.is_err() && Partial::length_of(self.path) == 0 {
                Partial::discard(self.path).map_err(Refusal::All)?;
            }
            let (reason, pause) = match attempt {
                Ok(()) => return Ok(continued == Some(true)),
                Err(Failure::Passing { reason, pause }) => (reason, pause),
                Err(Failure::Lasting(reason)) => return Err(Refusal::Url(reason)),
                Err(Failure::Stop(error)) => return Err(Refusal::All(error)),
            };
            let length = Partial::length_of(self.path);
            if length >= furthest.saturating_add(WORTH_COUNTING) {
                (failures, furthest) = (0, length);
            }
            failures += 1;
            if failures >= self.settings.attempts {
                return Err(Refusal::Url(format!("{reason} (attempt {failures}, the last)")));
            }
            self.listener.warn(None, format!("`{url}`: {reason}; retrying"));
            let pause = pause.unwrap_or_else(|| backoff(self.settings.pause, failures, fastrand::f64()));
            self.cancel.wait(pause).map_err(Refusal::All)?;
        }
    }

    fn attempt(&self, url: &str, continued: &mut Option<bool>) -> Result<(), Failure> {
        let mut partial = Partial::open(self.path)?;
        let known = partial.continuation(url).cloned();
        let range = format!("bytes={}-", partial.length());
        let validator = known.as_ref().and_then(|source| source.validator.clone()).unwrap_or_default();
        let headers = [("range", range.as_str()), ("if-range", validator.as_str())];
        let headers = if known.is_some() { &headers[..] } else { &[] };
        let answer = self.http.get(url, headers, self.cancel)?;
        let total = match (answer.status, known) {
            (200, _) => {
                *continued = Some(false);
                let source =
                    Source { url: url.to_owned(), validator: validator_of(&answer), total: answer.content_length() };
                let total = source.total;
                partial.restart(source)?;
                total
            }
            (206, Some(source)) => {
                continued.get_or_insert(true);
                self.continued_total(&answer, &source, partial.length())?
            }
            (416, Some(_)) => return Err(self.start_over("the server has less of the file than there was before")?),
            (status, _) => return Err(status_failure(status, answer.header("retry-after"))),
        };
        self.expect_room(partial.length(), total)?;
        self.receive(answer, &mut partial, total)
    }

    /// The length of the whole file, if the server really goes on where we asked it to, in the same file.
    fn continued_total(&self, answer: &Answer<'_>, source: &Source, at: u64) -> Result<Option<u64>, Failure> {
        let range = answer.header("content-range").and_then(content_range);
        let same_file = answer.header("etag").is_none_or(|etag| {
            // Only a tag can be compared with a tag; a date stays with the server.
            source.validator.as_deref().is_none_or(|known| !known.starts_with('"') || known == etag)
        });
        match range {
            Some((first, total)) if first == at && same_file && (source.total.is_none() || source.total == total) => {
                Ok(total)
            }
            Some((first, _)) if first != at => {
                Err(self.start_over("the server went on at another place than asked for")?)
            }
            Some(_) => Err(self.start_over("the file changed on the server in the meantime")?),
            None => Err(self.start_over("the server sent a part without saying which")?),
        }
    }

    /// What is there is worth nothing; the next attempt begins at the beginning.
    fn start_over(&self, reason: &str) -> Result<Failure> {
        Partial::discard(self.path)?;
        Ok(Failure::passing(reason))
    }

    fn expect_room(&self, length: u64, total: Option<u64>) -> Result<(), Failure> {
        let Some(total) = total else { return Ok(()) };
        if total > MAXIMUM {
            Partial::discard(self.path)?;
            return Err(Failure::Lasting(format!(
                "the server announces {}, which is not a run file",
                mebibytes(total)
            )));
        }
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let numbers = rustix::fs::statvfs(directory).map_err(std::io::Error::from).map_err(Error::from)?;
        let (needed, available) = (total.saturating_sub(length), numbers.f_bavail.saturating_mul(numbers.f_frsize));
        if needed > available {
            Partial::discard(self.path)?;
            return Err(Failure::Stop(no_room(self.subject, directory, needed, available)));
        }
        Ok(())
    }

    fn receive(&self, mut answer: Answer<'_>, partial: &mut Partial, total: Option<u64>) -> Result<(), Failure> {
        let limit = total.unwrap_or(MAXIMUM);
        let mut first = Vec::new();
        let mut judged = partial.length() > 0;
        let mut reported = partial.length();
        self.tell(reported, total, false);
        while let Some(piece) = answer.piece()? {
            if partial.length() + piece.len() as u64 > limit {
                Partial::discard(self.path)?;
                return Err(Failure::Lasting(format!("the answer goes on after {}", mebibytes(limit))));
            }
            if !judged {
                first.extend_from_slice(&piece[..piece.len().min(FIRST_BYTES)]);
                if first.len() >= FIRST_BYTES {
                    self.judge(&first)?;
                    judged = true;
                }
            }
            partial.append(&piece).map_err(|error| self.write_failed(error))?;
            if partial.length() - reported >= PROGRESS_EVERY {
                reported = partial.length();
                self.tell(reported, total, false);
            }
        }
        if !judged {
            self.judge(&first)?;
        }
        match total {
            Some(total) if partial.length() < total => Err(Failure::passing("the connection was cut")),
            _ => {
                self.tell(partial.length(), total, true);
                Ok(())
            }
        }
    }

    /// Refuses what cannot be a run file by its first bytes; saves downloading the rest of a web page or worse.
    fn judge(&self, first: &[u8]) -> Result<(), Failure> {
        let reason = match first {
            [] => "the server answered with an empty file",
            _ if looks_like_html(first) => "the server answered with an HTML page instead of the file",
            [b'#', b'!', ..] => return Ok(()),
            _ => "what the server answered is not a run file",
        };
        Partial::discard(self.path)?;
        Err(Failure::Lasting(reason.to_owned()))
    }

    /// A disk that is full is not left full.
    fn write_failed(&self, error: Error) -> Failure {
        let discarded = Partial::discard(self.path);
        Failure::Stop(discarded.err().unwrap_or(error))
    }

    fn tell(&self, done: u64, total: Option<u64>, finished: bool) {
        let (activity, subject) = (Activity::Download, self.subject.to_owned());
        self.listener.hear(&Event::Progress { container: None, activity, subject, done, total, finished });
    }
}

/// The name of the file's state that a range can be asked of: weak tags do not promise the same bytes.
fn validator_of(answer: &Answer<'_>) -> Option<String> {
    let strong = answer.header("etag").filter(|etag| etag.starts_with('"'));
    strong.or_else(|| answer.header("last-modified")).map(str::to_owned)
}

/// First byte and whole length of `bytes 100-199/200`; the length may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total: u64| last < total)).then_some((first, total))
}

fn status_failure(status: u16, retry_after: Option<&str>) -> Failure {
    let seconds = retry_after.and_then(|text| text.trim().parse().ok());
    let pause = seconds.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)));
    match status {
        404 | 410 => Failure::Lasting(format!("the server does not have it (status {status})")),
        401 | 403 | 407 => Failure::Lasting(format!("the server denies access (status {status})")),
        408 | 425 | 429 | 500..=599 => {
            Failure::Passing { reason: format!("the server failed (status {status})"), pause }
        }
        _ => Failure::Lasting(format!("the server answered with status {status}")),
    }
}

/// The pause after a failure: doubled each time, and between half and all of it, so that many do not come back at once.
fn backoff(base: Duration, failures: u32, random: f64) -> Duration {
    let doubled = base.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + random / 2.0)
}

fn no_room(subject: &str, directory: &Path, needed: u64, available: u64) -> Error {
    let (needed, available) = (mebibytes(needed), mebibytes(available));
    let message = format!("`{subject}` needs {needed} in `{}`, but only {available} are free", directory.display());
    Error::new(Kind::Host, message).hint("free some space there and run the same command again")
}

pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_have_an_end() {
        let base = Duration::from_millis(500);
        assert_eq!(backoff(base, 1, 1.0), base);
        assert_eq!(backoff(base, 3, 1.0), 4 * base);
        assert_eq!(backoff(base, 3, 0.0), 2 * base);
        assert_eq!(backoff(base, 4_000_000, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn ranges_that_cannot_be_are_refused() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 100-199/*"), Some((100, None)));
        for wrong in ["", "bytes */200", "bytes 100-99/200", "bytes 100-200/200", "100-199/200", "bytes a-b/c"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_with_both_numbers() {
        let error = no_room("x.run", Path::new("/cache"), 400 << 20, 12 << 20);
        assert_eq!(error.message(), "`x.run` needs 400.0 MiB in `/cache`, but only 12.0 MiB are free");
    }

    #[test]
    fn a_busy_server_says_when_to_come_back_within_limits() {
        let pause = |text| match status_failure(503, Some(text)) {
            Failure::Passing { pause, .. } => pause,
            _ => panic!("503 passes"),
        };
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("86400"), Some(Duration::from_secs(60)));
        assert_eq!(pause("Fri, 31 Dec 2027 23:59:59 GMT"), None);
        assert!(matches!(status_failure(404, None), Failure::Lasting(_)));
    }
}
