//! Which of liblxc's containers run, read from `/proc` without starting a process (measured with lxc 5.0.2).
//!
//! A container that runs has a monitor: a process of the host that listens on the abstract socket
//! `<lxcpath>/<name>/command` and whose child is the container's init. One that `lxc-start -d` has left is titled
//! `[lxc monitor] <lxcpath> <name>`; one in the foreground keeps its command line, as Proxmox VE's
//! `/usr/bin/lxc-start -F -n 901` does (the unit `pve-container@901` of pve-container 6.1.10). Where nobody listens,
//! the container is stopped; `lxc-info` finds it out in the same way. Whatever is not plain is not answered here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::container_id::ContainerId;
use crate::hypervisor::State;
use crate::sys::processes;

/// The lxcpath of a `lxc-start` that names none, unless `/etc/lxc/lxc.conf` says otherwise.
const DEFAULT_LXCPATH: &str = "/var/lib/lxc";
// `sun_path` of unix(7) has 108 bytes, of which an abstract name has the first for a NUL; liblxc hashes longer ones.
const LONGEST_NAME: usize = 107;

/// The monitors of one lxcpath's containers, as far as they have been found.
#[derive(Debug)]
pub(super) struct Monitors {
    lxcpath: String,
    /// The monitors' processes; looked at again each time before they are believed.
    found: Mutex<BTreeMap<ContainerId, u32>>,
}

/// The containers that somebody listens for.
#[derive(Debug)]
pub(super) struct Listening(BTreeSet<ContainerId>);

impl Monitors {
    pub(super) fn new(lxcpath: &Path) -> Self {
        // liblxc takes the slashes at the end away before it makes a name of the path.
        let lxcpath = lxcpath.to_string_lossy().trim_end_matches('/').to_owned();
        Self { lxcpath, found: Mutex::default() }
    }

    /// The state of a container that exists; `None` when it cannot be known from `/proc` alone.
    pub(super) fn state(&self, id: ContainerId) -> Option<State> {
        self.known_monitor(id).map_or_else(|| self.state_among(id, &self.listening()?), running)
    }

    /// The same, where [`Monitors::listening`] has been asked before.
    pub(super) fn state_among(&self, id: ContainerId, listening: &Listening) -> Option<State> {
        if self.socket(id).len() > LONGEST_NAME {
            return None;
        }
        if !listening.0.contains(&id) {
            return Some(State::Stopped);
        }
        if self.known_monitor(id).is_none() {
            self.find_all();
        }
        running(self.known_monitor(id)?)
    }

    /// Reads `/proc/net/unix` once, for all containers.
    pub(super) fn listening(&self) -> Option<Listening> {
        let text = fs_err::read("/proc/net/unix").ok()?;
        Some(Listening(listening_in(&String::from_utf8_lossy(&text), &self.lxcpath)))
    }

    fn socket(&self, id: ContainerId) -> String {
        format!("{}/{id}/command", self.lxcpath)
    }

    /// The monitor that was found before, if it still is one.
    fn known_monitor(&self, id: ContainerId) -> Option<u32> {
        let process = *self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?;
        (self.monitored_by(process)? == id).then_some(process)
    }

    /// Looks at all processes once.
    fn find_all(&self) {
        let Ok(entries) = fs_err::read_dir("/proc") else { return };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let found = numbers.filter_map(|process| Some((self.monitored_by(process)?, process)));
        let found: BTreeMap<_, _> = found.collect();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The container whose monitor this process is. A process of a container, or of another user, can call itself what
    /// it likes.
    fn monitored_by(&self, process: u32) -> Option<ContainerId> {
        let title = fs_err::read(format!("/proc/{process}/cmdline")).ok()?;
        let title = std::str::from_utf8(&title).ok()?;
        let id = container_of(title, &self.lxcpath).or_else(|| started_in_foreground(title, &self.lxcpath))?;
        let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
        let is_of_host = numbers(&status, "NSpid:").len() == 1;
        let is_of_root = numbers(&status, "Uid:").iter().all(|user| *user == 0);
        (is_of_host && is_of_root).then_some(id)
    }
}

/// The state of a container with this monitor; `None` while its init comes or goes.
fn running(monitor: u32) -> Option<State> {
    let children = fs_err::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).ok()?;
    let mut inits = children.split_whitespace().filter_map(|child| child.parse().ok()).filter(|child| is_init(*child));
    let (init, None) = (inits.next()?, inits.next()) else { return None };
    match is_frozen(init) {
        _ if processes::is_ending(init).unwrap_or(true) => None,
        Some(true) => Some(State::Frozen),
        Some(false) => Some(State::Running { init }),
        None => None,
    }
}

/// Whether a process is the first of a process namespace of its own.
fn is_init(process: u32) -> bool {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    matches!(numbers(&status, "NSpid:")[..], [_, .., 1])
}

/// Whether the freezer of a process's cgroup, or of one above it, holds it; `None` when there is no freezer to ask.
fn is_frozen(process: u32) -> Option<bool> {
    let cgroups = fs_err::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    // A kernel with cgroups of version 1 names its freezer even where only version 2 is mounted.
    let has_first = Path::new("/sys/fs/cgroup/freezer").exists();
    match freezer_of(&cgroups, has_first)? {
        (Freezer::First, path) => {
            let state = fs_err::read_to_string(format!("/sys/fs/cgroup/freezer{path}/freezer.state")).ok()?;
            Some(state.trim() != "THAWED")
        }
        (Freezer::Second, path) => {
            let events = fs_err::read_to_string(format!("/sys/fs/cgroup{path}/cgroup.events")).ok()?;
            Some(events.lines().any(|line| line == "frozen 1"))
        }
    }
}

/// The version of the cgroups that freeze.
#[derive(Debug, PartialEq, Eq)]
enum Freezer {
    First,
    Second,
}

/// Reads `/proc/<pid>/cgroup` (cgroups(7)): `6:freezer:/path`, or `0::/path` where there is nothing but version 2.
fn freezer_of(cgroups: &str, has_first: bool) -> Option<(Freezer, &str)> {
    let lines = || cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let first = lines().find(|(controllers, _)| has_first && controllers.split(',').any(|it| it == "freezer"));
    let second = || lines().find(|(controllers, _)| controllers.is_empty());
    first.map(|(_, path)| (Freezer::First, path)).or_else(|| second().map(|(_, path)| (Freezer::Second, path)))
}

/// Reads `/proc/net/unix` (proc(5)): the path is the eighth word, `@` stands for the NUL of an abstract name.
fn listening_in(text: &str, lxcpath: &str) -> BTreeSet<ContainerId> {
    let names = text.lines().filter_map(|line| line.split_once('@').map(|(_, name)| name));
    let id = |name: &str| {
        name.strip_prefix(lxcpath)?.strip_prefix('/')?.strip_suffix("/command").and_then(ContainerId::known)
    };
    names.filter_map(id).collect()
}

/// Reads a monitor's title: `[lxc monitor] /var/lib/lxc 901`.
fn container_of(title: &str, lxcpath: &str) -> Option<ContainerId> {
    let title = title.trim_end_matches('\0').strip_prefix("[lxc monitor] ")?;
    title.strip_prefix(lxcpath)?.trim_start_matches('/').strip_prefix(' ').and_then(ContainerId::known)
}

/// Reads the words of a monitor in the foreground: `/usr/bin/lxc-start -F -n 901`, with `-P <lxcpath>` for another than
/// the usual one.
fn started_in_foreground(words: &str, lxcpath: &str) -> Option<ContainerId> {
    let mut words = words.trim_end_matches('\0').split('\0');
    let program = words.next()?;
    let (mut id, mut path, mut in_foreground) = (None, DEFAULT_LXCPATH, false);
    while let Some(word) = words.next() {
        match word {
            "-F" | "--foreground" => in_foreground = true,
            "-n" | "--name" => id = Some(words.next()?),
            "-P" | "--lxcpath" => path = words.next()?,
            // Where the log goes, and how much of it: the unit for debugging.
            "-o" | "--logfile" | "-l" | "--logpriority" => drop(words.next()?),
            _ => return None,
        }
    }
    let is_it = program == "lxc-start" || program.ends_with("/lxc-start");
    (is_it && in_foreground && path.trim_end_matches('/') == lxcpath).then(|| ContainerId::known(id?))?
}

/// The numbers of a line of `/proc/<pid>/status`.
fn numbers(status: &str, name: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ContainerId {
        ContainerId::new(number).unwrap()
    }

    // Linux 6.18 with lxc 5.0.2.
    const SOCKETS: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
000000008fb2cd8c: 00000002 00000000 00010000 0001 01 1601881 @/var/lib/lxc/901/command
00000000d07b0501: 00000002 00000000 00010000 0001 01 1600316 @/srv/lxc/902/command
000000007713e65d: 00000002 00000000 00010000 0001 01 1601850 @lxc/ad055575fe28ddd5//var/lib/lxc
00000000a2a9ea3c: 00000003 00000000 00000000 0001 03 1601851 /run/systemd/journal/stdout
0000000011111111: 00000002 00000000 00010000 0001 01 1601852 @/var/lib/lxc/../lxc/903/command
";

    #[test]
    fn the_containers_that_somebody_listens_for_are_those_of_this_lxcpath() {
        assert_eq!(listening_in(SOCKETS, "/var/lib/lxc"), BTreeSet::from([id(901)]));
        assert_eq!(listening_in(SOCKETS, "/srv/lxc"), BTreeSet::from([id(902)]));
    }

    #[test]
    fn a_monitor_is_known_by_its_title() {
        let title = "[lxc monitor] /var/lib/lxc 901\0";
        assert_eq!(container_of(title, "/var/lib/lxc"), Some(id(901)));
        assert_eq!(container_of(title, "/var/lib"), None);
        assert_eq!(container_of("[lxc monitor] /var/lib/lxc 901 902\0", "/var/lib/lxc"), None);
        assert_eq!(container_of("sleep\0infinity\0", "/var/lib/lxc"), None);
    }

    #[test]
    fn a_monitor_in_the_foreground_is_known_by_its_words() {
        let of = |words: &str, lxcpath: &str| started_in_foreground(&words.replace(' ', "\0"), lxcpath);
        assert_eq!(of("/usr/bin/lxc-start -F -n 901 ", "/var/lib/lxc"), Some(id(901)));
        assert_eq!(of("/usr/bin/lxc-start -F -n 901 -o /dev/stderr -l DEBUG ", "/var/lib/lxc"), Some(id(901)));
        assert_eq!(of("lxc-start -P /srv/lxc/ -F -n 902 ", "/srv/lxc"), Some(id(902)));
        assert_eq!(of("lxc-start -P /srv/lxc -F -n 902 ", "/var/lib/lxc"), None);
        assert_eq!(of("/usr/bin/lxc-start -F -n 901 ", "/srv/lxc"), None);
        assert_eq!(of("/usr/bin/lxc-start -n 901 ", "/var/lib/lxc"), None, "it leaves a monitor of its own");
        assert_eq!(of("/usr/bin/lxc-stop -F -n 901 ", "/var/lib/lxc"), None);
        assert_eq!(of("lxc-start -F -n ", "/var/lib/lxc"), None);
    }

    #[test]
    fn the_freezer_is_that_of_version_1_where_there_is_one() {
        let hybrid = "6:freezer:/lxc.payload.901\n1:name=systemd:/\n0::/lxc.payload.901/init.scope\n";
        assert_eq!(freezer_of(hybrid, true), Some((Freezer::First, "/lxc.payload.901")));
        assert_eq!(freezer_of(hybrid, false), Some((Freezer::Second, "/lxc.payload.901/init.scope")));
        assert_eq!(freezer_of("0::/lxc.payload.901\n", false), Some((Freezer::Second, "/lxc.payload.901")));
        assert_eq!(freezer_of("", true), None);
    }

    #[test]
    fn this_process_is_no_ones_monitor_and_no_init() {
        let monitors = Monitors::new(Path::new("/var/lib/lxc/"));
        assert_eq!(monitors.socket(id(901)), "/var/lib/lxc/901/command");
        assert_eq!(monitors.monitored_by(std::process::id()), None);
        assert!(!is_init(std::process::id()));
    }

    #[test]
    fn a_name_too_long_for_a_socket_is_not_answered() {
        let monitors = Monitors::new(Path::new(&format!("/{}", "x".repeat(100))));
        assert_eq!(monitors.state(id(901)), None);
    }
}
