//! The device nodes of this host, each as it is and as it must be.

use std::path::{Path, PathBuf};

use crate::driver::host_nodes::{self, KernelAnswers, Verdict, WantedNode};
use crate::driver::proc_files::{self, Capability};
use crate::error::Result;
use crate::sys::device_node;

use super::{NvidiaHost, read_if_there};

pub(super) const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";
const LISTS: &str = "/proc/driver/nvidia-caps";
// Those of one GPU that is divided as far as it can be are some hundreds.
const MOST_CAPABILITIES: usize = 10_000;

/// Where device nodes lie.
pub fn directory() -> &'static Path {
    Path::new("/dev")
}

/// A device node as it must be, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Node {
    /// Where it lies.
    pub path: PathBuf,
    /// As it must be.
    #[serde(flatten)]
    pub wanted: WantedNode,
    /// How it is.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Its link in `/dev/char` leads to it.
    pub linked: bool,
}

impl NvidiaHost {
    /// Looks at every device node that the loaded module answers at; none where no module is loaded.
    ///
    /// # Errors
    /// `/proc` or `/dev` cannot be read.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        if self.loaded.is_none() {
            return Ok(Vec::new());
        }
        let params = read_if_there(Path::new("/proc/driver/nvidia/params"))?.unwrap_or_default();
        let answers = KernelAnswers {
            devices: &self.devices,
            gpus: &self.gpus,
            access: proc_files::node_access(&params),
            capabilities: &capabilities()?,
        };
        host_nodes::wanted(&answers).into_iter().map(look).collect()
    }
}

impl NvidiaHost {
    /// The mode of device nodes as the loaded module was given it (`NVreg_DeviceFileMode`), whatever its bits mean.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn given_node_mode(&self) -> Result<Option<u32>> {
        let params = read_if_there(Path::new("/proc/driver/nvidia/params"))?;
        Ok(params.as_deref().and_then(proc_files::given_node_mode))
    }
}

fn look(wanted: WantedNode) -> Result<Node> {
    let path = directory().join(&wanted.name);
    let verdict = host_nodes::judge(&wanted, device_node::look(&path)?);
    let link = fs_err::read_link(directory().join(wanted.char_link()));
    let linked = link.is_ok_and(|target| target == Path::new(&wanted.char_link_target()));
    Ok(Node { path, wanted, verdict, linked })
}

/// Every capability below `/proc/driver/nvidia/capabilities`, by minor.
fn capabilities() -> Result<Vec<Capability>> {
    let lists = lists_of_minors()?;
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from(CAPABILITIES)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in fs_err::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else if let Some(text) = read_if_there(&path)? {
            let name = path.strip_prefix(CAPABILITIES).unwrap_or(&path).to_string_lossy();
            let listed = || proc_files::listed_minor(&lists, &name);
            let capability = proc_files::capability(&text);
            found.extend(capability.or_else(|| Some(Capability { minor: listed()?, mode: 0o400, modify: true })));
        }
        if found.len() + waiting.len() > MOST_CAPABILITIES {
            break;
        }
    }
    found.sort_by_key(|capability| capability.minor);
    found.dedup_by_key(|capability| capability.minor);
    Ok(found)
}

/// `mig-minors` and its siblings, one after the other.
pub(super) fn lists_of_minors() -> Result<String> {
    let Ok(directory) = fs_err::read_dir(LISTS) else { return Ok(String::new()) };
    let mut all = String::new();
    for entry in directory {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("-minors") {
            all.push_str(&read_if_there(&path)?.unwrap_or_default());
        }
    }
    Ok(all)
}
