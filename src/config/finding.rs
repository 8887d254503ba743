//! Something wrong or suspicious in a configuration file: where it stands, what was expected, what to do.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source::Source;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing, nothing to change.
    Note,
    /// Doubtful: it works, or seems to, and is probably not what was meant.
    Warning,
    /// Wrong: nothing is done with what it concerns.
    Error,
}

/// Where in a file a finding stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The bytes of the file that are meant.
    pub span: Range<usize>,
}

/// One thing that is wrong or suspicious in one of the two files.
#[derive(Clone, serde::Serialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Where in the file; nothing where the finding is about the file as a whole.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// The key, from the root: `lxc_configs.901.gpu_assignment`; empty for the file as a whole.
    pub key_path: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// What should stand there.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    #[serde(skip)]
    source: Option<Arc<Source>>,
}

impl Finding {
    /// A finding about a file as a whole.
    pub(super) fn about_file(file: impl Into<PathBuf>, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            place: None,
            key_path: String::new(),
            severity,
            message: message.into(),
            expected: None,
            hint: None,
            source: None,
        }
    }

    /// A finding about some bytes of a file.
    pub(super) fn at(
        source: &Arc<Source>,
        span: Range<usize>,
        key_path: impl Into<String>,
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        let position = source.position(span.start);
        let place = Place { line: position.line, column: position.column, span };
        Self {
            place: Some(place),
            key_path: key_path.into(),
            source: Some(Arc::clone(source)),
            ..Self::about_file(source.path(), severity, message)
        }
    }

    /// Adds what should stand there.
    #[must_use]
    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Leaves the line of the file out, because it holds a secret.
    #[must_use]
    pub(super) fn without_line(mut self) -> Self {
        self.source = None;
        self
    }

    /// The finding as a compiler would show it: message, file, line and column, and the line itself. Without colour.
    pub fn render(&self) -> String {
        self.render_with(&Renderer::plain())
    }

    /// The same with the escape sequences of a terminal.
    pub fn render_styled(&self) -> String {
        self.render_with(&Renderer::styled().hyperlink(false))
    }

    /// The place alone, for where the message is already said.
    pub(super) fn render_place(&self) -> String {
        Renderer::plain().render(&[self.with_place(Group::with_level(self.level()))])
    }

    fn level(&self) -> Level<'_> {
        match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        }
    }

    fn render_with(&self, renderer: &Renderer) -> String {
        renderer.render(&[self.with_place(Group::with_title(self.level().primary_title(printable(&self.message))))])
    }

    fn with_place<'g>(&'g self, mut group: Group<'g>) -> Group<'g> {
        let file = self.file.display().to_string();
        group = match (&self.source, &self.place) {
            (Some(source), Some(place)) => {
                let (line, span) = excerpt(source, &place.span);
                let expected = self.expected.as_ref().map(|expected| format!("expected {}", printable(expected)));
                let annotation = AnnotationKind::Primary.span(span).label(expected);
                group.element(Snippet::source(line).line_start(place.line).path(file).annotation(annotation))
            }
            (None, Some(place)) => group.element(Origin::path(file).line(place.line).char_column(place.column)),
            (_, None) => group.element(Origin::path(file)),
        };
        if !self.key_path.is_empty() {
            group = group.element(Level::NOTE.with_name("key").message(printable(&self.key_path)));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(printable(hint)));
        }
        group
    }

    /// What makes two findings the same one, and their order: file, place, message.
    pub(super) fn identity(&self) -> (&PathBuf, usize, usize, &str) {
        let (start, end) = self.place.as_ref().map_or((0, 0), |place| (place.span.start, place.span.end));
        (&self.file, start, end, &self.message)
    }
}

impl std::fmt::Debug for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = self.place.as_ref().map_or((0, 0), |place| (place.line, place.column));
        write!(f, "{:?} {}:{line}:{column} {}", self.severity, self.file.display(), self.message)
    }
}

/// The first line of what is meant, and where in it that stands.
fn excerpt<'s>(source: &'s Source, span: &Range<usize>) -> (&'s str, Range<usize>) {
    let (start, line) = source.line_around(span.start);
    let from = span.start.saturating_sub(start).min(line.len());
    let to = span.end.saturating_sub(start).clamp(from, line.len());
    (line, from..to)
}

/// A text without control characters: what a file holds must not steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A value of a file between backticks, made safe to print and not longer than a line.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short = printable(&text.chars().take(LONGEST).collect::<String>());
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(text: &str, span: Range<usize>) -> Finding {
        let source = Arc::new(Source::new("etc/some.json", text));
        Finding::at(&source, span, "a.b", Severity::Error, "`b` is wrong").expected("a number").hint("write `1`")
    }

    #[test]
    fn a_finding_shows_its_line_as_a_compiler_does() {
        insta::assert_snapshot!(finding("{\n  \"b\": true\n}\n", 9..13).render(), @r#"
        error: `b` is wrong
         --> etc/some.json:2:8
          |
        2 |   "b": true
          |        ^^^^ expected a number
          |
          = key: a.b
          = help: write `1`
        "#);
    }

    #[test]
    fn a_span_over_several_lines_or_past_the_end_shows_its_first_line() {
        assert!(finding("{\n  \"b\": {\n  }\n}\n", 9..15).render().contains("2 |   \"b\": {"));
        assert!(finding("{", 1..900).render().contains("1 | {"));
        assert!(finding("", 0..0).render().contains("error: `b` is wrong"));
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        assert_eq!(quoted("\u{1b}[31mred"), "`\u{fffd}[31mred`");
        assert!(!finding("{ \"b\": \"\u{1b}[2J\" }", 7..13).render().contains('\u{1b}'));
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), 83);
    }

    #[test]
    fn machines_get_the_place_beside_the_message() {
        let json = serde_json::to_value(finding("{\"b\": 1}", 6..7)).unwrap();
        assert_eq!(json["line"], 1);
        assert_eq!(json["severity"], "error");
        assert_eq!(json["key_path"], "a.b");
    }
}
