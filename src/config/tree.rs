//! The values of a JSON document, with the bytes that each was read from.

use std::ops::Range;

/// A value and the bytes that it was read from.
pub(super) struct Tree {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// What JSON knows. Numbers are kept as they are written, members in their order and duplicates too.
pub(super) enum Value {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<Member>),
}

/// One `"key": value` of an object.
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Tree,
}
