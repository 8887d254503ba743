//! What must hold for any `ID.conf` and any property string; the fuzzer looks for one where it does not.

use std::collections::BTreeSet;

use super::config_file::{ConfigFile, RawLine};
use super::{devices, mounted, property};
use crate::config::GpuAccess;
use crate::container_id::ContainerId;

/// Any text as an `ID.conf`: read without a panic, and an edit of its raw lines changes nothing else.
///
/// # Panics
/// Something else has changed.
pub fn id_conf(text: &str) {
    let before = ConfigFile::new(text);
    let line = RawLine::new("lxc.mount.entry", "/srv/phoenix/driver usr/lib/phoenix none bind,ro");
    let foreign: Vec<RawLine> = before.raw().filter(|it| *it != line).collect();
    let after = ConfigFile::new(before.edited(&[], std::slice::from_ref(&line)));
    assert!(after.raw().any(|it| it == line));
    assert_eq!(after.raw().filter(|it| *it != line).collect::<Vec<_>>(), foreign);
    let undone = ConfigFile::new(after.edited(std::slice::from_ref(&line), &[]));
    assert_eq!(undone.raw().collect::<Vec<_>>(), foreign);
    for edited in [&after, &undone] {
        assert!(before.keys().eq(edited.keys()));
        assert_eq!(before.snapshots(), edited.snapshots());
        assert_eq!(before.pending(), edited.pending());
        for name in before.snapshots() {
            assert_eq!(before.snapshot(&name), edited.snapshot(&name));
            assert!(before.raw_of(&name).eq(edited.raw_of(&name)));
        }
    }
    used(&before);
}

/// What is made of the file's values.
fn used(config: &ConfigFile) {
    let gone = devices::entries(&config.after_restart(), &[], &[], &BTreeSet::new(), GpuAccess::default()).1;
    assert!(gone.iter().all(|key| config.after_restart().contains_key(key)));
    assert!(devices::passed(config, &BTreeSet::new()).iter().all(|path| path.starts_with("/dev")));
    if let Some(map) = ContainerId::new(901).and_then(|id| mounted::idmap(config, id).ok()) {
        assert!(map.user(0).is_some() && map.group(0).is_some());
    }
}

/// Any two texts as property strings: what is merged into one is in it, and what is not ours stays.
///
/// # Panics
/// It is not.
pub fn property_strings(text: &str, other: &str) {
    assert!(property::same(text, text));
    assert_eq!(property::same(text, other), property::same(other, text));
    let merged = property::merged(text, &[("mode", "0666".to_owned())], &["gw"]);
    let (before, after) = (property::parts(text, ""), property::parts(&merged, ""));
    assert_eq!(after.get("mode").map(String::as_str), Some("0666"));
    assert!(!after.contains_key("gw"));
    let ours = |key: &str| ["mode", "gw"].contains(&key);
    assert!(before.iter().filter(|(key, _)| !ours(key)).eq(after.iter().filter(|(key, _)| !ours(key))), "{merged}");
}

#[cfg(test)]
mod tests {
    use fs_err::{read_dir, read_to_string};

    #[test]
    fn an_edit_of_a_seed_changes_nothing_else() {
        for seed in read_dir("fuzz/seeds/id_conf").unwrap() {
            super::id_conf(&read_to_string(seed.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn what_is_not_ours_stays_in_every_seed() {
        for seed in read_dir("fuzz/seeds/property_strings").unwrap() {
            let text = read_to_string(seed.unwrap().path()).unwrap();
            let (left, right) = text.split_once('\n').unwrap();
            super::property_strings(left, right);
        }
    }
}
