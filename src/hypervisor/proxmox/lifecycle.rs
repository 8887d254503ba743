//! Containers that exist: their files, their state, Proxmox's locks on them; starting, stopping, destroying.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::hypervisor::State;
use crate::hypervisor::liblxc::Liblxc;
use crate::sys::cancel::Cancel;

use super::Proxmox;
use super::cluster::{GuestList, Members};
use super::config_file::ConfigFile;
use super::mounted;
use super::node;
use super::pct::{Call, Pct};
use super::record::Record;

// How long a container's init may take to end its processes before it is killed.
const STOP_SECONDS: u64 = 60;
// How long the manager of high availability may take to do what it was asked for.
const HA_PATIENCE: Duration = Duration::from_secs(120);
const DESTROY_DEADLINE: Duration = Duration::from_secs(30 * 60);
// Proxmox's locks are lines in a file, which nobody announces.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);

// pmxcfs 9.1.6 replaces a file in steps: for a moment there is none of that name, and the list of guests has it all the
// same.
const REPLACED_WITHIN: Duration = Duration::from_secs(2);

impl Proxmox<'_> {
    pub(super) fn liblxc(&self) -> Liblxc<'_> {
        Liblxc { lxcpath: &self.node.lxcpath, monitors: &self.monitors, cancel: self.context.cancel }
    }

    pub(super) fn pct(&self) -> Pct<'_> {
        let patience = Some((self.node.patience, self.context.listener));
        Pct { tools: self.node.tools.clone(), cancel: self.context.cancel, patience }
    }

    /// `pct <verb> <id> <words>`.
    pub(super) fn call(&self, verb: &str, id: ContainerId, words: &[&str]) -> Result<()> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        self.pct().run(&Call::new(verb, id, &words)).map(|_| ())
    }

    pub(super) fn config_path(&self, id: ContainerId) -> PathBuf {
        self.node.root.join("lxc").join(format!("{id}.conf"))
    }

    pub(super) fn record_path(&self, id: ContainerId) -> PathBuf {
        self.context.layout.proxmox_record(id)
    }

    pub(super) fn record(&self, id: ContainerId) -> Result<Record> {
        Record::load(&self.record_path(id))
    }

    /// A file of the cluster's file system; none where it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>> {
        node::read(&self.node.root.join(name))
    }

    pub(super) fn members(&self) -> Result<Members> {
        match self.read(".members")? {
            Some(text) => Members::parse(&text),
            None => Err(self.no_cluster_file_system(".members")),
        }
    }

    fn no_cluster_file_system(&self, file: &str) -> Error {
        let path = self.node.root.join(file);
        Error::new(Kind::Host, format!("`{}` is missing: the cluster's file system is not mounted", path.display()))
            .hint("start it with `systemctl start pve-cluster`")
    }

    /// A container's file, if this node has it.
    ///
    /// # Errors
    /// The CTID is a virtual machine's, or another node's.
    pub(super) fn config_if_there(&self, id: ContainerId) -> Result<Option<ConfigFile>> {
        let deadline = Instant::now() + REPLACED_WITHIN;
        loop {
            if let Some(text) = self.read(&format!("lxc/{id}.conf"))? {
                return Ok(Some(ConfigFile::new(text)));
            }
            let (guests, node) = (self.guests()?, self.members()?.nodename);
            guests.require_ours(id, &node)?;
            if !guests.has(id) {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Err(listed_without_file(id));
            }
            std::thread::yield_now();
        }
    }

    pub(super) fn node_of_another(&self, id: ContainerId) -> Result<Option<String>> {
        Ok(self.guests()?.elsewhere(id, &self.members()?.nodename).map(str::to_owned))
    }

    pub(super) fn guests(&self) -> Result<GuestList> {
        let text = self.read(GuestList::FILE)?.ok_or_else(|| self.no_cluster_file_system(GuestList::FILE))?;
        GuestList::parse(&text)
    }

    /// The file of a container that must exist.
    pub(super) fn config(&self, id: ContainerId) -> Result<ConfigFile> {
        self.config_if_there(id)?.ok_or_else(|| {
            Error::new(Kind::Command, format!("container {id} does not exist on this node"))
                .hint(format!("create it with `phoenix-nvidia create {id}`"))
        })
    }

    pub(super) fn current_state(&self, id: ContainerId) -> Result<State> {
        if let Some((_, init)) = self.starting.filter(|(starting, _)| *starting == id) {
            return Ok(State::Running { init });
        }
        let Some(config) = self.config_if_there(id)? else { return Ok(State::Absent) };
        if config.lock() == Some("create") {
            // What we have begun and not finished is not there yet; the next creation clears it away.
            return if self.record(id)?.making.is_some() { Ok(State::Absent) } else { Err(half_made(id)) };
        }
        // liblxc knows a container from its first start on.
        Ok(match self.liblxc().state(id)? {
            State::Absent => State::Stopped,
            state => state,
        })
    }

    /// The file of a container that Proxmox VE has not locked; waits while it has.
    ///
    /// # Errors
    /// It does not exist, it stays locked, or the operator interrupts.
    pub(super) fn unlocked(&self, id: ContainerId) -> Result<ConfigFile> {
        let deadline = Instant::now() + self.node.patience;
        let mut reported = false;
        loop {
            let config = self.config(id)?;
            let Some(lock) = config.lock() else {
                self.remember_as_made(id)?;
                return Ok(config);
            };
            if lock == "mounted" && self.starting.is_none() && self.record(id)?.mounted {
                self.unmount_left(id)?;
                continue;
            }
            if lock == "create" {
                return Err(half_made(id));
            }
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Busy, format!("container {id}: Proxmox VE has it locked: `{lock}`"))
                    .hint(format!("wait for the task that holds it; if there is none, run `pct unlock {id}`")));
            }
            if !reported {
                let reason = format!("Proxmox VE has container {id} locked: `{lock}`");
                self.context.listener.hear(&Event::Waiting { reason });
                reported = true;
            }
            self.context.cancel.wait(LOOK_AGAIN)?;
        }
    }

    /// A container without the lock of its making is whole, whoever was killed meanwhile: a later one of that CTID,
    /// which somebody else begins, must not be taken for ours.
    pub(super) fn remember_as_made(&self, id: ContainerId) -> Result<()> {
        let record = self.record(id)?;
        if record.making.is_none() {
            return Ok(());
        }
        self.free_source(&record)?;
        Record { making: None, ..record }.save(&self.record_path(id))
    }

    /// Waits until a container runs, or does not: with high availability, `pct` only asks for it and returns.
    fn wait_until(&self, id: ContainerId, runs: bool, cancel: &Cancel) -> Result<()> {
        let (liblxc, deadline) = (Liblxc { cancel, ..self.liblxc() }, Instant::now() + HA_PATIENCE);
        while matches!(liblxc.state(id)?, State::Running { .. }) != runs {
            if Instant::now() >= deadline {
                let (verb, seconds) = (if runs { "started" } else { "stopped" }, HA_PATIENCE.as_secs());
                return Err(Error::new(Kind::Command, format!("container {id} was not {verb} within {seconds} s"))
                    .hint("if high availability manages it, see why with `ha-manager status`"));
            }
            cancel.wait(LOOK_AGAIN)?;
        }
        Ok(())
    }

    pub(super) fn bring_up(&self, id: ContainerId) -> Result<()> {
        match self.current_state(id)? {
            State::Running { .. } => return Ok(()),
            State::Frozen => return self.liblxc().tool("lxc-unfreeze", id).run_ok(self.context.cancel).map(|_| ()),
            State::Stopped | State::Absent => {}
        }
        mounted::idmap(&self.unlocked(id)?, id)?;
        self.make_second_nodes(id);
        if let Err(error) = self.call("start", id, &[]) {
            // What has been lost on a full pool is the cause, and `pct` does not know it.
            return self.require_room(id).and(Err(error));
        }
        self.wait_until(id, true, self.context.cancel)
    }

    pub(super) fn bring_down(&self, id: ContainerId) -> Result<()> {
        // Not to be interrupted: what was started for a while must not go on running because of a Ctrl-C.
        let never = Cancel::new()?;
        if self.config_if_there(id)?.is_none() {
            return Ok(());
        }
        let liblxc = Liblxc { cancel: &never, ..self.liblxc() };
        match liblxc.state(id)? {
            State::Stopped | State::Absent => return Ok(()),
            State::Frozen => {
                liblxc.tool("lxc-unfreeze", id).run_ok(&never)?;
            }
            State::Running { .. } => {}
        }
        if !self.context.cancel.is_requested() {
            self.unlocked(id)?;
        }
        let words = ["--forceStop", "1", "--timeout", &STOP_SECONDS.to_string()].map(str::to_owned);
        Pct { cancel: &never, ..self.pct() }.run(&Call::new("shutdown", id, &words))?;
        self.wait_until(id, false, &never)
    }

    pub(super) fn remove(&self, id: ContainerId) -> Result<()> {
        self.clear_half_made(id)?;
        if self.config_if_there(id)?.is_some() {
            self.members()?.require_quorum()?;
            self.unlocked(id)?;
            let force: &[String] = &["--force".to_owned(), "1".to_owned()];
            let words = if self.current_state(id)? == State::Stopped { &[] } else { force };
            self.pct().run(&Call { deadline: DESTROY_DEADLINE, ..Call::new("destroy", id, words) })?;
        }
        Record::default().save(&self.record_path(id))
    }
}

fn listed_without_file(id: ContainerId) -> Error {
    Error::new(
        Kind::Host,
        format!("container {id} is in the cluster's list of guests, but its configuration file is missing"),
    )
    .hint("check the cluster's file system with `systemctl status pve-cluster`, and run this again")
}

/// A container that somebody else makes, or has begun to.
pub(super) fn half_made(id: ContainerId) -> Error {
    Error::new(
        Kind::Busy,
        format!("container {id} is being created by another program: Proxmox VE has it locked: `create`"),
    )
    .hint(format!(
        "wait until that has finished; if nothing works on it any more, run `pct unlock {id} && pct destroy {id} \
         --destroy-unreferenced-disks 1`"
    ))
}
