//! A look at one value of a document: what it is, by which key it is reached, and what is wrong with it.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::sync::Arc;

use super::finding::{Finding, Severity, printable, quoted};
use super::source::Source;
use super::tree::{Tree, Value};

/// A value, its key path, and the document around it.
#[derive(Clone)]
pub(super) struct Node<'d> {
    source: &'d Arc<Source>,
    tree: &'d Tree,
    key: &'d str,
    key_span: Option<&'d Range<usize>>,
    path: String,
}

impl<'d> Node<'d> {
    /// The outermost value of a document.
    pub(super) fn root(source: &'d Arc<Source>, tree: &'d Tree) -> Self {
        Self { source, tree, key: "", key_span: None, path: String::new() }
    }

    /// The key of this member of an object; of an element, its list's key.
    pub(super) fn key(&self) -> &'d str {
        self.key
    }

    /// The keys from the root: `lxc_configs.901.mount_points[0].host_path`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Key path and file, as messages name where something was said.
    pub(super) fn origin(&self) -> String {
        format!("`{}` in `{}`", printable(&self.path), self.source.path().display())
    }

    /// A finding that points at the value.
    pub(super) fn finding(&self, severity: Severity, message: impl Into<String>) -> Finding {
        Finding::at(self.source, self.tree.span.clone(), &self.path, severity, message)
    }

    /// A finding that points at the key, for what is wrong with an object as a whole or missing in it.
    pub(super) fn finding_at_key(&self, severity: Severity, message: impl Into<String>) -> Finding {
        let span = self.key_span.cloned().unwrap_or(self.tree.span.start..self.tree.span.start + 1);
        Finding::at(self.source, span, &self.path, severity, message)
    }

    /// Whether anything is said: null and the empty text say nothing, `false` does.
    pub(super) fn is_set(&self) -> bool {
        match &self.tree.value {
            Value::Null => false,
            Value::Text(text) => !text.is_empty(),
            _ => true,
        }
    }

    /// Whether it is an object or a list.
    pub(super) fn is_composed(&self) -> bool {
        matches!(self.tree.value, Value::Object(_) | Value::List(_))
    }

    /// The members of an object, in the order of the file and duplicates too; none of anything else.
    pub(super) fn members(&self) -> impl Iterator<Item = Node<'d>> + use<'d> {
        let members = match &self.tree.value {
            Value::Object(members) => members.as_slice(),
            _ => &[],
        };
        let parent = self.clone();
        members.iter().map(move |member| Node {
            source: parent.source,
            tree: &member.value,
            key: &member.key,
            key_span: Some(&member.key_span),
            path: joined(&parent.path, &member.key),
        })
    }

    /// The member of this key; the last one, as `jq` has it, where there are several.
    pub(super) fn member(&self, key: &str) -> Option<Node<'d>> {
        let Value::Object(members) = &self.tree.value else { return None };
        let member = members.iter().rev().find(|member| member.key == key)?;
        Some(Node {
            source: self.source,
            tree: &member.value,
            key: &member.key,
            key_span: Some(&member.key_span),
            path: joined(&self.path, &member.key),
        })
    }

    /// The keys that an object has more than once, each with its last occurrence.
    pub(super) fn duplicates(&self) -> Vec<Node<'d>> {
        let mut seen = BTreeMap::new();
        for member in self.members() {
            let entry = seen.entry(member.key).or_insert((0, member.clone()));
            *entry = (entry.0 + 1, member);
        }
        seen.into_values().filter(|(count, _)| *count > 1).map(|(_, last)| last).collect()
    }

    /// The elements of a list; none of anything else.
    pub(super) fn elements(&self) -> impl Iterator<Item = Node<'d>> + use<'d> {
        let elements = match &self.tree.value {
            Value::List(elements) => elements.as_slice(),
            _ => &[],
        };
        let parent = self.clone();
        elements.iter().enumerate().map(move |(index, tree)| Node {
            source: parent.source,
            tree,
            key: parent.key,
            key_span: None,
            path: format!("{}[{index}]", parent.path),
        })
    }

    /// What the value is, with an article: `a string`.
    pub(super) fn what(&self) -> &'static str {
        match &self.tree.value {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&'d str> {
        match &self.tree.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number as it is written, or a text: the forms in which a CTID or a GPU may stand.
    pub(super) fn as_text_or_number(&self) -> Option<&'d str> {
        match &self.tree.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a number.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.tree.value, Value::Number(_))
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.tree.value, Value::List(_))
    }

    /// Whether it is an object.
    pub(super) fn is_object(&self) -> bool {
        matches!(self.tree.value, Value::Object(_))
    }

    /// Whether anything but nothing stands here: an empty list or object is nothing, too.
    pub(super) fn is_not_empty(&self) -> bool {
        match &self.tree.value {
            Value::List(elements) => !elements.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => self.is_set(),
        }
    }

    /// The finding for a value of another type than expected.
    pub(super) fn wrong_type(&self, expected: &str) -> Finding {
        self.finding(Severity::Error, format!("`{}` is {}", printable(self.key), self.what())).expected(expected)
    }

    /// The text; anything else is a finding.
    pub(super) fn text(&self, expected: &str, findings: &mut Vec<Finding>) -> Option<&'d str> {
        let text = self.as_text();
        if text.is_none() {
            findings.push(self.wrong_type(expected));
        }
        text
    }

    /// The text read as a `T`; anything else is a finding.
    pub(super) fn parsed<T: FromStr>(&self, expected: &str, findings: &mut Vec<Finding>) -> Option<T> {
        let text = self.text(expected, findings)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            findings.push(self.wrong_value(expected));
        }
        parsed
    }

    /// The finding for a value of the right type that cannot be.
    pub(super) fn wrong_value(&self, expected: &str) -> Finding {
        let value = self.as_text_or_number().unwrap_or_default();
        self.finding(Severity::Error, format!("`{}` cannot be {}", printable(self.key), quoted(value)))
            .expected(expected)
    }

    /// The whole number in a range; anything else is a finding. Digits in a string are taken, with a note.
    pub(super) fn whole_number(
        &self,
        range: RangeInclusive<u64>,
        unit: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<u64> {
        let expected = format!("a whole number{unit}, {} to {}", range.start(), range.end());
        let text = match self.as_text_or_number() {
            Some(text) => text,
            None => {
                findings.push(self.wrong_type(&expected));
                return None;
            }
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse().ok().filter(|number| digits && range.contains(number)) {
            Some(number) => {
                if !self.is_number() {
                    findings.push(
                        self.finding(Severity::Note, format!("`{}` is a number in quotes", printable(self.key)))
                            .hint(format!("write {number} without quotes")),
                    );
                }
                Some(number)
            }
            None => {
                findings.push(self.wrong_value(&expected));
                None
            }
        }
    }

    /// The boolean; anything else is a finding. `"true"` and `"false"` are taken, with a note.
    pub(super) fn boolean(&self, findings: &mut Vec<Finding>) -> Option<bool> {
        let quoted = match &self.tree.value {
            Value::Boolean(boolean) => return Some(*boolean),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        findings.push(match quoted {
            Some(boolean) => self
                .finding(Severity::Note, format!("`{}` is a boolean in quotes", printable(self.key)))
                .hint(format!("write {boolean} without quotes")),
            None => self.wrong_type("true or false"),
        });
        quoted
    }

    /// The texts of a list; what is no list, or no text in it, is a finding. Null is an empty list.
    pub(super) fn texts(&self, expected: &str, findings: &mut Vec<Finding>) -> Vec<(Node<'d>, &'d str)> {
        if matches!(self.tree.value, Value::Null) {
            return Vec::new();
        }
        if !self.is_list() {
            findings.push(self.wrong_type(&format!("a list of {expected}")));
        }
        let mut texts = Vec::new();
        for element in self.elements() {
            match element.as_text() {
                Some(text) => texts.push((element, text)),
                None => findings.push(
                    element
                        .finding(Severity::Error, format!("an element of `{}` is {}", self.key, element.what()))
                        .expected(format!("a string: {expected}")),
                ),
            }
        }
        texts
    }
}

/// A key path with one key more; a key that could be mistaken for several is put in quotes.
fn joined(path: &str, key: &str) -> String {
    let plain =
        (1..=80).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{:?}]", printable(&key.chars().take(80).collect::<String>())),
    }
}
