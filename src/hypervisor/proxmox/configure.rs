//! Bringing an existing container's settings to where they should be: one `pct set`, and one edit of raw lines.

use crate::error::{Error, Kind, Result};
use crate::hypervisor::liblxc::{passed_node, prepare_mount_source};
use crate::hypervisor::majors::Majors;
use crate::hypervisor::{Desired, Drift, State};
use crate::sys::atomic;

use super::Proxmox;
use super::config_file::{ConfigFile, RawLine};
use super::devices;
use super::mounted;
use super::optional_nodes;
use super::pct::Call;
use super::record::Record;
use super::settings::{self, Changes, Surroundings};
use super::version::Version;

// How often an edit begins anew because somebody else was quicker.
const ATTEMPTS: usize = 3;
// pmxcfs gives every file these bits, and refuses others.
const MODE: u32 = 0o640;

impl Proxmox<'_> {
    pub(super) fn version(&self) -> Result<Version> {
        if let Some(version) = self.version.get() {
            return Ok(*version);
        }
        let version = self.pct().version()?;
        Ok(*self.version.get_or_init(|| version))
    }

    pub(super) fn surroundings(&self) -> Result<Surroundings> {
        Ok(Surroundings { version: self.version()?, majors: Majors::read()?, allow: devices::allow_here() })
    }

    pub(super) fn drift_of(&self, desired: &Desired<'_>) -> Result<Drift> {
        let id = desired.container.id;
        let (config, record, surroundings) = (self.config(id)?, self.record(id)?, self.surroundings()?);
        let changes = Changes::between(&config, desired, &record, &surroundings);
        let restart = match self.current_state(id)? {
            State::Running { .. } => {
                changes.need_restart(&config, surroundings.version)
                    || waits_for_restart(&config, desired)
                    || self.runs_with_other_lines(&config, desired, &record, &surroundings)?
                    || !self.refused_nodes_of(id, &desired.devices)?.is_empty()
            }
            _ => false,
        };
        Ok(Drift { changes: changes.phrases(&config), restart })
    }

    /// Whether a running container was started with other raw lines of ours or of NVIDIA's than it should have now:
    /// Proxmox VE writes liblxc's own file anew at every start.
    fn runs_with_other_lines(
        &self,
        config: &ConfigFile,
        desired: &Desired<'_>,
        record: &Record,
        surroundings: &Surroundings,
    ) -> Result<bool> {
        let started_with = fs_err::read_to_string(self.liblxc().config(desired.container.id))?;
        let started_with: Vec<RawLine> = started_with.lines().filter_map(RawLine::parse).collect();
        let wanted = settings::raw(config, desired, record, surroundings);
        let stale = |line: &RawLine| {
            let node = passed_node(&line.key, &line.value);
            let is_stale = node.is_some_and(|node| !desired.kept.contains(&node) && !wanted.contains(line));
            is_stale && !optional_nodes::waits_for_a_start(line)
        };
        // An image is mounted in a container that runs, and whether it sees it is looked at there.
        let waits = |line: &RawLine| settings::is_driver_mount(line) || optional_nodes::waits_for_a_start(line);
        let missing = |line: &RawLine| !waits(line) && !started_with.contains(line);
        Ok(started_with.iter().any(stale) || wanted.iter().any(missing))
    }

    pub(super) fn write_settings(&self, desired: &Desired<'_>) -> Result<()> {
        let id = desired.container.id;
        let config = self.unlocked(id)?;
        let (mut record, surroundings) = (self.record(id)?, self.surroundings()?);
        let changes = Changes::between(&config, desired, &record, &surroundings);
        if !changes.is_empty() {
            self.members()?.require_quorum()?;
            let idmap = mounted::idmap(&config, id)?;
            desired.container.mounts.iter().try_for_each(|mount| prepare_mount_source(mount, &idmap))?;
        }
        let mut given = settings::given(&config, desired, &record, &surroundings);
        // What stays because the host lacks something for the moment is ours as before.
        let stays = |line: &RawLine| record.raw.contains(line) && !changes.raw_gone.contains(line);
        given.raw.extend(config.raw().filter(stays));
        if !changes.is_empty() {
            // Before anything is given: what a killed run has given must be known as ours, too.
            record.raw.extend(given.raw.iter().cloned());
            record.devices.extend(given.devices.iter().cloned());
            record.mounts.extend(given.mounts.iter().cloned());
            record.save(&self.record_path(id))?;
        }
        // A `pct` that starts the container holds its lock and waits for this program: another would wait for both.
        if changes.needs_pct() && self.starting.is_none() {
            self.set(desired, &record, &changes, &surroundings)?;
        }
        self.write_raw_lines(desired, &record, &surroundings)?;
        Record { mounted: record.mounted, ..given }.save(&self.record_path(id))
    }

    /// `pct set`, which may fail over something else after it has written everything.
    fn set(
        &self,
        desired: &Desired<'_>,
        record: &Record,
        changes: &Changes,
        surroundings: &Surroundings,
    ) -> Result<()> {
        let id = desired.container.id;
        let Err(error) = self.pct().run(&Call::new("set", id, &changes.words())) else { return Ok(()) };
        if Changes::between(&self.config(id)?, desired, record, surroundings).needs_pct() {
            return Err(error.within(format!("container {id}: its settings could not be written")));
        }
        let text = format!("`pct set` failed, but the settings are written: {}", error.message());
        self.context.listener.warn(Some(id), text);
        Ok(())
    }

    /// What `pct` has no option for: raw lines, in the main section alone.
    fn write_raw_lines(&self, desired: &Desired<'_>, record: &Record, surroundings: &Surroundings) -> Result<()> {
        let id = desired.container.id;
        for _ in 0..ATTEMPTS {
            let config = self.unlocked(id)?;
            let changes = Changes::between(&config, desired, record, surroundings);
            if changes.raw_gone.is_empty() && changes.raw_come.is_empty() {
                return Ok(());
            }
            let edited = config.edited(&changes.raw_gone, &changes.raw_come);
            if self.replace_if_unchanged(&config, &edited, id)? {
                return Ok(());
            }
        }
        Err(Error::new(Kind::Busy, format!("container {id}: another process keeps changing its configuration"))
            .hint("wait until it has finished, then run the same command again"))
    }

    /// Replaces a container's file as a whole, unless it is not what was read any more.
    fn replace_if_unchanged(
        &self,
        read: &ConfigFile,
        edited: &str,
        id: crate::container_id::ContainerId,
    ) -> Result<bool> {
        if self.config(id)? != *read {
            return Ok(false);
        }
        let Err(error) = atomic::write(&self.config_path(id), edited.as_bytes(), MODE) else { return Ok(true) };
        // The quorum may have gone since it was looked for.
        self.members()?.require_quorum()?;
        Err(error
            .within(format!("container {id}: its settings could not be written to the cluster's file system"))
            .hint("check `systemctl status pve-cluster` and `pvecm status`"))
    }
}

/// Whether a change of ours has not come into a running container yet, and is worth a restart.
fn waits_for_restart(config: &ConfigFile, desired: &Desired<'_>) -> bool {
    let pending = config.pending();
    let is_modeset =
        |key: &str| pending.deleted.contains(key) && config.value(key).is_some_and(optional_nodes::is_modeset);
    pending.keys().any(|key| settings::is_ours(key, desired.container) && !is_modeset(key))
}
