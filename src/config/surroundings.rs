//! What is around a container's entry when it is read.

use super::hypervisor::Hypervisor;
use super::on_host::OnHost;
use crate::container_id::ContainerId;

/// What is around a container when it is read.
pub(super) struct Surroundings<'s, 'd> {
    pub(super) hypervisor: &'s Hypervisor<'d>,
    /// The machine's architecture, `x86_64`.
    pub(super) architecture: &'s str,
    /// The host that it is read on, where somebody has looked at it.
    pub(super) host: Option<OnHost<'s>>,
    /// Whether the file defines a container.
    pub(super) defined: &'s dyn Fn(ContainerId) -> bool,
}
