//! What decides whether NVIDIA's module is there after the next boot: kernels, Secure Boot, and who else takes the GPUs.

use std::path::Path;
use std::time::Duration;

use crate::driver::kernel_log::{self, NotDriven};
use crate::driver::{DriverVersion, kernels, secure_boot};
use crate::error::Result;
use crate::sys::cancel::Cancel;
use crate::sys::command::Command;

use super::{module, read_if_there};

const DEADLINE: Duration = Duration::from_secs(20);
const SECURE_BOOT_VARIABLE: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Where proxmox-boot-tool keeps a pinned kernel; the first is for one boot.
const PINS: [&str; 2] = ["/etc/kernel/next-boot-pin", "/etc/kernel/proxmox-boot-pin"];

/// The kernels of this host, and what they have of NVIDIA.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Boot {
    /// The release that runs, as `uname -r` says it.
    pub running: String,
    /// The release that the next boot takes, where it can be found out.
    pub next: Option<String>,
    /// The version of NVIDIA's module for that kernel.
    pub next_driver: Option<DriverVersion>,
    /// Who signed that module; nothing where nobody did.
    pub next_signer: Option<String>,
    /// What `dkms status` says of that module: `installed`, `built`, `added`.
    pub next_dkms: Option<String>,
    /// DKMS knows a module of NVIDIA.
    pub dkms: bool,
    /// Secure Boot is on, so unsigned modules are refused.
    pub secure_boot: bool,
    /// The line of the kernel's log that says it refused a module.
    pub refusal: Option<String>,
    /// The GPUs of which the kernel's log says why they are not driven.
    pub not_driven: Vec<NotDriven>,
    /// `nouveau` is loaded.
    pub nouveau: bool,
    /// NVIDIA's display devices on the PCI bus, and the driver that has each.
    pub pci_gpus: Vec<PciGpu>,
}

/// A display device of NVIDIA's on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PciGpu {
    /// Its address, such as `0000:01:00.0`.
    pub pci_address: String,
    /// Its PCI device id: `0x1b80`.
    pub device: String,
    /// The driver that has it: `nvidia`, `nouveau`, `vfio-pci`.
    pub driver: Option<String>,
}

impl Boot {
    /// Reads `/lib/modules`, `/boot`, `/sys`, and asks `modinfo`, `dkms`, `mokutil` and `dmesg`, as far as they are there.
    ///
    /// # Errors
    /// The operator interrupted, or `/proc` cannot be read. What else cannot be found out is left out.
    pub fn read(cancel: &Cancel) -> Result<Self> {
        let running = read_if_there(Path::new("/proc/sys/kernel/osrelease"))?.unwrap_or_default().trim().to_owned();
        let pins: Vec<String> = PINS.iter().filter_map(|path| fs_err::read_to_string(path).ok()).collect();
        let bootable = bootable_kernels();
        let next = kernels::next(&bootable, &pins).map(str::to_owned);
        let dkms = ask(Command::new("dkms").arg("status"), cancel)?.unwrap_or_default();
        let asked = next.as_deref().unwrap_or(&running);
        let field = |name: &str| module::field(Some(asked), name, cancel);
        let first_line = |text: String| text.lines().next().map(|line| line.trim().to_owned());
        let log = ask(Command::new("dmesg").output_limit(32 << 20), cancel)?.unwrap_or_default();
        let modules = read_if_there(Path::new("/proc/modules"))?.unwrap_or_default();
        let next_driver = field("version").and_then(|text| text.trim().parse().ok());
        let next_signer = field("signer").and_then(first_line).filter(|signer| !signer.is_empty());
        cancel.check()?;
        Ok(Self {
            next_driver,
            next_signer,
            next_dkms: kernels::dkms_state(&dkms, asked).map(str::to_owned),
            dkms: kernels::dkms_has_nvidia(&dkms),
            secure_boot: secure_boot(cancel)?,
            refusal: secure_boot::refusal(&log).map(str::to_owned),
            not_driven: kernel_log::not_driven(&log),
            nouveau: modules.lines().any(|line| line.starts_with("nouveau ")),
            pci_gpus: pci_gpus(),
            running,
            next,
        })
    }
}

/// Standard output of a program that is there and succeeds; only an interruption is an error.
fn ask(command: Command, cancel: &Cancel) -> Result<Option<String>> {
    let output = command.env("LC_ALL", "C").deadline(DEADLINE).run(cancel);
    cancel.check()?;
    Ok(output.ok().filter(|output| output.success()).map(|output| output.stdout_text()))
}

/// The kernels that have both an image and modules; Fedora keeps the image beside the modules.
fn bootable_kernels() -> Vec<String> {
    let Ok(directory) = fs_err::read_dir("/lib/modules") else { return Vec::new() };
    let names = directory.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let has_image = |name: &String| {
        let image = Path::new("/lib/modules").join(name).join("vmlinuz");
        Path::new("/boot").join(format!("vmlinuz-{name}")).exists() || image.exists()
    };
    names.filter(has_image).collect()
}

/// `mokutil` knows what the shim makes of it; without it, the firmware's variable is read.
fn secure_boot(cancel: &Cancel) -> Result<bool> {
    let by_mokutil = ask(Command::new("mokutil").arg("--sb-state"), cancel)?;
    let by_mokutil = by_mokutil.as_deref().and_then(secure_boot::enabled_by_mokutil);
    let by_firmware = || secure_boot::enabled_by_firmware(&fs_err::read(SECURE_BOOT_VARIABLE).ok()?);
    Ok(by_mokutil.or_else(by_firmware).unwrap_or(false))
}

/// The PCI device id of a device, as sysfs has it: `0x1b80`.
pub fn device_id(pci_address: &str) -> Option<String> {
    let path = Path::new("/sys/bus/pci/devices").join(pci_address.to_ascii_lowercase()).join("device");
    fs_err::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn pci_gpus() -> Vec<PciGpu> {
    let Ok(directory) = fs_err::read_dir("/sys/bus/pci/devices") else { return Vec::new() };
    let mut pci_gpus: Vec<PciGpu> = directory.filter_map(|entry| pci_gpu(&entry.ok()?.path())).collect();
    pci_gpus.sort_by(|one, other| one.pci_address.cmp(&other.pci_address));
    pci_gpus
}

/// A device of vendor 0x10de and class 0x03 (display); its audio and USB functions have other classes.
fn pci_gpu(device: &Path) -> Option<PciGpu> {
    let field = |name: &str| fs_err::read_to_string(device.join(name)).ok();
    let is_ours = field("vendor")?.trim() == "0x10de" && field("class")?.trim().starts_with("0x03");
    let driver = fs_err::read_link(device.join("driver")).ok();
    let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
    is_ours.then(|| PciGpu {
        pci_address: device.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        device: field("device").unwrap_or_default().trim().to_owned(),
        driver,
    })
}
