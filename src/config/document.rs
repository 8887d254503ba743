//! A JSON document whose every value knows where it stands and by which key it is reached.

use std::ops::Range;
use std::sync::Arc;

use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{ParseOptions, ast, parse_to_ast};

use super::finding::{Finding, Severity};
use super::json_value::Node;
use super::source::Source;
use super::tree::{Member, Tree, Value};
use super::unclosed::unclosed;

/// A file that was parsed.
pub(super) struct Document {
    source: Arc<Source>,
    root: Tree,
}

impl Document {
    /// Parses a text. Comments and trailing commas are accepted, see [`Document::informality`].
    ///
    /// # Errors
    /// The finding that says where the text stops being JSON, or that it is no object.
    pub(super) fn parse(source: Source) -> Result<Self, Box<Finding>> {
        let source = Arc::new(source);
        let malformed = |span: Range<usize>, message: String, expected: Option<&str>| {
            let mut finding = Finding::at(&source, span, "", Severity::Error, message);
            finding.expected = expected.map(str::to_owned);
            Box::new(finding)
        };
        let parsed = parse_to_ast(source.text(), &Default::default(), &lenient()).map_err(|error| {
            let (span, expected) = place_of_mistake(&error, source.text());
            let message = format!("malformed JSON: {}", uncapitalised(&error.kind().to_string()));
            malformed(clipped(span, &source), message, expected)
        })?;
        match parsed.value {
            Some(value @ ast::Value::Object(_)) => {
                let root = tree(value);
                Ok(Self { source, root })
            }
            Some(other) => {
                let span = clipped(other.range().start..other.range().end, &source);
                Err(malformed(span, "the file does not hold an object".into(), Some("an object, `{ … }`")))
            }
            None => Err(malformed(0..0, "the file is empty".into(), Some("an object, `{ … }`"))),
        }
    }

    /// The path that it was read from.
    pub(super) fn path(&self) -> &std::path::Path {
        self.source.path()
    }

    /// The root object.
    pub(super) fn root(&self) -> Node<'_> {
        Node::root(&self.source, &self.root)
    }

    /// The first place where the text is more than strict JSON, which other readers of the file refuse.
    pub(super) fn informality(&self) -> Option<Finding> {
        let text = self.source.text();
        let (span, what) = match parse_to_ast(text, &Default::default(), &strict()) {
            Err(error) => (error.range().start..error.range().end, uncapitalised(&error.kind().to_string())),
            Ok(_) => {
                let error = serde_json::from_str::<serde::de::IgnoredAny>(text).err()?;
                let full = error.to_string();
                let what = full.split(" at line ").next().unwrap_or(&full).to_owned();
                (self.source.range_at(error.line(), error.column()), what)
            }
        };
        let message = format!("not strict JSON, so other tools cannot read this file: {what}");
        Some(Finding::at(&self.source, clipped(span, &self.source), "", Severity::Warning, message))
    }
}

fn lenient() -> ParseOptions {
    ParseOptions { allow_comments: true, allow_trailing_commas: true, ..strict() }
}

fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn tree(value: ast::Value<'_>) -> Tree {
    let range = value.range();
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Boolean(literal.value),
        ast::Value::NumberLit(literal) => Value::Number(literal.value.to_owned()),
        ast::Value::StringLit(literal) => Value::Text(literal.value.into_owned()),
        ast::Value::Array(array) => Value::List(array.elements.into_iter().map(tree).collect()),
        ast::Value::Object(object) => Value::Object(object.properties.into_iter().map(member).collect()),
    };
    Tree { span: range.start..range.end, value }
}

fn member(property: ast::ObjectProp<'_>) -> Member {
    let range = property.name.range();
    Member { key: property.name.into_string(), key_span: range.start..range.end, value: tree(property.value) }
}

/// Where the mistake probably is, and what should stand there.
fn place_of_mistake(error: &ParseError, text: &str) -> (Range<usize>, Option<&'static str>) {
    let span = error.range().start..error.range().end;
    if !matches!(error.kind(), ParseErrorKind::UnterminatedObject | ParseErrorKind::UnterminatedArray) {
        return (span, None);
    }
    let start = unclosed(text).unwrap_or(span.start);
    let expected =
        if text.as_bytes().get(start) == Some(&b'[') { "a `]` that closes it" } else { "a `}` that closes it" };
    (start..start + 1, Some(expected))
}

/// The span on character boundaries inside the text.
fn clipped(span: Range<usize>, source: &Source) -> Range<usize> {
    let text = source.text();
    let boundary = |byte: usize| (0..=byte.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}

fn uncapitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, Box<Finding>> {
        Document::parse(Source::new("etc/some.json", text))
    }

    #[test]
    fn malformed_json_is_shown_with_its_line() {
        let finding = parse("{\n  \"a\": 1\n  \"b\": 2\n}\n").err().unwrap();
        insta::assert_snapshot!(finding.render());
    }

    #[test]
    fn an_object_that_never_ends_is_shown_where_it_begins() {
        insta::assert_snapshot!(parse("{\n  \"lxc_configs\": {\n    \"901\": { }\n").err().unwrap().render());
    }

    #[test]
    fn a_bracket_that_was_forgotten_is_shown_where_it_begins_and_not_the_root() {
        let text = "{\n  \"lxc_configs\": {\n    \"901\": {\n      \"name\": \"a\"\n  }\n}\n";
        insta::assert_snapshot!(parse(text).err().unwrap().render());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "  \n", "[]", "1", "null", "\"text\"", "// nothing"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn comments_and_trailing_commas_are_read_and_reported() {
        let clean = parse("{\n  \"a\": [1, 2]\n}").unwrap();
        assert!(clean.informality().is_none());
        for (text, line) in [("{\n // note\n}", 2), ("{\n\"a\": [1,],\n}", 2), ("{\"a\":\n \"tab\there\"}", 2)] {
            let finding = parse(text).unwrap().informality().unwrap();
            assert_eq!(finding.place.as_ref().unwrap().line, line, "{finding:?}");
            assert_eq!(finding.severity, Severity::Warning);
        }
    }

    #[test]
    fn nesting_without_end_is_refused_and_does_not_overflow_the_stack() {
        let finding = parse(&format!("{{\"a\": {}", "[".repeat(1 << 20))).err().unwrap();
        assert!(finding.message.contains("nesting"), "{finding:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[ \\[\\]{}:,\"'/*a0.é\\\\\n-]{0,60}") {
            match parse(&text) {
                Ok(document) => { document.informality().map(|finding| finding.render()); }
                Err(finding) => { finding.render(); }
            }
        }
    }
}
