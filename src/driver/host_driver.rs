//! Settings of a container by which liblxc brings the host's own driver into it at every start, over whatever lies there:
//! the hook of NVIDIA's container toolkit, and bind mounts of the host's libraries. Pure.

use std::path::Path;

/// Which settings, by key and value, bring the host's driver in.
///
/// The hook (`hooks/nvidia` of liblxc) does nothing unless `NVIDIA_VISIBLE_DEVICES` says which GPUs, or `CUDA_VERSION` that
/// the container was made from an image of NVIDIA's; an empty value and `void` switch it off. What is said last counts. LXC 7.0
/// has a key for hooks alone, and one that no hook gets to see, `lxc.environment.runtime`.
pub fn brought_in<'s>(settings: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
    let environment = |name: &str| {
        let said = settings.iter().filter(|(key, _)| ["lxc.environment", "lxc.environment.hooks"].contains(key));
        said.filter_map(|(_, value)| value.trim().strip_prefix(name)?.strip_prefix('=')).next_back()
    };
    let is_on = match environment("NVIDIA_VISIBLE_DEVICES") {
        Some(devices) => !devices.is_empty() && devices != "void",
        None => environment("CUDA_VERSION").is_some_and(|version| !version.is_empty()),
    };
    let is_one = |(key, value): &&(&str, &str)| match *key {
        "lxc.mount.entry" => mounts_driver(value),
        "lxc.hook.mount" => is_on && is_toolkits_hook(value),
        _ => false,
    };
    settings.iter().filter(is_one).copied().collect()
}

fn is_toolkits_hook(value: &str) -> bool {
    let mut words =
        value.split_whitespace().map(|word| Path::new(word).file_name().unwrap_or_default().to_string_lossy());
    words.any(|name| name == "nvidia" || name.starts_with("nvidia-container"))
}

/// Whether a mount is one of a part of a driver, by what is mounted or by where.
fn mounts_driver(value: &str) -> bool {
    let mut fields = value.split_whitespace();
    let (Some(source), Some(target)) = (fields.next(), fields.next()) else { return false };
    [source, target].iter().any(|path| is_of_driver(path))
}

/// Whether a path of the host is a part of an installed driver: a library, a program, or a directory of nothing else.
pub fn is_of_driver(path: &str) -> bool {
    const LIBRARIES: [&str; 6] =
        ["libcuda.so", "libcudadebugger.so", "libnvidia-", "libnvcuvid.so", "libnvoptix.so", "libvdpau_nvidia"];
    const PROGRAMS: [&str; 5] =
        ["nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"];
    const DIRECTORIES: [&str; 4] = ["lib", "lib64", "x86_64-linux-gnu", "aarch64-linux-gnu"];
    // NVIDIA's toolkit, and the list that its installer keeps of what it has moved away.
    if path.contains("/libnvidia-container") || path.trim_start_matches('/').starts_with("var/") {
        return false;
    }
    let path = Path::new(path);
    let name =
        |path: Option<&Path>| path.and_then(Path::file_name).and_then(|it| it.to_str()).unwrap_or_default().to_owned();
    let (last, before) = (name(Some(path)), name(path.parent()));
    let is_library = LIBRARIES.iter().any(|prefix| last.starts_with(prefix))
        || (last.starts_with("lib") && last.contains("_nvidia.so"));
    let is_directory =
        (last == "nvidia" || last.starts_with("nvidia-driver")) && DIRECTORIES.contains(&before.as_str());
    let is_program = PROGRAMS.contains(&last.as_str()) && ["bin", "sbin"].contains(&before.as_str());
    is_library || is_directory || is_program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_libraries_are_known_by_name_wherever_they_come_from() {
        for mount in [
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1 usr/lib/x86_64-linux-gnu/libcuda.so.1 none bind,optional,create=file",
            "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.76.05 opt/ml.so none bind 0 0",
            "/srv/driver/580 usr/lib/nvidia none bind,create=dir",
            "/dev/shm/copy/libcuda.so.1 usr/lib/libcuda.so.1 none bind",
            "/usr/bin/nvidia-smi usr/bin/nvidia-smi none bind,create=file",
            "/usr/lib/x86_64-linux-gnu/libEGL_nvidia.so.0 usr/lib/libEGL_nvidia.so.0 none bind",
        ] {
            assert_eq!(brought_in(&[("lxc.mount.entry", mount)]).len(), 1, "{mount}");
        }
        for other in [
            "/dev/nvidia0 dev/nvidia0 none bind,create=file",
            "/dev/nvidia-caps dev/nvidia-caps none bind,create=dir",
            "/run/nvidia-persistenced/socket run/nvidia-persistenced/socket none bind",
            "/run/nvidia-persistenced run/nvidia-persistenced none bind",
            "/proc/driver/nvidia proc/driver/nvidia none bind",
            "/srv/nvidia srv/nvidia none bind,create=dir",
            "/var/lib/store/images/580 usr/lib/phoenix-nvidia/580 none bind,ro",
            "/models models none bind",
            "/usr/lib/x86_64-linux-gnu/libnvidia-container.so.1 usr/lib/libnvidia-container.so.1 none bind",
            "/var/lib/nvidia var/lib/nvidia none bind",
            "proc",
            "",
        ] {
            assert_eq!(brought_in(&[("lxc.mount.entry", other)]), [], "{other}");
        }
    }

    #[test]
    fn the_toolkits_hook_counts_where_it_does_something() {
        let hook = ("lxc.hook.mount", "/usr/share/lxc/hooks/nvidia");
        let with = |environment: &[&'static str]| {
            let said = environment.iter().map(|said| ("lxc.environment", *said));
            brought_in(&std::iter::once(hook).chain(said).collect::<Vec<_>>())
        };
        for on in [&["NVIDIA_VISIBLE_DEVICES=all"][..], &["NVIDIA_VISIBLE_DEVICES=none"], &["CUDA_VERSION=12.4.1"]] {
            assert_eq!(with(on), [hook], "{on:?}");
        }
        let off = [
            &[][..],
            &["NVIDIA_VISIBLE_DEVICES=void"],
            &["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES="],
            &["NVIDIA_VISIBLE_DEVICES=void", "CUDA_VERSION=12.4.1"],
            &["NVIDIA_DRIVER_CAPABILITIES=all"],
        ];
        for off in off {
            assert_eq!(with(off), [], "{off:?}");
        }
        let all = "NVIDIA_VISIBLE_DEVICES=all";
        assert_eq!(brought_in(&[hook, ("lxc.environment.hooks", all)]), [hook]);
        assert_eq!(brought_in(&[hook, ("lxc.environment.runtime", all)]), []);
        let ours = ("lxc.hook.mount", "/usr/bin/phoenix-nvidia hook lxc mount");
        assert_eq!(brought_in(&[ours, ("lxc.environment", "NVIDIA_VISIBLE_DEVICES=all")]), []);
    }
}
