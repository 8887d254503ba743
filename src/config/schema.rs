//! JSON schemas of both files, for editors.
