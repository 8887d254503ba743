//! Making this host ready for its guests: kernel modules loaded, every device node there with its right number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::device::{COMPANIONS, is_nvidia_node};
use crate::driver::host_nodes::Verdict;
use crate::driver::proc_files;
use crate::error::{Error, Kind, Result};
use crate::sys::cancel::Cancel;
use crate::sys::command::Command;
use crate::sys::device_node::{self, CharacterDevice, Found};

use super::survey::{Node, directory};
use super::{NvidiaHost, missing_node};

/// The modules that CUDA needs.
const MODULES: [&str; 2] = ["nvidia", "nvidia-uvm"];
// A GPU may need half a minute to come up; more means that it hangs.
const LOADING: Duration = Duration::from_secs(120);

/// One thing that is changed on the host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// A kernel module is loaded.
    Load {
        /// Its name.
        module: &'static str,
    },
    /// A node is made where there was none.
    Make {
        /// Where.
        path: PathBuf,
        /// Its numbers, mode and owner.
        #[serde(flatten)]
        device: CharacterDevice,
    },
    /// A node is made in place of what was there.
    Replace {
        /// Where.
        path: PathBuf,
        /// Its numbers, mode and owner.
        #[serde(flatten)]
        device: CharacterDevice,
        /// What was there, in words.
        was: String,
    },
    /// A node gets the mode and the owner that the module asks for.
    SetAccess {
        /// Where.
        path: PathBuf,
        /// Its numbers, mode and owner.
        #[serde(flatten)]
        device: CharacterDevice,
    },
    /// A link in `/dev/char` is made.
    Link {
        /// Where.
        path: PathBuf,
        /// What it says.
        target: String,
    },
    /// A link in `/dev/char` is removed, because its number is no longer that of a node of this driver.
    RemoveLink {
        /// Where.
        path: PathBuf,
    },
}

impl Change {
    /// What is done, as a phrase: `make /dev/nvidia0 (195:0, mode 0666)`.
    pub fn phrase(&self) -> String {
        let node = |CharacterDevice { major, minor, mode, user, group }: &CharacterDevice| {
            let owner = if (*user, *group) == (0, 0) { String::new() } else { format!(", owner {user}:{group}") };
            format!("{major}:{minor}, mode {mode:04o}{owner}")
        };
        match self {
            Self::Load { module } => format!("load the kernel module {module}"),
            Self::Make { path, device } => format!("make {} ({})", path.display(), node(device)),
            Self::Replace { path, device, was } => {
                format!("replace {} ({}), which was {was}", path.display(), node(device))
            }
            Self::SetAccess { path, device } => format!("set access of {} ({})", path.display(), node(device)),
            Self::Link { path, target } => format!("link {} to {target}", path.display()),
            Self::RemoveLink { path } => format!("remove the stale link {}", path.display()),
        }
    }

    fn apply(&self) -> Result<()> {
        match self {
            Self::Load { .. } => Ok(()),
            Self::Make { path, device } | Self::Replace { path, device, .. } => device_node::make(path, device),
            Self::SetAccess { path, device } => device_node::set_access(path, device),
            Self::Link { path, target } => device_node::link(path, target),
            Self::RemoveLink { path } => Ok(fs_err::remove_file(path)?),
        }
    }
}

/// What was done, or would be, and what stood against the rest.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Why some nodes are not as they must be.
    pub refused: Vec<Error>,
}

impl Prepared {
    /// Does the changes, up to the first that fails; what was done is known even then.
    pub fn carried_out(mut self) -> Self {
        let failed = self.changes.iter().enumerate().find_map(|(index, change)| Some((index, change.apply().err()?)));
        if let Some((index, error)) = failed {
            self.changes.truncate(index);
            self.refused.insert(0, error);
        }
        self
    }

    /// The changes that bring these nodes, and only these, to how they must be.
    fn of<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Self {
        let mut prepared = Self::default();
        for node in nodes {
            match node_change(node) {
                Ok(change) => prepared.changes.extend(change),
                Err(error) => {
                    prepared.refused.push(error);
                    continue;
                }
            }
            if !node.linked {
                let path = directory().join(node.wanted.char_link());
                prepared.changes.push(Change::Link { path, target: node.wanted.char_link_target() });
            }
        }
        prepared
    }
}

fn node_change(node: &Node) -> Result<Option<Change>> {
    let (path, device) = (node.path.clone(), node.wanted.device);
    let shown = path.display();
    if !node.wanted.modify && node.verdict != Verdict::Right {
        let message = format!("`{shown}` is {}, and must not be changed", node.verdict.phrase());
        return Err(Error::new(Kind::Host, message).hint(
            "the module was loaded with `NVreg_ModifyDeviceFiles=0`: create the node yourself, or remove that option",
        ));
    }
    Ok(match &node.verdict {
        Verdict::Right => None,
        Verdict::Missing => Some(Change::Make { path, device }),
        Verdict::WrongAccess { .. } => Some(Change::SetAccess { path, device }),
        Verdict::WrongNumbers { major, minor } => {
            Some(Change::Replace { path, device, was: format!("{major}:{minor}") })
        }
        Verdict::EmptyFile => Some(Change::Replace { path, device, was: "an empty file".to_owned() }),
        Verdict::OtherFile { what } => {
            return Err(Error::new(Kind::Host, format!("`{shown}` is {what}, not a device node"))
                .hint(format!("inspect it, and remove it if nobody needs it: `rm -r {shown}`")));
        }
    })
}

/// The kernel modules that are not loaded and must be.
pub fn modules_to_load(host: &NvidiaHost) -> Vec<&'static str> {
    let is_loaded = |module: &str| match module {
        "nvidia" => host.loaded.is_some(),
        module => proc_files::character_major(&host.devices, module).is_some(),
    };
    MODULES.into_iter().filter(|module| !is_loaded(module)).collect()
}

/// What [`prepare`] would do; nodes of modules that are still to be loaded are not among it.
///
/// # Errors
/// `/proc` or `/dev` cannot be read.
pub fn rehearse() -> Result<Prepared> {
    let host = NvidiaHost::read()?;
    let mut prepared = all_nodes(&host)?;
    let loads = modules_to_load(&host).into_iter().map(|module| Change::Load { module });
    prepared.changes.splice(0..0, loads);
    Ok(prepared)
}

/// Loads the modules and makes the nodes of all GPUs; doing it twice is doing it once.
///
/// # Errors
/// A module cannot be loaded, or it drives no GPU. Nodes that cannot be made are among the answer.
pub fn prepare(cancel: &Cancel) -> Result<Prepared> {
    let (host, loaded) = load(NvidiaHost::read()?, cancel)?;
    if host.gpus.is_empty() {
        return Err(Error::new(Kind::Host, "the NVIDIA kernel module is loaded, but drives no GPU")
            .hint("check with `lspci -nnk -d 10de:` whether another driver, such as vfio-pci, uses it"));
    }
    let mut prepared = all_nodes(&host)?.carried_out();
    prepared.changes.splice(0..0, loaded.into_iter().map(|module| Change::Load { module }));
    Ok(prepared)
}

fn all_nodes(host: &NvidiaHost) -> Result<Prepared> {
    let nodes = host.nodes()?;
    let mut prepared = Prepared::of(&nodes);
    prepared.changes.extend(stale_links(&nodes)?);
    Ok(prepared)
}

/// Links in `/dev/char` to nodes of this driver under numbers that those do not have, or will not have.
fn stale_links(nodes: &[Node]) -> Result<Vec<Change>> {
    // Without a module nobody knows which numbers are right.
    let (false, Ok(entries)) = (nodes.is_empty(), fs_err::read_dir(directory().join("char"))) else {
        return Ok(Vec::new());
    };
    let mut stale = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let target = fs_err::read_link(&path).unwrap_or_default();
        let Some(name) = target.strip_prefix("..").ok().and_then(Path::to_str).filter(|name| is_nvidia_node(name))
        else {
            continue;
        };
        let number = match nodes.iter().find(|node| node.wanted.name == name) {
            Some(node) => Some(node.wanted.char_link()),
            // A node that we do not make, such as one of an NVSwitch.
            None => number_of(name)?,
        };
        if number.is_none_or(|number| path != directory().join(number)) {
            stale.push(path);
        }
    }
    stale.sort();
    Ok(stale.into_iter().map(|path| Change::RemoveLink { path }).collect())
}

fn number_of(name: &str) -> Result<Option<String>> {
    Ok(match device_node::look(&directory().join(name))? {
        Some(Found::Device(CharacterDevice { major, minor, .. })) => Some(format!("char/{major}:{minor}")),
        _ => None,
    })
}

impl NvidiaHost {
    /// Makes the nodes for these GPUs (N of `/dev/nvidiaN`) where they are missing or wrong; starts no process.
    ///
    /// # Errors
    /// A module is not loaded, this host has no such GPU, or a node cannot be made.
    pub fn make_nodes_for(&self, minors: &BTreeSet<u32>) -> Result<Vec<Change>> {
        if let Some(module) = modules_to_load(self).first() {
            return Err(Error::new(Kind::Host, format!("the kernel module {module} is not loaded"))
                .hint("load it and make its nodes with `phoenix-nvidia host prepare`"));
        }
        let nodes = self.nodes()?;
        let mut needed: BTreeSet<String> = minors.iter().map(|minor| format!("nvidia{minor}")).collect();
        needed.extend(COMPANIONS.iter().map(|companion| companion.name.to_owned()));
        let nodes = nodes.iter().filter(|node| needed.contains(&node.wanted.name));
        let Prepared { changes, refused } = Prepared::of(nodes).carried_out();
        if let Some(error) = refused.into_iter().next() {
            return Err(error);
        }
        // What the module does not know has not been made; a GPU that is not there is said so.
        self.require_nodes(minors)?;
        Ok(changes)
    }

    /// That the nodes which a container with these GPUs needs are there, and are those of this driver.
    ///
    /// # Errors
    /// One is missing, or has another number; or this host has no such GPU.
    pub fn require_nodes(&self, minors: &BTreeSet<u32>) -> Result<()> {
        for minor in minors {
            self.gpu_node(*minor)?.ok_or_else(|| self.no_gpu_node(*minor))?;
        }
        for companion in &COMPANIONS {
            if self.companion_node(companion)?.is_none() && companion.required {
                return Err(missing_node(&directory().join(companion.name)));
            }
        }
        Ok(())
    }
}

/// Loads what is not loaded: with NVIDIA's own program where it is installed, then with `modprobe`.
fn load(mut host: NvidiaHost, cancel: &Cancel) -> Result<(NvidiaHost, Vec<&'static str>)> {
    let wanted = modules_to_load(&host);
    if wanted.is_empty() {
        return Ok((host, wanted));
    }
    let loaders = |module: &'static str| {
        [Command::new("nvidia-modprobe").args(["-c", "0", "-u", "-m"]), Command::new("modprobe").arg(module)]
    };
    for module in &wanted {
        let mut said = String::new();
        for loader in loaders(module) {
            if modules_to_load(&host).contains(module) {
                // Whether it has worked is seen in /proc; `nvidia-modprobe` is not on every host.
                match loader.deadline(LOADING).run(cancel) {
                    Ok(output) => said = output.last_lines(),
                    Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                    Err(error) => tracing::debug!("{error}"),
                }
                host = NvidiaHost::read()?;
            }
        }
        if modules_to_load(&host).contains(module) {
            return Err(Error::new(Kind::Host, format!("the kernel module {module} could not be loaded"))
                .output(said)
                .hint("install NVIDIA's driver on the host, and check `dmesg | grep -i nvrm`"));
        }
    }
    Ok((host, wanted))
}
