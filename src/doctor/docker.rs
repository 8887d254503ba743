//! Rules about Docker inside a container that has a GPU.

use super::{Finding, Rule};
use crate::container_id::ContainerId;
use crate::driver::container_toolkit::{self, DAEMON_CONFIG, NotThat, RUNTIME_CONFIG};

/// What is known of Docker and NVIDIA's container toolkit in a container that has the features of both.
#[derive(Debug, Clone)]
pub(super) struct DockerState {
    pub(super) id: ContainerId,
    /// Docker can use the GPUs without the toolkit.
    pub(super) has_specification: bool,
    /// The toolkit's runtime is there.
    pub(super) toolkit: bool,
    /// The toolkit's configuration; why it cannot be read, where it cannot.
    pub(super) config: Result<Option<String>, String>,
    /// Docker's configuration.
    pub(super) daemon: Result<Option<String>, String>,
}

/// Every rule of this subject.
pub(super) fn examine(state: &DockerState) -> Vec<Finding> {
    if !state.toolkit && state.has_specification {
        return Vec::new();
    }
    if !state.toolkit {
        let cause =
            "Docker in the container cannot use the GPU: it has neither a CDI specification nor NVIDIA's toolkit";
        let remedy = format!(
            "phoenix-nvidia cdi {id}; for Docker before 25, install the package `nvidia-container-toolkit` in the \
             container, then `phoenix-nvidia docker {id}`",
            id = state.id
        );
        return vec![Finding::new(Rule::DockerToolkit, cause, remedy)];
    }
    let set = format!("phoenix-nvidia docker {}, then restart Docker in the container", state.id);
    let judged = [
        (
            RUNTIME_CONFIG,
            judge(&state.config, container_toolkit::leaves_cgroups_alone),
            Rule::DockerCgroups,
            "the toolkit would change the container's device cgroup, which fails in LXC: it lacks `no-cgroups = true`",
        ),
        (
            DAEMON_CONFIG,
            judge(&state.daemon, container_toolkit::knows_runtime),
            Rule::DockerRuntime,
            "Docker in the container does not know the runtime `nvidia`",
        ),
    ];
    let mut findings = Vec::new();
    for (path, verdict, rule, cause) in judged {
        match verdict {
            Ok(true) => {}
            Ok(false) => findings.push(Finding::new(rule, cause, &set)),
            Err(why) => {
                let cause = format!("`{path}` in the container cannot be read: {why}");
                let remedy = format!("fix or remove it in the container, then `phoenix-nvidia docker {}`", state.id);
                findings.push(Finding::new(Rule::DockerDamaged, cause, remedy));
            }
        }
    }
    findings
}

/// Whether a file says what it must; one that is not there does not.
fn judge(file: &Result<Option<String>, String>, says: impl Fn(&str) -> Result<bool, NotThat>) -> Result<bool, String> {
    match file {
        Ok(None) => Ok(false),
        Ok(Some(text)) => says(text).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;

    fn state(config: &str, daemon: Option<&str>) -> DockerState {
        DockerState {
            id: "901".parse().unwrap(),
            has_specification: false,
            toolkit: true,
            config: Ok(Some(config.to_owned())),
            daemon: Ok(daemon.map(str::to_owned)),
        }
    }

    const RIGHT: &str = "[nvidia-container-cli]\nno-cgroups = true\n";
    const RUNTIME: &str = r#"{ "runtimes": { "nvidia": { "path": "nvidia-container-runtime" } } }"#;

    #[test]
    fn both_files_must_say_it() {
        assert_eq!(examine(&state(RIGHT, Some(RUNTIME))), []);
        assert_eq!(rules_of(&examine(&state("", Some(RUNTIME)))), ["docker-cgroups"]);
        assert_eq!(rules_of(&examine(&state(RIGHT, None))), ["docker-runtime"]);
        assert_eq!(rules_of(&examine(&state(RIGHT, Some("{}")))), ["docker-runtime"]);
    }

    #[test]
    fn without_the_toolkit_nothing_else_is_asked() {
        let none = DockerState { toolkit: false, ..state("", None) };
        assert_eq!(rules_of(&examine(&none)), ["docker-toolkit"]);
    }

    #[test]
    fn damage_is_reported_and_not_taken_for_an_empty_file() {
        assert_eq!(rules_of(&examine(&state("[", Some("{")))), ["docker-damaged", "docker-damaged"]);
        let unreadable = DockerState { daemon: Err("it is not a regular file".to_owned()), ..state(RIGHT, None) };
        assert_eq!(rules_of(&examine(&unreadable)), ["docker-damaged"]);
    }
}
