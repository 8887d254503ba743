//! The two JSON files of the operators, read into types that cannot be wrong; and every path that is ours.

mod candidates;
mod configuration;
mod container;
mod document;
mod finding;
mod gpu;
mod gpu_access;
mod hypervisor;
mod keys;
mod layout;
mod lint;
mod lookup;
mod lxc_option;
mod mismatch;
mod network;
mod node;
mod order;
pub mod schema;
mod source;
mod storage;
mod url;
mod wanted;
mod way;

pub use configuration::Configuration;
pub use container::Container;
pub use finding::{Finding, Place, Severity};
pub use gpu::{GpuAssignment, GpuSelector, NotAGpu};
pub use gpu_access::GpuAccess;
pub use hypervisor::{Backend, HypervisorSettings};
pub use layout::Layout;
pub use lxc_option::LxcOption;
pub use mismatch::OnMismatch;
pub use network::{Address, MacAddress, Network, NotThat};
pub use storage::{Mount, Volume};
pub use wanted::{ConfiguredSum, WantedDriver};
pub use way::Way;
