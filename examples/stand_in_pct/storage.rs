//! Pools and volumes: a volume is a directory, whose size is what the container's file says.

use crate::Failure;
use crate::file::{File, first, property};
use crate::node::Node;
use crate::options::Arguments;

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
    kind(node, pool)?;
    let mut numbers = 0_u32..;
    let name = numbers.find_map(|number| {
        let name = format!("{pool}:subvol-{id}-disk-{number}");
        (!node.volume(&name).exists()).then_some(name)
    });
    let name = name.unwrap_or_default();
    fs_err::create_dir_all(node.volume(&name))?;
    fs_err::set_permissions(node.volume(&name), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let rest = &asked[volume.len()..];
    Ok(format!("{name}{rest},size={size}G"))
}

/// Removes a volume with its snapshots.
pub(crate) fn free(node: &Node, volume: &str) -> Result<(), Failure> {
    let (pool, name) = volume.split_once(':').unwrap_or(("none", volume));
    free_where(node, pool, |found| found == name || found.starts_with(&format!("{name}@")))
}

/// Removes every volume of a container, whether its file names it or not.
pub(crate) fn free_all(node: &Node, id: &str) -> Result<(), Failure> {
    for pool in fs_err::read_dir(node.pools())? {
        let pool = pool?.file_name().to_string_lossy().into_owned();
        free_where(node, &pool, |found| found.starts_with(&format!("subvol-{id}-disk-")))?;
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
