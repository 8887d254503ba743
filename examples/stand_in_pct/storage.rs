//! Pools and volumes: a volume is a directory, whose size is what the container's file says. In the pool `files` it is a
//! file with ext4 in it, as the real one makes them in every pool of files: not every machine that tests has loop devices.

use std::path::Path;

use crate::Failure;
use crate::file::{File, first, property};
use crate::node::{Node, run};
use crate::options::Arguments;
use crate::snapshot::root;

/// The type of a pool in `storage.cfg`: `dir`, `zfspool`.
pub(crate) fn kind(node: &Node, pool: &str) -> Result<String, Failure> {
    let text = fs_err::read_to_string(node.pve("storage.cfg"))?;
    let kind = text.lines().find_map(|line| line.strip_suffix(pool)?.trim_end().strip_suffix(':').map(str::to_owned));
    kind.ok_or_else(|| Failure::new(format!("storage '{pool}' does not exist")))
}

/// Whether a container can have snapshots: not with a directory of the host, and not in files.
pub(crate) fn has_snapshots(node: &Node, file: &File) -> Result<bool, Failure> {
    let root = file.main.keys.get("rootfs").map(String::as_str).unwrap_or_default();
    let mut volumes = file.main.numbered("mp").map(|(_, value)| value).chain([root]);
    Ok(volumes.all(|volume| {
        let pool = first(volume).split(':').next().unwrap_or_default();
        !volume.starts_with('/') && kind(node, pool).is_ok_and(|kind| !kind.ends_with("dir"))
    }))
}

/// Makes a volume for `POOL:SIZE[,…]`; the same property string with the volume in it.
pub(crate) fn allocate(node: &Node, id: &str, asked: &str) -> Result<String, Failure> {
    let volume = first(asked);
    let Some((pool, size)) = volume.split_once(':').filter(|(_, size)| size.parse::<f64>().is_ok()) else {
        return Ok(asked.to_owned());
    };
    let kind = kind(node, pool)?;
    let mut names = (0..).map(|number| name(&kind, pool, id, number));
    let name = names.find(|name| !node.volume(name).exists()).unwrap_or_default();
    match is_file(&name) {
        true => make_file(&node.volume(&name), size)?,
        false => {
            fs_err::create_dir_all(node.volume(&name))?;
            fs_err::set_permissions(node.volume(&name), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
    }
    let rest = &asked[volume.len()..];
    Ok(format!("{name}{rest},size={size}G"))
}

/// What a pool calls a container's volume of this number.
pub(crate) fn name(kind: &str, pool: &str, id: &str, number: u32) -> String {
    match (kind, pool) {
        ("dir", "files") => format!("{pool}:{id}/vm-{id}-disk-{number}.raw"),
        ("dir", _) => format!("{pool}:{id}/subvol-{id}-disk-{number}.subvol"),
        _ => format!("{pool}:subvol-{id}-disk-{number}"),
    }
}

/// Whether a volume is a file with a file system in it.
pub(crate) fn is_file(volume: &str) -> bool {
    volume.ends_with(".raw")
}

fn make_file(path: &Path, gib: &str) -> Result<(), Failure> {
    if let Some(directory) = path.parent() {
        fs_err::create_dir_all(directory)?;
    }
    let bytes = gib.parse::<u64>().unwrap_or(1) << 30;
    fs_err::File::create(path)?.set_len(bytes)?;
    run("mkfs.ext4", &["-q", "-O", "mmp", &path.to_string_lossy()], None).map(drop)
}

/// Lets `work` have the directory of a container's root.
pub(crate) fn with_root<T>(
    node: &Node,
    id: &str,
    file: &File,
    work: impl FnOnce(&Path) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let volume = root(file);
    if !is_file(&volume) {
        return work(&node.volume(&volume));
    }
    let place = node.lxc(id).join("rootfs");
    fs_err::create_dir_all(&place)?;
    mount_file(&node.volume(&volume), &place)?;
    let worked = work(&place);
    run("umount", &["-d", &place.to_string_lossy()], None)?;
    worked
}

/// Mounts a volume as `run_with_loopdev` does: on the loop device that the file has, whoever has made it, or on a new one.
pub(crate) fn mount_file(file: &Path, place: &Path) -> Result<(), Failure> {
    let (file, place) = (file.to_string_lossy(), place.to_string_lossy());
    let found = run("losetup", &["--associated", &file], None)?;
    // One that the last unmount has left for a moment may be gone by now.
    if found.split_once(':').is_some_and(|(device, _)| run("mount", &[device, &place], None).is_ok()) {
        return Ok(());
    }
    let device = run("losetup", &["--show", "-f", &file], None)?;
    let mounted = run("mount", &[device.trim(), &place], None);
    // It goes with the mount.
    run("losetup", &["-d", device.trim()], None)?;
    mounted.map(drop)
}

/// Waits until the last mount of a volume has gone with the processes of its container.
pub(crate) fn wait_for_release(node: &Node, file: &File) -> Result<(), Failure> {
    let path = node.volume(&root(file));
    if is_file(&path.to_string_lossy()) {
        while !run("losetup", &["--associated", &path.to_string_lossy()], None)?.is_empty() {
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Removes a volume with its snapshots.
pub(crate) fn free(node: &Node, volume: &str) -> Result<(), Failure> {
    let (pool, name) = volume.split_once(':').unwrap_or(("none", volume));
    if name.contains('/') {
        let path = node.volume(volume);
        if is_file(volume) {
            fs_err::remove_file(&path)?
        } else {
            fs_err::remove_dir_all(&path)?
        }
        // The directory of the container's volumes goes with the last.
        path.parent().map(fs_err::remove_dir);
        return Ok(());
    }
    free_where(node, pool, |found| found == name || found.starts_with(&format!("{name}@")))
}

/// Removes every volume of a container, whether its file names it or not.
pub(crate) fn free_all(node: &Node, id: &str) -> Result<(), Failure> {
    for pool in fs_err::read_dir(node.pools())? {
        let pool = pool?.file_name().to_string_lossy().into_owned();
        free_where(node, &pool, |found| found.starts_with(&format!("subvol-{id}-disk-")))?;
        let files = node.pools().join(&pool).join("images").join(id);
        if files.exists() {
            fs_err::remove_dir_all(files)?;
        }
    }
    Ok(())
}

fn free_where(node: &Node, pool: &str, is_one: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for entry in fs_err::read_dir(node.pools().join(pool)).into_iter().flatten() {
        let entry = entry?;
        if is_one(&entry.file_name().to_string_lossy()) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// `pct resize`: the volume grows, never shrinks.
pub(crate) fn resize(node: &Node, arguments: &Arguments) -> Result<(), Failure> {
    let (id, disk, size) = (arguments.id(), &arguments.words[1], &arguments.words[2]);
    let mut file = node.load_unlocked(id)?;
    if is_file(&root(&file)) {
        return Err(Failure::new("stand-in: a volume that is a file does not grow"));
    }
    let missing = || Failure::new(format!("disk '{disk}' does not exist"));
    let value = file.main.keys.get(disk).ok_or_else(missing)?;
    let gib = |text: &str| text.trim_end_matches('G').parse::<u64>().unwrap_or(0);
    let old = property(value, "size").map(gib).unwrap_or(0);
    if gib(size) < old {
        return Err(Failure::new("unable to shrink disk size"));
    }
    let parts: Vec<&str> = value.split(',').filter(|part| !part.starts_with("size=")).collect();
    let grown = format!("{},size={size}", parts.join(","));
    file.main.keys.insert(disk.clone(), grown);
    println!("Image resized.");
    node.save(id, &file)
}

/// Whether a pool of files has no room left. A volume of the real one is a sparse file there with a file system in it,
/// so a program that writes into the container does not learn it, and `pct create` exits with 0.
pub(crate) fn is_full(volume: &std::path::Path) -> bool {
    rustix::fs::statvfs(volume).is_ok_and(|it| it.f_bfree * it.f_frsize < 1 << 20)
}
