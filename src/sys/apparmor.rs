//! The AppArmor profile of this process, and leaving it where the profile itself lets it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// Where the kernel shows and takes the profile of a thread; the first is AppArmor's own (Linux 5.8 and later).
const FILES: [&str; 2] = ["/proc/thread-self/attr/apparmor/current", "/proc/thread-self/attr/current"];

/// Leaves the profile for this thread, and for the threads and processes that it starts from now on.
///
/// liblxc's hooks inherit the profile of `lxc-start`. It lets mounts be made below liblxc's own directories alone, and
/// says `change_profile -> unconfined` (`abstractions/lxc/start-container` of lxc 6.0.4), which is what is asked for here.
///
/// # Errors
/// The profile does not let it go; this thread is confined as before.
pub fn leave_profile() -> Result<()> {
    let Some((file, profile)) = profile() else { return Ok(()) };
    fs_err::write(file, "changeprofile unconfined").map_err(|error| {
        let message = format!("the AppArmor profile `{profile}` cannot be left, so mounts may be refused: {error}");
        Error::new(Kind::Host, message).hint("allow it `change_profile -> unconfined`, as lxc-start's own profile does")
    })
}

/// The profile that confines this thread, and the file that says so; none where there is no AppArmor.
fn profile() -> Option<(PathBuf, String)> {
    FILES.iter().find_map(|file| match fs_err::read_to_string(file) {
        Ok(text) => Some(confining(&text).map(|profile| (Path::new(file).to_owned(), profile.to_owned()))),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        // Another security module, or none, answers.
        Err(_) => Some(None),
    })?
}

/// The name in what the kernel shows: `unconfined`, or `NAME (MODE)`.
fn confining(text: &str) -> Option<&str> {
    let (name, mode) = text.trim_end_matches(['\n', '\0']).rsplit_once(" (")?;
    (mode != "unconfined)").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_reported_from_none() {
        assert_eq!(confining("/usr/bin/lxc-start (enforce)\n"), Some("/usr/bin/lxc-start"));
        assert_eq!(confining("lxc-901_</var/lib/lxc> (enforce)\n"), Some("lxc-901_</var/lib/lxc>"));
        assert_eq!(confining("unconfined\n"), None);
        // A profile that Debian 13 has for programs that it does not confine.
        assert_eq!(confining("lxc-attach (unconfined)\n"), None);
        // SELinux.
        assert_eq!(confining("system_u:system_r:unconfined_t:s0\0"), None);
    }
}
