//! Names of temporary files and directories: recognised as ours, and unique.

const TEMPORARY: &str = ".phoenix-nvidia-";

/// A name that nobody else has, for what gets its own later.
pub fn temporary_name() -> String {
    format!("{TEMPORARY}{:016x}", fastrand::u64(..))
}

/// Whether it is a name that [`temporary_name`] gives, and so of something that an interrupted run left.
pub fn is_temporary(name: &str) -> bool {
    let digits = name.strip_prefix(TEMPORARY).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_given_here_are_temporary() {
        assert!(is_temporary(&temporary_name()));
        for other in
            ["libcuda.so.1", ".phoenix-nvidia-", ".phoenix-nvidia-580.76.05-0123456", ".phoenix-nvidia-\u{1b}[2J"]
        {
            assert!(!is_temporary(other), "{other:?}");
        }
    }
}
