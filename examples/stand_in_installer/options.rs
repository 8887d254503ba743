//! The command line: which options the installer of a release knows.

use std::fmt::Write;

/// What it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Install,
    Uninstall,
    Sanity,
    DriverInfo,
    Help,
    AdvancedOptions,
    Version,
}

/// The options that change something here; the others are accepted and mean nothing to a stand-in.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) action: Action,
    pub(crate) log_file: String,
    given: Vec<&'static str>,
}

struct Known {
    name: &'static str,
    takes_value: bool,
    /// The first release that knows it, as its numbers.
    since: [u32; 3],
}

const fn flag(name: &'static str, since: [u32; 3]) -> Known {
    Known { name, takes_value: false, since }
}

const fn value(name: &'static str, since: [u32; 3]) -> Known {
    Known { name, takes_value: true, since }
}

const ALWAYS: [u32; 3] = [0, 0, 0];

/// Read from the option tables of all releases of nvidia-installer up to 590.48.01.
const KNOWN: &[Known] = &[
    flag("help", ALWAYS),
    flag("advanced-options", ALWAYS),
    flag("version", ALWAYS),
    flag("uninstall", ALWAYS),
    flag("sanity", ALWAYS),
    flag("driver-info", ALWAYS),
    flag("silent", ALWAYS),
    flag("no-questions", ALWAYS),
    flag("accept-license", ALWAYS),
    flag("no-backup", ALWAYS),
    flag("no-distro-scripts", ALWAYS),
    flag("no-kernel-module", ALWAYS),
    flag("no-x-check", ALWAYS),
    flag("keep", ALWAYS),
    value("ui", ALWAYS),
    value("log-file-name", ALWAYS),
    value("tmpdir", ALWAYS),
    flag("no-nouveau-check", [71, 86, 15]),
    flag("no-kernel-module-source", [304, 22, 0]),
    flag("no-nvidia-modprobe", [319, 12, 0]),
    flag("dkms", [304, 0, 0]),
    flag("no-check-for-alternate-installs", [325, 8, 0]),
    flag("install-compat32-libs", [346, 16, 0]),
    flag("no-install-compat32-libs", [346, 16, 0]),
    flag("install-libglvnd", [361, 16, 0]),
    flag("no-install-libglvnd", [361, 16, 0]),
    flag("no-drm", [375, 66, 0]),
    value("override-file-type-destination", [396, 51, 0]),
    flag("skip-depmod", [418, 30, 0]),
    flag("systemd", [465, 19, 1]),
    flag("no-systemd", [465, 19, 1]),
    value("kernel-module-build-directory", [470, 42, 1]),
    flag("no-peermem", [470, 86, 0]),
    flag("no-kernel-modules", [515, 43, 4]),
    flag("kernel-modules-only", [515, 43, 4]),
    flag("no-dkms", [520, 56, 6]),
    flag("rebuild-initramfs", [545, 23, 6]),
    flag("no-rebuild-initramfs", [545, 23, 6]),
    flag("allow-installation-with-running-driver", [545, 23, 6]),
    flag("no-allow-installation-with-running-driver", [545, 23, 6]),
    flag("no-disable-nouveau", [545, 23, 6]),
    flag("skip-module-load", [550, 40, 7]),
    value("kernel-module-type", [555, 42, 2]),
    flag("print-recommended-kernel-module-type", [570, 86, 16]),
];

const SHORT: &[(&str, &str)] =
    &[("-s", "silent"), ("-q", "no-questions"), ("-h", "help"), ("-A", "advanced-options"), ("-v", "version")];

fn known_in(version: &str) -> impl Iterator<Item = &'static Known> {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let numbers = [(); 3].map(|()| numbers.next().unwrap_or(0));
    KNOWN.iter().filter(move |known| known.since <= numbers)
}

impl Options {
    /// Reads a command line as the installer of `version` does.
    pub(crate) fn parse(arguments: &[String], version: &str) -> Result<Self, String> {
        let mut options =
            Self { action: Action::Install, log_file: "/var/log/nvidia-installer.log".to_owned(), given: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let unrecognized = || format!("unrecognized option: \"{argument}\"");
            let long = SHORT.iter().find(|(short, _)| short == argument).map(|(_, long)| *long);
            let text = long.or_else(|| argument.strip_prefix("--")).ok_or_else(unrecognized)?;
            let (name, inline) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            let known = known_in(version).find(|known| known.name == name).ok_or_else(unrecognized)?;
            let value = match (known.takes_value, inline) {
                (true, None) => Some(rest.next().ok_or_else(|| format!("option \"{argument}\" requires an argument"))?),
                (false, Some(_)) => return Err(unrecognized()),
                _ => None,
            };
            options.take(known.name, inline.or(value.map(String::as_str)));
        }
        Ok(options)
    }

    fn take(&mut self, name: &'static str, value: Option<&str>) {
        self.given.push(name);
        match (name, value) {
            ("uninstall", _) => self.action = Action::Uninstall,
            ("sanity", _) => self.action = Action::Sanity,
            ("driver-info", _) => self.action = Action::DriverInfo,
            ("help", _) => self.action = Action::Help,
            ("advanced-options", _) => self.action = Action::AdvancedOptions,
            ("version", _) => self.action = Action::Version,
            ("log-file-name", Some(path)) => path.clone_into(&mut self.log_file),
            _ => {}
        }
    }

    /// Whether an option stands on the command line; its name without the dashes.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains(&name)
    }
}

/// The usage text; `advanced` adds every option that the release knows.
pub(crate) fn help(version: &str, advanced: bool) -> String {
    let mut text = format!("nvidia-installer:  version {version}\n\nnvidia-installer [options]\n\n");
    let basic = ["help", "advanced-options", "version", "uninstall", "sanity", "driver-info", "silent"];
    for known in known_in(version).filter(|known| advanced || basic.contains(&known.name)) {
        let value = if known.takes_value { "=VALUE" } else { "" };
        let _ = writeln!(text, "  --{}{value}", known.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], version: &str) -> Result<Options, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Options::parse(&arguments, version)
    }

    #[test]
    fn an_option_is_unknown_before_the_release_that_brought_it() {
        assert!(parse(&["--no-dkms"], "520.56.06").is_ok());
        assert_eq!(parse(&["--no-dkms"], "470.256.02").unwrap_err(), "unrecognized option: \"--no-dkms\"");
        assert!(parse(&["--no-kernel-module"], "470.256.02").is_ok());
        assert!(parse(&["--no-kernel-modules"], "470.256.02").is_err());
    }

    #[test]
    fn values_stand_behind_an_equals_sign_or_in_the_next_argument() {
        assert_eq!(parse(&["--log-file-name=/a"], "580.76.05").unwrap().log_file, "/a");
        assert_eq!(parse(&["--log-file-name", "/a", "-s"], "580.76.05").unwrap().log_file, "/a");
        assert!(parse(&["--log-file-name"], "580.76.05").is_err());
        assert!(parse(&["--log-file-name=/a", "b"], "580.76.05").is_err());
    }
}
