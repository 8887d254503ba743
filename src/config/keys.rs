//! The names of the keys that are read, and the ones that only look like them.

/// Keys of a container with a single value: looked up in the container, then at the root of the file.
pub(super) const SCALARS: &[&str] = &[
    "name",
    "memory_mb",
    "swap_mb",
    "cores",
    "template",
    "clone_from_ctid",
    "template_snapshot_name",
    "storage_pool",
    "storage_size_gb",
    "mac_address",
    "unprivileged",
    "gpu_assignment",
    "manage_settings",
    "gpu_mode",
    "gpu_uid",
    "gpu_gid",
    "nvidia_dri",
    "nvidia_cdi",
    "apparmor_profile",
    "apparmor_manages_nesting",
    "start_at_boot",
    "boot_order",
    "boot_delay",
    "enable_lifecycle_snapshots",
    "nvidia_driver_version",
    "nvidia_runfile_url",
    "nvidia_repo_url",
    "nvidia_install_method",
    "nvidia_runfile_sha256",
    "nvidia_driver_profile",
    "nvidia_on_mismatch",
    "nvidia_allow_fallback",
];

/// Keys of a container with a list or an object: read in the container alone.
pub(super) const COMPOSED: &[&str] = &[
    "network_config",
    "features",
    "pct_options",
    "lxc_options",
    "id_maps",
    "mount_points",
    "volumes",
    "zfs_volumes",
    "dependencies",
];

/// Keys at the root of the containers' file besides the scalars.
pub(super) const ROOT: &[&str] = &["$schema", "lxc_configs"];

/// Keys of `network_config`.
pub(super) const NETWORK: &[&str] = &["name", "bridge", "ip", "gw", "nameservers"];

/// Keys of an entry of `mount_points`.
pub(super) const MOUNT: &[&str] = &["host_path", "container_path", "owner_uid", "owner_gid"];

/// Keys of an entry of `volumes` or `zfs_volumes`.
pub(super) const VOLUME: &[&str] = &["name", "pool", "size_gb", "mount_point"];

/// Keys at the root of the hypervisor's file.
pub(super) const HYPERVISOR_ROOT: &[&str] =
    &["hypervisor", "nvidia_driver", "core_paths", "mount_point_base", "behavior"];

/// Keys of `nvidia_driver` in the hypervisor's file. `install` and `cuda_version` are the host's, not read.
pub(super) const HYPERVISOR_DRIVER: &[&str] =
    &["install", "version", "runfile_url", "cuda_version", "mirrors", "offline", "allow_http"];

/// Whether `key` is one of the keys of a container.
pub(super) fn is_of_container(key: &str) -> bool {
    SCALARS.contains(&key) || COMPOSED.contains(&key)
}

/// The known key that an unknown one was probably meant to be.
///
/// Keys of other tools stand in the same objects, so only a slip of the fingers counts: one letter wrong, missing,
/// doubled or swapped, two in names of ten letters and more, or another spelling of the same words.
pub(super) fn probably_meant<'k>(key: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    // Nearly every key is a known one, and comparing letters costs a thousand times more than finding that out.
    if key.len() > 60 || known.clone().any(|candidate| candidate == key) {
        return None;
    }
    let (letters, plain) = (key.chars().count(), simplified(key));
    let mut nearest = None;
    for candidate in known {
        let allowed = match candidate.len() {
            0..=3 => 0,
            4..=9 => 1,
            _ => 2,
        };
        let distance = match plain == simplified(candidate) {
            true => 0,
            // The difference in length is the least that the distance can be.
            false if letters.abs_diff(candidate.chars().count()) > allowed => continue,
            false => distance(key, candidate),
        };
        if distance <= allowed && nearest.is_none_or(|(best, _)| distance < best) {
            nearest = Some((distance, candidate));
        }
    }
    nearest.map(|(_, candidate)| candidate)
}

fn simplified(key: &str) -> String {
    key.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

/// How many letters must be changed, added, removed or swapped with their neighbour (optimal string alignment).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(key: &str) -> Option<&'static str> {
        probably_meant(key, SCALARS.iter().chain(COMPOSED).copied())
    }

    #[test]
    fn slips_of_the_fingers_are_recognised() {
        for (wrong, right) in [
            ("nvidia_driver_verison", "nvidia_driver_version"),
            ("nvidia-driver-version", "nvidia_driver_version"),
            ("nvidiaDriverVersion", "nvidia_driver_version"),
            ("gpu_asignment", "gpu_assignment"),
            ("feature", "features"),
            ("mount_point", "mount_points"),
            ("memroy_mb", "memory_mb"),
            ("id_map", "id_maps"),
        ] {
            assert_eq!(meant(wrong), Some(right), "{wrong}");
        }
    }

    #[test]
    fn keys_of_other_tools_are_not_taken_for_slips() {
        for other in [
            "ports",
            "tests",
            "firewall",
            "health_check",
            "health_checks",
            "portainer_role",
            "application_script",
            "vllm_engine_config",
            "vllm_model",
            "traefik_service",
            "static_ip",
            "dns_records",
            "bootstrap_ca_url",
            "trigger_sync_on_completion",
            "notes",
            "tags",
            "nvidia_cuda_version",
            "gpu",
        ] {
            assert_eq!(meant(other), None, "{other}");
        }
    }

    #[test]
    fn known_keys_are_nothing_else() {
        assert!(SCALARS.iter().chain(COMPOSED).all(|key| meant(key).is_none()));
    }
}
