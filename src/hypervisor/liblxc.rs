//! Containers that liblxc runs, whoever configures them: their state, commands in them, the door to a running one.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Container, Mount};
use crate::container_id::ContainerId;
use crate::driver::device::is_nvidia_node;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::monitors::Monitors;
use crate::hypervisor::{DriverMount, Exec, State};
use crate::sys::cancel::Cancel;
use crate::sys::command::{Command, Output};
use crate::sys::idmap::{IdMap, Range};
use crate::sys::processes;
use crate::sys::rootfs::Rootfs;

// The exit code of what SIGKILL has ended.
const KILLED: i32 = 137;

/// The containers below one lxcpath, reached with liblxc's own tools (measured with lxc 5.0.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Liblxc<'a> {
    /// Where liblxc has a directory for every container.
    pub(super) lxcpath: &'a Path,
    /// Its containers that run.
    pub(super) monitors: &'a Monitors,
    /// Whether to stop.
    pub(super) cancel: &'a Cancel,
}

impl Liblxc<'_> {
    /// One of liblxc's tools, with the options that name the container.
    pub(super) fn tool(&self, program: impl AsRef<OsStr>, id: ContainerId) -> Command {
        Command::new(program).arg("-P").arg(self.lxcpath).args(["-n", &id.to_string()])
    }

    /// The file that liblxc starts a container from.
    pub(super) fn config(&self, id: ContainerId) -> PathBuf {
        self.lxcpath.join(id.to_string()).join("config")
    }

    /// How a container is; absent when liblxc has no configuration of it.
    ///
    /// # Errors
    /// `lxc-info` cannot be run, or says nothing.
    pub(super) fn state(&self, id: ContainerId) -> Result<State> {
        if !self.config(id).exists() {
            return Ok(State::Absent);
        }
        if let Some(state) = self.monitors.state(id) {
            return Ok(state);
        }
        let output = self.tool("lxc-info", id).args(["-s", "-p"]).run_ok(self.cancel)?.stdout_text();
        state_of(&output).ok_or_else(|| {
            Error::new(Kind::Command, format!("container {id}: `lxc-info` said nothing about its state")).output(output)
        })
    }

    /// Runs a command in a running container; `start` is the command that starts it, for the hint.
    ///
    /// # Errors
    /// It does not run, or the command ran past one of its limits.
    pub(super) fn attach(
        &self,
        id: ContainerId,
        exec: &Exec,
        watch: &mut dyn FnMut(&[u8]),
        start: &str,
    ) -> Result<Output> {
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
            .hint(format!("start it with `{start}`, and check why it stopped"))
            .output(output.last_lines()));
        }
        Ok(output)
    }

    /// Whether a container runs in which a command has just ended like this.
    fn still_runs(&self, id: ContainerId, output: &Output) -> Result<bool> {
        let State::Running { init } = self.state(id)? else { return Ok(false) };
        // When a container is killed, its processes end before its init has, and that before LXC knows.
        Ok(output.code != KILLED || !processes::is_ending(init)?)
    }

    /// The door to the root of a container that runs with this init.
    ///
    /// # Errors
    /// It stopped in between.
    pub(super) fn running_rootfs(&self, id: ContainerId, init: u32) -> Result<Rootfs> {
        let door = root_of_process(id, init)?;
        // Had init died in between, the number could now be a process of another container.
        if self.state(id)? != (State::Running { init }) {
            return Err(stopped_meanwhile(id));
        }
        Ok(door)
    }
}

/// The door to the root of a process of a container, which must be known to be its init.
///
/// # Errors
/// It has ended, and the number is now that of a process of the host, or of none.
pub(super) fn root_of_process(id: ContainerId, init: u32) -> Result<Rootfs> {
    let root = PathBuf::from(format!("/proc/{init}/root"));
    let map = |kind: &str| fs_err::read_to_string(format!("/proc/{init}/{kind}_map"));
    let idmap = IdMap::parse(&map("uid")?, &map("gid")?)?;
    let door = Rootfs::open(&root, idmap, format!("container {id}"))?;
    if is_hosts_root(&root)? { Err(stopped_meanwhile(id)) } else { Ok(door) }
}

fn stopped_meanwhile(id: ContainerId) -> Error {
    Error::new(Kind::Command, format!("container {id} stopped while its root was opened"))
        .hint("run the same command again")
}

/// The idmap of `lxc.idmap` lines, by their values: `u 0 100000 65536`. Without any, the identity.
///
/// # Errors
/// A value that liblxc would not take either, or a map that leaves out users, groups or root.
pub(super) fn idmap_of<'v>(values: impl Iterator<Item = &'v str>, id: ContainerId) -> Result<IdMap> {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for value in values {
        let words: Vec<&str> = value.split_whitespace().collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<u32>().ok());
        let (Some(kind), Some(inside), Some(outside), Some(count)) = (words.first(), number(1), number(2), number(3))
        else {
            return Err(Error::new(
                Kind::Configuration,
                format!("container {id}: `lxc.idmap = {value}` is not an idmap"),
            )
            .hint("it has the form `lxc.idmap = u 0 100000 65536`"));
        };
        let range = Range { inside, outside, count };
        match *kind {
            "u" => users.push(range),
            "g" => groups.push(range),
            _ => {
                users.push(range);
                groups.push(range);
            }
        }
    }
    if users.is_empty() && groups.is_empty() {
        return Ok(IdMap::identity());
    }
    let map = IdMap::new(users, groups);
    match map.lack() {
        None => Ok(map),
        Some(what) => Err(Error::new(
            Kind::Configuration,
            format!("container {id}: its `lxc.idmap` lines do not map {what}, so commands cannot run in it"),
        )
        .hint("an idmap has lines of both kinds, from 0 on: `u 0 100000 65536` and `g 0 100000 65536`")),
    }
}

/// The note about a container whose device nodes are to have owners or permissions of their own, where they cannot: one
/// that `lxc.mount.entry` binds is the host's, with the host's.
pub(super) fn no_access_of_its_own(container: &Container, hypervisor: &str) -> Option<String> {
    (!container.gpu_access.is_none() && !container.gpus.is_none()).then(|| {
        format!(
            "{hypervisor} binds the host's device nodes, so `gpu_mode`, `gpu_uid` and `gpu_gid` change nothing; \
             `NVreg_DeviceFileMode`, `NVreg_DeviceFileUID` and `NVreg_DeviceFileGID` of the module `nvidia` decide for \
             all containers"
        )
    })
}

/// The values of the `lxc.idmap` lines that a container's configuration adds to those that it has.
pub(super) fn configured_idmap(container: &Container) -> impl Iterator<Item = &str> {
    container.lxc_options.iter().filter(|option| option.key == "lxc.idmap").map(|option| option.value.as_str())
}

/// Whether a raw line, by its key and value, passes an NVIDIA device: by its name, or by a major that is NVIDIA's.
pub(super) fn passes_nvidia(key: &str, value: &str, is_nvidias: &dyn Fn(u32) -> bool) -> bool {
    match key {
        "lxc.mount.entry" => passed_node(key, value).is_some(),
        "lxc.cgroup.devices.allow" | "lxc.cgroup2.devices.allow" => {
            let major = value
                .strip_prefix("c ")
                .and_then(|rest| rest.split_once(':'))
                .and_then(|(major, _)| major.trim().parse().ok());
            major.is_some_and(is_nvidias)
        }
        _ => false,
    }
}

/// The NVIDIA device node of the host that a `lxc.mount.entry` passes.
pub(super) fn passed_node(key: &str, value: &str) -> Option<PathBuf> {
    let is_one =
        |source: &PathBuf| source.strip_prefix("/dev").is_ok_and(|name| name.to_str().is_some_and(is_nvidia_node));
    passed_device(key, value).filter(is_one)
}

/// What of the host's `/dev` a `lxc.mount.entry` passes.
pub(super) fn passed_device(key: &str, value: &str) -> Option<PathBuf> {
    let source = value.split_whitespace().next()?;
    (key == "lxc.mount.entry" && source.starts_with("/dev/")).then(|| PathBuf::from(source))
}

/// The value of the `lxc.mount.entry` that lets a container see a driver's image.
pub(super) fn driver_mount(mount: &DriverMount) -> String {
    let inside = escaped(Path::new(mount.target.trim_start_matches('/')));
    format!("{} {inside} none bind,ro,nosuid,nodev,create=dir 0 0", escaped(&mount.source))
}

/// A path as `lxc.mount.entry` wants it, whose fields are parted by blanks as in `fstab`.
pub(super) fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

/// Makes the host's directory of a mount for its owner, where it is missing.
///
/// # Errors
/// The file system refused.
pub(super) fn prepare_mount_source(mount: &Mount, idmap: &IdMap) -> Result<()> {
    let path = &mount.host_path;
    if path.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(path)?;
    let user = mount.owner_uid.and_then(|user| idmap.user(user));
    let group = mount.owner_gid.and_then(|group| idmap.group(group));
    if user.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, user, group)?;
    }
    Ok(())
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

    #[test]
    fn an_idmap_is_read_from_the_values_of_its_lines() {
        let id = "910".parse().unwrap();
        let map = idmap_of(["u 0 100000 65536", "g 0 100000 65536"].into_iter(), id).unwrap();
        assert_eq!(map.user(33), Some(100_033));
        assert!(idmap_of([].into_iter(), id).unwrap().is_identity());
        assert!(idmap_of(["u 0 x 1"].into_iter(), id).is_err());
        let error = idmap_of(["g 0 100000 44", "g 44 44 1"].into_iter(), id).unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.message().contains("do not map users"), "{}", error.message());
    }
}
