//! Secure Boot: whether it is on, and how the kernel says that it refused a module. Pure.

/// What `mokutil --sb-state` says; `None` when it says neither.
///
/// `SecureBoot enabled` may be followed by `SecureBoot validation is disabled in shim`: modules then load unsigned.
pub fn enabled_by_mokutil(answer: &str) -> Option<bool> {
    let disabled_in_shim = answer.contains("validation is disabled in shim");
    answer.lines().find_map(|line| match line.trim() {
        "SecureBoot enabled" => Some(!disabled_in_shim),
        "SecureBoot disabled" => Some(false),
        _ => None,
    })
}

/// What the firmware's variable `SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c` says: four bytes of attributes, then 1.
pub fn enabled_by_firmware(variable: &[u8]) -> Option<bool> {
    variable.get(4).map(|byte| *byte == 1)
}

/// The line of the kernel's log that says it refused a module for want of a signature that it trusts.
///
/// `kernel/module/signing.c` says `Loading of … is rejected` (Linux 5.4 to 6.12), lockdown says `unsigned module loading
/// is restricted`.
pub fn refusal(kernel_log: &str) -> Option<&str> {
    let refuses = |line: &str| {
        let line = line.to_ascii_lowercase();
        (line.contains("loading of") && line.contains("is rejected"))
            || line.contains("unsigned module loading is restricted")
    };
    kernel_log.lines().rfind(|line| refuses(line)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mokutil_is_believed_with_what_it_adds_of_the_shim() {
        assert_eq!(enabled_by_mokutil("SecureBoot enabled\n"), Some(true));
        assert_eq!(enabled_by_mokutil("SecureBoot enabled\nSecureBoot validation is disabled in shim\n"), Some(false));
        assert_eq!(enabled_by_mokutil("SecureBoot disabled\nPlatform is in Setup Mode\n"), Some(false));
        assert_eq!(enabled_by_mokutil("EFI variables are not supported on this system\n"), None);
    }

    #[test]
    fn the_variable_of_the_firmware_has_its_value_behind_the_attributes() {
        assert_eq!(enabled_by_firmware(&[6, 0, 0, 0, 1]), Some(true));
        assert_eq!(enabled_by_firmware(&[6, 0, 0, 0, 0]), Some(false));
        assert_eq!(enabled_by_firmware(&[6, 0]), None);
    }

    #[test]
    fn a_refusal_is_found_in_both_of_its_forms() {
        let rejected = "[    4.1] nvidia: loading out-of-tree module taints kernel.\n[    4.2] Loading of module with unavailable key is rejected\n";
        assert_eq!(refusal(rejected), Some("[    4.2] Loading of module with unavailable key is rejected"));
        let lockdown =
            "[   12.8] Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7\n";
        assert!(refusal(lockdown).is_some());
        assert_eq!(refusal("[ 1.0] nvidia: module verification failed: signature and/or required key missing"), None);
    }
}
