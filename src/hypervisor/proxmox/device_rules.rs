//! Which devices liblxc lets a container open. `pct start` writes a rule for every `devN` from the node as it is on the
//! host at that moment, before it calls any hookscript, and makes the container's own node later, from the node as it is
//! then (`update_lxc_config` and `lxc-pve-prestart-hook` of pve-container 6.1.10). A node that is replaced in between has
//! a number that the container may not open. An unprivileged container may open everything.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::container_id::ContainerId;
use crate::driver::device::DeviceNode;
use crate::error::Result;
use crate::hypervisor::State;
use crate::sys::atomic;

use super::Proxmox;
use super::config_file::{ConfigFile, RawLine};
use super::devices::ALLOW;
use super::keys::index_of;
use super::property;

type Numbers = (u32, u32);

impl Proxmox<'_> {
    /// Those of these nodes that a running container has and may not open.
    pub(super) fn refused_nodes_of(&self, id: ContainerId, devices: &[DeviceNode]) -> Result<Vec<PathBuf>> {
        let Some(config) = self.config_if_there(id)?.filter(|config| !config.is_unprivileged()) else {
            return Ok(Vec::new());
        };
        if !matches!(self.current_state(id)?, State::Running { .. }) {
            return Ok(Vec::new());
        }
        let rules = Rules::of(&fs_err::read_to_string(self.liblxc().config(id))?, &config);
        // What came in while it ran has no rule in that file, and is allowed all the same: it leaves no other behind.
        if rules.left_over(&present(&config)).is_empty() {
            return Ok(Vec::new());
        }
        let is_refused = |node: &&DeviceNode| !rules.allow((node.major, node.minor));
        Ok(devices.iter().filter(is_refused).map(|node| node.path.clone()).collect())
    }

    /// Lets a container that `pct` is about to start open its devices by the numbers that their nodes have now. The file
    /// is `pct`'s, which has just written it and writes it anew at the next start.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn allow_present_nodes(&self, id: ContainerId) -> Result<bool> {
        let Some(config) = self.read(&format!("lxc/{id}.conf"))?.map(ConfigFile::new) else { return Ok(false) };
        let path = self.liblxc().config(id);
        let text = fs_err::read_to_string(&path)?;
        let Some(corrected) = Rules::of(&text, &config).corrected(&text, &present(&config)) else { return Ok(false) };
        let mode = fs_err::metadata(&path)?.permissions().mode();
        atomic::write(&path, corrected.as_bytes(), mode & 0o777)?;
        Ok(true)
    }
}

/// The numbers that the nodes of a container's `devN` have on this host now.
fn present(config: &ConfigFile) -> BTreeSet<Numbers> {
    let entries = config.keys().filter(|(key, _)| index_of(key, "dev").is_some());
    let paths = entries.filter_map(|(_, value)| property::parts(value, "path").remove("path"));
    // Links are followed, as `pct` does; one that leads nowhere keeps the container from starting.
    let nodes = paths.filter_map(|path| fs_err::metadata(path).ok()).filter(|it| it.file_type().is_char_device());
    nodes.map(|it| (rustix::fs::major(it.rdev()), rustix::fs::minor(it.rdev()))).collect()
}

/// The rules of `pct` in liblxc's file, and those of the operator, which are raw lines of `ID.conf`.
struct Rules {
    of_pct: Vec<RawLine>,
    of_operator: Vec<RawLine>,
}

impl Rules {
    fn of(text: &str, config: &ConfigFile) -> Self {
        let rules = text.lines().filter_map(RawLine::parse).filter(is_rule);
        let raw: Vec<RawLine> = config.raw().filter(is_rule).collect();
        let (of_operator, of_pct) = rules.partition(|line| raw.contains(line));
        Self { of_pct, of_operator }
    }

    /// The rules of `pct` for numbers that no node has.
    fn left_over(&self, present: &BTreeSet<Numbers>) -> Vec<&RawLine> {
        self.of_pct.iter().filter(|line| numbers_of(line).is_some_and(|it| !present.contains(&it))).collect()
    }

    fn allow(&self, (major, minor): Numbers) -> bool {
        let every = format!("c {major}:*");
        self.of_pct.iter().chain(&self.of_operator).any(|line| {
            numbers_of(line) == Some((major, minor)) || line.value.starts_with(&every) || line.value.starts_with('a')
        })
    }

    /// The file with a rule for each of these numbers and for no other; nothing where it has them.
    fn corrected(&self, text: &str, present: &BTreeSet<Numbers>) -> Option<String> {
        let left_over = self.left_over(present);
        let missing: Vec<&Numbers> = present.iter().filter(|numbers| !self.allow(**numbers)).collect();
        let key = &left_over.first()?.key;
        let mut new =
            missing.iter().map(|(major, minor)| format!("{key} = c {major}:{minor} rw\n")).collect::<String>();
        let mut corrected = String::new();
        for line in text.split_inclusive('\n') {
            match RawLine::parse(line).filter(|line| left_over.contains(&line)) {
                // The first gives its place to all that come.
                Some(_) => corrected.push_str(&std::mem::take(&mut new)),
                None => corrected.push_str(line),
            }
        }
        Some(corrected)
    }
}

fn is_rule(line: &RawLine) -> bool {
    ALLOW.contains(&line.key.as_str())
}

/// The numbers of a rule for one character device: `c 511:0 rw`.
fn numbers_of(rule: &RawLine) -> Option<Numbers> {
    let (major, minor) = rule.value.strip_prefix("c ")?.split(' ').next()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED_WITH: &str = "\
lxc.arch = amd64
lxc.cgroup2.devices.allow = c 195:0 rw
lxc.cgroup2.devices.allow = c 511:0 rw
lxc.cgroup2.devices.allow = c 511:1 rw
lxc.monitor.unshare = 1
lxc.cgroup2.devices.allow = c 226:* rwm
lxc.cgroup2.devices.allow = c 10:200 rwm
";

    fn rules() -> Rules {
        let raw = "lxc.cgroup2.devices.allow: c 226:* rwm\nlxc.cgroup2.devices.allow: c 10:200 rwm\n";
        Rules::of(STARTED_WITH, &ConfigFile::new(format!("dev0: /dev/nvidia0\n{raw}")))
    }

    #[test]
    fn rules_for_numbers_that_no_node_has_are_replaced_and_an_operators_stay() {
        let present = BTreeSet::from([(195, 0), (508, 0), (508, 1)]);
        let expected = STARTED_WITH.replace("511:", "508:");
        assert_eq!(rules().corrected(STARTED_WITH, &present), Some(expected));
        assert_eq!((rules().allow((508, 0)), rules().allow((195, 0)), rules().allow((226, 7))), (false, true, true));
    }

    #[test]
    fn a_file_whose_rules_are_right_stays_and_so_does_one_that_lacks_those_of_a_device_that_came_later() {
        let right = BTreeSet::from([(195, 0), (511, 0), (511, 1)]);
        assert_eq!(rules().corrected(STARTED_WITH, &right), None);
        let more = BTreeSet::from([(195, 0), (195, 254), (511, 0), (511, 1)]);
        assert!(rules().left_over(&more).is_empty());
    }
}
