//! The doctor: what is wrong or suspicious on this host and in its containers, each with its cause and its remedy.
//!
//! What is observed is data, and the rules are small pure functions over it, one file a subject. Nothing is changed.

mod container_nodes;
mod container_state;
mod docker;
mod engines;
mod examine;
mod files;
mod host_nodes;
mod host_state;
mod ids;
mod kernel;
mod root_files;
mod rule;
mod units;
mod versions;

use crate::config::Severity;
use crate::container_id::ContainerId;

pub use examine::{examine, examine_host};
pub use host_state::{HostState, Wishes};
pub use rule::Rule;

/// Something wrong or suspicious.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The container that it is about; the host where there is none.
    pub container: Option<ContainerId>,
    /// What it is about.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
    /// The cause, in one sentence.
    pub cause: String,
    /// What belongs to the cause, a line each: the settings that differ, say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The remedy: a command, or a sentence with one.
    pub remedy: String,
}

impl Finding {
    /// A finding about the host.
    fn new(rule: Rule, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (cause, remedy) = (cause.into(), remedy.into());
        Self { container: None, rule, severity: rule.severity(), cause, details: Vec::new(), remedy }
    }

    /// The same with lines that belong to its cause.
    fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// The same about a container.
    fn about(mut self, id: ContainerId) -> Self {
        self.container = Some(id);
        self
    }

    /// Whether it wants something done; a note does not.
    pub fn matters(&self) -> bool {
        self.severity > Severity::Note
    }
}

/// Names of things as a sentence lists them: `a`, `b` and 3 more.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The rules of findings, for tests.
#[cfg(test)]
fn rules_of(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule.name()).collect()
}
