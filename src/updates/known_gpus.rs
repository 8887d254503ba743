//! Which branches drive this host's GPUs, as far as the lists of the extracted drivers say.

use crate::driver::DriverVersion;
use crate::driver::supported_gpus::{Support, SupportedGpus};
use crate::event::Listener;
use crate::host::{NvidiaHost, device_id};
use crate::store::Store;

/// Whether a branch drives this host's GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driven {
    /// All of them.
    All,
    /// Not these, a phrase for each: `GPU 0 (NVIDIA GeForce GTX 1080), whose last branch is 580`.
    Dropped(Vec<String>),
    /// No extracted driver says so.
    NotKnown,
    /// The loaded module has no GPU.
    NoGpus,
}

/// What is known of the GPUs that the loaded module drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownGpus {
    loaded_branch: u32,
    gpus: Vec<KnownGpu>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownGpu {
    minor: u32,
    name: String,
    /// The newest branch that is known to drive it.
    driven_by: u32,
    /// The last branch that drives it, where a list says so.
    last_branch: Option<u32>,
}

impl KnownGpus {
    /// Reads the lists of all drivers in the store. One that cannot be read says nothing, and the listener is warned.
    pub fn read(host: &NvidiaHost, loaded: &DriverVersion, store: &Store<'_>, listener: &dyn Listener) -> Self {
        let lists = lists(store).unwrap_or_else(|error| {
            let text = format!("the lists of GPUs of the extracted drivers could not be read: {}", error.message());
            listener.warn(None, text);
            Vec::new()
        });
        let gpus = host.gpus.iter().map(|gpu| (gpu.minor, gpu.model.as_str(), device_id(&gpu.pci_address)));
        Self::of(loaded.branch(), gpus, &lists)
    }

    /// GPUs by minor, model and PCI device id, and what the lists of these drivers say of them.
    pub(super) fn of<'g>(
        loaded_branch: u32,
        gpus: impl Iterator<Item = (u32, &'g str, Option<String>)>,
        lists: &[(u32, SupportedGpus)],
    ) -> Self {
        let known = |(minor, model, device): (u32, &str, Option<String>)| {
            let mut gpu = KnownGpu { minor, name: model.to_owned(), driven_by: loaded_branch, last_branch: None };
            for (branch, list) in lists {
                match device.as_deref().map_or(Support::Unknown, |device| list.of(device)) {
                    Support::Driven => gpu.driven_by = gpu.driven_by.max(*branch),
                    Support::Dropped { name, last_branch } => gpu.drop_after(name, &last_branch, *branch),
                    Support::Unknown => {}
                }
            }
            gpu
        };
        Self { loaded_branch, gpus: gpus.map(known).collect() }
    }

    /// Whether this branch drives them. The loaded one does: the module has them.
    pub fn driven_by(&self, branch: u32) -> Driven {
        if self.gpus.is_empty() {
            return Driven::NoGpus;
        }
        if branch == self.loaded_branch {
            return Driven::All;
        }
        let dropped: Vec<String> = self.gpus.iter().filter_map(|gpu| gpu.dropped_by(branch)).collect();
        if !dropped.is_empty() {
            return Driven::Dropped(dropped);
        }
        // An older branch than the loaded one may be too old for a GPU.
        let is_known = |gpu: &KnownGpu| (self.loaded_branch..=gpu.driven_by).contains(&branch);
        if self.gpus.iter().all(is_known) { Driven::All } else { Driven::NotKnown }
    }
}

impl KnownGpu {
    /// The list of a driver of `branch` says that it does not drive this GPU, and which branch was the last.
    fn drop_after(&mut self, name: String, last_branch: &str, branch: u32) {
        let last = last_branch.trim().parse().unwrap_or(branch.saturating_sub(1));
        self.last_branch = Some(self.last_branch.map_or(last, |known| known.min(last)));
        self.name = name;
    }

    fn dropped_by(&self, branch: u32) -> Option<String> {
        let last = self.last_branch.filter(|last| *last < branch)?;
        Some(format!("GPU {} ({}), whose last branch is {last}", self.minor, self.name))
    }
}

fn lists(store: &Store<'_>) -> crate::error::Result<Vec<(u32, SupportedGpus)>> {
    let mut lists = Vec::new();
    for version in store.versions()? {
        lists.extend(store.supported_gpus(&version)?.map(|list| (version.branch(), list)));
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> SupportedGpus {
        SupportedGpus::parse(text.as_bytes()).unwrap()
    }

    /// GPU 0 is a GTX 1080 and GPU 1 a RTX 3090, under a module of branch 570.
    fn known(lists: &[(u32, SupportedGpus)]) -> KnownGpus {
        let gpus = [(0, "GTX", Some("0x1b80".to_owned())), (1, "RTX", Some("0x2204".to_owned()))];
        KnownGpus::of(570, gpus.into_iter(), lists)
    }

    fn chips(last_branch: &str) -> SupportedGpus {
        list(&format!(
            r#"{{ "chips": [ {{ "devid": "0x1B80", "name": "NVIDIA GeForce GTX 1080", "legacybranch": "{last_branch}" }},
                            {{ "devid": "0x2204", "name": "NVIDIA GeForce RTX 3090" }} ] }}"#
        ))
    }

    #[test]
    fn a_branch_after_the_last_one_of_a_gpu_drops_it() {
        let known = known(&[(590, chips("580.xx"))]);
        let dropped = Driven::Dropped(vec!["GPU 0 (NVIDIA GeForce GTX 1080), whose last branch is 580".to_owned()]);
        assert_eq!(known.driven_by(590), dropped);
        assert_eq!(known.driven_by(610), dropped);
        assert_eq!(known.driven_by(570), Driven::All);
        assert_eq!(known.driven_by(580), Driven::NotKnown);
    }

    #[test]
    fn a_last_branch_that_is_no_number_still_drops_the_gpu() {
        assert!(matches!(known(&[(590, chips("R580"))]).driven_by(590), Driven::Dropped(_)));
    }

    #[test]
    fn what_no_list_says_is_not_known() {
        assert_eq!(known(&[]).driven_by(580), Driven::NotKnown);
        let both = list(r#"{ "chips": [ { "devid": "0x1B80" }, { "devid": "0x2204" } ] }"#);
        let known = known(&[(580, both)]);
        assert_eq!((known.driven_by(575), known.driven_by(580)), (Driven::All, Driven::All));
        assert_eq!((known.driven_by(550), known.driven_by(590)), (Driven::NotKnown, Driven::NotKnown));
        assert_eq!(KnownGpus::of(570, std::iter::empty(), &[]).driven_by(570), Driven::NoGpus);
    }
}
