//! The one error type of the library: what failed, where, what to do next, and which exit code it means.

use std::fmt;

/// What sort of failure it is; decides the exit code of the program (see `docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A state that the program's own logic excludes.
    Bug,
    /// The command line asks for something that cannot be.
    Usage,
    /// One of the two configuration files, or what they ask for, is wrong.
    Configuration,
    /// A hypervisor's tool, or a command in a container, failed.
    Command,
    /// A run file or an installed driver is not what was asked for.
    Verification,
    /// A download failed.
    Network,
    /// Somebody else holds what is needed.
    Busy,
    /// The host refused: no permission, no space, an input or output error.
    Host,
    /// The operator interrupted the program.
    Interrupted,
}

impl Kind {
    /// The exit code of the program for this failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Command => 6,
            Self::Verification => 7,
            Self::Network => 8,
            Self::Busy => 9,
            Self::Host => 10,
            Self::Interrupted => 130,
        }
    }

    /// The name in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bug => "bug",
            Self::Usage => "usage",
            Self::Configuration => "configuration",
            Self::Command => "command",
            Self::Verification => "verification",
            Self::Network => "network",
            Self::Busy => "busy",
            Self::Host => "host",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Shorthand for results of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure as a person reads it: one message, at most one hint, the failed command's last lines, and the cause.
///
/// Messages are lower case without a final period and put literals in backticks.
pub struct Error(Box<Parts>);

struct Parts {
    kind: Kind,
    message: String,
    hint: Option<String>,
    output: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure without a cause below it.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), hint: None, output: None, source: None }))
    }

    /// Adds what to do next; a later hint replaces an earlier one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the last lines that a failed command printed, or of its log.
    #[must_use]
    pub fn output(mut self, output: impl Into<String>) -> Self {
        let output = output.into();
        self.0.output = (!output.trim().is_empty()).then_some(output);
        self
    }

    /// Adds the failure below this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts a new message above this failure; kind, hint and output stay.
    #[must_use]
    pub fn within(self, message: impl Into<String>) -> Self {
        let kind = self.0.kind;
        let hint = self.0.hint.clone();
        let output = self.0.output.clone();
        Self(Box::new(Parts { kind, message: message.into(), hint, output, source: Some(Box::new(self)) }))
    }

    /// Puts whom or what it is about before the message; all else stays.
    #[must_use]
    pub fn about(mut self, subject: impl fmt::Display) -> Self {
        self.0.message = format!("{subject}: {}", self.0.message);
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What failed, in one line.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, if anything can be said.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The last lines of the failed command or log.
    pub fn output_text(&self) -> Option<&str> {
        self.0.output.as_deref()
    }

    /// The messages of the causes below this failure, nearest first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("output", &self.0.output)
            .field("causes", &self.causes())
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Errors of the operating system; `fs_err` has put the path into the message.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Some("run it as root"),
            std::io::ErrorKind::ReadOnlyFilesystem => {
                Some("remount the file system read-write, or choose another directory")
            }
            std::io::ErrorKind::StorageFull => Some("free some space and run the same command again"),
            _ => None,
        };
        let message = error.to_string();
        let mut wrapped = Self::new(Kind::Host, message);
        if let Some(source) = std::error::Error::source(&error) {
            wrapped = wrapped.caused_by(source.to_string());
        }
        match hint {
            Some(hint) => wrapped.hint(hint),
            None => wrapped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_put_above_keeps_kind_hint_and_output() {
        let error = Error::new(Kind::Network, "no route").hint("plug it in").output("line").within("download failed");
        assert_eq!(error.kind(), Kind::Network);
        assert_eq!(error.hint_text(), Some("plug it in"));
        assert_eq!(error.output_text(), Some("line"));
        assert_eq!(error.causes(), ["no route"]);
    }

    #[test]
    fn a_subject_is_said_once_and_makes_no_cause() {
        let error = Error::new(Kind::Network, "no route").hint("plug it in").about("container 901");
        assert_eq!(error.message(), "container 901: no route");
        assert_eq!((error.causes().len(), error.hint_text()), (0, Some("plug it in")));
    }

    #[test]
    fn exit_codes_are_distinct() {
        let kinds = [
            Kind::Bug,
            Kind::Usage,
            Kind::Configuration,
            Kind::Command,
            Kind::Verification,
            Kind::Network,
            Kind::Busy,
            Kind::Host,
            Kind::Interrupted,
        ];
        let codes: std::collections::BTreeSet<u8> = kinds.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes.len(), kinds.len());
    }
}
