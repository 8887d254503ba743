//! The state of containers in one table: wanted, host, installed, reported, cached. Changes nothing.

use crate::cache::Presence as Cached;
use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::error::Result;
use crate::hypervisor::State;
use crate::install::presence::{self, Presence};
use crate::install::verify::Verdict;

use super::{Fleet, cards, request};

/// One row of the table.
#[derive(Debug, serde::Serialize)]
pub struct ContainerStatus {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// `absent`, `stopped`, `running` or `frozen`.
    pub state: &'static str,
    /// The GPUs that are assigned to it.
    pub gpus: Vec<String>,
    /// The version that the configuration names; absent when it asks for no driver.
    pub wanted: Option<DriverVersion>,
    /// The version of the host's loaded kernel module.
    pub host: Option<DriverVersion>,
    /// The version of the files in the container.
    pub installed: Option<DriverVersion>,
    /// What `nvidia-smi` in the container reports, one entry per GPU.
    pub reported: Vec<DriverVersion>,
    /// Whether the run file is cached: `yes`, `unchecked`, `partly`, `no`.
    pub cached: Option<&'static str>,
    /// What follows, in a word or two.
    pub verdict: &'static str,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// Its GPUs that are other cards than when it was configured, one sentence each.
    pub moved_cards: Vec<String>,
}

impl Fleet<'_> {
    /// The state of one container; whatever cannot be found out is said in the row.
    pub fn status(&self, id: ContainerId) -> ContainerStatus {
        let mut row = ContainerStatus {
            id,
            name: String::new(),
            state: "unknown",
            gpus: Vec::new(),
            wanted: None,
            host: self.host.loaded.clone(),
            installed: None,
            reported: Vec::new(),
            cached: None,
            verdict: "error",
            reason: None,
            moved_cards: Vec::new(),
        };
        let filled = self.configuration.container(id).and_then(|container| self.fill(container, &mut row));
        if let Err(error) = filled {
            row.verdict = "error";
            row.reason = Some(error.message().to_owned());
        }
        row
    }

    fn fill(&self, container: &Container, row: &mut ContainerStatus) -> Result<()> {
        row.name.clone_from(&container.name);
        row.gpus = container.gpus.iter().map(ToString::to_string).collect();
        if let Some(driver) = &container.driver {
            row.wanted = Some(driver.version.clone());
            row.cached = Some(match self.cache.look(&request(driver))? {
                Cached::Trusted { .. } => "yes",
                Cached::Unchecked { .. } => "unchecked",
                Cached::Partial { .. } => "partly",
                Cached::Absent => "no",
            });
        }
        let state = self.hypervisor.state(container.id)?;
        row.state = state.word();
        if state != State::Absent {
            row.moved_cards = cards::moved_since(self.layout, container, self.host)?;
        }
        let Some(wanted) = row.wanted.clone() else {
            row.verdict = "no driver wanted";
            return Ok(());
        };
        if state == State::Absent {
            row.verdict = "absent";
            return Ok(());
        }
        if !matches!(state, State::Running { .. }) {
            return self.fill_stopped(container, &wanted, row);
        }
        let verification = self.verification(container)?;
        row.installed = verification.installed;
        row.reported = verification.reported;
        (row.verdict, row.reason) = match verification.verdict {
            Verdict::Verified => ("verified", None),
            Verdict::NotVerifiedLive { reason } => ("installed, not verified live", Some(reason)),
            Verdict::Wrong { reason, .. } => ("wrong", Some(reason)),
        };
        Ok(())
    }

    fn fill_stopped(&self, container: &Container, wanted: &DriverVersion, row: &mut ContainerStatus) -> Result<()> {
        let Some(rootfs) = self.hypervisor.rootfs_at_hand(container.id)? else {
            row.verdict = "unknown";
            row.reason = Some("the container does not run, and its disk is not mounted".to_owned());
            return Ok(());
        };
        let presence = presence::observe(&self.site(container.id), &rootfs)?;
        row.installed = presence.version().cloned();
        (row.verdict, row.reason) = match presence {
            Presence::Absent => ("not installed", None),
            Presence::Complete { version, .. } if version == *wanted => {
                ("installed, not verified live", Some("the container does not run".to_owned()))
            }
            Presence::Complete { version, .. } => ("wrong", Some(format!("{version} is installed"))),
            Presence::Incomplete { why, .. } => ("wrong", Some(why)),
        };
        Ok(())
    }
}
