//! Where NVIDIA's lists of its releases are asked for: below the mirrors first, as run files are.

use super::HypervisorSettings;
use super::url;

/// One of NVIDIA's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseList {
    /// `latest.txt`, beside the directories of the run files.
    Latest,
    /// `releases.json`, the data-center drivers by branch.
    Branches,
}

impl ReleaseList {
    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest.txt",
            Self::Branches => "releases.json",
        }
    }

    /// The URLs to ask, in this order, for machines that `uname -m` names so.
    pub fn urls(self, settings: &HypervisorSettings, architecture: &str) -> Vec<String> {
        let mirrored = settings.mirrors.iter().filter_map(|base| url::beside_versions(base, self.name(), architecture));
        let mut urls: Vec<String> = mirrored.collect();
        urls.push(self.published(architecture));
        urls
    }

    fn published(self, architecture: &str) -> String {
        match self {
            Self::Latest => format!("https://download.nvidia.com/XFree86/Linux-{architecture}/latest.txt"),
            Self::Branches => "https://docs.nvidia.com/datacenter/tesla/drivers/releases.json".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_first_and_one_with_a_directory_for_each_version_has_no_place_for_a_list() {
        let mirrors = ["https://m/nvidia/{arch}/", "https://m/{version}/{arch}"].map(str::to_owned).to_vec();
        let settings = HypervisorSettings { mirrors, ..HypervisorSettings::default() };
        let published = "https://download.nvidia.com/XFree86/Linux-aarch64/latest.txt";
        assert_eq!(ReleaseList::Latest.urls(&settings, "aarch64"), ["https://m/nvidia/aarch64/latest.txt", published]);
        let urls = ReleaseList::Branches.urls(&HypervisorSettings::default(), "x86_64");
        assert_eq!(urls, ["https://docs.nvidia.com/datacenter/tesla/drivers/releases.json"]);
    }
}
