//! The doors to the operating system: commands, locks, atomic writes, containers' roots, interruption.

pub mod atomic;
pub mod cancel;
pub mod command;
pub mod idmap;
pub mod lock;
pub mod processes;
pub mod rootfs;
