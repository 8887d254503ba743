//! Gets NVIDIA's user-space driver into LXC containers, safely and fast, and proves that it is the right one.
//!
//! The layers, each using only those below it (a test checks that), are described in `ARCHITECTURE.md`.

pub mod cache;
pub mod config;
pub mod container_id;
pub mod driver;
pub mod error;
pub mod event;
pub mod fleet;
pub mod host;
pub mod hypervisor;
pub mod install;
pub mod store;
pub mod sys;
