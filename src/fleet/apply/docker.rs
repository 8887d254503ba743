//! Docker inside containers: NVIDIA's container toolkit leaves cgroups alone, and Docker uses the toolkit.

use crate::config::Container;
use crate::container_id::ContainerId;
use crate::driver::container_toolkit::{self, DAEMON_CONFIG, NotThat, RUNTIME, RUNTIME_CONFIG};
use crate::error::{Error, Kind, Result};
use crate::sys::rootfs::{Found, Rootfs};

use crate::fleet::Fleet;
use crate::fleet::report::ContainerReport;

// Written by hand or by one program: a few hundred bytes.
const LIMIT: u64 = 1 << 20;
/// What the first version of a file that we change is called from then on.
const ASIDE: &str = ".before-phoenix-nvidia";

/// A file of the container that is to say something else.
struct Change {
    path: &'static str,
    /// As it was; nothing where there was none.
    before: Option<Vec<u8>>,
    after: String,
    mode: u32,
    phrase: &'static str,
}

impl Fleet<'_> {
    /// Lets Docker in containers use their GPUs: `no-cgroups = true`, and the runtime `nvidia`. Both files are looked at
    /// before one is changed; what they say otherwise stays. `rehearse` changes nothing.
    pub fn docker(&self, ids: &[ContainerId], rehearse: bool) -> Vec<ContainerReport> {
        self.each(ids, |container, report| {
            let _lock = if rehearse { None } else { Some(self.lock(container.id)?) };
            let rootfs = self.hypervisor.rootfs(container.id)?;
            let changes = changes(container, &rootfs)?;
            if rehearse {
                report.done.extend(changes.iter().map(|change| format!("would {}", change.phrase)));
                return Ok(());
            }
            for change in &changes {
                carry_out(&rootfs, change)?;
                report.done.push(change.phrase.to_owned());
            }
            if !changes.is_empty() {
                let text = "run `systemctl restart docker` in the container";
                self.context.listener.note(Some(container.id), text);
            }
            Ok(())
        })
    }
}

/// A file of the container's, what is done with it in a phrase, and its new text; none where it says it already.
type Merge = (&'static str, &'static str, fn(&str) -> Result<Option<String>, NotThat>);

const MERGES: [Merge; 2] = [
    (RUNTIME_CONFIG, "set no-cgroups", container_toolkit::without_cgroups),
    (DAEMON_CONFIG, "add the runtime nvidia", container_toolkit::with_runtime),
];

fn changes(container: &Container, rootfs: &Rootfs) -> Result<Vec<Change>> {
    let id = container.id;
    if !is_toolkit_there(rootfs)? {
        return Err(Error::new(
            Kind::Configuration,
            format!("container {id}: NVIDIA's container toolkit is not in it (`{RUNTIME}` is missing)"),
        )
        .hint("install the package `nvidia-container-toolkit` in the container, then run the same command again"));
    }
    let mut changes = Vec::new();
    for (path, phrase, change) in MERGES {
        let mode = mode_of(id, rootfs, path)?;
        let before = rootfs.read(path, LIMIT)?;
        let text = before.as_deref().map(std::str::from_utf8).transpose();
        let after = match text {
            Ok(text) => change(text.unwrap_or_default()).map_err(|error| damaged(id, path, &error.to_string()))?,
            Err(_) => return Err(damaged(id, path, "it is not text")),
        };
        changes.extend(after.map(|after| Change { path, before, after, mode, phrase }));
    }
    Ok(changes)
}

fn is_toolkit_there(rootfs: &Rootfs) -> Result<bool> {
    Ok(rootfs.is_executable(&format!("/usr/bin/{RUNTIME}"))?
        || rootfs.is_executable(&format!("/usr/local/bin/{RUNTIME}"))?)
}

/// The permission bits that the file has and keeps. A link is not replaced: what it leads to is meant by somebody.
fn mode_of(id: ContainerId, rootfs: &Rootfs, path: &str) -> Result<u32> {
    // Found out before anything is changed; writing would refuse a link on the way, too.
    for (end, _) in path.match_indices('/').skip(1) {
        let directory = &path[..end];
        if !matches!(rootfs.look(directory)?, None | Some(Found::Directory)) {
            return Err(Error::new(Kind::Verification, format!("container {id}: `{directory}` is not a directory"))
                .hint("replace it by a directory from inside the container; links are not followed"));
        }
    }
    match rootfs.look(path)? {
        None => Ok(0o644),
        Some(Found::File { mode, .. }) => Ok(mode & 0o777),
        Some(_) => Err(Error::new(Kind::Verification, format!("container {id}: `{path}` is not a regular file"))
            .hint("replace it by a file from inside the container; links are not followed")),
    }
}

fn damaged(id: ContainerId, path: &str, why: &str) -> Error {
    Error::new(Kind::Verification, format!("container {id}: `{path}` cannot be changed: {why}"))
        .hint("fix or remove it in the container; nothing was changed")
}

/// Replaces a file as a whole; its first version is kept beside it.
fn carry_out(rootfs: &Rootfs, change: &Change) -> Result<()> {
    let aside = format!("{}{ASIDE}", change.path);
    if let Some(before) = &change.before
        && rootfs.look(&aside)?.is_none()
    {
        rootfs.write(&aside, before, change.mode)?;
    }
    let directory = change.path.rsplit_once('/').map_or("/", |(directory, _)| directory);
    rootfs.make_directory(directory, 0o755)?;
    rootfs.write(change.path, change.after.as_bytes(), change.mode)
}
