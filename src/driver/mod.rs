//! Pure knowledge about NVIDIA's driver: versions, run files, the installer, `nvidia-smi`, devices. No input or output.

mod compression;
pub mod run_file;
mod sha256;
mod version;

pub use compression::Compression;
pub use sha256::Sha256;
pub use version::DriverVersion;
