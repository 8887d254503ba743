//! Verbs that make and end containers: `create`, `clone`, `destroy`. Interrupted, they leave nothing; killed, what the
//! real ones leave: a file with `lock: create` alone, and a volume.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;
use crate::container::{completed, require_device, start};
use crate::file::{File, first};
use crate::node::{Node, run};
use crate::options::Arguments;
use crate::snapshot::{copy_root, root};
use crate::storage;

const MAPPED: [&str; 5] = ["-m", "u:0:100000:65536", "-m", "g:0:100000:65536", "--"];

pub(crate) fn create(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    node.require_free(id)?;
    let pool = arguments.option("storage").unwrap_or("local");
    let asked = arguments.option("rootfs").map_or_else(|| format!("{pool}:4"), str::to_owned);
    storage::kind(node, asked.split(':').next().unwrap_or_default())?;
    arguments
        .keys()
        .filter(|(key, _)| key.starts_with("dev"))
        .try_for_each(|(_, value)| require_device(first(value)))?;
    whole_or_nothing(node, id, || {
        let mut file = File::default();
        file.main.keys.extend([("arch", "amd64"), ("ostype", "debian"), ("swap", "512"), ("memory", "512")].map(owned));
        file.main.keys.insert("rootfs".to_owned(), storage::allocate(node, id, &asked)?);
        storage::with_root(node, id, &file, |directory| unpack(node, arguments, directory))?;
        for (key, value) in arguments.keys().filter(|(key, _)| *key != "rootfs") {
            let value = if key.starts_with("mp") { storage::allocate(node, id, value)? } else { completed(key, value) };
            file.main.keys.insert(key.to_owned(), value);
        }
        if file.main.keys.get("unprivileged").is_some_and(|value| value == "0") {
            file.main.keys.remove("unprivileged");
        }
        println!("Detected container architecture: amd64");
        storage::with_root(node, id, &file, |directory| name(directory, &file))?;
        Ok(file)
    })?;
    // In the same task; where it fails, the container is there all the same.
    if arguments.is_on("start") { start(node, arguments) } else { Ok(()) }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Lets `make` make a container under the lock of its making; whatever fails, nothing is left.
fn whole_or_nothing(node: &Node, id: &str, make: impl FnOnce() -> Result<File, Failure>) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let mut begun = File::default();
    begun.main.keys.insert("lock".to_owned(), "create".to_owned());
    node.save(id, &begun)?;
    node.write_guest_list()?;
    let made = make().and_then(|file| {
        if interrupted.load(Ordering::SeqCst) { Err(Failure::new("received interrupt")) } else { node.save(id, &file) }
    });
    made.or_else(|Failure { said, code }| {
        storage::free_all(node, id)?;
        // Whoever has made that file: the real one knows it by its lock alone.
        if node.load(id)?.main.keys.get("lock").is_some_and(|lock| lock == "create") {
            node.forget(id)?;
        }
        Err(Failure::with_code(code, format!("unable to create CT {id} - {said}")))
    })
}

fn unpack(node: &Node, arguments: &Arguments, directory: &Path) -> Result<(), Failure> {
    let asked = &arguments.words[1];
    let template = match asked.split_once(":vztmpl/") {
        None => std::path::PathBuf::from(asked),
        Some((pool, name)) => node.pools().join(pool).join("template/cache").join(name),
    };
    if !template.is_file() {
        println!("volume '{asked}' does not exist");
        return Err(Failure::new(format!("volume '{asked}' does not exist")));
    }
    println!("extracting archive '{}'", template.display());
    let place = directory.to_string_lossy();
    let lost = |failure: Failure| if storage::is_full(directory) { Ok(String::new()) } else { Err(failure) };
    let tar = ["tar", "--zstd", "--numeric-owner", "--exclude", "./dev/*", "-C", &place, "-xpf", "-"];
    if arguments.is_on("unprivileged") {
        std::os::unix::fs::chown(directory, Some(100_000), Some(100_000))?;
        return run("lxc-usernsexec", &[&MAPPED[..], &tar].concat(), Some(&template)).or_else(lost).map(|_| ());
    }
    run("tar", &tar[1..], Some(&template)).or_else(lost).map(|_| ())
}

/// Gives a new root the container's name.
fn name(directory: &Path, file: &File) -> Result<(), Failure> {
    if storage::is_full(directory) {
        return Ok(());
    }
    let path = directory.join("etc/hostname");
    let hostname = file.main.keys.get("hostname").map(String::as_str).unwrap_or("CT");
    Ok(fs_err::write(path, format!("{hostname}\n"))?)
}

pub(crate) fn clone(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let (source, id) = (arguments.id(), arguments.words[1].as_str());
    let mut locked = node.load_unlocked(source)?;
    node.require_free(id)?;
    let snapshot = arguments.option("snapname");
    let mut copy = match snapshot {
        Some(name) => locked
            .snapshots
            .get(name)
            .cloned()
            .ok_or_else(|| Failure::with_code(2, format!("snapshot '{name}' does not exist")))?,
        None if node.init(source)?.is_some() => {
            return Err(Failure::with_code(2, "Full clone of a running container is only possible from a snapshot"));
        }
        None => locked.main.clone(),
    };
    if let Some((key, _)) = copy.numbered("mp").find(|(_, value)| value.starts_with('/')) {
        return Err(Failure::with_code(2, format!("unable to clone mountpoint '{key}' (type bind)")));
    }
    let volume = root(&locked);
    let pool = arguments.option("storage").unwrap_or_else(|| volume.split(':').next().unwrap_or_default());
    let target = storage::name(&storage::kind(node, pool)?, pool, id, 0);
    if storage::is_file(&target) || storage::is_file(&volume) {
        return Err(Failure::new("stand-in: it copies no volume that is a file"));
    }
    locked.main.keys.insert("lock".to_owned(), "disk".to_owned());
    node.save(source, &locked)?;
    println!("creating a clone of container {source} with ID {id}");
    println!("create full clone of mountpoint rootfs ({volume})");
    let from = snapshot.map_or_else(|| volume.clone(), |name| format!("{volume}@{name}"));
    ["parent", "snaptime", "template", "lock"].iter().for_each(|key| {
        copy.keys.remove(*key);
    });
    copy.keys.extend(arguments.option("hostname").map(|name| ("hostname".to_owned(), name.to_owned())));
    if let Some(value) = copy.keys.get("net0") {
        let kept: Vec<&str> = value.split(',').filter(|part| !part.starts_with("hwaddr=")).collect();
        let completed = completed("net0", &kept.join(","));
        copy.keys.insert("net0".to_owned(), completed);
    }
    let rest = copy.keys.get("rootfs").and_then(|value| value.split_once(',')).map(|(_, rest)| rest.to_owned());
    copy.keys.insert("rootfs".to_owned(), format!("{target},{}", rest.unwrap_or_default()));
    let made = whole_or_nothing(node, id, || {
        if let Err(failure) = copy_root(node, &from, &target) {
            // The source is free at once; what there is of the copy goes a second later (pve-container 6.1.10).
            locked.main.keys.remove("lock");
            node.save(source, &locked)?;
            #[expect(clippy::disallowed_methods, reason = "the real one waits, and that is what is played")]
            std::thread::sleep(std::time::Duration::from_secs(1));
            return Err(failure);
        }
        let file = File { main: copy, ..File::default() };
        name(&node.volume(&target), &file)?;
        Ok(file)
    });
    locked.main.keys.remove("lock");
    node.save(source, &locked)?;
    made
}

pub(crate) fn destroy(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id();
    let file = node.load_unlocked(id)?;
    if node.init(id)?.is_some() {
        if !arguments.is_on("force") {
            return Err(Failure::new(format!("unable to destroy CT {id} - container is running")));
        }
        println!("forced to stop CT {id} before destroying!");
        node.tool("lxc-stop", id, &["-k"])?;
    }
    let volumes = file.main.numbered("mp").map(|(_, value)| first(value).to_owned());
    for volume in volumes.chain([root(&file)]).filter(|volume| volume.contains(':')) {
        storage::free(node, &volume)?;
    }
    if arguments.is_on("destroy-unreferenced-disks") {
        storage::free_all(node, id)?;
    }
    if node.lxc(id).exists() {
        fs_err::remove_dir_all(node.lxc(id))?;
    }
    node.forget(id)
}
