//! The two JSON files of the operators, read into types that cannot be wrong; and every path that is ours.

mod layout;

pub use layout::Layout;
