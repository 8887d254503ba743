//! Making containers: from a template or as a copy, beside their final place, and moved there as a whole.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::host_driver;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::liblxc::{self, prepare_mount_source};
use crate::hypervisor::majors::Majors;
use crate::hypervisor::{Desired, Drift, HostsDriver, State};
use crate::sys::atomic;
use crate::sys::idmap::{IdMap, Range};
use crate::sys::rootfs::Rootfs;
use crate::sys::subordinate_ids::not_given;

use super::config_file::{NvidiaLines, Own};
use super::settings::Before;
use super::template::template;
use super::{Lxc, config_file, settings, staging};

const COPY_DEADLINE: Duration = Duration::from_secs(4 * 60 * 60);
// The map that the operators' scripts have always used, and Proxmox's.
const IDS: Range = Range { inside: 0, outside: 100_000, count: 65_536 };

impl Lxc<'_> {
    pub(super) fn check_desired(&self, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        if let Some(network) = &container.network {
            require_bridge(container.id, &network.bridge)?;
        }
        let config = self.config(container.id);
        let is_there = config.exists();
        let config = if is_there { config_file::read(&config)? } else { String::new() };
        config_file::idmap_with(&config, liblxc::configured_idmap(container), container.id)?;
        if is_there {
            return Ok(());
        }
        if let Some(source) = container.clone_from {
            // One that does not exist yet is made before its copy.
            let there = self.config(source).exists();
            return if there { self.check_privilege_of_copy(source, container) } else { Ok(()) };
        }
        let (template, idmap) = (template(container)?, idmap_of_new(container)?);
        // What a killed run has left takes room until it is cleared away, and that is when it is made again.
        if !self.staging(container.id).exists() {
            self.require_room(&template, &idmap, container.id)?;
        }
        let before = Before::of_new(Own::default());
        settings::render(desired, self.features()?, wants_idmap(container), &before).map(|_| ())
    }

    pub(super) fn create_from_template(&self, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        let (template, idmap) = (template(container)?, idmap_of_new(container)?);
        self.staged(container.id, |staging| {
            self.require_room(&template, &idmap, container.id)?;
            let directory = staging.join(container.id.to_string());
            let root = directory.join("rootfs");
            fs_err::create_dir_all(&root)?;
            // The container's mapped root must be able to reach its rootfs.
            fs_err::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
            self.unpack(&template, &root, &idmap, container.id)?;
            let door = Rootfs::open(&root, idmap.clone(), format!("container {}", container.id))?;
            write_names(&door, container)?;
            let init = if door.is_executable("/sbin/init")? { None } else { Some("/bin/sleep infinity") };
            let architecture = if cfg!(target_arch = "aarch64") { "aarch64" } else { "linux64" };
            let config =
                config_file::new_config(&self.directory(container.id), &container.name, &idmap, init, architecture);
            atomic::write(&directory.join("config"), config.as_bytes(), 0o640)?;
            self.put_settings(&directory, desired, &idmap, &Before::of_new(Own::default()))
        })
    }

    pub(super) fn copy_of(&self, source: ContainerId, desired: &Desired<'_>) -> Result<()> {
        self.require(source)?;
        self.check_privilege_of_copy(source, desired.container)?;
        self.staged(desired.container.id, |staging| {
            let copy = desired.container.id;
            self.while_still(source, copy, || self.copy_into(staging, source, copy))?;
            self.settle_copy(staging, desired)
        })
    }

    fn copy_into(&self, staging: &Path, source: ContainerId, id: ContainerId) -> Result<()> {
        let name = id.to_string();
        let copy = self.tool("lxc-copy", source).args(["-N", &name, "--allowrunning", "-p"]).arg(staging);
        // Without a log, it says nothing about what has failed.
        let copy = copy.args(["-l", "ERROR", "-o", "/dev/stderr"]);
        let copy = copy.env(staging::MARKER, staging).env("LC_ALL", "C").deadline(COPY_DEADLINE);
        copy.run_ok(self.cancel).map(|_| ()).map_err(|error| {
            let place = self.lxcpath.display();
            let hint = if error.kind() == Kind::Host {
                &format!("free some space in `{place}` (`df -h {place}`), and run the same command again")
            } else if Path::new("/usr/bin/rsync").exists() {
                "read the tool's message above, and check the free space with `df`"
            } else {
                "`lxc-copy` needs rsync: `apt-get install rsync`"
            };
            error.within(format!("container {id}: container {source} could not be copied")).hint(hint)
        })
    }

    fn settle_copy(&self, staging: &Path, desired: &Desired<'_>) -> Result<()> {
        let container = desired.container;
        let directory = staging.join(container.id.to_string());
        let text = fs_err::read_to_string(directory.join("config"))?;
        let final_place = self.directory(container.id);
        let text = config_file::moved(&text, &final_place.join("rootfs"), &container.name);
        let text = config_file::settled(&text, &final_place, NvidiaLines::of(desired, &Majors::read()?));
        atomic::write(&directory.join("config"), text.as_bytes(), 0o640)?;
        let idmap = config_file::idmap(&text, container.id)?;
        let door = Rootfs::open(&directory.join("rootfs"), idmap.clone(), format!("container {}", container.id))?;
        write_names(&door, container)?;
        self.put_settings(&directory, desired, &idmap, &Before::of_new(own(&text)))
    }

    /// Writes the settings into a container's directory; what they mount is there afterwards.
    fn put_settings(&self, directory: &Path, desired: &Desired<'_>, idmap: &IdMap, before: &Before) -> Result<()> {
        let rendered = settings::render(desired, self.features()?, !idmap.is_identity(), before)?;
        for mount in &desired.container.mounts {
            prepare_mount_source(mount, idmap)?;
        }
        atomic::write(&directory.join(config_file::FILE), rendered.as_bytes(), 0o640)
    }

    pub(super) fn drift_of(&self, desired: &Desired<'_>) -> Result<Drift> {
        let id = desired.container.id;
        self.require(id)?;
        let config = config_file::read(&self.config(id))?;
        let is_unprivileged = !config_file::idmap(&config, id)?.is_identity();
        let before = self.before(id, &config)?;
        let rendered = settings::render(desired, self.features()?, is_unprivileged, &before)?;
        let settled = config_file::settled(&config, &self.directory(id), NvidiaLines::of(desired, &Majors::read()?));
        let mut changes = settings::differences(&config, &settled);
        let differs = !changes.is_empty() || settings::need_restart(&before.previous, &rendered);
        changes.extend(settings::differences(&before.previous, &rendered));
        let restart = match self.current_state(id)? {
            State::Running { init } => differs || marker_of_running(init).as_deref() != settings::marker_of(&rendered),
            _ => false,
        };
        Ok(Drift { changes, restart })
    }

    fn before(&self, id: ContainerId, config: &str) -> Result<Before> {
        Ok(Before { previous: read_if_there(&self.settings(id))?, own: own(config), is_new: false })
    }

    pub(super) fn nodes_in_settings(&self, id: ContainerId) -> Result<Vec<PathBuf>> {
        let files = [read_if_there(&self.config(id))?, read_if_there(&self.settings(id))?];
        // Those to draw with that stand in its own `config` are the operator's.
        let given = config_file::passed_dri(&files[1]);
        Ok(files.iter().flat_map(|file| config_file::passed_nodes(file)).chain(given).collect())
    }

    pub(super) fn hosts_driver_in_settings(&self, id: ContainerId) -> Result<Vec<HostsDriver>> {
        let files = self.settings_files(id)?;
        let entries: Vec<(&Path, (&str, &str))> =
            files.iter().flat_map(|(file, text)| config_file::entries(text).map(|it| (file.as_path(), it))).collect();
        let settings: Vec<(&str, &str)> = entries.iter().map(|(_, entry)| *entry).collect();
        let found = host_driver::brought_in(&settings);
        let of_entry = |(file, (key, value)): (&Path, (&str, &str))| HostsDriver {
            file: file.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        Ok(entries.into_iter().filter(|(_, entry)| found.contains(entry)).map(of_entry).collect())
    }

    /// A container's `config`, all that it includes, and our own file; each with its text.
    pub(super) fn settings_files(&self, id: ContainerId) -> Result<Vec<(PathBuf, String)>> {
        let mut files = with_includes(self.config(id), read_if_there(&self.config(id))?);
        files.push((self.settings(id), read_if_there(&self.settings(id))?));
        Ok(files)
    }

    pub(super) fn write_settings(&self, desired: &Desired<'_>) -> Result<()> {
        let id = desired.container.id;
        self.require(id)?;
        let config = fs_err::read_to_string(self.config(id)).map_err(|error| {
            Error::from(error)
                .about(format_args!("container {id}"))
                .hint("its `config` must be text to be changed: rewrite what is not UTF-8 in it")
        })?;
        // The settings first: a `config` that includes a file which is not there is a container that does not start.
        self.put_settings(&self.directory(id), desired, &self.idmap(id)?, &self.before(id, &config)?)?;
        let settled = config_file::settled(&config, &self.directory(id), NvidiaLines::of(desired, &Majors::read()?));
        if settled == config {
            return Ok(());
        }
        // Where it is a link, its operator keeps the file elsewhere; and who may read it stays as it is.
        let file = fs_err::canonicalize(self.config(id))?;
        let mode = fs_err::metadata(&file)?.permissions().mode() & 0o777;
        atomic::write(&file, settled.as_bytes(), mode)
    }

    pub(super) fn idmap(&self, id: ContainerId) -> Result<IdMap> {
        let settings = read_if_there(&self.settings(id))?;
        config_file::idmap(&format!("{}\n{settings}", config_file::read(&self.config(id))?), id)
    }

    fn check_privilege_of_copy(&self, source: ContainerId, container: &Container) -> Result<()> {
        let privileged = self.idmap(source)?.is_identity();
        if container.unprivileged == Some(privileged) {
            let (wanted, there) =
                if privileged { ("unprivileged", "privileged") } else { ("privileged", "unprivileged") };
            return Err(Error::new(
                Kind::Configuration,
                format!(
                    "container {} is configured {wanted}, but its clone source, container {source}, is {there}",
                    container.id
                ),
            )
            .hint(
                "a clone keeps the file owners of its source; set `unprivileged` to the source's, or create it from a \
                 template",
            ));
        }
        Ok(())
    }
}

/// What a `config` says by itself, with what it includes, as liblxc reads it.
fn own(config: &str) -> Own {
    let files = with_includes(PathBuf::new(), config.to_owned());
    let all = files.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
    // What is included is read where it is included, and the container's own lines come after the host's.
    let own = Own::of(config);
    let profile = own.profile.or_else(|| Own::of(&all).profile);
    Own { profile, ..Own::of(&all) }
}

/// A `config`, and the files that it includes but for our own.
fn with_includes(path: PathBuf, config: String) -> Vec<(PathBuf, String)> {
    // liblxc has no limit; one that includes itself is not one that starts.
    const DEPTH: usize = 8;
    let mut files = vec![(path, config)];
    let mut read = 0;
    for _ in 0..DEPTH {
        let level = files.len();
        let included = files[read..].iter().flat_map(|(_, text)| config_file::includes(text).map(included_files));
        let paths: Vec<PathBuf> = included.flatten().collect();
        files.extend(paths.into_iter().filter_map(|path| Some((path.clone(), config_file::read(&path).ok()?))));
        read = level;
    }
    files
}

/// Of a directory, liblxc reads the files whose names end like this.
fn included_files(path: &Path) -> Vec<PathBuf> {
    let Ok(directory) = fs_err::read_dir(path) else { return vec![path.to_owned()] };
    let paths = directory.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|it| it == "conf")).collect()
}

fn require_bridge(id: ContainerId, bridge: &str) -> Result<()> {
    if !bridge.contains('/') && Path::new("/sys/class/net").join(bridge).join("bridge").exists() {
        return Ok(());
    }
    Err(Error::new(Kind::Configuration, format!("container {id}: there is no bridge `{bridge}` on this host")).hint(
        format!(
            "make it with `ip link add {bridge} type bridge`, or set `network_config.bridge` to one listed by `ip \
             -brief link show type bridge`"
        ),
    ))
}

/// Whether a new container gets a user namespace: it says so, or says nothing and has a map of its own, which has
/// always meant the usual one.
fn wants_idmap(container: &Container) -> bool {
    container.unprivileged.unwrap_or(container.id_map)
}

fn idmap_of_new(container: &Container) -> Result<IdMap> {
    if wants_idmap(container) { subordinate_ids() } else { Ok(IdMap::identity()) }
}

/// The map of unprivileged containers, when this host's root may use it.
fn subordinate_ids() -> Result<IdMap> {
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs_err::read_to_string(file).unwrap_or_default();
        if not_given(&text, &[IDS]).is_some() {
            return Err(Error::new(
                Kind::Host,
                format!(
                    "unprivileged containers need the host ids 100000 to 165535, and `{file}` does not assign them to \
                     root"
                ),
            )
            .hint(format!("add them with `echo root:100000:65536 >> {file}`")));
        }
    }
    Ok(IdMap::new(vec![IDS], vec![IDS]))
}

/// The container's own idea of its name and of its name servers.
fn write_names(door: &Rootfs, container: &Container) -> Result<()> {
    use crate::sys::rootfs::Found;
    if door.look("/etc")? != Some(Found::Directory) {
        return Ok(());
    }
    door.write("/etc/hostname", format!("{}\n", container.name).as_bytes(), 0o644)?;
    let servers = container.network.as_ref().map(|network| network.nameservers.as_slice()).unwrap_or_default();
    if servers.is_empty() {
        return Ok(());
    }
    let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    door.write("/etc/resolv.conf", text.as_bytes(), 0o644)
}

fn read_if_there(path: &Path) -> Result<String> {
    match config_file::read(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

fn marker_of_running(init: u32) -> Option<String> {
    let environment = fs_err::read(format!("/proc/{init}/environ")).ok()?;
    let text = String::from_utf8_lossy(&environment);
    text.split('\0').find_map(|variable| Some(variable.strip_prefix(settings::MARKER)?.strip_prefix('=')?.to_owned()))
}
