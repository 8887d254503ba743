//! Which device nodes a container gets: from its `gpu_assignment`, what this host has, and what the container has already.
//!
//! What is assigned is never taken from a container because the host lacks it for the moment: a module that was not built,
//! a GPU that fell off the bus. Such a node stays in the container's settings as it is, and is said to wait.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{Container, GpuAssignment, GpuSelector};
use crate::driver::device::{COMPANIONS, DeviceNode, is_dri, is_optional, minor_of, rank};
use crate::driver::mig::MigInstance;
use crate::error::{Error, Kind, Result};
use crate::host::{self, NvidiaHost};
use crate::hypervisor::State;

use crate::fleet::Fleet;
use crate::fleet::observe::container_record::ContainerRecord;
use crate::fleet::observe::container_record::KnownGpus;
use crate::fleet::observe::known_gpus::find_gpu;

/// The device nodes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passthrough {
    /// Exactly those that it must have, of those that this host has.
    pub devices: Vec<DeviceNode>,
    /// Those that its settings pass and that this host lacks for the moment.
    pub kept: Vec<PathBuf>,
    /// How many GPUs are assigned to it.
    pub gpus: usize,
    /// What of its GPUs waits for the host, a sentence each.
    pub waiting: Vec<String>,
    /// Its GPUs that have no node to draw with on this host, where it is to have those.
    pub without_dri: Vec<String>,
    /// Why it gets none although GPUs are assigned, and never had one.
    pub withheld: Option<String>,
}

/// What a container has of NVIDIA's devices already.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// The nodes that its settings pass.
    pub(crate) nodes: Vec<PathBuf>,
    /// The GPUs that it had when it was configured.
    pub(crate) gpus: KnownGpus,
}

impl Held {
    fn has(&self, path: &Path) -> bool {
        self.nodes.iter().any(|node| node == path)
    }

    /// What it had of this GPU, where it was a part.
    fn instance(&self, selector: &GpuSelector) -> Option<MigInstance> {
        let remembered = || self.gpus.get(&selector.to_string())?.instance;
        selector.instance().or_else(remembered)
    }

    /// N of the node by which it had this GPU.
    fn minor(&self, selector: &GpuSelector) -> Option<u32> {
        match selector.gpu() {
            GpuSelector::Minor(minor) => Some(*minor),
            _ => self.gpus.get(&selector.to_string()).map(|known| known.minor),
        }
    }
}

/// Works out the device nodes.
///
/// # Errors
/// It asks for a GPU that neither this host nor the container has, or a node has the wrong number.
pub(crate) fn passthrough(container: &Container, host: &NvidiaHost, held: &Held) -> Result<Passthrough> {
    let mut passthrough = Passthrough { gpus: container.gpus.count(), ..Passthrough::default() };
    if container.gpus.is_none() {
        return Ok(passthrough);
    }
    // Of all it has none: whichever it had is away for the moment.
    if host.loaded.is_none() || passthrough.gpus == 0 {
        passthrough.wait_for_module(container, host, held);
        passthrough.dri(container, host, held)?;
        return Ok(passthrough);
    }
    let of_gpus = container.gpus.iter().try_for_each(|selector| passthrough.gpu(selector, host, held));
    if container.gpus.is_all() {
        passthrough.keep_lost_gpus(held);
    }
    let ended =
        of_gpus.and_then(|()| passthrough.companions(host, held)).and_then(|()| passthrough.dri(container, host, held));
    ended.map_err(|error| error.about(format_args!("container {}", container.id)))?;
    passthrough.devices.sort_by_key(|node| rank(&node.path));
    passthrough.devices.dedup();
    let mut seen: BTreeSet<PathBuf> = passthrough.devices.iter().map(|node| node.path.clone()).collect();
    passthrough.kept.retain(|path| seen.insert(path.clone()));
    Ok(passthrough)
}

impl Passthrough {
    /// Whether the host has every node that a container can have of its GPUs.
    fn is_whole(&self) -> bool {
        let is_of_gpu = |node: &&DeviceNode| !node.path.starts_with("/dev/nvidia-caps") && !is_dri(&node.path);
        let of_gpus = self.devices.iter().filter(is_of_gpu).count();
        if !self.without_dri.is_empty() {
            return false;
        }
        (self.gpus == 0 && self.waiting.is_empty() && self.withheld.is_none())
            || of_gpus == self.gpus + COMPANIONS.len()
    }

    /// Everything stays as it is. A GPU whose number nobody knows may be any of those that the container has.
    fn wait_for_module(&mut self, container: &Container, host: &NvidiaHost, held: &Held) {
        let minors: Option<BTreeSet<u32>> = match &container.gpus {
            GpuAssignment::All(_) => None,
            gpus => gpus.iter().map(|selector| held.minor(selector)).collect(),
        };
        let is_assigned = |path: &&PathBuf| match (minor_of(path), &minors) {
            (Some(minor), Some(minors)) => minors.contains(&minor),
            _ => true,
        };
        self.kept = held.nodes.iter().filter(is_assigned).cloned().collect();
        if host.loaded.is_some() {
            self.waiting.push("its GPUs are pending: this host has none".to_owned());
        } else if self.kept.is_empty() && held.gpus.is_empty() {
            self.withheld = Some("no NVIDIA kernel module on this host, so GPUs are not passed through".to_owned());
        } else {
            self.waiting.push(format!(
                "its GPUs are pending until the host's NVIDIA kernel module is loaded: {}",
                host.no_module()
            ));
        }
    }

    fn gpu(&mut self, selector: &GpuSelector, host: &NvidiaHost, held: &Held) -> Result<()> {
        let there = match selector.gpu() {
            GpuSelector::Minor(minor) => Some(*minor),
            named => find_gpu(named, host).map(|gpu| gpu.minor),
        };
        if let Some(node) = there.map(|minor| host.gpu_node(minor)).transpose()?.flatten() {
            let minor = node.minor;
            self.devices.push(node);
            return selector.instance().map_or(Ok(()), |instance| self.instance(selector, minor, instance, host, held));
        }
        let Some(minor) = held.minor(selector) else { return Err(no_such_gpu(selector)) };
        let path = PathBuf::from(format!("/dev/nvidia{minor}"));
        let was_there = held.gpus.contains_key(&selector.to_string());
        if !held.has(&path) && !was_there {
            return Err(host.no_gpu_node(minor));
        }
        let is_known = there.is_some_and(|minor| host.gpus.iter().any(|gpu| gpu.minor == minor));
        self.waiting.push(match is_known {
            true => format!("GPU {selector} is pending: this host lacks its device node `{}`", path.display()),
            false => waits(selector),
        });
        // Another GPU may have the number by now, which is not assigned.
        let remembered = held.gpus.get(&selector.to_string());
        let is_anothers = there.is_none()
            && host.gpus.iter().any(|gpu| gpu.minor == minor && !remembered.is_some_and(|known| known.is_gpu(gpu)));
        if held.has(&path) && !is_anothers {
            self.kept.push(path);
            self.kept.extend(kept_parts(selector, minor, host, held)?);
        }
        Ok(())
    }

    /// The host lists only the GPUs that it drives. Any other that the container has is one that it drove.
    fn keep_lost_gpus(&mut self, held: &Held) {
        for path in held.nodes.iter().filter(|path| minor_of(path).is_some()) {
            if self.devices.iter().any(|node| node.path == *path) || self.kept.contains(path) {
                continue;
            }
            let minor = minor_of(path).unwrap_or_default();
            self.waiting.push(format!("GPU {minor} is pending: this host lacks it"));
            self.kept.push(path.clone());
        }
    }

    /// The nodes of the capabilities by which an instance is used. Instances are gone after every boot until somebody makes
    /// them again; their nodes stay assigned meanwhile.
    fn instance(
        &mut self,
        selector: &GpuSelector,
        minor: u32,
        instance: MigInstance,
        host: &NvidiaHost,
        held: &Held,
    ) -> Result<()> {
        let instances = host.instances(minor)?;
        let is_there = instances.contains(&instance);
        for capability in instance.capabilities(minor) {
            let Some(path) = host.capability_path(&capability)? else {
                return Err(no_such_instance(selector, minor, &instances));
            };
            match host.capability_node(&path)? {
                Some(node) if is_there => self.devices.push(node),
                _ if held.has(&path) => self.kept.push(path),
                _ if is_there => return Err(host::missing_node(&path)),
                _ => return Err(no_such_instance(selector, minor, &instances)),
            }
        }
        if !is_there {
            self.waiting.push(format!("GPU {selector} is pending: the GPU is not divided (`nvidia-smi mig -lgi`)"));
        }
        Ok(())
    }

    fn companions(&mut self, host: &NvidiaHost, held: &Held) -> Result<()> {
        for companion in &COMPANIONS {
            let path = Path::new("/dev").join(companion.name);
            match host.companion_node(companion)? {
                Some(node) => self.devices.push(node),
                None if held.has(&path) => {
                    if companion.required {
                        let path = path.display();
                        self.waiting.push(format!("its GPUs are pending: this host lacks `{path}`"));
                    }
                    self.kept.push(path);
                }
                None if companion.required => return Err(host::missing_node(&path)),
                None => {}
            }
        }
        Ok(())
    }
}

/// The nodes of the capabilities that a container has for a part of a GPU which the host lacks for the moment. Where nobody
/// knows any more which they are, each of them may be one.
fn kept_parts(selector: &GpuSelector, minor: u32, host: &NvidiaHost, held: &Held) -> Result<Vec<PathBuf>> {
    if !selector.is_part() {
        return Ok(Vec::new());
    }
    let capabilities = held.instance(selector).map(|instance| instance.capabilities(minor));
    let mut paths = BTreeSet::new();
    for capability in capabilities.iter().flatten() {
        paths.extend(host.capability_path(capability)?);
    }
    let is_one = |path: &&PathBuf| match paths.is_empty() {
        true => path.starts_with("/dev/nvidia-caps"),
        false => paths.contains(*path),
    };
    Ok(held.nodes.iter().filter(is_one).cloned().collect())
}

impl Fleet<'_> {
    /// The device nodes of a container, after a look at what it has.
    ///
    /// # Errors
    /// As [`passthrough`]; or its settings cannot be read.
    pub(crate) fn passthrough(&self, container: &Container) -> Result<Passthrough> {
        let mut passthrough = self.passthrough_of_all(container)?;
        if container.keeps_settings {
            // What its driver works without is missing only where its own settings say that it should be there.
            let passed = self.hypervisor.passed_nodes(container.id)?;
            passthrough.devices.retain(|node| !is_optional(&node.path) || passed.contains(&node.path));
        }
        Ok(passthrough)
    }

    fn passthrough_of_all(&self, container: &Container) -> Result<Passthrough> {
        let of_host = passthrough(container, self.host, &Held::default());
        // Only what the host lacks makes a difference, and of all GPUs nobody knows which those are.
        if !container.gpus.is_all() && of_host.as_ref().is_ok_and(Passthrough::is_whole) {
            return of_host;
        }
        match self.hypervisor.state(container.id)? {
            State::Absent => of_host,
            _ => {
                let nodes = self.hypervisor.passed_nodes(container.id)?;
                let known = ContainerRecord::load(self.context.layout, container.id)?.gpus;
                passthrough(container, self.host, &Held { nodes, gpus: known })
            }
        }
    }

    /// Makes the nodes of a container's GPUs, and refuses to start one whose settings need a node that this host lacks:
    /// it would not come up.
    ///
    /// # Errors
    /// It says which node, and what it waits for.
    pub(crate) fn require_nodes(&self, container: &Container) -> Result<()> {
        self.make_nodes(&[container.id]);
        let passthrough = self.passthrough(container)?;
        let lacking = |path: &&PathBuf| !is_optional(path) && !path.exists();
        let Some(path) = passthrough.kept.iter().find(lacking) else { return Ok(()) };
        let (id, path) = (container.id, path.display());
        Err(Error::new(
            Kind::Host,
            format!("container {id} cannot start: this host has no `{path}`, which its settings pass"),
        )
        .hint(format!(
            "restore the host's GPUs, then run `phoenix-nvidia host prepare`; or let the `gpu_assignment` of {id} name \
             only GPUs that are there"
        )))
    }
}

/// The GPUs of a container, as N of `/dev/nvidiaN`.
///
/// # Errors
/// It asks by address or UUID for a GPU that this host does not have.
pub(crate) fn minors_of(container: &Container, host: &NvidiaHost) -> Result<BTreeSet<u32>> {
    let minor = |selector: &GpuSelector| match selector.gpu() {
        GpuSelector::Minor(minor) => Ok(*minor),
        named => find_gpu(named, host).map(|gpu| gpu.minor).ok_or_else(|| no_such_gpu(named)),
    };
    container.gpus.iter().map(minor).collect()
}

/// The same for a container whose GPUs the host remembers: those that are there, and the note about those which the host
/// lacks for the moment.
///
/// # Errors
/// It asks by address or UUID for a GPU that this host does not have, and that the container never had.
pub(crate) fn minors_there(
    container: &Container,
    host: &NvidiaHost,
    known: &KnownGpus,
) -> Result<(BTreeSet<u32>, Option<Error>)> {
    let (mut minors, mut lacking) = (BTreeSet::new(), None);
    for selector in container.gpus.iter() {
        let remembered = known.get(&selector.to_string());
        match (selector.gpu(), find_gpu(selector, host), remembered) {
            (GpuSelector::Minor(minor), None, None) => drop(minors.insert(*minor)),
            (_, Some(gpu), _) => drop(minors.insert(gpu.minor)),
            (_, None, None) => return Err(no_such_gpu(selector)),
            (_, None, Some(known)) => {
                // The name of an instance may be unknown although its GPU is present.
                let present = host.gpus.iter().find(|gpu| selector.is_part() && known.is_gpu(gpu));
                minors.extend(present.map(|gpu| gpu.minor));
                lacking.get_or_insert_with(|| lost(selector));
            }
        }
    }
    Ok((minors, lacking))
}

/// The note about a GPU that a container has and that the host lacks at the moment.
fn waits(selector: &GpuSelector) -> String {
    match selector {
        GpuSelector::Named(_, None) => {
            format!("GPU {selector} is pending: `nvidia-smi -L` does not list this instance")
        }
        _ => format!("GPU {selector} is pending: this host lacks it"),
    }
}

fn lost(selector: &GpuSelector) -> Error {
    Error::new(Kind::Host, waits(selector)).hint(match selector {
        GpuSelector::Named(_, None) => {
            "divide the GPU again with `nvidia-smi mig`, or name the instance by its numbers, `GPU:GI:CI`, which needs no \
             `nvidia-smi`"
        }
        _ => "`phoenix-nvidia host show` lists the present GPUs, and `dmesg | grep -i nvrm` may say why it is missing",
    })
}

fn no_such_gpu(selector: &GpuSelector) -> Error {
    if let GpuSelector::Named(uuid, _) = selector {
        let message = format!("`nvidia-smi` on this host lists no instance `{uuid}` of a divided GPU (MIG)");
        return Error::new(Kind::Configuration, message).hint(
            "`nvidia-smi -L` lists the existing ones; where the host has no `nvidia-smi`, name the instance by its \
             numbers, `GPU:GI:CI`",
        );
    }
    Error::new(Kind::Configuration, format!("this host has no GPU `{selector}`"))
        .hint("`phoenix-nvidia host show` lists the existing ones")
}

fn no_such_instance(selector: &GpuSelector, minor: u32, instances: &[MigInstance]) -> Error {
    let message = format!("GPU {minor} of this host has no instance `{selector}`");
    let error = Error::new(Kind::Configuration, message);
    if instances.is_empty() {
        return error.hint(format!(
            "divide the GPU with `nvidia-smi mig -i {minor} -cgi PROFILE -C`, or assign the whole GPU: `{minor}`"
        ));
    }
    let names: Vec<String> = instances.iter().map(|instance| format!("`{minor}:{instance}`")).collect();
    error.hint(format!("it has {}", names.join(", ")))
}

/// What is to be known of whole GPUs that the host has divided, a sentence each: CUDA finds nothing on them.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn divided(container: &Container, host: &NvidiaHost) -> Result<Vec<String>> {
    let mut sentences = Vec::new();
    for selector in container.gpus.iter().filter(|selector| !selector.is_part()) {
        let Some(gpu) = find_gpu(selector, host) else { continue };
        let instances = host.instances(gpu.minor)?;
        if let Some(first) = instances.first() {
            sentences.push(format!(
                "GPU {selector} is divided (MIG) but no instance is assigned, and CUDA needs one: assign one, \
                 `{}:{first}`",
                gpu.minor
            ));
        }
    }
    Ok(sentences)
}

#[cfg(test)]
#[path = "passthrough_tests.rs"]
mod tests;
