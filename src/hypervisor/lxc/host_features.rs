//! What this host offers that the settings of a container depend on.

use std::path::Path;

use crate::error::Result;
use crate::sys::cancel::Cancel;
use crate::sys::command::Command;

/// Read once; these do not change while a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostFeatures {
    /// Which version of cgroups the lines of a container are for.
    pub(super) cgroups: Cgroups,
    /// The kernel has AppArmor switched on.
    pub(super) apparmor: bool,
    /// Swap can be limited.
    pub(super) swap_limit: bool,
}

/// The version of cgroups that a container's lines are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// `lxc.cgroup.*`: the controllers of version 1, which are those that enforce wherever they are mounted, beside
    /// version 2 (hybrid) or alone. liblxc before 7 ignores the lines of the other version then.
    First,
    /// `lxc.cgroup2.*`: version 2 alone is mounted, or liblxc knows no other. liblxc 7 refuses a configuration with a
    /// `lxc.cgroup.*` line (`Unsupported config key`), and limits nothing on a hybrid host.
    Second,
}

impl HostFeatures {
    /// Reads them.
    ///
    /// # Errors
    /// liblxc's version decides something, and its tools cannot be asked.
    pub(super) fn read(cancel: &Cancel) -> Result<Self> {
        let is_second_alone = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        // A process is started only where its answer decides something.
        let cgroups = if is_second_alone || knows_second_alone(cancel)? { Cgroups::Second } else { Cgroups::First };
        let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
        Ok(Self {
            cgroups,
            apparmor: enabled.is_ok_and(|text| text.trim() == "Y"),
            swap_limit: is_second_alone || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        })
    }
}

/// Whether this host's liblxc knows `lxc.cgroup2.*` alone. It knows the other, too, where the file that every container
/// includes has such lines; only where it has none is its version asked for.
fn knows_second_alone(cancel: &Cancel) -> Result<bool> {
    let common = fs_err::read_to_string("/usr/share/lxc/config/common.conf").unwrap_or_default();
    if has_lines_of_first(&common) {
        return Ok(false);
    }
    let output = Command::new("lxc-start").arg("--version").run_ok(cancel)?;
    Ok(major_version(&output.stdout_text()).is_some_and(|major| major >= 7))
}

fn has_lines_of_first(config: &str) -> bool {
    config.lines().any(|line| line.trim_start().starts_with("lxc.cgroup.devices."))
}

/// Reads what `lxc-start --version` prints: `5.0.2`, `7.0.0`.
fn major_version(printed: &str) -> Option<u32> {
    printed.trim().split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_version_1_are_reported_from_those_of_version_2() {
        assert!(has_lines_of_first("# x\nlxc.cgroup.devices.deny = a\n"));
        assert!(!has_lines_of_first("lxc.cgroup2.devices.deny = a\n#lxc.cgroup.devices.deny = a\n"));
    }

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major_version("5.0.2\n"), Some(5));
        assert_eq!(major_version("7.0.0\n"), Some(7));
        assert_eq!(major_version("10.1\n"), Some(10));
        assert_eq!(major_version("lxc-start: no\n"), None);
    }
}
