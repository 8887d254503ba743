//! The instances of GPUs that the driver has divided (MIG), and the nodes by which they are used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::survey::{CAPABILITIES, lists_of_minors};
use super::{NvidiaHost, device_node, read_if_there, wrong_numbers};
use crate::driver::device::DeviceNode;
use crate::driver::mig::{self, MigInstance, NamedInstance};
use crate::driver::{host_nodes, proc_files};
use crate::error::Result;
use crate::sys::cancel::Cancel;
use crate::sys::command::{Command, Output};

// Without its persistence daemon the driver wakes every GPU up first.
const ANSWER: Duration = Duration::from_secs(60);

impl NvidiaHost {
    /// The instances of the GPU with this minor; none where it is not divided.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn instances(&self, gpu: u32) -> Result<Vec<MigInstance>> {
        let mig = Path::new(CAPABILITIES).join(format!("gpu{gpu}/mig"));
        let mut instances = Vec::new();
        for gpu_instance in numbered(&mig, "gi")? {
            for compute_instance in numbered(&mig.join(format!("gi{gpu_instance}")), "ci")? {
                instances.push(MigInstance { gpu_instance, compute_instance });
            }
        }
        instances.sort();
        Ok(instances)
    }

    /// The instances by the UUIDs that the host's own `nvidia-smi` tells; none where there is none, or it does not answer.
    pub fn named_instances(&self, cancel: &Cancel) -> Vec<NamedInstance> {
        let ask = |question: &[&str]| {
            let (program, arguments) = question.split_first()?;
            let asked =
                Command::new(program).args(arguments).env("LC_ALL", "C").deadline(ANSWER).output_limit(16 << 20);
            let output = asked.run(cancel).ok().filter(Output::success)?;
            Some(output.stdout_text())
        };
        let asked = || {
            let (list, details) = (ask(&mig::LIST)?, ask(&mig::DETAILS)?);
            // Somebody who divides a GPU in between would give the names of before the numbers of after.
            (ask(&mig::LIST)? == list).then(|| mig::named_instances(&list, &details))
        };
        self.loaded.as_ref().and_then(|_| asked()).unwrap_or_default()
    }

    /// Where the node of a capability lies, there or not: its minor stays the same while its instance comes and goes.
    /// `None` where the driver has no such capability.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn capability_path(&self, capability: &str) -> Result<Option<PathBuf>> {
        let text = read_if_there(&Path::new(CAPABILITIES).join(capability))?;
        let text = text.as_deref().and_then(proc_files::capability).map(|capability| capability.minor);
        let minor = match text {
            Some(minor) => Some(minor),
            None => proc_files::listed_minor(&lists_of_minors()?, capability),
        };
        Ok(minor.map(|minor| PathBuf::from(format!("/dev/{}/nvidia-cap{minor}", host_nodes::CAPABILITIES))))
    }

    /// The node of a capability; `None` where it is missing.
    ///
    /// # Errors
    /// It has the wrong number, or is no device node.
    pub fn capability_node(&self, path: &Path) -> Result<Option<DeviceNode>> {
        let found = device_node(path)?;
        match (&found, proc_files::character_major(&self.devices, "nvidia-caps")) {
            (Some(node), Some(major)) if node.major != major => Err(wrong_numbers(node, major, node.minor)),
            _ => Ok(found),
        }
    }
}

/// The numbers of the directories of this name: 1 of `gi1`.
fn numbered(directory: &Path, name: &str) -> Result<Vec<u32>> {
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry?.file_name();
        numbers.extend(entry.to_str().and_then(|entry| entry.strip_prefix(name)?.parse::<u32>().ok()));
    }
    Ok(numbers)
}
