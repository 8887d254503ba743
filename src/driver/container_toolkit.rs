//! NVIDIA's container toolkit and Docker inside a container: what their two files must say, and how that gets in. Pure.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use toml_edit::{DocumentMut, Item, Table, value};

/// The toolkit's configuration.
pub const RUNTIME_CONFIG: &str = "/etc/nvidia-container-runtime/config.toml";

/// Docker's configuration.
pub const DAEMON_CONFIG: &str = "/etc/docker/daemon.json";

/// The program that Docker calls as the runtime `nvidia`.
pub const RUNTIME: &str = "nvidia-container-runtime";

/// Why a file cannot be changed: it is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotThat(String);

/// Whether the toolkit leaves cgroups alone: `no-cgroups = true` in `[nvidia-container-cli]`.
///
/// Inside LXC it must: it would program the device cgroup, which the host's root alone may do.
///
/// # Errors
/// The text is no TOML.
pub fn leaves_cgroups_alone(config: &str) -> Result<bool, NotThat> {
    let document: DocumentMut = config.parse().map_err(not_toml)?;
    let section = document.get("nvidia-container-cli");
    Ok(section.and_then(|section| section.get("no-cgroups")).and_then(Item::as_bool) == Some(true))
}

/// The toolkit's configuration with `no-cgroups = true`; all else, comments too, stays. `None` when it says so already.
///
/// # Errors
/// The text is no TOML, or `nvidia-container-cli` is no table.
pub fn without_cgroups(config: &str) -> Result<Option<String>, NotThat> {
    if leaves_cgroups_alone(config)? {
        return Ok(None);
    }
    let mut document: DocumentMut = config.parse().map_err(not_toml)?;
    let section = document.entry("nvidia-container-cli").or_insert_with(|| Item::Table(Table::new()));
    let section =
        section.as_table_like_mut().ok_or_else(|| NotThat("`nvidia-container-cli` is not a table".to_owned()))?;
    // What stands behind the value, such as a comment, stays with it.
    match section.get_mut("no-cgroups").and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = true.into();
            *old.decor_mut() = decor;
        }
        None => {
            section.insert("no-cgroups", value(true));
        }
    }
    Ok(Some(document.to_string()))
}

/// Whether Docker knows the runtime `nvidia`, whatever program it names for it.
///
/// # Errors
/// The text is not the JSON that Docker reads.
pub fn knows_runtime(daemon: &str) -> Result<bool, NotThat> {
    let root = parse(daemon)?;
    let runtimes = root.object_value().and_then(|object| object.object_value("runtimes"));
    Ok(runtimes.is_some_and(|runtimes| runtimes.get("nvidia").is_some()))
}

/// Docker's configuration with the runtime `nvidia`, as `nvidia-ctk runtime configure` (1.17) writes it; every other
/// key stays as it was written. `None` when a runtime of that name is there already.
///
/// # Errors
/// The text is not the JSON that Docker reads, or `runtimes` is no object.
pub fn with_runtime(daemon: &str) -> Result<Option<String>, NotThat> {
    if knows_runtime(daemon)? {
        return Ok(None);
    }
    let root = parse(daemon)?;
    let not_an_object = |what: &str| NotThat(format!("{what} is not an object"));
    let object = root.object_value_or_create().ok_or_else(|| not_an_object("the file"))?;
    let runtimes = object.object_value_or_create("runtimes").ok_or_else(|| not_an_object("`runtimes`"))?;
    let nvidia = vec![
        ("args".to_owned(), CstInputValue::Array(Vec::new())),
        ("path".to_owned(), CstInputValue::String(RUNTIME.to_owned())),
    ];
    runtimes.append("nvidia", CstInputValue::Object(nvidia));
    let text = root.to_string();
    Ok(Some(if text.ends_with('\n') { text } else { text + "\n" }))
}

/// Reads what Go's JSON decoder reads, and no more: Docker does not start with a comment or a comma too many.
fn parse(daemon: &str) -> Result<CstRootNode, NotThat> {
    if !daemon.trim().is_empty() {
        serde_json::from_str::<serde_json::Value>(daemon).map_err(|error| NotThat(error.to_string()))?;
    }
    CstRootNode::parse(daemon, &ParseOptions::default()).map_err(|error| NotThat(error.to_string()))
}

fn not_toml(error: toml_edit::TomlError) -> NotThat {
    let message = error.message().lines().next().unwrap_or("it is not TOML").to_owned();
    NotThat(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    // As nvidia-container-toolkit 1.17.4 installs it, shortened.
    const TOOLKIT: &str = "#accept-nvidia-visible-devices-as-volume-mounts = false\ndisable-require = false\n\n\
        [nvidia-container-cli]\n#debug = \"/var/log/nvidia-container-toolkit.log\"\nenvironment = []\nload-kmods = true\n\
        #no-cgroups = false\nldconfig = \"@/sbin/ldconfig\"\n\n[nvidia-container-runtime]\nlog-level = \"info\"\n";

    #[test]
    fn cgroups_are_left_alone_and_every_other_line_stays() {
        let changed = without_cgroups(TOOLKIT).unwrap().unwrap();
        assert!(leaves_cgroups_alone(&changed).unwrap());
        let added: Vec<&str> = changed.lines().filter(|line| !TOOLKIT.lines().any(|old| old == *line)).collect();
        assert_eq!(added, ["no-cgroups = true"]);
        assert!(TOOLKIT.lines().all(|line| changed.lines().any(|new| new == line)), "{changed}");
        assert_eq!(without_cgroups(&changed).unwrap(), None, "twice is once");
    }

    #[test]
    fn a_value_that_says_otherwise_is_changed_where_it_stands() {
        let text = "[nvidia-container-cli]\nno-cgroups = false # why not\n";
        assert_eq!(without_cgroups(text).unwrap().unwrap(), "[nvidia-container-cli]\nno-cgroups = true # why not\n");
        assert_eq!(without_cgroups("").unwrap().unwrap(), "[nvidia-container-cli]\nno-cgroups = true\n");
    }

    #[test]
    fn the_runtime_is_added_to_what_is_there() {
        let daemon = "{\n  \"log-driver\": \"journald\",\n  \"runtimes\": {\n    \"kata\": { \"path\": \"/opt/kata\" }\n  },\n  \"bip\": \"10.0.0.1/24\"\n}\n";
        let changed = with_runtime(daemon).unwrap().unwrap();
        let read: serde_json::Value = serde_json::from_str(&changed).unwrap();
        assert_eq!(read["runtimes"]["nvidia"], serde_json::json!({ "args": [], "path": "nvidia-container-runtime" }));
        assert_eq!(read["runtimes"]["kata"]["path"], "/opt/kata");
        assert!(changed.starts_with("{\n  \"log-driver\": \"journald\",\n"), "{changed}");
        assert!(changed.contains("\"bip\": \"10.0.0.1/24\""));
        assert_eq!(with_runtime(&changed).unwrap(), None, "twice is once");
    }

    #[test]
    fn an_empty_or_missing_file_becomes_one_that_docker_reads() {
        for empty in ["", "{}", "{\n}\n"] {
            let changed = with_runtime(empty).unwrap().unwrap();
            let read: serde_json::Value = serde_json::from_str(&changed).unwrap();
            assert_eq!(read["runtimes"]["nvidia"]["path"], RUNTIME, "{changed}");
        }
    }

    #[test]
    fn a_runtime_that_the_operator_named_is_left_alone() {
        let own = r#"{ "runtimes": { "nvidia": { "path": "/opt/own-runtime" } } }"#;
        assert_eq!(with_runtime(own).unwrap(), None);
    }

    #[test]
    fn what_is_damaged_is_not_changed() {
        for damaged in ["{", "[]", "{ \"runtimes\": [] }", "{ // why\n}", "{ \"a\": 1, }", "nothing"] {
            assert!(with_runtime(damaged).is_err(), "{damaged}");
        }
        for damaged in ["[nvidia-container-cli", "nvidia-container-cli = 1\n", "= 1"] {
            assert!(without_cgroups(damaged).is_err(), "{damaged}");
        }
    }
}
