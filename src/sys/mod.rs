//! The doors to the operating system: commands, locks, atomic writes, HTTP, interruption.

pub mod atomic;
pub mod cancel;
pub mod command;
pub mod http;
pub mod lock;
