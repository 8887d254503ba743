//! Rules about our systemd units: installed, enabled.

use std::path::Path;

use super::{Finding, Rule};

const HOST: &str = "phoenix-nvidia-host.service";
const FOLLOW: &str = "phoenix-nvidia-follow.timer";
const PLACES: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// What is known of our units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UnitsState {
    /// The host runs systemd, so units mean something.
    pub(super) systemd: bool,
    /// The host has a loaded NVIDIA module, so its nodes must be made at boot.
    pub(super) nvidia: bool,
    /// The unit that makes the device nodes.
    pub(super) host: Unit,
    /// The timer that follows the host's driver.
    pub(super) follow: Unit,
}

/// One unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its file is there.
    pub(super) installed: bool,
    /// Something wants it at boot.
    pub(super) enabled: bool,
}

impl UnitsState {
    /// Looks below a root directory, `/` as a rule. What cannot be read is not there.
    pub(super) fn observe(root: &Path, nvidia: bool) -> Self {
        let unit = |name: &str| Unit {
            installed: PLACES.iter().any(|place| root.join(place).join(name).exists()),
            enabled: wanted(&root.join(PLACES[0]), name),
        };
        Self { systemd: root.join("run/systemd/system").is_dir(), nvidia, host: unit(HOST), follow: unit(FOLLOW) }
    }
}

/// Whether a `.wants` or `.requires` directory has a link of this name.
fn wanted(directory: &Path, name: &str) -> bool {
    let Ok(entries) = fs_err::read_dir(directory) else { return false };
    let directories = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wants = |path: &Path| path.extension().is_some_and(|it| it == "wants" || it == "requires");
    directories.filter(|path| wants(path)).any(|path| fs_err::symlink_metadata(path.join(name)).is_ok())
}

/// Every rule of this subject.
pub(super) fn examine(state: &UnitsState) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !state.systemd || !state.nvidia {
        return findings;
    }
    if !state.host.enabled {
        let (what, remedy) = match state.host.installed {
            true => ("installed, but not enabled", format!("systemctl enable {HOST}")),
            false => ("not installed", format!("install it as `docs/host.md` says, then `systemctl enable {HOST}`")),
        };
        let cause =
            format!("`{HOST}` is {what}: after a boot, containers may start before their device nodes are there");
        findings.push(Finding::new(Rule::UnitNotEnabled, cause, remedy));
    }
    if state.follow.installed && !state.follow.enabled {
        let cause = "after a change of the host's driver, containers keep their driver until you run `apply`";
        let remedy = "systemctl enable --now phoenix-nvidia-follow.timer phoenix-nvidia-follow.path";
        findings.push(Finding::new(Rule::FollowNotEnabled, cause, remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;

    fn touch(root: &Path, path: &str) {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        crate::sys::atomic::write(&path, b"", 0o644).unwrap();
    }

    fn found(root: &Path) -> Vec<&'static str> {
        rules_of(&examine(&UnitsState::observe(root, true)))
    }

    #[test]
    fn a_unit_is_enabled_when_something_wants_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(found(root), Vec::<&str>::new(), "without systemd, units mean nothing");
        fs_err::create_dir_all(root.join("run/systemd/system")).unwrap();
        assert_eq!(found(root), ["unit-not-enabled"]);
        assert!(examine(&UnitsState::observe(root, true))[0].cause.contains("not installed"));
        touch(root, "usr/lib/systemd/system/phoenix-nvidia-host.service");
        touch(root, "usr/lib/systemd/system/phoenix-nvidia-follow.timer");
        assert_eq!(found(root), ["unit-not-enabled", "follow-not-enabled"]);
        touch(root, "etc/systemd/system/multi-user.target.wants/phoenix-nvidia-host.service");
        touch(root, "etc/systemd/system/timers.target.wants/phoenix-nvidia-follow.timer");
        assert_eq!(found(root), Vec::<&str>::new());
        assert_eq!(examine(&UnitsState::observe(root, false)), []);
    }
}
