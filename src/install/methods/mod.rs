//! The four methods by which a driver gets into a container.

pub mod installer;
mod installer_run;
pub mod native;
pub mod runfile;
pub mod shared;
