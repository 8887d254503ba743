//! The doors to the operating system: commands, locks, atomic writes, interruption.

pub mod atomic;
pub mod cancel;
pub mod command;
pub mod lock;
