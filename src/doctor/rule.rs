//! The rules of the doctor: the stable name of each, how much it matters, and what it is about.

use crate::config::Severity;

/// Declares the rules in one table, so that none can be left out of any of its uses.
macro_rules! rules {
    ($($variant:ident $name:literal $severity:ident $meaning:literal;)*) => {
        /// What a finding is about. The names are stable: scripts may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $meaning] $variant,)*
        }

        impl Rule {
            /// Every rule, in the order of `docs/doctor.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in output and documentation.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How much its findings matter.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What its findings say, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

rules! {
    ModuleNotLoaded "module-not-loaded" Error "the host has NVIDIA GPUs and the kernel module `nvidia` is not loaded";
    GpusWithoutModule "gpus-without-module" Error "GPUs are assigned to containers, and the host has no NVIDIA kernel \
                                                    module loaded";
    RebootPending "reboot-pending" Warning "the loaded kernel module and the one on disk have different versions";
    NextKernelWithoutModule "next-kernel-without-module" Error "the kernel of the next boot has no NVIDIA module";
    NextKernelOtherDriver "next-kernel-other-driver" Warning "the kernel of the next boot has an NVIDIA module of another version";
    SecureBootRefused "secure-boot-refused" Error "Secure Boot is on and the kernel has refused a module";
    SecureBootUnsigned "secure-boot-unsigned" Warning "Secure Boot is on and the module of the next boot is not signed";
    GpuNotDriven "gpu-not-driven" Error "the kernel's log says why NVIDIA's module does not drive a GPU";
    GpuOfVfio "gpu-of-vfio" Note "a GPU is reserved for virtual machines, so no container can use it";
    DriverDropsGpu "driver-drops-gpu" Error "a wanted driver no longer supports a GPU of this host";
    Nouveau "nouveau" Error "`nouveau` is loaded, or uses a GPU";
    NoUvm "no-uvm" Error "the module `nvidia-uvm`, which CUDA needs, is not loaded";
    NodeMissing "node-missing" Error "a device node of the host is missing";
    NodeWrong "node-wrong" Error "a device node of the host has another number, or something else is in its place";
    NodeAccess "node-access" Warning "a device node of the host has another mode or owner than the module asks for";
    NodeModeDecimal "node-mode-decimal" Warning "the mode of device nodes was given in decimal, probably meant in \
                                                 octal";
    NodeLink "node-link" Note "a device node of the host has no link in `/dev/char`";
    Unreadable "unreadable" Error "a directory or file of phoenix-nvidia on the host cannot be read";
    Unwritable "unwritable" Error "the cache cannot be written";
    DiskFull "disk-full" Warning "the file system of the cache has less room than a driver needs";
    RunFileUnchecked "run-file-unchecked" Note "a run file in the cache has changed, or was never checked; it is \
                                                checked before it is used";
    RunFileWrong "run-file-wrong" Warning "a run file is damaged, or failed verification and was renamed";
    RunFileOther "run-file-other" Warning "a run file in the cache is intact, but differs from the one that was \
                                           recorded first";
    TreeDamaged "tree-damaged" Warning "an extracted driver has changed, so it is not used";
    LeftOver "left-over" Note "a killed run left something on the host or in a container";
    LockHeld "lock-held" Warning "a lock of phoenix-nvidia has been held for more than an hour";
    UnitNotEnabled "unit-not-enabled" Warning "the unit that makes device nodes before guests start is not enabled";
    FollowNotEnabled "follow-not-enabled" Note "the units that follow the host's driver are installed, but not enabled";
    ReceiptUnreadable "receipt-unreadable" Warning "a receipt on the host cannot be read; the container's files are \
                                                    examined instead";
    ReceiptRenamed "receipt-renamed" Note "a receipt that could not be read was renamed";
    Configuration "configuration" Error "the configuration, or something it names, is wrong";
    NotExamined "not-examined" Error "a container could not be examined";
    Absent "absent" Note "a container of the configuration does not exist";
    NotRunning "not-running" Note "a container does not run, so its devices and its driver were not checked";
    DriverMissing "driver-missing" Error "a driver is wanted, but none is installed";
    DriverIncomplete "driver-incomplete" Error "a driver is installed incompletely";
    WantedNotHost "wanted-not-host" Error "the wanted driver has another version than the host's kernel module";
    InstalledNotWanted "installed-not-wanted" Error "the installed driver has another version than the wanted one";
    InstalledNotHost "installed-not-host" Error "the installed driver has another version than the host's kernel \
                                                 module";
    ReportedNotInstalled "reported-not-installed" Error "`nvidia-smi` reports another version than the installed one";
    DriverSilent "driver-silent" Error "`nvidia-smi` in the container fails";
    Denied "denied" Error "the container's device cgroup denies it the GPU";
    GpuMissing "gpu-missing" Error "fewer GPUs are reported than assigned";
    GpuUnavailable "gpu-unavailable" Error "the host lacks a GPU or device node of the container; its settings keep \
                                            what is assigned";
    GpuWarning "gpu-warning" Warning "`nvidia-smi` reports a fault of a GPU";
    ContainerNodeMissing "container-node-missing" Error "a device node is missing in the container";
    ContainerNodeWrong "container-node-wrong" Error "a device node in the container has another number, or is no \
                                                     device";
    ContainerNodeLater "container-node-later" Note "a device node that CUDA does not need appeared on the host after \
                                                    the container's start";
    ContainerNodeAccess "container-node-access" Warning "a device node in the container may be opened only by its \
                                                         root, or by nobody in it";
    SettingsDrift "settings-drift" Warning "the container's settings differ from the configuration";
    GpuMoved "gpu-moved" Warning "an index in `gpu_assignment` is another GPU than when the container was configured";
    GpuDivided "gpu-divided" Warning "the host has divided a GPU (MIG), but the container has the whole GPU and no \
                                      instance";
    DriMissing "dri-missing" Warning "`nvidia_dri` is set, but the host has no nodes of the GPUs below `/dev/dri`";
    HostDriverBound "host-driver-bound" Warning "the container's settings mount the host's driver over the installed \
                                                 one";
    SeveralVersions "several-versions" Error "libraries of more than one driver version are in the container";
    MixedMethods "mixed-methods" Warning "a driver was installed by more than one method";
    ForeignDriver "foreign-driver" Warning "packages of the distribution in the container install another driver";
    NoGlibc "no-glibc" Error "the container has no glibc where the driver is placed (Alpine, NixOS), so the driver \
                              cannot run in it";
    ForeignLibrary "foreign-library" Error "programs in the container load another `libcuda.so.1` or \
                                            `libnvidia-ml.so.1` than the driver's";
    IdsNotAssigned "ids-not-assigned" Error "the host does not assign the ids of a container's idmap to root, so it \
                                             cannot start";
    NoSpace "no-space" Error "the container lacks the space for the wanted driver";
    CdiOutdated "cdi-outdated" Warning "the CDI specification in the container is missing, or describes another driver or \
                                        other GPUs";
    CdiShadowed "cdi-shadowed" Warning "engines in the container take another CDI specification than that of \
                                        phoenix-nvidia";
    DockerCgroups "docker-cgroups" Error "NVIDIA's container toolkit would change the container's device cgroup, which \
                                          fails in LXC";
    DockerRuntime "docker-runtime" Warning "Docker in the container does not know the runtime `nvidia`";
    DockerToolkit "docker-toolkit" Warning "the container has the features `docker` and `nvidia`, but neither a CDI \
                                            specification nor NVIDIA's container toolkit";
    DockerDamaged "docker-damaged" Error "a configuration file of Docker or the toolkit in the container cannot be \
                                          read";
}

impl serde::Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_have_one_name() {
        let names: std::collections::BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
    }

    #[test]
    fn the_table_in_the_documentation_is_this_one() {
        let documented = include_str!("../../docs/doctor.md");
        let rows = documented.lines().filter(|line| line.starts_with("| `"));
        let expected: Vec<String> = Rule::ALL.iter().map(|rule| row(*rule)).collect();
        assert_eq!(rows.collect::<Vec<_>>(), expected, "put these lines in:\n{}", expected.join("\n"));
    }

    fn row(rule: Rule) -> String {
        let severity = format!("{:?}", rule.severity()).to_lowercase();
        format!("| `{}` | {severity} | {} |", rule.name(), rule.meaning())
    }
}
