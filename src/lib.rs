//! Install NVIDIA's user-space driver in LXC containers and verify that it matches the host's kernel module.
//!
//! The layers, each using only those below it (a test checks that), are described in `ARCHITECTURE.md`.

pub mod cache;
pub mod config;
pub mod container_id;
pub mod doctor;
pub mod driver;
pub mod error;
pub mod event;
pub mod fleet;
pub mod host;
pub mod hypervisor;
pub mod install;
pub mod status;
pub mod store;
pub mod sys;
pub mod updates;
