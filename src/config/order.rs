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

/// What must exist before a container: its clone source, then its dependencies, as far as they are defined.
pub(super) fn predecessors(container: &Container) -> impl DoubleEndedIterator<Item = ContainerId> + '_ {
    container.clone_from.into_iter().chain(container.dependencies.iter().copied())
}

/// The containers and all that they need, each once and after all that it needs.
pub(super) fn in_order<'c>(
    ids: &[ContainerId],
    container: impl Fn(ContainerId) -> Option<&'c Container>,
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
            if let Some(id) = next.take() {
                if let Some(position) = on_way.get(&id) {
                    let circle = way[*position..].iter().map(|(step, _)| *step).chain([id]).collect();
                    return Err(Circle(circle));
                }
                if let Some(found) = container(id).filter(|_| !done.contains(&id)) {
                    on_way.insert(id, way.len());
                    way.push((id, predecessors(found).rev().collect()));
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
