//! What this host's kernel offers that the settings of a container depend on.

use std::path::Path;

/// Read once; these do not change while a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostFeatures {
    /// Only cgroup v2 is mounted. On hybrid hosts the v1 controllers are the ones that enforce.
    pub(super) pure_cgroup2: bool,
    /// The kernel has AppArmor switched on.
    pub(super) apparmor: bool,
    /// Swap can be limited.
    pub(super) swap_limit: bool,
}

impl HostFeatures {
    pub(super) fn read() -> Self {
        let pure_cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
        Self {
            pure_cgroup2,
            apparmor: enabled.is_ok_and(|text| text.trim() == "Y"),
            swap_limit: pure_cgroup2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        }
    }
}
