//! Rules about the kernel module: loaded, on disk, of the next boot; Secure Boot and nouveau.

use super::{Finding, Rule, listed};
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::kernel_log::{NotDriven, Why};
use crate::host::{Boot, PciGpu};

/// What is known of the kernel module.
#[derive(Debug, Clone, Default)]
pub(super) struct KernelState {
    /// The version of the loaded module.
    pub(super) loaded: Option<DriverVersion>,
    /// The version of the module on disk, for the running kernel.
    pub(super) on_disk: Option<DriverVersion>,
    /// Modules that are not loaded and must be.
    pub(super) to_load: Vec<&'static str>,
    /// The kernels and what hinders the module.
    pub(super) boot: Boot,
    /// The mode of device nodes as the module was given it, where it was.
    pub(super) node_mode: Option<u32>,
    /// The GPUs that wanted drivers no longer drive.
    pub(super) dropped: Vec<Dropped>,
    /// The containers to which the configuration assigns GPUs.
    pub(super) with_gpus: Vec<ContainerId>,
}

/// A GPU of this host that a wanted driver no longer drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) version: DriverVersion,
    pub(super) pci_address: String,
    pub(super) name: String,
    /// The last branch that drives it: `580`.
    pub(super) last_branch: String,
}

/// Every rule of this subject.
pub(super) fn examine(state: &KernelState) -> Vec<Finding> {
    let rules = [
        nouveau,
        secure_boot_refused,
        not_loaded,
        gpus_without_module,
        no_uvm,
        reboot_pending,
        next_kernel,
        unsigned,
        decimal_mode,
        of_vfio,
    ];
    let mut findings: Vec<Finding> = rules.iter().filter_map(|rule| rule(state)).collect();
    findings.extend(state.boot.not_driven.iter().filter_map(|gpu| not_driven(state, gpu)));
    findings.extend(state.dropped.iter().map(dropped));
    findings
}

/// What the log says of a GPU that is driven by now is of the past, unless it has failed since.
fn not_driven(state: &KernelState, gpu: &NotDriven) -> Option<Finding> {
    let is_of_another =
        |pci_gpu: &&PciGpu| pci_gpu.pci_address == gpu.pci_address && pci_gpu.driver.as_deref() == Some("vfio-pci");
    if state.boot.pci_gpus.iter().any(|pci_gpu| is_of_another(&pci_gpu)) {
        return None;
    }
    // The log keeps it after the other driver has let go, and names no GPU.
    let pci_gpus = &state.boot.pci_gpus;
    let is_past = !pci_gpus.is_empty() && pci_gpus.iter().all(|pci_gpu| pci_gpu.driver.as_deref() == Some("nvidia"));
    if gpu.why == Why::OwnedByAnother && is_past {
        return None;
    }
    let remedy = match gpu.why {
        Why::NeedsOpenModule => {
            "install the host's driver with its open kernel modules (`--kernel-module-type=open`, or the distribution's \
             package of them), then reboot"
        }
        Why::NeedsProprietaryModule => {
            "install the host's driver with its proprietary kernel modules (`--kernel-module-type=proprietary`; up to branch \
             580), then reboot"
        }
        Why::Dropped => {
            "install a driver of the branch that the message names on the host, and set `nvidia_driver_version` to its version"
        }
        Why::NotSupported => {
            "install a driver on the host that names this GPU among its supported products, then reboot"
        }
        Why::NoRoomOnBus => {
            "switch \"Above 4G decoding\" on in the settings of the host's firmware, and \"Resizable BAR\" on or off; else boot \
             with `pci=realloc`"
        }
        Why::NoFirmware => {
            "install the host's driver again with its firmware (Debian: the package `firmware-nvidia-gsp` of the same \
             version), run `update-initramfs -u`, and reboot"
        }
        Why::FellOffTheBus | Why::NotInitialised => {
            "reset or power-cycle the host; then check the GPU's power supply, its slot and the firmware's settings"
        }
        Why::OwnedByAnother => {
            "find the driver that uses the GPU with `lspci -k`, keep it from the GPU in /etc/modprobe.d, and reboot"
        }
    };
    let name = if gpu.pci_address.is_empty() { "a GPU".to_owned() } else { format!("GPU `{}`", gpu.pci_address) };
    Some(Finding::new(Rule::GpuNotDriven, format!("{name} is not driven: {}", gpu.text), remedy))
}

fn dropped(gpu: &Dropped) -> Finding {
    let Dropped { version, pci_address, name, last_branch } = gpu;
    let cause = format!("{version} no longer supports GPU `{pci_address}` ({name}): its last branch is {last_branch}");
    let remedy = format!(
        "set `nvidia_driver_version` to a version of branch {last_branch}, and install the same version on the host"
    );
    Finding::new(Rule::DriverDropsGpu, cause, remedy)
}

fn of_vfio(state: &KernelState) -> Option<Finding> {
    let pci_gpus = pci_gpus_of(state, "vfio-pci");
    let cause = format!("`vfio-pci` uses {}, for virtual machines", listed(&pci_gpus));
    let remedy = "nothing, if a virtual machine uses it; otherwise remove its ids from `options vfio-pci` in \
                  /etc/modprobe.d, run `update-initramfs -u`, and reboot";
    (!pci_gpus.is_empty()).then(|| Finding::new(Rule::GpuOfVfio, cause, remedy))
}

/// `NVreg_DeviceFileMode=660` is decimal 660, 01224 in octal.
fn decimal_mode(state: &KernelState) -> Option<Finding> {
    let given = state.node_mode.filter(|mode| [600, 640, 644, 660, 664, 666, 777].contains(mode))?;
    let cause = format!("`NVreg_DeviceFileMode={given}` is decimal, 0{given:o} in octal; 0{given} was probably meant");
    let remedy = format!(
        "set `options nvidia NVreg_DeviceFileMode=0{given}` in /etc/modprobe.d, load the module again, then `{PREPARE}`"
    );
    Some(Finding::new(Rule::NodeModeDecimal, cause, remedy))
}

fn nouveau(state: &KernelState) -> Option<Finding> {
    let pci_gpus = pci_gpus_of(state, "nouveau");
    let cause = match pci_gpus.is_empty() {
        false => format!("`nouveau` uses {}, so NVIDIA's module cannot", listed(&pci_gpus)),
        true if state.boot.nouveau && state.loaded.is_none() => "the kernel module `nouveau` is loaded".to_owned(),
        true => return None,
    };
    let remedy = "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' > /etc/modprobe.d/no-nouveau.conf && \
                  update-initramfs -u, and reboot";
    Some(Finding::new(Rule::Nouveau, cause, remedy))
}

fn secure_boot_refused(state: &KernelState) -> Option<Finding> {
    let refusal = state.boot.refusal.as_ref().filter(|_| state.loaded.is_none() && state.boot.secure_boot)?;
    let cause = format!("Secure Boot is on and the kernel refused a module: {refusal}");
    Some(Finding::new(Rule::SecureBootRefused, cause, ENROL))
}

const ENROL: &str = "mokutil --import /var/lib/dkms/mok.pub, reboot, and enrol the key; or switch Secure Boot off";

fn not_loaded(state: &KernelState) -> Option<Finding> {
    let ours: Vec<String> =
        state.boot.pci_gpus.iter().filter(|pci_gpu| pci_gpu.driver.is_none()).map(address).collect();
    if state.loaded.is_some() || ours.is_empty() {
        return None;
    }
    let (cause, remedy) = match &state.on_disk {
        Some(version) => (format!("the kernel module `nvidia` ({version}) is not loaded"), PREPARE),
        None => (
            format!("this kernel ({}) has no module `nvidia`", state.boot.running),
            "install NVIDIA's driver on the host, with the headers of its kernel, and reboot",
        ),
    };
    Some(Finding::new(Rule::ModuleNotLoaded, format!("{cause}, and no driver uses {}", listed(&ours)), remedy))
}

/// What is assigned in vain, where no other finding says why: on a host that shows no GPU, too.
fn gpus_without_module(state: &KernelState) -> Option<Finding> {
    let is_said = [nouveau, secure_boot_refused, not_loaded].iter().any(|rule| rule(state).is_some());
    if state.loaded.is_some() || state.with_gpus.is_empty() || is_said {
        return None;
    }
    let names: Vec<String> = state.with_gpus.iter().map(ContainerId::to_string).collect();
    let containers = if names.len() == 1 { "container" } else { "containers" };
    let shows = if state.boot.pci_gpus.is_empty() { ", and shows no NVIDIA GPU" } else { "" };
    let cause = format!(
        "GPUs are assigned to {containers} {}, but the host has no NVIDIA module loaded{shows}",
        listed(&names)
    );
    let remedy = match &state.on_disk {
        Some(_) => PREPARE,
        None => {
            "install NVIDIA's driver on the host, with the headers of its kernel, and reboot; or set `gpu_assignment` to \
             \"none\""
        }
    };
    Some(Finding::new(Rule::GpusWithoutModule, cause, remedy))
}

const PREPARE: &str = "phoenix-nvidia host prepare";

fn no_uvm(state: &KernelState) -> Option<Finding> {
    let is_needed = state.loaded.is_some() && state.to_load.contains(&"nvidia-uvm");
    let cause = "`nvidia-uvm` is not in `/proc/devices`: `nvidia-smi` works without it, CUDA does not";
    is_needed.then(|| Finding::new(Rule::NoUvm, cause, PREPARE))
}

fn reboot_pending(state: &KernelState) -> Option<Finding> {
    let (loaded, on_disk) = (state.loaded.as_ref()?, state.on_disk.as_ref()?);
    let cause = format!("the loaded kernel module is {loaded}, but {on_disk} is on disk: reboot pending");
    let remedy = "reboot, then run `phoenix-nvidia apply --gpu --target host`";
    (loaded != on_disk).then(|| Finding::new(Rule::RebootPending, cause, remedy))
}

/// Only a host that has the module now must have it after the next boot.
fn next_kernel(state: &KernelState) -> Option<Finding> {
    let boot = &state.boot;
    let next = boot.next.as_ref().filter(|next| **next != boot.running)?;
    let loaded = state.loaded.as_ref()?;
    let Some(driver) = &boot.next_driver else {
        let cause = match &boot.next_dkms {
            Some(word) => format!("the next boot uses kernel {next}, for which DKMS has NVIDIA's module only {word}"),
            None => format!("the next boot uses kernel {next}, which has no NVIDIA module"),
        };
        let remedy = match boot.dkms {
            true => format!("install the headers of that kernel, then `dkms autoinstall -k {next}`"),
            false => format!("install the driver for kernel {next}, or with DKMS, before the reboot"),
        };
        return Some(Finding::new(Rule::NextKernelWithoutModule, cause, remedy));
    };
    // What is on disk for both kernels alike is reported as a pending reboot.
    if driver == loaded || state.on_disk.as_ref() == Some(driver) {
        return None;
    }
    let cause =
        format!("the next boot uses kernel {next}, whose NVIDIA module is {driver}, and {loaded} is loaded now");
    let remedy = "after the reboot: `phoenix-nvidia apply --gpu --target host`";
    Some(Finding::new(Rule::NextKernelOtherDriver, cause, remedy))
}

fn unsigned(state: &KernelState) -> Option<Finding> {
    let boot = &state.boot;
    let driver = boot.next_driver.as_ref().filter(|_| boot.secure_boot && boot.next_signer.is_none())?;
    let kernel = boot.next.as_ref().unwrap_or(&boot.running);
    // What has been loaded here will be again, whoever vouched for it.
    if state.loaded.as_ref() == Some(driver) && *kernel == boot.running {
        return None;
    }
    let cause = format!("Secure Boot is on, and the module {driver} for kernel {kernel} is not signed");
    let remedy = format!("dkms install nvidia/{driver} -k {kernel} --force, which signs it; then {ENROL}");
    Some(Finding::new(Rule::SecureBootUnsigned, cause, remedy))
}

fn pci_gpus_of(state: &KernelState, driver: &str) -> Vec<String> {
    state.boot.pci_gpus.iter().filter(|pci_gpu| pci_gpu.driver.as_deref() == Some(driver)).map(address).collect()
}

fn address(pci_gpu: &crate::host::PciGpu) -> String {
    pci_gpu.pci_address.clone()
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;

    fn version(text: &str) -> Option<DriverVersion> {
        Some(text.parse().unwrap())
    }

    fn pci_gpu(driver: Option<&str>) -> Vec<PciGpu> {
        vec![PciGpu {
            pci_address: "0000:01:00.0".to_owned(),
            device: "0x1b80".to_owned(),
            driver: driver.map(str::to_owned),
        }]
    }

    fn sound() -> KernelState {
        let kernel = "6.8.12-9-pve".to_owned();
        let boot = Boot {
            running: kernel.clone(),
            next: Some(kernel),
            next_driver: version("580.76.05"),
            next_signer: Some("DKMS module signing key".to_owned()),
            dkms: true,
            pci_gpus: pci_gpu(Some("nvidia")),
            ..Boot::default()
        };
        KernelState { loaded: version("580.76.05"), on_disk: version("580.76.05"), boot, ..KernelState::default() }
    }

    fn found(state: &KernelState) -> Vec<&'static str> {
        rules_of(&examine(state))
    }

    #[test]
    fn a_sound_host_and_a_host_without_nvidia_are_clean() {
        assert_eq!(found(&sound()), Vec::<&str>::new());
        let none = KernelState { to_load: vec!["nvidia", "nvidia-uvm"], ..KernelState::default() };
        assert_eq!(found(&none), Vec::<&str>::new());
        let mut given_away = none;
        given_away.boot.pci_gpus = pci_gpu(Some("vfio-pci"));
        assert_eq!(found(&given_away), ["gpu-of-vfio"], "which is no fault, and worth a note");
    }

    #[test]
    fn gpus_that_are_assigned_on_a_host_without_a_module_are_reported_once() {
        let with_gpus = ["901", "902", "903", "904"].map(|id| id.parse().unwrap()).to_vec();
        let mut state = KernelState { with_gpus, ..KernelState::default() };
        let findings = examine(&state);
        assert_eq!(rules_of(&findings), ["gpus-without-module"]);
        let cause = "GPUs are assigned to containers `901`, `902`, `903` and 1 more, but the host has no NVIDIA module \
                     loaded, and shows no NVIDIA GPU";
        assert_eq!(findings[0].cause, cause);
        assert!(findings[0].remedy.contains("`gpu_assignment`"), "{}", findings[0].remedy);
        state.boot.pci_gpus = pci_gpu(Some("vfio-pci"));
        state.on_disk = version("580.76.05");
        assert_eq!(found(&state), ["gpus-without-module", "gpu-of-vfio"]);
        assert_eq!(examine(&state)[0].remedy, PREPARE);
        // Where there is a nearer cause, that alone.
        state.boot.pci_gpus = pci_gpu(None);
        assert_eq!(found(&state), ["module-not-loaded"]);
        state.boot.pci_gpus = pci_gpu(Some("nouveau"));
        assert_eq!(found(&state), ["nouveau"]);
        assert_eq!(found(&KernelState { with_gpus: state.with_gpus, ..sound() }), Vec::<&str>::new());
    }

    #[test]
    fn another_module_on_disk_means_a_reboot() {
        let mut state = sound();
        state.on_disk = version("580.95.05");
        state.boot.next_driver = version("580.95.05");
        let findings = examine(&state);
        assert_eq!(rules_of(&findings), ["reboot-pending"]);
        assert!(findings[0].cause.contains("580.76.05, but 580.95.05"), "{}", findings[0].cause);
    }

    #[test]
    fn the_next_kernel_without_a_module_is_said_before_the_reboot() {
        let mut state = sound();
        state.boot.next = Some("6.8.12-10-pve".to_owned());
        state.boot.next_driver = None;
        let findings = examine(&state);
        assert_eq!(rules_of(&findings), ["next-kernel-without-module"]);
        assert!(findings[0].remedy.contains("dkms autoinstall -k 6.8.12-10-pve"), "{}", findings[0].remedy);
        state.boot.next_dkms = Some("added".to_owned());
        assert!(examine(&state)[0].cause.contains("only added"));
        state.boot.next_driver = version("570.133.20");
        assert_eq!(found(&state), ["next-kernel-other-driver"]);
    }

    #[test]
    fn secure_boot_matters_only_while_it_is_on() {
        let mut state = sound();
        state.boot.next_signer = None;
        assert_eq!(found(&state), Vec::<&str>::new());
        state.boot.secure_boot = true;
        assert_eq!(found(&state), Vec::<&str>::new(), "it is loaded, so it may be");
        state.boot.next = Some("6.8.12-10-pve".to_owned());
        assert_eq!(found(&state), ["secure-boot-unsigned"]);
        state.loaded = None;
        state.boot.refusal = Some("[ 4.2] Loading of module with unavailable key is rejected".to_owned());
        state.boot.pci_gpus = pci_gpu(None);
        assert_eq!(found(&state), ["secure-boot-refused", "module-not-loaded", "secure-boot-unsigned"]);
    }

    #[test]
    fn nouveau_is_named_with_the_cards_that_it_has() {
        let mut state = sound();
        state.loaded = None;
        state.boot.pci_gpus = pci_gpu(Some("nouveau"));
        let findings = examine(&state);
        assert_eq!(rules_of(&findings), ["nouveau"]);
        assert!(findings[0].cause.contains("`0000:01:00.0`"));
        state.boot.pci_gpus.clear();
        state.boot.nouveau = true;
        assert_eq!(found(&state), ["nouveau"]);
    }

    #[test]
    fn a_gpu_that_is_not_driven_has_a_cause_and_what_helps() {
        let mut state = sound();
        let gpu = |why| NotDriven { pci_address: "0000:01:00.0".to_owned(), why, text: "as the log says".to_owned() };
        for (why, helps) in [
            (Why::NeedsOpenModule, "--kernel-module-type=open"),
            (Why::NeedsProprietaryModule, "--kernel-module-type=proprietary"),
            (Why::Dropped, "nvidia_driver_version"),
            (Why::NoFirmware, "firmware-nvidia-gsp"),
            (Why::NoRoomOnBus, "Above 4G decoding"),
            (Why::FellOffTheBus, "power-cycle the host"),
        ] {
            state.boot.not_driven = vec![gpu(why)];
            let findings = examine(&state);
            assert_eq!(rules_of(&findings), ["gpu-not-driven"]);
            assert!(findings[0].remedy.contains(helps), "{}", findings[0].remedy);
        }
        state.boot.pci_gpus = pci_gpu(Some("vfio-pci"));
        assert_eq!(found(&state), ["gpu-of-vfio"]);
    }

    #[test]
    fn a_gpu_that_another_driver_has_let_go_of_is_driven_by_now() {
        let mut state = sound();
        let text = "The NVIDIA probe routine was not called for 1 device(s).".to_owned();
        state.boot.not_driven = vec![NotDriven { pci_address: String::new(), why: Why::OwnedByAnother, text }];
        assert_eq!(found(&state), Vec::<&str>::new());
        state.boot.pci_gpus = pci_gpu(None);
        assert_eq!(found(&state), ["gpu-not-driven"]);
    }

    #[test]
    fn a_driver_that_drops_a_gpu_is_reported_before_the_upgrade() {
        let gpu = Dropped {
            version: "590.44.01".parse().unwrap(),
            pci_address: "0000:01:00.0".to_owned(),
            name: "NVIDIA GeForce GTX 1080".to_owned(),
            last_branch: "580".to_owned(),
        };
        let findings = examine(&KernelState { dropped: vec![gpu], ..sound() });
        let cause = "590.44.01 no longer supports GPU `0000:01:00.0` (NVIDIA GeForce GTX 1080): its last branch is 580";
        assert_eq!(findings[0].cause, cause);
    }

    #[test]
    fn a_mode_in_decimal_is_reported_with_what_was_meant() {
        let findings = examine(&KernelState { node_mode: Some(660), ..sound() });
        assert_eq!(findings[0].cause, "`NVreg_DeviceFileMode=660` is decimal, 01224 in octal; 0660 was probably meant");
        for right in [0o660, 0o666, 0o600] {
            assert_eq!(found(&KernelState { node_mode: Some(right), ..sound() }), Vec::<&str>::new());
        }
    }

    #[test]
    fn cuda_needs_uvm() {
        let mut state = sound();
        state.to_load = vec!["nvidia-uvm"];
        assert_eq!(found(&state), ["no-uvm"]);
    }
}
