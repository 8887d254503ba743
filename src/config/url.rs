//! Where run files are fetched from: what an operator's URL may say, and the places where NVIDIA publishes them.

use crate::driver::run_file::{self, Name};
use crate::driver::{DriverVersion, Variant};

/// Why a URL cannot be used, as the end of a sentence that begins with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlFault {
    #[error("is not a URL of the form `https://host/path`")]
    Form,
    #[error("holds a user name or a password")]
    Credentials,
    #[error("has the placeholder `{{{0}}}`, only `{{version}}` and `{{arch}}` are known")]
    Placeholder(String),
    #[error("is not encrypted, and `{0}` is not listed in `nvidia_driver.allow_http`")]
    Plain(String),
    #[error("names version {named}, but {wanted} is wanted")]
    OtherVersion { named: String, wanted: DriverVersion },
    #[error("is for {named}, but this machine is {wanted}")]
    OtherArchitecture { named: String, wanted: String },
    #[error("is of the host's part of a virtual GPU (`-vgpu-kvm`), which has no `libcuda`: no container can use it")]
    HostsPart,
}

/// A URL with its placeholders filled, and what had to be changed for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) url: String,
    /// The version that stood in the URL, if it was replaced by the wanted one.
    pub(super) replaced: Option<String>,
}

/// What URLs are made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'t> {
    pub(super) version: &'t DriverVersion,
    pub(super) architecture: &'t str,
    pub(super) variant: Variant,
}

impl Target<'_> {
    /// The run file's name as NVIDIA forms it.
    fn file_name(&self) -> String {
        run_file::file_name(self.architecture, self.version, self.variant)
    }

    /// The variant that the file name of an operator's URL means; everything, where it is none of NVIDIA's names.
    pub(super) fn variant_of(&self, url: &str) -> Variant {
        let filled = self.fill(url);
        let path = filled.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().and_then(Name::parse);
        let ours = name.filter(|name| name.architecture == self.architecture);
        ours.and_then(|name| name.variant).unwrap_or(Variant::Full)
    }

    /// The places where NVIDIA publishes run files, the likeliest first. It publishes none for virtual GPUs.
    ///
    /// Drivers of the data-centre branch are only below `tesla`: 570.133.20 is not below `XFree86` (2026-11).
    pub(super) fn published(&self) -> Vec<String> {
        let Self { version, architecture, variant } = self;
        if matches!(variant, Variant::Grid | Variant::VgpuKvm) {
            return Vec::new();
        }
        let directory = if *architecture == "x86_64" { "Linux-x86_64" } else { architecture };
        let name = self.file_name();
        vec![
            format!("https://us.download.nvidia.com/XFree86/{directory}/{version}/{name}"),
            format!("https://download.nvidia.com/XFree86/{directory}/{version}/{name}"),
            format!("https://us.download.nvidia.com/tesla/{version}/{name}"),
        ]
    }

    /// The run file below a mirror's base URL, laid out as NVIDIA's own directories are.
    pub(super) fn below_mirror(&self, base: &str) -> String {
        format!("{}/{}/{}", self.fill(base).trim_end_matches('/'), self.version, self.file_name())
    }

    /// An operator's URL of a run file, for the wanted version and this machine.
    ///
    /// A URL of NVIDIA's form, `…/<v>/NVIDIA-Linux-<arch>-<v>.run`, that names another version gets the wanted one; in
    /// any other form it is a fault, because what to replace would be a guess.
    pub(super) fn filled(&self, url: &str, allow_http: &[String]) -> Result<Filled, UrlFault> {
        check(url, allow_http)?;
        let filled = self.fill(url);
        let (_, path) = split(&filled).ok_or(UrlFault::Form)?;
        let wanted = self.version.as_str();
        let others: Vec<&str> = versions(path).into_iter().filter(|version| *version != wanted).collect();
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some((named, _)) = usual_form(name)
            && named != self.architecture
        {
            let (named, wanted) = (named.to_owned(), self.architecture.to_owned());
            return Err(UrlFault::OtherArchitecture { named, wanted });
        }
        if self.variant_of(url) == Variant::VgpuKvm {
            return Err(UrlFault::HostsPart);
        }
        let Some(other) = others.first() else { return Ok(Filled { url: filled, replaced: None }) };
        let replaceable = usual_form(name).is_some_and(|(_, named)| others.iter().all(|version| *version == named));
        if !replaceable {
            return Err(UrlFault::OtherVersion { named: (*other).to_owned(), wanted: self.version.clone() });
        }
        let offset = filled.len() - path.len();
        let url = format!("{}{}", &filled[..offset], with_version_replaced(path, other, wanted));
        Ok(Filled { url, replaced: Some((*other).to_owned()) })
    }

    fn fill(&self, url: &str) -> String {
        url.replace("{version}", self.version.as_str()).replace("{arch}", self.architecture)
    }
}

/// A file below a mirror's base URL that is of no version; nothing where the base names the version's place itself.
pub(super) fn beside_versions(base: &str, name: &str, architecture: &str) -> Option<String> {
    let filled = base.replace("{arch}", architecture);
    (!filled.contains("{version}")).then(|| format!("{}/{name}", filled.trim_end_matches('/')))
}

/// Whether a URL can be used at all: its form, its placeholders, and that it is encrypted or goes to a host where that
/// is not asked for.
pub(super) fn check(url: &str, allow_http: &[String]) -> Result<(), UrlFault> {
    let (authority, _) = split(url).ok_or(UrlFault::Form)?;
    if authority.contains('@') {
        return Err(UrlFault::Credentials);
    }
    if !is_authority(authority) {
        return Err(UrlFault::Form);
    }
    let plain = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if plain && !allows(allow_http, authority) {
        return Err(UrlFault::Plain(authority.to_owned()));
    }
    match url.replace("{version}", "").replace("{arch}", "").split_once('{') {
        Some((_, rest)) => {
            Err(UrlFault::Placeholder(rest.split('}').next().unwrap_or_default().chars().take(40).collect()))
        }
        None => Ok(()),
    }
}

/// Whether `host` or `host:port` can be spoken to without TLS. An entry without a port allows every port.
pub(super) fn allows(allow_http: &[String], authority: &str) -> bool {
    let (host, port) = host_and_port(authority);
    let port = port.unwrap_or("80");
    allow_http.iter().any(|entry| {
        let (allowed_host, allowed_port) = host_and_port(entry);
        allowed_host.eq_ignore_ascii_case(host) && allowed_port.is_none_or(|allowed| allowed == port)
    })
}

/// Whether a text is `host` or `host:port`, as URLs and `allow_http` have them.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = host_and_port(text);
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_is_one = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let port_is_one = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number > 0)
    });
    host_is_one && port_is_one
}

fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Authority and path of an `http` or `https` URL.
fn split(url: &str) -> Option<(&str, &str)> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    Some(rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

/// Architecture and version of a file name of NVIDIA's form.
fn usual_form(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("NVIDIA-Linux-")?.strip_suffix(".run")?;
    let (architecture, rest) = rest.split_once('-')?;
    let version = rest.split('-').next()?;
    (versions(version) == [version]).then_some((architecture, version))
}

/// The driver versions that stand in a text: three digits, a dot, and more numbers.
fn versions(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|run| run.trim_matches('.'))
        .filter(|run| run.find('.') == Some(3) && run.parse::<DriverVersion>().is_ok())
        .collect()
}

/// Replaces a version where it stands as a whole: `580.76` in `580.76.05` is left alone.
fn with_version_replaced(path: &str, old: &str, new: &str) -> String {
    let mut replaced = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        replaced.push_str(before);
        let continued = after.strip_prefix('.').unwrap_or(after).starts_with(|c: char| c.is_ascii_digit());
        let begun = before.ends_with(|c: char| c.is_ascii_digit() || c == '.');
        replaced.push_str(if continued || begun { old } else { new });
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVIDIA: &str =
        "https://us.download.nvidia.com/XFree86/Linux-x86_64/580.76.05/NVIDIA-Linux-x86_64-580.76.05.run";

    fn target<'t>(version: &'t DriverVersion, architecture: &'t str) -> Target<'t> {
        Target { version, architecture, variant: Variant::Full }
    }

    fn fill(version: &str, url: &str) -> Result<Filled, UrlFault> {
        target(&version.parse().unwrap(), "x86_64").filled(url, &["h".to_owned()])
    }

    #[test]
    fn a_url_of_the_wanted_version_is_left_alone() {
        assert_eq!(fill("580.76.05", NVIDIA).unwrap(), Filled { url: NVIDIA.into(), replaced: None });
    }

    #[test]
    fn another_version_in_the_usual_form_is_replaced_everywhere() {
        let filled = fill("570.133.20", NVIDIA).unwrap();
        assert_eq!(filled.url, NVIDIA.replace("580.76.05", "570.133.20"));
        assert_eq!(filled.replaced.as_deref(), Some("580.76.05"));
    }

    #[test]
    fn another_version_in_another_form_is_a_fault() {
        for url in [
            "https://mirror.example/drivers/580.76.05.run",
            "https://mirror.example/535.10.01/NVIDIA-Linux-x86_64-580.76.05.run",
            "https://mirror.example/get?v=580.76.05",
        ] {
            assert!(matches!(fill("570.133.20", url), Err(UrlFault::OtherVersion { .. })), "{url}");
        }
    }

    #[test]
    fn numbers_that_are_no_driver_versions_do_not_matter() {
        for url in ["https://10.0.0.13:8080/cuda/12.8/driver.run", "http://h/2024.10.01/latest.run", "https://h"] {
            assert_eq!(fill("570.133.20", url).unwrap().replaced, None, "{url}");
        }
    }

    #[test]
    fn placeholders_are_filled_and_unknown_ones_are_a_fault() {
        let filled = fill("570.133.20", "https://h/{version}/NVIDIA-Linux-{arch}-{version}.run").unwrap();
        assert_eq!(filled.url, "https://h/570.133.20/NVIDIA-Linux-x86_64-570.133.20.run");
        assert_eq!(fill("570.133.20", "https://h/{ver}.run"), Err(UrlFault::Placeholder("ver".into())));
    }

    #[test]
    fn a_url_for_another_architecture_is_a_fault() {
        let url = NVIDIA.replace("x86_64", "aarch64");
        assert!(matches!(fill("580.76.05", &url), Err(UrlFault::OtherArchitecture { .. })));
    }

    #[test]
    fn a_version_that_begins_another_is_not_torn_apart() {
        assert_eq!(with_version_replaced("/580.76/580.76.05/a580.76.", "580.76", "1"), "/1/580.76.05/a1.");
    }

    #[test]
    fn nvidia_keeps_other_architectures_elsewhere() {
        let version = "580.76.05".parse().unwrap();
        let urls = target(&version, "aarch64").published();
        assert!(urls[0].ends_with("/XFree86/aarch64/580.76.05/NVIDIA-Linux-aarch64-580.76.05.run"), "{}", urls[0]);
        assert_eq!(target(&version, "x86_64").published()[0], NVIDIA);
    }

    #[test]
    fn a_urls_file_name_says_the_variant_and_all_other_places_follow() {
        let version: DriverVersion = "580.76.05".parse().unwrap();
        let of = |url: &str| target(&version, "x86_64").variant_of(url);
        assert_eq!(of(NVIDIA), Variant::Full);
        assert_eq!(of("https://h/{version}/NVIDIA-Linux-{arch}-{version}-no-compat32.run?a=b"), Variant::NoCompat32);
        assert_eq!(of("https://h/NVIDIA-Linux-x86_64-570.1.1-grid.run"), Variant::Grid);
        assert_eq!(of("https://h/NVIDIA-Linux-aarch64-570.1.1-grid.run"), Variant::Full);
        assert_eq!(of("https://h/driver-grid.run"), Variant::Full);
        let of_variant = |variant| Target { variant, ..target(&version, "x86_64") };
        let published = of_variant(Variant::NoCompat32).published();
        assert_eq!(published[0], NVIDIA.replace(".run", "-no-compat32.run"));
        assert!(of_variant(Variant::Grid).published().is_empty());
        let mirrored = of_variant(Variant::Grid).below_mirror("https://m/");
        assert_eq!(mirrored, "https://m/580.76.05/NVIDIA-Linux-x86_64-580.76.05-grid.run");
    }

    #[test]
    fn the_hosts_part_of_a_virtual_gpu_is_for_no_container() {
        assert_eq!(
            fill("570.148.06", "https://h/NVIDIA-Linux-x86_64-{version}-vgpu-kvm.run"),
            Err(UrlFault::HostsPart)
        );
    }

    #[test]
    fn plain_http_is_only_for_the_hosts_that_were_named() {
        let allowed = ["mirror.lan".to_owned(), "10.0.0.13:8080".to_owned(), "[::1]:80".to_owned()];
        for url in
            ["http://mirror.lan/x", "HTTP://MIRROR.lan:99/x", "http://10.0.0.13:8080/x", "http://[::1]/x", "https://a/"]
        {
            assert_eq!(check(url, &allowed), Ok(()), "{url}");
        }
        for url in ["http://10.0.0.13/x", "http://other.lan/x", "http://mirror.lan.evil/x"] {
            assert!(matches!(check(url, &allowed), Err(UrlFault::Plain(_))), "{url}");
        }
    }

    #[test]
    fn texts_that_are_no_urls_are_refused() {
        for url in [
            "",
            "nvidia.com/x",
            "ftp://h/x",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://h h/",
            "https://h:0/",
            "https://h:99999/",
            "https://h:/",
        ] {
            assert_eq!(check(url, &[]), Err(UrlFault::Form), "{url}");
        }
        assert_eq!(check("https://user:secret@h/x", &[]), Err(UrlFault::Credentials));
        assert!(matches!(check("https://h/{}", &[]), Err(UrlFault::Placeholder(_))));
    }
}
