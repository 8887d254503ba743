//! Why a container does not start: the first error that liblxc writes into a log of this one start.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sys::atomic;

const NAME: &str = "phoenix-nvidia-start.log";
// A start that fails writes about ten lines.
const LIMIT: u64 = 64 << 10;
const LONGEST_REASON: usize = 300;

/// The log of one start; it goes with it.
pub(super) struct StartLog {
    path: PathBuf,
}

impl StartLog {
    /// A log in the container's directory; `None` where its settings name one, which our option would override.
    ///
    /// # Errors
    /// What a killed run left cannot be removed.
    pub(super) fn of(directory: &Path, settings: &str) -> Result<Option<Self>> {
        if settings.lines().any(|line| line.trim_start().starts_with("lxc.log.file")) {
            return Ok(None);
        }
        let path = directory.join(NAME);
        // liblxc appends to what is there.
        atomic::remove_if_there(&path)?;
        Ok(Some(Self { path }))
    }

    /// Where liblxc is to write it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The first error, without the place in liblxc's source.
    pub(super) fn first_error(&self) -> Option<String> {
        let mut text = Vec::new();
        fs_err::File::open(&self.path).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
        String::from_utf8_lossy(&text).lines().find_map(error_of)
    }
}

impl Drop for StartLog {
    fn drop(&mut self) {
        if let Err(error) = atomic::remove_if_there(&self.path) {
            tracing::warn!("{error}");
        }
    }
}

/// The text of an error: `lxc-start 901 20261128082143.210 ERROR    conf - ../src/lxc/conf.c:lxc_map_ids:3708 - TEXT`.
fn error_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(" ERROR ")?;
    let text = rest.splitn(3, " - ").nth(2)?;
    Some(text.chars().filter(|it| !it.is_control()).take(LONGEST_REASON).collect())
}

/// What to do about an error whose remedy is known.
pub(super) fn remedy(error: &str) -> Option<String> {
    let file = if error.contains("newuidmap: uid range ") {
        "/etc/subuid"
    } else if error.contains("newgidmap: gid range ") {
        "/etc/subgid"
    } else {
        return None;
    };
    let (range, _) = error.split_once("-> [")?.1.split_once(") not allowed")?;
    let (first, behind) = range.split_once('-')?;
    let (first, behind) = (first.parse::<u64>().ok()?, behind.parse::<u64>().ok()?);
    let count = behind.checked_sub(first)?;
    Some(format!("add them with `echo root:{first}:{count} >> {file}`, then run the same command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "lxc-start 901 20261128082143.210 ERROR    conf - ../src/lxc/conf.c:lxc_map_ids:3708 - newuidmap failed \
                        to write mapping \"newuidmap: uid range [0-65536) -> [9000000-9065536) not allowed\": newuidmap 16987 \
                        0 9000000 65536";

    #[test]
    fn an_error_is_reported_without_its_place_in_the_source() {
        let error = error_of(LINE).unwrap();
        assert!(error.starts_with("newuidmap failed to write mapping \"newuidmap: uid range [0-65536)"), "{error}");
        assert_eq!(error_of("lxc-start 901 20261128082143.210 WARN     conf - ../src/lxc/conf.c:x:1 - text"), None);
        let with_cause = "lxc-start 9 2 ERROR    conf - ../src/lxc/conf.c:mount_autodev:1232 - Permission denied - Failed to create \"/dev\"";
        assert_eq!(error_of(with_cause).unwrap(), "Permission denied - Failed to create \"/dev\"");
    }

    #[test]
    fn ids_that_are_not_allowed_are_given_by_the_line_that_is_missing() {
        let said = remedy(&error_of(LINE).unwrap()).unwrap();
        assert!(said.contains("`echo root:9000000:65536 >> /etc/subuid`"), "{said}");
        let groups = LINE.replace("newuidmap: uid", "newgidmap: gid");
        assert!(remedy(&groups).unwrap().contains(">> /etc/subgid`"));
        assert_eq!(remedy("Permission denied"), None);
        assert_eq!(remedy("newuidmap: uid range [0-1) -> [9-x) not allowed"), None);
    }
}
