//! Property strings: `name=eth0,bridge=vmbr0`, where the first part may lack its key. Their order means nothing.

use std::collections::BTreeMap;

/// The parts of a property string; the one without a key, if any, has this one.
pub(super) fn parts(text: &str, default_key: &str) -> BTreeMap<String, String> {
    let part = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((default_key, part));
        (key.trim().to_owned(), value.trim().to_owned())
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(part).collect()
}

/// Whether two property strings say the same.
pub(super) fn same(left: &str, right: &str) -> bool {
    parts(left, "") == parts(right, "")
}

/// `text` with `ours` in place of what it says of their keys; the keys in `gone` are left out.
pub(super) fn merged(text: &str, ours: &[(&str, String)], gone: &[&str]) -> String {
    let kept = parts(text, "")
        .into_iter()
        .filter(|(key, _)| !gone.contains(&key.as_str()) && !ours.iter().any(|(our, _)| our == key));
    let ours = ours.iter().map(|(key, value)| format!("{key}={value}"));
    ours.chain(kept.map(|(key, value)| format!("{key}={value}"))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_means_nothing_and_a_value_everything() {
        assert!(same("name=eth0,bridge=vmbr0", "bridge=vmbr0,name=eth0"));
        assert!(!same("/dev/nvidia0,mode=0666", "/dev/nvidia0,mode=0600"));
        assert!(!same("nesting=1", "nesting=1,keyctl=1"));
    }

    #[test]
    fn what_is_not_ours_stays_in_a_merged_one() {
        let merged = merged(
            "name=eth0,bridge=vmbr0,gw=10.0.0.1,hwaddr=BC:24:11:DF:AB:DB,tag=7,type=veth",
            &[("name", "eth0".to_owned()), ("bridge", "vmbr1".to_owned()), ("ip", "dhcp".to_owned())],
            &["gw"],
        );
        assert_eq!(merged, "name=eth0,bridge=vmbr1,ip=dhcp,hwaddr=BC:24:11:DF:AB:DB,tag=7,type=veth");
    }
}
