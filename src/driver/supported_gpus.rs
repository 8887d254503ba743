//! Which GPUs a driver drives, by their PCI ids: `supported-gpus/supported-gpus.json` of its package. Pure.
//!
//! The file lists every GPU that NVIDIA has had a driver for; one that this driver no longer drives has the last branch
//! that does as its `legacybranch` (`580.xx`; read in packages of 550 and in FAQs about those of 590 and 615).

use serde::Deserialize;

/// The list of one driver.
#[derive(Debug, Clone, Deserialize)]
pub struct SupportedGpus {
    chips: Vec<Chip>,
}

#[derive(Debug, Clone, Deserialize)]
struct Chip {
    devid: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    legacybranch: Option<String>,
}

/// What a driver's list says of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// It drives it.
    Driven,
    /// It no longer does.
    Dropped {
        /// The GPU's name.
        name: String,
        /// The last branch that drives it: `580`.
        last_branch: String,
    },
    /// It does not name it: the GPU is newer than the driver, or no product of its own.
    Unknown,
}

impl SupportedGpus {
    /// No such file of a release is larger; it has some 500 KB.
    pub const LIMIT: u64 = 16 << 20;

    /// Reads the file; `None` where it is no such list.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|list: &Self| !list.chips.is_empty())
    }

    /// What the list says of the GPU with this PCI device id, as sysfs writes it: `0x1b80`.
    pub fn of(&self, device: &str) -> Support {
        let number =
            |text: &str| u16::from_str_radix(text.trim().trim_start_matches("0x").trim_start_matches("0X"), 16).ok();
        let wanted = number(device);
        let mut chips = self.chips.iter().filter(|chip| wanted.is_some() && number(&chip.devid) == wanted);
        // Boards of one chip differ in their names alone.
        match chips.next() {
            None => Support::Unknown,
            Some(Chip { legacybranch: None, .. }) => Support::Driven,
            Some(Chip { name, legacybranch: Some(branch), .. }) => {
                let last_branch = branch.trim_end_matches(".xx").to_owned();
                Support::Dropped { name: name.clone(), last_branch }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = br#"{ "chips": [
        { "devid": "0x1B80", "name": "NVIDIA GeForce GTX 1080", "legacybranch": "580.xx", "features": ["vdpaufeaturesetH"] },
        { "devid": "0x2204", "subdevid": "0x147D", "subvendorid": "0x10DE", "name": "NVIDIA GeForce RTX 3090", "features": ["kernelopen"] }
    ] }"#;

    #[test]
    fn a_gpu_is_found_by_its_id_with_the_last_branch_that_drives_it() {
        let list = SupportedGpus::parse(LIST).unwrap();
        let dropped = Support::Dropped { name: "NVIDIA GeForce GTX 1080".to_owned(), last_branch: "580".to_owned() };
        assert_eq!(list.of("0x1b80\n"), dropped);
        assert_eq!(list.of("0x2204"), Support::Driven);
        assert_eq!(list.of("0x9999"), Support::Unknown);
        assert_eq!(list.of("nonsense"), Support::Unknown);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in [&b"{}"[..], b"[]", b"", br#"{ "chips": [] }"#, br#"{ "chips": 1 }"#] {
            assert!(SupportedGpus::parse(text).is_none());
        }
    }
}
