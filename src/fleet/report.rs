//! What was done for each container, for people and machines.

use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::install::verify::Verification;

use crate::fleet::plan::step::Step;

/// How the work on one container ended.
#[derive(Debug)]
pub struct ContainerReport {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What was done, a phrase each; empty when everything was right already.
    pub done: Vec<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// The verification at the end, where there was one.
    pub verification: Option<Verification>,
    /// Whether the driver's files may have been touched.
    pub began_installation: bool,
    /// Whether the driver was brought in to its end, or was there.
    pub is_installed: bool,
    /// Whether there is a snapshot that a failure goes back to.
    pub is_secured: bool,
    /// Whether it runs with previous settings or device nodes until a restart that nobody has asked for.
    pub waits_for_restart: bool,
    /// Why the work ended before its end.
    pub error: Option<Error>,
}

impl ContainerReport {
    /// The report on a container before anything is done.
    pub fn empty(id: ContainerId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            done: Vec::new(),
            notes: Vec::new(),
            verification: None,
            began_installation: false,
            is_installed: false,
            is_secured: false,
            waits_for_restart: false,
            error: None,
        }
    }

    /// Whether this step was done.
    pub fn has_done(&self, step: &Step) -> bool {
        self.done.contains(&step.phrase())
    }
}

/// The one failure that stands for several; its exit code says whether all failed alike.
///
/// # Errors
/// The first failure, when there was only one container or all failures are of one kind; else "some failed".
pub fn overall(reports: &[ContainerReport]) -> Result<(), Overall> {
    let failures = reports.iter().filter_map(|report| report.error.as_ref().map(Error::kind));
    Overall::of(&failures.collect::<Vec<_>>(), reports.len())
}

/// How several containers failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overall {
    /// All in the same way.
    Alike(Kind),
    /// Some, or in different ways.
    Some,
}

impl Overall {
    /// What stands for these failures of so many containers.
    pub(crate) fn of(failures: &[Kind], containers: usize) -> Result<(), Self> {
        match failures {
            [] => Ok(()),
            [kind, others @ ..] if failures.len() == containers && others.iter().all(|other| other == kind) => {
                Err(Self::Alike(*kind))
            }
            _ if failures.contains(&Kind::Interrupted) => Err(Self::Alike(Kind::Interrupted)),
            _ => Err(Self::Some),
        }
    }

    /// The exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Alike(kind) => kind.exit_code(),
            Self::Some => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: Option<Kind>) -> ContainerReport {
        let error = kind.map(|kind| Error::new(kind, "it failed"));
        ContainerReport { error, ..ContainerReport::empty("901".parse().unwrap(), "gpu") }
    }

    #[test]
    fn the_exit_code_says_whether_all_failed_alike() {
        let code = |kinds: &[Option<Kind>]| {
            overall(&kinds.iter().copied().map(report).collect::<Vec<_>>()).map_err(Overall::exit_code).err()
        };
        assert_eq!(code(&[None, None]), None);
        assert_eq!(code(&[Some(Kind::Verification)]), Some(7));
        assert_eq!(code(&[Some(Kind::Verification), Some(Kind::Verification)]), Some(7));
        assert_eq!(code(&[Some(Kind::Verification), None]), Some(5));
        assert_eq!(code(&[Some(Kind::Verification), Some(Kind::Network)]), Some(5));
        assert_eq!(code(&[Some(Kind::Interrupted), None]), Some(130));
    }
}
