//! Verbs on a container that exists: `set`, `start`, `shutdown`, `mount`, `unmount`, `unlock`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use crate::Failure;
use crate::file::{File, Section, first, property};
use crate::hookscript;
use crate::node::Node;
use crate::options::Arguments;
use crate::snapshot::root;
use crate::storage;

const IDS: &str = "0 100000 65536";

pub(crate) fn set(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    if !arguments.has_options() {
        return Err(Failure::new("no options specified"));
    }
    if arguments.option("unprivileged").is_some() {
        return Err(Failure::new("unable to modify read-only option: 'unprivileged'"));
    }
    let mut file = node.load_unlocked(id)?;
    // The option of a lock is no key that `keys` gives.
    file.main.keys.extend(arguments.option("lock").map(|lock| ("lock".to_owned(), lock.to_owned())));
    let init = node.init(id)?;
    let mut new_devices = Vec::new();
    for (key, value) in arguments.keys() {
        let is_new = !file.main.keys.contains_key(key);
        let value = if key.starts_with("mp") { storage::allocate(node, id, value)? } else { completed(key, value) };
        if key.starts_with("dev") {
            require_device(first(&value))?;
        }
        if key == "hookscript" {
            hookscript::check(node, &value)?;
        }
        forget_pending(&mut file, key);
        match init {
            Some(_) if is_hot(key, is_new) => {
                if key.starts_with("dev") {
                    new_devices.push(first(&value).to_owned());
                }
                file.main.keys.insert(key.to_owned(), value);
            }
            Some(_) if file.main.keys.get(key) == Some(&value) => {}
            _ => {
                file.pending.keys.insert(key.to_owned(), value);
            }
        }
    }
    for key in arguments.option("delete").unwrap_or_default().split(',').filter(|key| !key.is_empty()) {
        file.pending.keys.remove(key);
        let mut deleted: Vec<String> = file
            .pending
            .keys
            .get("delete")
            .map(|keys| keys.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        deleted.push(key.to_owned());
        file.pending.keys.insert("delete".to_owned(), deleted.join(","));
    }
    if init.is_none() {
        file.apply_pending();
    }
    node.save(id, &file)?;
    // It looks at every device only when it has written.
    file.main.numbered("dev").try_for_each(|(_, value)| require_device(first(value)))?;
    match init {
        Some(init) if !new_devices.is_empty() => bring_in(node, id, init, &new_devices),
        _ => Ok(()),
    }
}

fn forget_pending(file: &mut File, key: &str) {
    file.pending.keys.remove(key);
    if let Some(deleted) = file.pending.keys.remove("delete") {
        let rest: Vec<&str> = deleted.split(',').filter(|it| *it != key).collect();
        if !rest.is_empty() {
            file.pending.keys.insert("delete".to_owned(), rest.join(","));
        }
    }
}

fn is_hot(key: &str, is_new: bool) -> bool {
    ["hostname", "memory", "swap", "cores", "onboot", "startup", "description", "protection", "tags", "hookscript"]
        .contains(&key)
        || key.starts_with("net")
        || (is_new && (key.starts_with("mp") || key.starts_with("dev")))
}

/// Binds new devices into a running container. The last that is done: afterwards this process is in its mounts.
fn bring_in(node: &Node, id: &str, init: u32, paths: &[String]) -> Result<(), Failure> {
    use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut nodes = Vec::new();
    for path in paths {
        nodes.push(open_tree(rustix::fs::CWD, path, flags)?);
        let directory = Path::new(path).parent().unwrap_or(Path::new("/")).to_string_lossy();
        node.tool("lxc-attach", id, &["--clear-env", "--", "mkdir", "-p", &directory])?;
        node.tool("lxc-attach", id, &["--clear-env", "--", "touch", path])?;
    }
    let mounts = fs_err::File::open(format!("/proc/{init}/ns/mnt"))?;
    let kind = rustix::thread::LinkNameSpaceType::Mount;
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(mounts.file()), Some(kind))?;
    for (tree, path) in nodes.iter().zip(paths) {
        move_mount(tree, "", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}

/// What `pct` adds to a value: an interface gets a hardware address and its type, and its keys their order.
pub(crate) fn completed(key: &str, value: &str) -> String {
    if !key.starts_with("net") {
        return value.to_owned();
    }
    let mut parts: Vec<String> = value.split(',').map(str::to_owned).collect();
    if property(value, "hwaddr").is_none() {
        parts.push(format!(
            "hwaddr=BC:24:11:{:02X}:{:02X}:{:02X}",
            fastrand::u8(..),
            fastrand::u8(..),
            fastrand::u8(..)
        ));
    }
    if property(value, "type").is_none() {
        parts.push("type=veth".to_owned());
    }
    parts.sort_by_key(|part| (!part.starts_with("name="), part.clone()));
    parts.join(",")
}

pub(crate) fn require_device(path: &str) -> Result<(), Failure> {
    let is_device =
        fs_err::metadata(path).is_ok_and(|it| std::os::unix::fs::FileTypeExt::is_char_device(&it.file_type()));
    if is_device { Ok(()) } else { Err(Failure::with_code(2, format!("Device {path} does not exist"))) }
}

pub(crate) fn start(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    if node.init(id)?.is_some() {
        return Err(Failure::new(format!("CT {id} already running")));
    }
    // The lock of `pct mount` keeps nobody from starting.
    let mut file = node.load(id)?;
    if let Some(lock) = file.main.keys.get("lock").filter(|lock| *lock != "mounted") {
        return Err(Failure::new(format!("CT is locked ({lock})")));
    }
    file.apply_pending();
    node.save(id, &file)?;
    for (_, value) in file.main.numbered("dev") {
        require_device(first(value)).map_err(|Failure { said, .. }| Failure::new(said))?;
    }
    let bridge = file.main.keys.get("net0").and_then(|value| property(value, "bridge"));
    if let Some(missing) = bridge.filter(|bridge| !Path::new("/sys/class/net").join(bridge).exists()) {
        return Err(Failure::new(format!("bridge '{missing}' does not exist")));
    }
    fs_err::create_dir_all(node.lxc(id))?;
    fs_err::write(node.lxc(id).join("devices.conf"), devices(&file.main))?;
    // With the numbers of the nodes as they are: a hookscript that replaces one comes too late for this file.
    fs_err::write(node.lxc(id).join("config"), config(node, id, &file)?)?;
    hookscript::run(node, id, &file, "pre-start")?;
    run_in_foreground(node, id)?;
    hookscript::tell(node, id, &file, "post-start");
    Ok(())
}

/// Starts a container as the unit `pve-container@ID` does: its monitor is `lxc-start` itself, in the foreground.
fn run_in_foreground(node: &Node, id: &str) -> Result<(), Failure> {
    let log = node.lxc(id).join("stderr");
    #[expect(clippy::disallowed_methods, reason = "this program stands alone, without the library")]
    let mut monitor = std::process::Command::new("lxc-start")
        .args(["-P", &node.lxcpath().to_string_lossy(), "-F", "-n", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs_err::File::create(&log)?.into_parts().0)
        .process_group(0)
        .spawn()?;
    while node.init(id)?.is_none() {
        if monitor.try_wait()?.is_some() {
            print!("{}", fs_err::read_to_string(&log)?);
            return Err(Failure::new(format!("startup for container '{id}' failed")));
        }
    }
    Ok(())
}

/// What liblxc starts a container from; Proxmox VE writes it at every start.
fn config(node: &Node, id: &str, file: &File) -> Result<String, Failure> {
    let key = |key: &str| file.main.keys.get(key).map(String::as_str);
    let volume = root(file);
    let (place, directory) = (node.volume(&volume), node.lxc(id).join("rootfs"));
    let directory = if storage::is_file(&volume) { directory } else { place.clone() };
    let has_init = storage::with_root(node, id, file, |root| Ok(root.join("sbin/init").exists()))?;
    let mut lines = cgroups(node, id);
    lines.push("lxc.include = /usr/share/lxc/config/common.conf".to_owned());
    if key("unprivileged") == Some("1") {
        lines.push("lxc.include = /usr/share/lxc/config/userns.conf".to_owned());
        lines.extend(["u", "g"].map(|kind| format!("lxc.idmap = {kind} {IDS}")));
    }
    if key("features").is_some_and(|features| property(features, "nesting") == Some("1")) {
        lines.push("lxc.include = /usr/share/lxc/config/nesting.conf".to_owned());
    }
    lines.push(format!("lxc.uts.name = {}", key("hostname").unwrap_or("CT")));
    lines.push(format!("lxc.rootfs.path = dir:{}", directory.display()));
    if storage::is_file(&volume) {
        // In the real one, `lxc-pve-prestart-hook` mounts it, for the monitor and the container alone.
        let mount = format!("mount -o loop {} {}", place.display(), directory.display());
        lines.push(format!("lxc.hook.pre-start = sh -c '{mount}' --"));
    }
    lines.push("lxc.apparmor.profile = unconfined".to_owned());
    lines.push("lxc.monitor.unshare = 1".to_owned());
    lines.extend(limits(key("memory").unwrap_or("512"), key("cores")));
    lines.extend(network(key("net0")));
    if !has_init {
        lines.extend(["lxc.init.cmd = /bin/sleep infinity", "lxc.signal.halt = SIGKILL"].map(str::to_owned));
    }
    for (_, value) in file.main.numbered("mp") {
        let source = match first(value) {
            volume if volume.starts_with('/') => volume.to_owned(),
            volume => node.volume(volume).display().to_string(),
        };
        let inside = property(value, "mp").unwrap_or_default().trim_start_matches('/');
        lines.push(format!("lxc.mount.entry = {source} {inside} none rbind,create=dir 0 0"));
    }
    // In the real one, hooks make the device nodes: they are no lines of this file.
    lines.push(format!("lxc.include = {}/devices.conf", node.lxc(id).display()));
    lines.extend(rules(&file.main)?);
    lines.extend(file.main.raw.iter().map(|(key, value)| format!("{key} = {value}")));
    Ok(lines.join("\n") + "\n")
}

/// The cgroups of a container and of its monitor, which have places of their own there; the real ones have no name of a
/// node in theirs, and stand-ins of many nodes run side by side.
fn cgroups(node: &Node, id: &str) -> Vec<String> {
    let name = format!("{}-{id}", node.name());
    vec![
        "lxc.cgroup.relative = 0".to_owned(),
        format!("lxc.cgroup.dir.monitor = lxc.monitor/{name}"),
        format!("lxc.cgroup.dir.container = lxc/{name}"),
        "lxc.cgroup.dir.container.inner = ns".to_owned(),
    ]
}

/// Memory, and processors as a quota; the real one pins a container to processors.
fn limits(memory: &str, cores: Option<&str>) -> Vec<String> {
    let bytes = memory.parse::<u64>().unwrap_or(512) << 20;
    let quota = cores.and_then(|cores| cores.parse::<u64>().ok()).map(|cores| cores * 100_000);
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let quota = quota.map(|quota| format!("lxc.cgroup2.cpu.max = {quota} 100000"));
        return quota.into_iter().chain([format!("lxc.cgroup2.memory.max = {bytes}")]).collect();
    }
    let quota = quota.map(|quota| format!("lxc.cgroup.cpu.cfs_quota_us = {quota}"));
    quota.into_iter().chain([format!("lxc.cgroup.memory.limit_in_bytes = {bytes}")]).collect()
}

fn network(net0: Option<&str>) -> Vec<String> {
    let Some(net0) = net0 else { return vec!["lxc.net.0.type = empty".to_owned()] };
    let of = |key: &str| property(net0, key).unwrap_or_default();
    ["lxc.net.0.type = veth".to_owned(), format!("lxc.net.0.link = {}", of("bridge"))]
        .into_iter()
        .chain([format!("lxc.net.0.name = {}", of("name")), format!("lxc.net.0.hwaddr = {}", of("hwaddr"))])
        .collect()
}

/// What a container may open, one line a device.
fn rules(section: &Section) -> Result<Vec<String>, Failure> {
    let allow = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => "lxc.cgroup2.devices.allow",
        false => "lxc.cgroup.devices.allow",
    };
    let mut rules = Vec::new();
    for (_, value) in section.numbered("dev") {
        let device = std::os::unix::fs::MetadataExt::rdev(&fs_err::metadata(first(value))?);
        rules.push(format!("{allow} = c {}:{} rw", rustix::fs::major(device), rustix::fs::minor(device)));
    }
    Ok(rules)
}

fn devices(section: &Section) -> String {
    let entry = |value: &str| {
        let path = first(value);
        format!("lxc.mount.entry = {path} {} none bind,create=file 0 0\n", path.trim_start_matches('/'))
    };
    section.numbered("dev").map(|(_, value)| entry(value)).collect()
}

pub(crate) fn shutdown(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    let file = node.load_unlocked(id)?;
    if node.init(id)?.is_none() {
        return Err(Failure::new(format!("CT {id} not running")));
    }
    if !arguments.is_on("forceStop") {
        return Err(Failure::new("stand-in: a shutdown without `--forceStop 1` may never end"));
    }
    hookscript::tell(node, id, &file, "pre-stop");
    node.tool("lxc-stop", id, &["-t", arguments.option("timeout").unwrap_or("60")])?;
    storage::wait_for_release(node, &file)?;
    // In the real one, a hook of liblxc's calls it, and whatever it does is ignored.
    hookscript::tell(node, id, &file, "post-stop");
    Ok(())
}

pub(crate) fn mount(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    let mut file = node.load_unlocked(id)?;
    file.main.keys.insert("lock".to_owned(), "mounted".to_owned());
    node.save(id, &file)?;
    let place = node.lxc(id).join("rootfs");
    fs_err::create_dir_all(&place)?;
    let volume = root(&file);
    match storage::is_file(&volume) {
        true => storage::mount_file(&node.volume(&volume), &place)?,
        false => rustix::mount::mount_bind(node.volume(&volume), &place)?,
    }
    println!("mounted CT {id} in '{}'", place.display());
    Ok(())
}

pub(crate) fn unmount(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    let mut file = node.load(id)?;
    let place = node.lxc(id).join("rootfs");
    if is_mounted(&place)? {
        match rustix::mount::unmount(&place, rustix::mount::UnmountFlags::empty()) {
            Err(rustix::io::Errno::BUSY) => {
                let place = place.display();
                let said =
                    format!("umount: {place}: target is busy.\ncommand 'umount -d {place}/' failed: exit code 32");
                return Err(Failure::new(said));
            }
            ended => ended?,
        }
    }
    if file.main.keys.get("lock").map(String::as_str) != Some("mounted") {
        return Err(Failure::new("no lock found trying to remove 'mounted'  lock"));
    }
    file.main.keys.remove("lock");
    node.save(id, &file)
}

fn is_mounted(place: &Path) -> Result<bool, Failure> {
    let table = fs_err::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| Path::new(point) == place))
}

pub(crate) fn unlock(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    let mut file = node.load(id)?;
    if file.main.keys.remove("lock").is_none() {
        return Err(Failure::new("no lock found trying to remove any lock"));
    }
    node.save(id, &file)
}
