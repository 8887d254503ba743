//! Containers that exist: their state, starting and stopping them, running commands in them, reaching their root.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Exec, State};
use crate::sys::cancel::Cancel;
use crate::sys::command::Output;
use crate::sys::idmap::IdMap;
use crate::sys::processes;
use crate::sys::rootfs::Rootfs;

use super::{Lxc, config_file};

// How long a container's init may take to end its processes before it is killed.
const STOP_SECONDS: u64 = 60;
// The exit code of what SIGKILL has ended.
const KILLED: i32 = 137;

impl Lxc<'_> {
    pub(super) fn current_state(&self, id: ContainerId) -> Result<State> {
        self.state_unless(id, self.cancel)
    }

    /// The states of many containers, for which `/proc` is read once.
    pub(super) fn current_states(&self, ids: &[ContainerId]) -> Vec<Result<State>> {
        let listening = self.monitors.listening();
        let state = |id: ContainerId| match &listening {
            Some(listening) if self.config(id).exists() => self.monitors.state_among(id, listening),
            _ => None,
        };
        ids.iter().map(|id| state(*id).map_or_else(|| self.current_state(*id), Ok)).collect()
    }

    fn state_unless(&self, id: ContainerId, cancel: &Cancel) -> Result<State> {
        if !self.config(id).exists() {
            return Ok(State::Absent);
        }
        if let Some(state) = self.monitors.state(id) {
            return Ok(state);
        }
        let output = self.tool("lxc-info", id).args(["-s", "-p"]).run_ok(cancel)?.stdout_text();
        state_of(&output).ok_or_else(|| {
            Error::new(Kind::Command, format!("container {id}: `lxc-info` said nothing about its state")).output(output)
        })
    }

    pub(super) fn bring_up(&self, id: ContainerId) -> Result<()> {
        self.require(id)?;
        match self.current_state(id)? {
            State::Running { .. } => return Ok(()),
            State::Frozen => return self.tool("lxc-unfreeze", id).run_ok(self.cancel).map(|_| ()),
            State::Stopped | State::Absent => {}
        }
        self.tool("lxc-start", id).arg("-d").deadline(Duration::from_secs(120)).run_ok(self.cancel).map_err(
            |error| {
                error.within(format!("container {id} does not start")).hint(format!(
                    "see why with `lxc-start -P {} -n {id} -F -l INFO -o /dev/stderr`",
                    self.lxcpath.display()
                ))
            },
        )?;
        Ok(())
    }

    pub(super) fn bring_down(&self, id: ContainerId) -> Result<()> {
        // Not to be interrupted: what was started for a while must not go on running because of a Ctrl-C.
        let cancel = Cancel::new()?;
        match self.state_unless(id, &cancel)? {
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
        let mut command = self.tool("lxc-attach", id).arg("--clear-env");
        for (key, value) in &exec.environment {
            command = command.arg("-v").arg(format!("{key}={value}"));
        }
        let command = command.arg("--").args(&exec.words).deadline(exec.deadline).output_limit(exec.output_limit);
        let output = command.run_watched(self.cancel, watch)?;
        if !output.success() && !self.still_runs(id, &output)? {
            let first = exec.words.first().map(String::as_str).unwrap_or_default();
            return Err(Error::new(
                Kind::Command,
                format!("container {id} does not run, so `{first}` could not be run in it"),
            )
            .hint(format!("start it with `lxc-start -P {} -n {id}`, and see why it stopped", self.lxcpath.display()))
            .output(output.last_lines()));
        }
        Ok(output)
    }

    /// Whether a container runs in which a command has just ended like this.
    fn still_runs(&self, id: ContainerId, output: &Output) -> Result<bool> {
        let State::Running { init } = self.current_state(id)? else { return Ok(false) };
        // When a container is killed, its processes end before its init has, and that before LXC knows.
        Ok(output.code != KILLED || !processes::is_ending(init)?)
    }

    pub(super) fn open_rootfs(&self, id: ContainerId) -> Result<Rootfs> {
        self.require(id)?;
        let name = format!("container {id}");
        let State::Running { init } = self.current_state(id)? else {
            let config = fs_err::read_to_string(self.config(id))?;
            let Some(root) = config_file::rootfs(&config) else {
                return Err(Error::new(
                    Kind::Command,
                    format!("{name}: its root is not a plain directory, and it does not run"),
                )
                .hint(format!("start it with `lxc-start -P {} -n {id}`", self.lxcpath.display())));
            };
            return Rootfs::open(&root, config_file::idmap(&config, id)?, name);
        };
        let root = PathBuf::from(format!("/proc/{init}/root"));
        let map = |kind: &str| fs_err::read_to_string(format!("/proc/{init}/{kind}_map"));
        let idmap = IdMap::parse(&map("uid")?, &map("gid")?)?;
        let door = Rootfs::open(&root, idmap, name)?;
        // Had init died in between, the number could now be a process of the host, and the door its root.
        if self.current_state(id)? != (State::Running { init }) || is_hosts_root(&root)? {
            return Err(Error::new(Kind::Command, format!("container {id} stopped while its root was opened"))
                .hint("run the same command again"));
        }
        Ok(door)
    }
}

/// Reads what `lxc-info -s -p` prints: `State:          RUNNING` and `PID:            1234`.
fn state_of(output: &str) -> Option<State> {
    let field = |name: &str| output.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()));
    Some(match (field("State")?, field("PID").and_then(|pid| pid.parse().ok())) {
        ("FROZEN", _) => State::Frozen,
        ("RUNNING", Some(init)) => State::Running { init },
        // STOPPED; or STARTING, ABORTING and STOPPING, on its way up or down and of no use yet or any more.
        _ => State::Stopped,
    })
}

fn is_hosts_root(root: &Path) -> Result<bool> {
    let (ours, theirs) = (fs_err::metadata("/")?, fs_err::metadata(root)?);
    Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_lxc_info_5_0_2_prints_them() {
        assert_eq!(state_of("State:          RUNNING\nPID:            15197\n"), Some(State::Running { init: 15197 }));
        assert_eq!(state_of("State:          STOPPED\n"), Some(State::Stopped));
        assert_eq!(state_of("State:          FROZEN\nPID:            15197\n"), Some(State::Frozen));
        assert_eq!(state_of(""), None);
    }
}
