//! Pure knowledge about NVIDIA's driver: versions, run files, the installer, `nvidia-smi`, devices. No input or output.

pub mod backup_log;
pub mod cdi;
mod compression;
pub mod container_toolkit;
pub mod cuda;
pub mod device;
pub mod elf;
pub mod foreign_packages;
pub mod host_driver;
pub mod host_nodes;
pub mod installer;
pub mod kernel_log;
pub mod kernels;
pub mod loader_cache;
pub mod manifest;
pub mod mig;
pub mod nvidia_smi;
pub mod placement;
pub mod proc_files;
pub mod releases;
pub mod run_file;
pub mod secure_boot;
mod sha256;
pub mod supported_gpus;
mod variant;
mod version;

pub use compression::Compression;
pub use sha256::Sha256;
pub use variant::Variant;
pub use version::DriverVersion;
