//! Rules about the CDI specification by which engines in a container give its GPUs on.

use super::{Finding, Rule};
use crate::container_id::ContainerId;
use crate::driver::cdi::FILE_OF_TOOLKIT;

/// What is known of the specifications in a container that has a driver.
#[derive(Debug, Clone, Default)]
pub(super) struct EnginesState {
    /// What is wrong with ours.
    pub(super) fault: Option<String>,
    /// Those of others that engines take instead.
    pub(super) others: Vec<String>,
}

/// Every rule of this subject.
pub(super) fn examine(id: ContainerId, state: &EnginesState) -> Vec<Finding> {
    let outdated =
        state.fault.as_ref().map(|fault| Finding::new(Rule::CdiOutdated, fault, format!("phoenix-nvidia apply {id}")));
    let shadowed = state.others.iter().map(|path| {
        let cause = format!("engines in the container take the GPUs from `{path}`, which does not follow the driver");
        let remedy = match path != FILE_OF_TOOLKIT {
            true => format!("remove `{path}` in the container, then `phoenix-nvidia cdi {id}`"),
            false => format!("`systemctl disable --now nvidia-cdi-refresh` and `rm {path}` in the container"),
        };
        Finding::new(Rule::CdiShadowed, cause, remedy)
    });
    outdated.into_iter().chain(shadowed).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;
    use crate::driver::cdi::FILE;

    #[test]
    fn a_fault_and_others_are_reported_and_nothing_else() {
        let id = "901".parse().unwrap();
        let of = |state: EnginesState| rules_of(&examine(id, &state));
        assert_eq!(of(EnginesState::default()), [""; 0]);
        assert_eq!(of(EnginesState { fault: Some("missing".to_owned()), others: Vec::new() }), ["cdi-outdated"]);
        assert_eq!(
            of(EnginesState { fault: None, others: [FILE, FILE_OF_TOOLKIT].map(str::to_owned).to_vec() }),
            ["cdi-shadowed", "cdi-shadowed"]
        );
    }
}
