//! `host`: the kernel modules, GPUs and device nodes of this host: show, prepare. Needs no configuration.

use phoenix_nvidia::config::Context;
use phoenix_nvidia::driver::host_nodes::Verdict;
use phoenix_nvidia::error::{Error, Result};
use phoenix_nvidia::host::{self, NvidiaHost, Prepared};
use phoenix_nvidia::hypervisor::proxmox::Proxmox;
use phoenix_nvidia::install::methods::shared;
use phoenix_nvidia::store::Store;
use phoenix_nvidia::sys::cancel::Cancel;
use serde_json::json;

use super::arguments::{Global, HostVerb, Output};
use super::session::{self, interruptible};
use super::{Ended, log_file, progress, report, terminal};

pub(crate) fn run(global: &Global, verb: &HostVerb) -> Result<Ended> {
    match verb {
        HostVerb::Show => show(global),
        HostVerb::Prepare { dry_run } => prepare(global, *dry_run),
    }
}

fn prepare(global: &Global, dry_run: bool) -> Result<Ended> {
    log_file::open((!dry_run).then_some(&*global.log_file), global.verbose)?;
    let cancel = interruptible()?;
    let Prepared { mut changes, mut refused } = if dry_run { host::rehearse()? } else { host::prepare(&cancel)? };
    match second_nodes(global, &cancel, dry_run) {
        Ok(prepared) => {
            changes.extend(prepared.changes);
            refused.extend(prepared.refused);
        }
        Err(error) => refused.push(error),
    }
    if !dry_run {
        refused.extend(mount_images(global, &cancel).err());
    }
    if !dry_run {
        changes.iter().for_each(|change| tracing::info!("host: {}", change.phrase()));
    }
    if global.output == Output::Json {
        let refused: Vec<&str> = refused.iter().map(Error::message).collect();
        terminal::json(&json!({ "dry_run": dry_run, "changes": changes, "refused": refused }))?;
    } else if changes.is_empty() && refused.is_empty() {
        terminal::data("nothing to do\n")?;
    } else {
        terminal::data(&changes.iter().map(|change| change.phrase() + "\n").collect::<String>())?;
    }
    for (index, error) in refused.iter().enumerate() {
        if index > 0 {
            terminal::tell("");
        }
        terminal::error(error);
    }
    Ok(refused.first().map_or(Ended::Well, |error| Ended::With(error.kind().exit_code())))
}

/// Containers of the method `shared` do not start without the images that their configurations mount.
fn mount_images(global: &Global, cancel: &Cancel) -> Result<()> {
    let (layout, listener) = (session::layout(global), progress::listener(global));
    shared::ensure_mounted(&Store::new(Context::new(&layout, &*listener, cancel)), &layout)
}

/// Unprivileged containers of Proxmox VE see second nodes of some, which a boot takes away.
fn second_nodes(global: &Global, cancel: &Cancel, dry_run: bool) -> Result<Prepared> {
    let (layout, listener) = (session::layout(global), progress::listener(global));
    let prepared = Proxmox::new(session::node(global), Context::new(&layout, &*listener, cancel)).all_second_nodes()?;
    Ok(if dry_run { prepared } else { prepared.carried_out() })
}

fn show(global: &Global) -> Result<Ended> {
    log_file::open(None, global.verbose)?;
    let host = NvidiaHost::read()?;
    let on_disk = host.on_disk(&*interruptible()?);
    let nodes = host.nodes()?;
    if global.output == Output::Json {
        let modules = host::modules_to_load(&host);
        let shown = json!({
            "loaded": host.loaded, "on_disk": on_disk, "modules_to_load": modules, "gpus": host.gpus, "nodes": nodes,
        });
        return terminal::json(&shown).map(|()| Ended::Well);
    }
    let pending =
        if host.loaded.is_some() && on_disk.is_some() && host.loaded != on_disk { ", reboot pending" } else { "" };
    let (loaded, disk) = (report::or_dash(host.loaded.as_ref()), report::or_dash(on_disk.as_ref()));
    terminal::data(&format!("kernel module: {loaded} loaded, {disk} on disk{pending}\n"))?;
    for module in host::modules_to_load(&host) {
        terminal::data(&format!("not loaded: {module}\n"))?;
    }
    let gpus = host.gpus.iter().map(|gpu| {
        vec![gpu.minor.to_string(), gpu.pci_address.clone(), report::or_dash(gpu.uuid.as_ref()), gpu.model.clone()]
    });
    if !host.gpus.is_empty() {
        terminal::data(&format!("\n{}", terminal::table(&["GPU", "PCI", "UUID", "MODEL"], gpus)))?;
    }
    let rows = nodes.iter().map(|node| {
        let device = &node.wanted.device;
        let unlinked = node.verdict == Verdict::Right && !node.linked;
        let verdict = if unlinked { "not linked in /dev/char".to_owned() } else { node.verdict.phrase() };
        let number = format!("{}:{}", device.major, device.minor);
        vec![node.path.display().to_string(), number, format!("{:04o}", device.mode), verdict]
    });
    if !nodes.is_empty() {
        terminal::data(&format!("\n{}", terminal::table(&["NODE", "NUMBER", "MODE", "VERDICT"], rows)))?;
    }
    Ok(Ended::Well)
}
