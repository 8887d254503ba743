//! Which container comes before which.

use std::collections::{BTreeMap, BTreeSet};

use super::container::Container;
use crate::container_id::ContainerId;

/// Containers that wait for each other; the first one is named again at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Circle(pub(super) Vec<ContainerId>);

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(ContainerId::to_string).collect();
        f.write_str(&names.join(" → "))
    }
}

impl Container {
    /// What must exist before it: its clone source, then its dependencies.
    pub fn predecessors(&self) -> Vec<ContainerId> {
        self.clone_from.into_iter().chain(self.dependencies.iter().copied()).collect()
    }
}

/// The containers and all that they need, each once and after all that it needs.
///
/// `predecessors` says what a container needs, or nothing for one that is not defined, which is left out.
pub(super) fn in_order(
    ids: &[ContainerId],
    predecessors: impl Fn(ContainerId) -> Option<Vec<ContainerId>>,
) -> Result<Vec<ContainerId>, Circle> {
    let mut order = Vec::new();
    let mut done = BTreeSet::new();
    for start in ids {
        // The way from `start` to where the search is, each step with what is still to be looked at below it. A list
        // instead of recursion: the file decides how long the way gets.
        let mut way: Vec<(ContainerId, Vec<ContainerId>)> = Vec::new();
        let mut on_way = BTreeMap::new();
        let mut next = Some(*start);
        loop {
            if let Some(id) = next.take().filter(|id| !done.contains(id)) {
                if let Some(position) = on_way.get(&id) {
                    return Err(Circle(way.iter().skip(*position).map(|(step, _)| *step).chain([id]).collect()));
                }
                if let Some(mut needed) = predecessors(id) {
                    needed.reverse();
                    on_way.insert(id, way.len());
                    way.push((id, needed));
                }
            }
            let Some((id, remaining)) = way.last_mut() else { break };
            next = remaining.pop();
            if next.is_none() {
                order.push(*id);
                done.insert(*id);
                on_way.remove(id);
                way.pop();
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ContainerId {
        ContainerId::new(number).unwrap()
    }

    fn ordered(needs: &[(u64, &[u64])], start: &[u64]) -> Result<String, String> {
        let needs: BTreeMap<ContainerId, Vec<ContainerId>> = needs
            .iter()
            .map(|(container, needed)| (id(*container), needed.iter().map(|number| id(*number)).collect()))
            .collect();
        let start: Vec<ContainerId> = start.iter().map(|number| id(*number)).collect();
        let names = |ids: Vec<ContainerId>| ids.iter().map(ContainerId::to_string).collect::<Vec<_>>().join(" ");
        in_order(&start, |id| needs.get(&id).cloned()).map(names).map_err(|circle| circle.to_string())
    }

    #[test]
    fn a_container_comes_after_all_that_it_needs() {
        let diamond: &[(u64, &[u64])] = &[(101, &[]), (102, &[101]), (103, &[101]), (104, &[102, 103])];
        assert_eq!(ordered(diamond, &[104]).unwrap(), "101 102 103 104");
        assert_eq!(ordered(diamond, &[103, 104]).unwrap(), "101 103 102 104");
        assert_eq!(ordered(diamond, &[104, 104, 101]).unwrap(), "101 102 103 104");
    }

    #[test]
    fn what_is_not_defined_is_left_out() {
        assert_eq!(ordered(&[(101, &[1002])], &[101, 1003]).unwrap(), "101");
    }

    #[test]
    fn a_circle_is_named_without_the_way_to_it() {
        assert_eq!(ordered(&[(101, &[102]), (102, &[103]), (103, &[102])], &[101]).unwrap_err(), "102 → 103 → 102");
        assert_eq!(ordered(&[(101, &[101])], &[101]).unwrap_err(), "101 → 101");
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let next = |id: ContainerId| {
            let number: u64 = id.to_string().parse().unwrap();
            Some(ContainerId::new(number + 1).filter(|_| number < 300_000).into_iter().collect())
        };
        assert_eq!(in_order(&[id(100)], next).unwrap().len(), 300_000 - 99);
    }
}
