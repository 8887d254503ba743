//! Which kernel the next boot takes, and what DKMS says of NVIDIA's module for it. Pure.

use std::cmp::Ordering;

/// The kernel that the next boot takes: the pinned one, else the newest.
///
/// GRUB (Debian's `update-grub`), systemd-boot and proxmox-boot-tool all sort by version and take the last; a pin of
/// proxmox-boot-tool (`/etc/kernel/next-boot-pin`, `/etc/kernel/proxmox-boot-pin`) wins as long as that kernel is there.
pub fn next<'k>(kernels: &'k [String], pins: &[String]) -> Option<&'k str> {
    let pinned = pins.iter().find_map(|pin| kernels.iter().find(|kernel| *kernel == pin.trim()));
    pinned.or_else(|| kernels.iter().max_by(|one, other| by_version(one, other))).map(String::as_str)
}

/// The order of `sort -V`, near enough for kernel releases: runs of digits count as numbers.
fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    while !one.is_empty() && !other.is_empty() {
        let (digits, others) = (number_at_start(one), number_at_start(other));
        let order = match (digits, others) {
            (Some((a, _)), Some((b, _))) => a.cmp(&b),
            _ => one.chars().next().cmp(&other.chars().next()),
        };
        if order != Ordering::Equal {
            return order;
        }
        one = digits.map_or_else(|| after_first(one), |(_, rest)| rest);
        other = others.map_or_else(|| after_first(other), |(_, rest)| rest);
    }
    one.len().cmp(&other.len())
}

fn number_at_start(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn after_first(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

/// The module that is meant by `nvidia`, from what `modprobe --show-depends nvidia` prints where an `install` line of
/// `/etc/modprobe.d` brings another in: Debian's says `install modprobe -i nvidia-current $CMDLINE_OPTS`.
pub fn meant_by_install_line(said: &str) -> Option<&str> {
    let command = said.lines().find_map(|line| line.trim().strip_prefix("install "))?;
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    command.split_whitespace().filter(is_name).find(|word| word.starts_with("nvidia"))
}

/// What `dkms status` says of NVIDIA's module for a kernel: the word behind the last colon, such as `installed`.
///
/// Forms: `nvidia, 535.183.01, 6.1.0-21-amd64, x86_64: installed` (dkms 2) and
/// `nvidia/580.76.05, 6.8.12-1-pve, x86_64: installed` (dkms 3); a module that was built for no kernel is
/// `nvidia/580.76.05: added`. Debian calls it `nvidia-current`.
pub fn dkms_state<'s>(status: &'s str, kernel: &str) -> Option<&'s str> {
    let line = status.lines().filter(|line| line.starts_with("nvidia")).find(|line| {
        let head = line.split_once(": ").map_or(*line, |(head, _)| head);
        head.split(", ").any(|part| part.trim() == kernel)
    })?;
    line.split_once(": ").map(|(_, state)| state.trim())
}

/// Whether `dkms status` knows a module of NVIDIA at all.
pub fn dkms_has_nvidia(status: &str) -> bool {
    status.lines().any(|line| line.starts_with("nvidia"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_kernel_is_found_by_number_and_not_by_letter() {
        let all = kernels(&["6.8.12-9-pve", "6.8.12-10-pve", "6.5.13-6-pve"]);
        assert_eq!(next(&all, &[]), Some("6.8.12-10-pve"));
        assert_eq!(next(&kernels(&["6.1.0-9-amd64", "6.1.0-21-amd64"]), &[]), Some("6.1.0-21-amd64"));
        assert_eq!(next(&kernels(&["6.14.0-1-pve", "6.14.11-2-pve"]), &[]), Some("6.14.11-2-pve"));
        assert_eq!(next(&[], &[]), None);
    }

    #[test]
    fn a_pin_wins_while_its_kernel_is_there() {
        let all = kernels(&["6.8.12-9-pve", "6.8.12-10-pve"]);
        assert_eq!(next(&all, &kernels(&["6.8.12-9-pve\n"])), Some("6.8.12-9-pve"));
        assert_eq!(next(&all, &kernels(&["6.2.16-3-pve\n"])), Some("6.8.12-10-pve"));
    }

    #[test]
    fn debians_name_of_the_module_is_the_one_behind_its_install_line() {
        let debian = "install modprobe -i nvidia-current $CMDLINE_OPTS \n";
        assert_eq!(meant_by_install_line(debian), Some("nvidia-current"));
        let by_path = "install /sbin/modprobe --ignore-install nvidia-tesla-470 $CMDLINE_OPTS\n";
        assert_eq!(meant_by_install_line(by_path), Some("nvidia-tesla-470"));
        for other in ["insmod /lib/modules/6.1.0/updates/dkms/nvidia.ko \n", "install /bin/false\n", ""] {
            assert_eq!(meant_by_install_line(other), None, "{other}");
        }
    }

    #[test]
    fn both_forms_of_dkms_are_read() {
        let old =
            "nvidia-current, 535.183.01, 6.1.0-21-amd64, x86_64: installed\nzfs, 2.1.11, 6.1.0-21-amd64: installed\n";
        assert_eq!(dkms_state(old, "6.1.0-21-amd64"), Some("installed"));
        assert_eq!(dkms_state(old, "6.1.0-22-amd64"), None);
        let new = "nvidia/580.76.05, 6.8.12-1-pve, x86_64: built\nnvidia/570.133.20: added\n";
        assert_eq!(dkms_state(new, "6.8.12-1-pve"), Some("built"));
        assert!(dkms_has_nvidia(new) && !dkms_has_nvidia("zfs/2.1.11, 6.1.0: installed\n"));
    }
}
