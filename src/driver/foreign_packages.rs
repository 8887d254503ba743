//! Packages of a distribution that bring NVIDIA's user space, as dpkg's database lists them. Pure.

/// The installed packages that bring libraries or programs of NVIDIA's driver, with their versions: at most twenty.
///
/// `status` is `/var/lib/dpkg/status`. The names are those of Debian (`libcuda1`, `libnvidia-ml1`, `nvidia-smi`,
/// `nvidia-driver-libs`), Ubuntu (`libnvidia-compute-580`, `nvidia-utils-580`, with `-server`) and NVIDIA's own
/// repository (`libnvidia-compute`, `nvidia-driver-cuda`). NVIDIA's container toolkit and CUDA are no driver.
pub fn in_dpkg_status(status: &str) -> Vec<String> {
    let stanzas = status.split("\n\n").filter(|stanza| field(stanza, "Status").is_some_and(is_installed));
    let named = stanzas.filter_map(|stanza| {
        let name = field(stanza, "Package").filter(|name| is_of_the_driver(name))?;
        Some(format!("{name} {}", field(stanza, "Version").unwrap_or("?")))
    });
    named.take(20).collect()
}

fn field<'s>(stanza: &'s str, name: &str) -> Option<&'s str> {
    let mut fields = stanza.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

fn is_installed(status: &str) -> bool {
    status.ends_with(" installed") || status.ends_with(" unpacked") || status.ends_with(" half-configured")
}

fn is_of_the_driver(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["libcuda1", "libnvidia-ml1", "nvidia-smi", "nvidia-alternative", "libnvidia-compute", "nvidia-driver-cuda"];
    const BEGINNINGS: [&str; 6] = [
        "libnvidia-compute-",
        "nvidia-utils-",
        "nvidia-driver-",
        "nvidia-headless-",
        "libnvidia-gl-",
        "nvidia-compute-utils-",
    ];
    let name = name.split(':').next().unwrap_or(name);
    NAMES.contains(&name)
        || (BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)) && !name.ends_with("-common"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // dpkg 1.21.22 of Debian 12, shortened.
    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
        Package: libcuda1\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 535.183.01-1\n\
        Description: NVIDIA CUDA Driver Library\n Version: of nothing\n\n\
        Package: nvidia-smi\nStatus: deinstall ok config-files\nVersion: 535.183.01-1\n\n\
        Package: nvidia-container-toolkit\nStatus: install ok installed\nVersion: 1.17.4-1\n\n\
        Package: libnvidia-compute-580\nStatus: install ok unpacked\nVersion: 580.76.05-0ubuntu1\n";

    #[test]
    fn installed_packages_of_the_driver_are_found_and_nothing_else() {
        assert_eq!(in_dpkg_status(STATUS), ["libcuda1 535.183.01-1", "libnvidia-compute-580 580.76.05-0ubuntu1"]);
    }

    #[test]
    fn a_damaged_or_endless_database_gives_what_it_gives() {
        assert_eq!(in_dpkg_status(""), Vec::<String>::new());
        assert_eq!(in_dpkg_status("Package libcuda1\n\n:::\n"), Vec::<String>::new());
        let many = "Package: libcuda1\nStatus: install ok installed\n\n".repeat(1000);
        assert_eq!(in_dpkg_status(&many).len(), 20);
    }
}
