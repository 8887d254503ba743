//! The rule about a container's idmap: `newuidmap` and `newgidmap` must be allowed to write it at its next start.

use super::{Finding, Rule};
use crate::sys::idmap::Range;
use crate::sys::subordinate_ids::not_given;

/// What is known of the idmap.
#[derive(Debug, Clone)]
pub(super) struct IdsState {
    /// The ranges of users and of groups, each with the file that gives them and its text.
    pub(super) maps: [(Vec<Range>, &'static str, String); 2],
}

/// Every rule of this subject.
pub(super) fn examine(state: &IdsState) -> Vec<Finding> {
    state.maps.iter().filter_map(|(ranges, file, text)| of_file(ranges, file, text)).collect()
}

fn of_file(ranges: &[Range], file: &str, text: &str) -> Option<Finding> {
    let Range { outside, count, .. } = not_given(text, ranges)?;
    let cause = format!(
        "its idmap has the ids {outside} to {} of the host, which `{file}` does not assign to root, so it cannot start",
        u64::from(outside) + u64::from(count) - 1
    );
    Some(Finding::new(Rule::IdsNotAssigned, cause, format!("echo root:{outside}:{count} >> {file}")))
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;

    fn state(users: &str, groups: &str) -> IdsState {
        let ranges = vec![Range { inside: 0, outside: 100_000, count: 65_536 }];
        IdsState {
            maps: [(ranges.clone(), "/etc/subuid", users.to_owned()), (ranges, "/etc/subgid", groups.to_owned())],
        }
    }

    #[test]
    fn each_file_that_lacks_the_ids_is_reported_with_the_line() {
        let line = "root:100000:65536\n";
        assert_eq!(rules_of(&examine(&state(line, line))), Vec::<&str>::new());
        let findings = examine(&state(line, ""));
        assert_eq!(rules_of(&findings), ["ids-not-assigned"]);
        assert_eq!(findings[0].remedy, "echo root:100000:65536 >> /etc/subgid");
        assert!(findings[0].cause.contains("the ids 100000 to 165535 of the host"));
        assert_eq!(examine(&state("", "")).len(), 2);
    }
}
