//! Packages of a distribution that have brought a driver into a container: named before ours comes, or purged for it by the
//! container's own package manager.

use std::time::Duration;

use crate::driver::foreign_packages::in_dpkg_status;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Exec;
use crate::sys::readable::Readable;

use super::Guest;

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
// The database of a container with 3,000 packages has about 4 MB; it may be anything.
const DPKG_STATUS_LIMIT: u64 = 32 << 20;
const APT: &str = "/usr/bin/apt-get";
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Those that are installed, by their names.
///
/// # Errors
/// The container's files cannot be examined.
pub fn installed(rootfs: &dyn Readable) -> Result<Vec<String>> {
    let status = rootfs.read(DPKG_STATUS, DPKG_STATUS_LIMIT)?.unwrap_or_default();
    let packages = in_dpkg_status(&String::from_utf8_lossy(&status)).into_iter();
    let names = packages.filter_map(|package| package.split(' ').next().map(str::to_owned));
    // They become words of a command.
    Ok(names.filter(|name| is_name(name)).collect())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-:".contains(&byte))
}

/// Removes them and their configuration.
///
/// # Errors
/// The container does not run, or its package manager refuses: another package needs one of them.
pub fn purge(guest: &Guest<'_>, packages: &[String]) -> Result<()> {
    guest.require_running()?;
    let has_apt = guest.root()?.is_executable(APT)?;
    let words: &[&str] = if has_apt { &[APT, "purge", "--yes"] } else { &["/usr/bin/dpkg", "--purge"] };
    run(guest, words, packages)
        .map_err(|error| error.within(format!("container {}: {} could not be purged", guest.id, packages.join(", "))))
}

/// Installs them again, from where the container gets its packages.
///
/// # Errors
/// There is no apt in the container, or it fails: without a network, for example.
pub fn put_back(guest: &Guest<'_>, packages: &[String]) -> Result<()> {
    let (id, names) = (guest.id, packages.join(" "));
    run(guest, &[APT, "install", "--yes", "--no-install-recommends"], packages).map_err(|error| {
        error
            .within(format!("container {id}: the packages that were purged could not be installed again"))
            .hint(format!("run `apt-get install {names}` in the container, or install the driver with `phoenix-nvidia install {id}`"))
    })
}

fn run(guest: &Guest<'_>, words: &[&str], packages: &[String]) -> Result<()> {
    let words = words.iter().copied().chain(packages.iter().map(String::as_str));
    let exec = Exec { deadline: DEADLINE, output_limit: 4 << 20, ..Exec::new(words) };
    let output = guest.exec(&exec.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C"))?;
    if output.success() {
        return Ok(());
    }
    Err(Error::new(Kind::Command, format!("its package manager failed with exit code {}", output.code))
        .hint("see what it says above, and remove the packages inside the container")
        .output(output.last_lines()))
}

/// The refusal to put a driver over one that packages have installed, unless somebody wants that.
pub fn in_the_way(guest: &Guest<'_>, packages: &[String]) -> Error {
    let id = guest.id;
    let message = format!("container {id}: packages in it have installed a driver: {}", packages.join(", "));
    Error::new(Kind::Configuration, message).hint(format!(
        "replace them with `phoenix-nvidia install {id} --replace-packages`, which purges them first; or keep them, and \
         upgrade them in the container"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_packages_become_words() {
        for name in ["libcuda1", "libnvidia-compute-580", "nvidia-smi", "lib+x:amd64"] {
            assert!(is_name(name), "{name}");
        }
        for other in ["--force", "", "A", "a b", "a/../b", "a;b"] {
            assert!(!is_name(other), "{other}");
        }
    }
}
