//! The doors to the operating system: commands, locks, atomic writes, HTTP, containers' roots, interruption.

pub mod apparmor;
pub mod atomic;
pub mod cancel;
pub mod command;
pub mod device_node;
pub mod directory;
pub mod ext4;
pub mod held_locks;
pub mod http;
pub mod idmap;
pub mod lock;
pub mod mount;
pub mod processes;
pub mod readable;
pub mod rootfs;
pub mod space;
pub mod subordinate_ids;
pub mod temporary_name;
