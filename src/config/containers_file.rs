//! The containers' file: where it is, whether it is there, and where an example of it is.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use super::hypervisor::HypervisorSettings;
use super::json_value::Node;
use super::keys;
use super::layout::Layout;
use super::source::Source;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};

/// The containers' file, or the place where it would be.
pub(super) enum ContainersFile {
    /// It is there.
    There(Source),
    /// Nobody has made one: no file is where one lies by default, and nobody has named another place.
    NotMade(PathBuf),
}

/// Finds and reads it: by the name that the layout was given, by `core_paths.lxc_config_file`, or at its default place.
///
/// # Errors
/// One that was named is missing, or it cannot be read.
pub(super) fn find(layout: &Layout, settings: &HypervisorSettings) -> Result<ContainersFile> {
    let default = layout.containers_file();
    let named = settings.lxc_config_file.as_ref().filter(|path| {
        !layout.names_containers_file() && **path != Layout::new(Layout::DEFAULT_BASE).containers_file()
    });
    let path = named.unwrap_or(&default);
    match (Source::read(path)?, named) {
        (Some(source), _) => Ok(ContainersFile::There(source)),
        (None, Some(_)) => Err(missing_at(path).hint(format!(
            "correct `core_paths.lxc_config_file` in `{}`, or name the file on the command line",
            layout.hypervisor_file().display()
        ))),
        (None, None) if layout.names_containers_file() => Err(missing(path)),
        (None, None) => Ok(ContainersFile::NotMade(default)),
    }
}

/// The error of what needs the file, where there is none.
pub(super) fn missing(path: &Path) -> Error {
    missing_at(path).hint(example())
}

/// The error about a container that the file does not define.
pub(super) fn undefined<'i>(id: ContainerId, path: &Path, defined: impl Iterator<Item = &'i ContainerId>) -> Error {
    let error = Error::new(Kind::Configuration, format!("container {id} is not defined in `{}`", path.display()));
    let mut known: Vec<String> = defined.map(ContainerId::to_string).collect();
    if known.is_empty() {
        return error.hint(format!("add \"{id}\" to `lxc_configs`, which is empty"));
    }
    const SHOWN: usize = 12;
    if known.len() <= SHOWN {
        return error.hint(format!("it defines {}", known.join(", ")));
    }
    let (count, asked) = (known.len(), id.to_string());
    known.sort_by_key(|text| keys::distance(text, &asked));
    known.truncate(SHOWN / 2);
    error.hint(format!("it defines {count} containers; the most similar are {}", known.join(", ")))
}

fn missing_at(path: &Path) -> Error {
    Error::new(Kind::Configuration, format!("the containers' file is missing: `{}`", path.display()))
}

/// Where an example of the containers' file is: beside the program, as packages and archives install it, or in the
/// sources.
pub(super) fn example() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let prefix = program.parent().and_then(Path::parent);
    let installed = prefix.map(|it| it.join("share/doc/phoenix-nvidia/examples/phoenix_lxc_configs.json"));
    match installed.filter(|path| path.is_file()) {
        Some(path) => format!("copy the example `{}` there, and make it yours", path.display()),
        None => {
            "the sources of phoenix-nvidia have an example, `etc/phoenix_lxc_configs.json`: copy it there and adapt it"
                .to_owned()
        }
    }
}

/// The entries of the file.
///
/// # Errors
/// It has none where they belong.
pub(super) fn containers_of<'d>(root: &Node<'d>) -> Result<Node<'d>, Box<Finding>> {
    const EXPECTED: &str = "`lxc_configs`: an object with an entry for each container";
    match root.member("lxc_configs") {
        Some(configs) if configs.is_object() => Ok(configs),
        Some(other) => Err(Box::new(other.wrong_type(EXPECTED))),
        None => Err(Box::new(without_containers(root).expected(EXPECTED))),
    }
}

/// Points at the key that was probably meant, where there is one.
fn without_containers(root: &Node<'_>) -> Finding {
    const MESSAGE: &str = "the file has no `lxc_configs`, so it defines no containers";
    let is_slip = |member: &Node<'_>| keys::probably_meant(member.key(), ["lxc_configs"].into_iter()).is_some();
    match root.members().find(is_slip) {
        Some(slip) => slip.finding_at_key(Severity::Error, MESSAGE).hint("did you mean `lxc_configs`?"),
        None => root.finding_at_key(Severity::Error, MESSAGE),
    }
}
