//! What NVIDIA offers, judged for this host: newer or not, and whether its GPUs would still be driven. Pure.

use super::ask::Answers;
use super::known_gpus::{Driven, KnownGpus};
use crate::driver::DriverVersion;
use crate::driver::releases::{BranchType, Release};

/// Of what a driver is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NewestOf {
    /// Of the branch of the loaded module.
    Branch,
    /// Of the branches that NVIDIA keeps for production.
    Production,
    /// Of all.
    All,
}

/// What a driver is for this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Newer than the loaded module.
    Newer,
    /// The loaded module has this version.
    Loaded,
    /// Older than the loaded module.
    Older,
    /// It would leave a GPU of this host without a driver.
    NotRecommended,
}

/// One driver that NVIDIA publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Of what it is the newest.
    pub newest_of: NewestOf,
    /// The driver.
    pub release: Release,
    /// Whether its branch drives this host's GPUs.
    pub driven: Driven,
    /// What it is for this host.
    pub verdict: Verdict,
}

/// All that NVIDIA offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offers {
    /// The version of the loaded module.
    pub loaded: DriverVersion,
    /// By what they are the newest of. Before one that drives this host's GPUs stands a newer one that does not.
    pub offers: Vec<Offer>,
}

impl Offers {
    /// Judges the answers.
    pub fn of(loaded: &DriverVersion, answers: &Answers, gpus: &KnownGpus) -> Self {
        let all = releases(answers);
        let of_branch = |release: &Release| release.version.branch() == loaded.branch();
        let for_production = |release: &Release| release.branch_type.is_some_and(BranchType::is_for_production);
        let mut judged = Self { loaded: loaded.clone(), offers: Vec::new() };
        judged.add(NewestOf::Branch, gpus, all.iter().filter(|it| of_branch(it)));
        judged.add(NewestOf::Production, gpus, all.iter().filter(|it| for_production(it)));
        judged.add(NewestOf::All, gpus, all.iter());
        judged
    }

    /// The newest version of the loaded module's branch, where a list names one.
    pub fn newest_of_branch(&self) -> Option<&DriverVersion> {
        self.offers.iter().find(|offer| offer.newest_of == NewestOf::Branch).map(|offer| &offer.release.version)
    }

    /// Whether there is a newer version of the loaded module's branch; not known where no list names that branch.
    pub fn update_available(&self) -> Option<bool> {
        self.newest_of_branch().map(|newest| *newest > self.loaded)
    }

    /// The newest of these; if it drops a GPU of this host, also the newest that does not.
    fn add<'r>(&mut self, newest_of: NewestOf, gpus: &KnownGpus, releases: impl Iterator<Item = &'r Release>) {
        let offers = releases.map(|release| self.judged(newest_of, gpus, release));
        let mut offers = offers.collect::<Vec<_>>().into_iter();
        let Some(newest) = offers.next() else { return };
        let is_dropped = newest.verdict == Verdict::NotRecommended;
        self.offers.push(newest);
        if is_dropped {
            self.offers.extend(offers.find(|offer| offer.verdict != Verdict::NotRecommended));
        }
    }

    fn judged(&self, newest_of: NewestOf, gpus: &KnownGpus, release: &Release) -> Offer {
        let driven = gpus.driven_by(release.version.branch());
        let verdict = match release.version.cmp(&self.loaded) {
            _ if matches!(driven, Driven::Dropped(_)) => Verdict::NotRecommended,
            std::cmp::Ordering::Greater => Verdict::Newer,
            std::cmp::Ordering::Equal => Verdict::Loaded,
            std::cmp::Ordering::Less => Verdict::Older,
        };
        Offer { newest_of, release: release.clone(), driven, verdict }
    }
}

/// Every release of both lists, the newest first.
fn releases(answers: &Answers) -> Vec<Release> {
    let mut all = answers.releases.as_ref().map(|list| list.all.clone()).unwrap_or_default();
    let latest = answers.latest.as_ref().filter(|latest| all.iter().all(|release| release.version != **latest));
    if let Some(version) = latest {
        let of_branch = all.iter().find(|release| release.version.branch() == version.branch());
        let branch_type = of_branch.and_then(|release| release.branch_type);
        all.push(Release { version: version.clone(), branch_type, date: None });
    }
    all.sort_by(|one, other| other.version.cmp(&one.version));
    all
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
