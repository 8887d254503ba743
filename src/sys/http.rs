//! The door to HTTP.
