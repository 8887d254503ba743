//! Bringing a container up: more than one attempt, and a look at what came of it: its root answers, its systemd has
//! settled, its network is there.

use std::time::{Duration, Instant};

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Exec, State};
use crate::sys::command::Output;

use crate::fleet::Fleet;
use crate::fleet::apply::network::{self, Interfaces};
use crate::fleet::observe::passthrough::minors_of;

/// As often as the operators' scripts have always tried.
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
// Nobody announces that a container answers, or that its network has come up.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a question to a container may take; systemd's bus may not be there yet.
const QUESTION: Duration = Duration::from_secs(10);
/// What the shell of `lxc-attach` says of a program that is not there: the container has answered all the same.
const NO_SUCH_PROGRAM: i32 = 127;

impl Fleet<'_> {
    /// Starts a container, up to three times where the hypervisor says that it did not come up, until its root answers.
    pub(crate) fn start(&self, id: ContainerId) -> Result<()> {
        self.mount_images(id)?;
        self.make_nodes(&[id]);
        for attempt in 1..=ATTEMPTS {
            let started = self.hypervisor.start(id).and_then(|()| self.require_answer(id));
            match started {
                // Other causes of a failed start do not go away with another attempt.
                Err(error) if attempt < ATTEMPTS && error.kind() == Kind::Command => {
                    let text = format!("attempt {attempt} of {ATTEMPTS} to start it failed: {}", error.message());
                    self.context.listener.warn(Some(id), text);
                    self.context.cancel.wait(BETWEEN_ATTEMPTS)?;
                }
                ended => return ended,
            }
        }
        Ok(())
    }

    /// Makes the device nodes of these containers' GPUs where they are missing or wrong. Proxmox VE looks at them before
    /// it calls any hook, and starts nothing that lacks one; what cannot be made is reported where it is looked for.
    pub(crate) fn make_nodes(&self, ids: &[ContainerId]) {
        if self.host.loaded.is_none() {
            return;
        }
        for id in ids {
            let minors = self.configuration.container(*id).and_then(|container| minors_of(container, self.host));
            let made = minors.and_then(|minors| match self.host.require_nodes(&minors) {
                Ok(()) => Ok(Vec::new()),
                Err(_) if minors.is_empty() => Ok(Vec::new()),
                Err(_) => self.host.make_nodes_for(&minors),
            });
            match made {
                Ok(changes) => changes.iter().for_each(|change| self.context.listener.note(Some(*id), change.phrase())),
                Err(error) => tracing::debug!("container {id}: {error}"),
            }
        }
    }

    /// Waits until commands can be run in a container as its root.
    fn require_answer(&self, id: ContainerId) -> Result<()> {
        let deadline = Instant::now() + QUESTION;
        loop {
            self.init(id)?;
            let question = Exec { deadline: QUESTION, ..Exec::new(["true"]) };
            let output = self.hypervisor.exec(id, &question, &mut |_| {})?;
            if output.success() || output.code == NO_SUCH_PROGRAM {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Command, format!("container {id} runs, but commands cannot run in it"))
                    .hint(format!("inspect it with `lxc-attach -n {id} -- true`"))
                    .output(output.last_lines()));
            }
            self.context.cancel.wait(LOOK_AGAIN)?;
        }
    }

    /// Waits until the systemd of a container that was just started has come to an end with that, as long as the
    /// operator's patience lasts; units that have failed, or that never end, are not ours to judge.
    pub(crate) fn wait_for_systemd(&self, id: ContainerId) -> Result<()> {
        let deadline = Instant::now() + self.boot_patience;
        loop {
            let comm = fs_err::read_to_string(format!("/proc/{}/comm", self.init(id)?));
            // Between `exec` and its own name, an init is what has started it.
            if !comm.is_ok_and(|name| ["systemd\n", "init\n", "lxc-start\n"].contains(&name.as_str())) {
                return Ok(());
            }
            let answer = self.ask_systemd(id)?;
            let state = answer.as_ref().map(|output| output.stdout_text().trim().to_owned()).unwrap_or_default();
            if answer.is_some_and(|output| output.code == NO_SUCH_PROGRAM) || state == "running" {
                return Ok(());
            }
            if state == "degraded" {
                self.context
                    .listener
                    .note(Some(id), "some of its systemd units failed: see `systemctl --failed` in the container");
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seconds = self.boot_patience.as_secs();
                let said = if state.is_empty() { "does not answer" } else { "is in another state" };
                let text = format!("after {seconds} s, its systemd {said}: see `systemctl list-jobs` in the container");
                self.context.listener.warn(Some(id), text);
                return Ok(());
            }
            self.context.cancel.wait(LOOK_AGAIN)?;
        }
    }

    /// What `systemctl` in a container answers; nothing where that takes too long, as it does while a busy host starts
    /// many of them.
    fn ask_systemd(&self, id: ContainerId) -> Result<Option<Output>> {
        let question = Exec { deadline: QUESTION, ..Exec::new(["systemctl", "is-system-running"]) };
        let asked = Instant::now();
        match self.hypervisor.exec(id, &question, &mut |_| {}) {
            Err(error) if error.kind() == Kind::Command && asked.elapsed() >= QUESTION => Ok(None),
            answered => answered.map(Some),
        }
    }

    /// That a running container has the address and the route that its configuration gives it; one from a DHCP server
    /// may take a while.
    pub(crate) fn require_network(&self, container: &Container) -> Result<()> {
        let Some(wanted) = &container.network else { return Ok(()) };
        let (id, deadline) = (container.id, Instant::now() + self.boot_patience);
        loop {
            let State::Running { init } = self.hypervisor.state(id)? else { return Ok(()) };
            let Some(missing) = network::missing(wanted, &Interfaces::of_process(init)?) else { return Ok(()) };
            if Instant::now() >= deadline {
                let seconds = self.boot_patience.as_secs();
                let message = format!("container {id}: after {seconds} s, its network has {missing}");
                return Err(Error::new(Kind::Verification, message).hint(
                    "check the network configuration in the container and the bridge on the host, then run the same \
                     command again",
                ));
            }
            self.context.cancel.wait(LOOK_AGAIN)?;
        }
    }

    /// The process of a container's init.
    fn init(&self, id: ContainerId) -> Result<u32> {
        self.hypervisor.state(id)?.init().ok_or_else(|| {
            let command = match self.hypervisor.name() {
                "proxmox" => format!("pct start {id} --debug 1"),
                _ => format!("lxc-start -n {id} -F -l INFO -o /dev/stderr"),
            };
            Error::new(Kind::Command, format!("container {id} stopped right after its start"))
                .hint(format!("see why with `{command}`"))
        })
    }
}
