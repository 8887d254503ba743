//! Containers that exist: their state, starting and stopping them, running commands in them, reaching their root.

use std::time::Duration;

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::liblxc::{self, Liblxc};
use crate::hypervisor::{Exec, State};
use crate::sys::cancel::Cancel;
use crate::sys::command::Output;
use crate::sys::rootfs::Rootfs;

use super::start_log::{self, StartLog};
use super::{Lxc, config_file};

// How long a container's init may take to end its processes before it is killed.
const STOP_SECONDS: u64 = 60;

impl Lxc<'_> {
    pub(super) fn current_state(&self, id: ContainerId) -> Result<State> {
        match self.starting.filter(|starting| starting.id == id && self.config(id).exists()) {
            Some(starting) => Ok(starting.init.map_or(State::Stopped, |init| State::Running { init })),
            None => self.liblxc().state(id),
        }
    }

    /// The states of many containers, for which `/proc` is read once.
    pub(super) fn current_states(&self, ids: &[ContainerId]) -> Vec<Result<State>> {
        let listening = self.monitors.listening();
        let state = |id: ContainerId| match &listening {
            Some(listening) if self.config(id).exists() && self.plain(id).is_ok() => {
                self.monitors.state_among(id, listening)
            }
            _ => None,
        };
        ids.iter().map(|id| state(*id).map_or_else(|| self.plain(*id)?.current_state(*id), Ok)).collect()
    }

    pub(super) fn bring_up(&self, id: ContainerId) -> Result<()> {
        self.require(id)?;
        match self.current_state(id)? {
            State::Running { .. } => return Ok(()),
            State::Frozen => return self.tool("lxc-unfreeze", id).run_ok(self.cancel).map(|_| ()),
            State::Stopped | State::Absent => {}
        }
        self.idmap(id)?;
        let log = self.start_log(id)?;
        let mut start = self.tool("lxc-start", id).arg("-d").deadline(Duration::from_secs(120));
        if let Some(log) = &log {
            start = start.args(["-l", "ERROR", "-o"]).arg(log.path());
        }
        start.run_ok(self.cancel).map(|_| ()).map_err(|error| {
            let reason = log.as_ref().and_then(StartLog::first_error);
            let see =
                || format!("see why with `lxc-start -P {} -n {id} -F -l INFO -o /dev/stderr`", self.lxcpath.display());
            let hint = reason.as_deref().and_then(start_log::remedy).unwrap_or_else(see);
            let message = match reason {
                Some(reason) => format!("container {id} does not start: {reason}"),
                None => format!("container {id} does not start"),
            };
            error.within(message).hint(hint)
        })
    }

    fn start_log(&self, id: ContainerId) -> Result<Option<StartLog>> {
        let directory = self.lxcpath.join(id.to_string());
        let read = |name: &str| fs_err::read_to_string(directory.join(name)).unwrap_or_default();
        StartLog::of(&directory, &(read("config") + &read(config_file::FILE)))
    }

    pub(super) fn bring_down(&self, id: ContainerId) -> Result<()> {
        // Not to be interrupted: what was started for a while must not go on running because of a Ctrl-C.
        let cancel = Cancel::new()?;
        match (Liblxc { cancel: &cancel, ..self.liblxc() }).state(id)? {
            State::Stopped | State::Absent => return Ok(()),
            State::Frozen => {
                self.tool("lxc-unfreeze", id).run_ok(&cancel)?;
            }
            State::Running { .. } => {}
        }
        let deadline = Duration::from_secs(STOP_SECONDS + 30);
        let stop = self.tool("lxc-stop", id).args(["-t", &STOP_SECONDS.to_string()]).deadline(deadline);
        stop.run_ok(&cancel).map(|_| ()).map_err(|error| error.within(format!("container {id} does not stop")))
    }

    pub(super) fn remove(&self, id: ContainerId) -> Result<()> {
        self.clear_staging(id)?;
        if self.current_state(id)? == State::Absent {
            return Ok(());
        }
        self.tool("lxc-destroy", id)
            .arg("-f")
            .deadline(Duration::from_secs(30 * 60))
            .run_ok(self.cancel)
            .map(|_| ())
            .map_err(|error| error.within(format!("container {id} could not be destroyed")))
    }

    pub(super) fn attach(&self, id: ContainerId, exec: &Exec, watch: &mut dyn FnMut(&[u8])) -> Result<Output> {
        self.liblxc().attach(id, exec, watch, &format!("lxc-start -P {} -n {id}", self.lxcpath.display()))
    }

    pub(super) fn open_rootfs(&self, id: ContainerId) -> Result<Rootfs> {
        self.require(id)?;
        let name = format!("container {id}");
        let State::Running { init } = self.current_state(id)? else {
            let config = config_file::read(&self.config(id))?;
            let Some(root) = config_file::rootfs(&config) else {
                return Err(Error::new(
                    Kind::Command,
                    format!("{name}: the root file system is not a plain directory, and the container is not running"),
                )
                .hint(format!("start it with `lxc-start -P {} -n {id}`", self.lxcpath.display())));
            };
            return Rootfs::open(&root, self.idmap(id)?, name);
        };
        match self.starting.is_some() {
            true => liblxc::root_of_process(id, init),
            false => self.liblxc().running_rootfs(id, init),
        }
    }
}
