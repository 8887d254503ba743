//! Work on many containers in parallel workers, each container after those that it needs.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::container_id::ContainerId;

/// How far the workers have come.
struct Progress<T> {
    /// Those that no worker has taken yet, in their order.
    waiting: Vec<ContainerId>,
    done: BTreeSet<ContainerId>,
    results: Vec<(ContainerId, T)>,
}

/// Does `work` for every container and gives the results in the order of `order`, which names each container once and
/// after what it needs.
///
/// A worker takes the first container of which everything in `order` that it needs is done, well or not.
pub(crate) fn run<T: Send>(
    order: &[ContainerId],
    needs: impl Fn(ContainerId) -> Vec<ContainerId> + Sync,
    workers: NonZeroUsize,
    work: impl Fn(ContainerId) -> T + Sync,
) -> Vec<T> {
    let progress = Mutex::new(Progress { waiting: order.to_vec(), done: BTreeSet::new(), results: Vec::new() });
    let moved = Condvar::new();
    let worker = || {
        while let Some(id) = take(&progress, &moved, order, &needs) {
            let _done = Done { progress: &progress, moved: &moved, id };
            let result = work(id);
            locked(&progress).results.push((id, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers.get().min(order.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut results = progress.into_inner().unwrap_or_else(PoisonError::into_inner).results;
    results.sort_by_key(|(id, _)| order.iter().position(|other| other == id));
    results.into_iter().map(|(_, result)| result).collect()
}

/// Lets those go on that wait for a container, also when the work on it has panicked.
struct Done<'a, T> {
    progress: &'a Mutex<Progress<T>>,
    moved: &'a Condvar,
    id: ContainerId,
}

impl<T> Drop for Done<'_, T> {
    fn drop(&mut self) {
        locked(self.progress).done.insert(self.id);
        self.moved.notify_all();
    }
}

/// The next container that can be worked on; waits for one, and gives none when all have been taken.
fn take<T>(
    progress: &Mutex<Progress<T>>,
    moved: &Condvar,
    order: &[ContainerId],
    needs: &impl Fn(ContainerId) -> Vec<ContainerId>,
) -> Option<ContainerId> {
    let mut now = locked(progress);
    loop {
        if now.waiting.is_empty() {
            return None;
        }
        let is_met = |needed: &ContainerId| now.done.contains(needed) || !order.contains(needed);
        let ready = now.waiting.iter().position(|id| needs(*id).iter().all(is_met));
        if let Some(position) = ready {
            return Some(now.waiting.remove(position));
        }
        now = moved.wait(now).unwrap_or_else(PoisonError::into_inner);
    }
}

fn locked<'a, T>(progress: &'a Mutex<Progress<T>>) -> MutexGuard<'a, Progress<T>> {
    // A panic of one worker is the program's end anyway; the others may come to theirs.
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ContainerId {
        ContainerId::new(number).unwrap()
    }

    fn workers(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn results_come_in_the_order_of_the_containers() {
        let order: Vec<ContainerId> = (101..150).map(id).collect();
        for count in [1, 4, 100] {
            let names = run(&order, |_| Vec::new(), workers(count), |id| id);
            assert_eq!(names, order);
        }
        assert_eq!(run(&[], |_| Vec::new(), workers(4), |id| id), []);
    }

    #[test]
    fn a_container_begins_when_all_that_it_needs_is_done() {
        let order = [id(101), id(102), id(103)];
        let done = Mutex::new(Vec::new());
        // 103 needs 101, and 999, which is not worked on.
        let needs = |it| if it == id(103) { vec![id(101), id(999)] } else { Vec::new() };
        run(&order, needs, workers(3), |it| {
            let before = done.lock().unwrap().clone();
            assert!(it != id(103) || before.contains(&id(101)), "{before:?}");
            done.lock().unwrap().push(it);
        });
        assert_eq!(done.into_inner().unwrap().len(), 3);
    }

    #[test]
    fn a_panic_of_one_worker_leaves_no_other_waiting() {
        let order = [id(101), id(102)];
        let needs = |it| if it == id(102) { vec![id(101)] } else { Vec::new() };
        let ended = std::panic::catch_unwind(|| run(&order, needs, workers(2), |it| assert_ne!(it, id(101))));
        assert!(ended.is_err());
    }

    #[test]
    fn workers_work_at_the_same_time() {
        let order = [id(101), id(102)];
        let meeting = std::sync::Barrier::new(2);
        // Were they one after the other, the first would wait for ever.
        run(&order, |_| Vec::new(), workers(2), |_| meeting.wait().is_leader());
    }
}
