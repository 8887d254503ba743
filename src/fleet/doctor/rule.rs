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
    RebootPending "reboot-pending" Warning "the loaded kernel module and the one on disk have different versions";
    NextKernelWithoutModule "next-kernel-without-module" Error "the kernel of the next boot has no NVIDIA module";
    NextKernelOtherDriver "next-kernel-other-driver" Warning "the kernel of the next boot has an NVIDIA module of another version";
    SecureBootRefused "secure-boot-refused" Error "Secure Boot is on and the kernel has refused a module";
    SecureBootUnsigned "secure-boot-unsigned" Warning "Secure Boot is on and the module of the next boot is not signed";
    GpuNotDriven "gpu-not-driven" Error "the kernel's log says why NVIDIA's module does not drive a GPU";
    GpuOfVfio "gpu-of-vfio" Note "a GPU is kept for virtual machines, so no container can have it";
    DriverDropsGpu "driver-drops-gpu" Error "a wanted driver no longer drives a GPU of this host";
    Nouveau "nouveau" Error "`nouveau` is loaded, or has a GPU";
    NoUvm "no-uvm" Error "the module `nvidia-uvm`, which CUDA needs, is not loaded";
    NodeMissing "node-missing" Error "a device node of the host is missing";
    NodeWrong "node-wrong" Error "a device node of the host has another number, or something else is in its place";
    NodeAccess "node-access" Warning "a device node of the host has another mode or owner than the module asks for";
    NodeModeDecimal "node-mode-decimal" Warning "the mode of device nodes was given in decimal and meant in octal";
    NodeLink "node-link" Note "a device node of the host is not linked in `/dev/char`";
    Unreadable "unreadable" Error "a directory or file of ours on the host cannot be read";
    Unwritable "unwritable" Error "the cache cannot be written";
    DiskFull "disk-full" Warning "the file system of the cache has less room than a driver needs";
    RunFileUnchecked "run-file-unchecked" Note "a run file in the cache has changed, or was never checked; it is checked before it is used";
    RunFileWrong "run-file-wrong" Warning "a run file is damaged, or was wrong and was put aside";
    RunFileOther "run-file-other" Warning "a run file in the cache is sound, and not the one that was recorded first";
    TreeDamaged "tree-damaged" Warning "an extracted driver has changed and is not used";
    LeftOver "left-over" Note "a killed run has left something on the host or in a container";
    LockHeld "lock-held" Warning "a lock of ours has been held for more than an hour";
    UnitNotEnabled "unit-not-enabled" Warning "the unit that makes device nodes before guests start is not enabled";
    FollowNotEnabled "follow-not-enabled" Note "the units that follow the host's driver are installed and not enabled";
    ReceiptUnreadable "receipt-unreadable" Warning "a receipt on the host cannot be read; the container's files are looked at in its place";
    ReceiptAside "receipt-aside" Note "a receipt that could not be read was kept aside";
    Configuration "configuration" Error "the configuration, or what it asks for, is wrong";
    NotExamined "not-examined" Error "a container could not be looked at";
    Absent "absent" Note "a container of the configuration does not exist";
    NotRunning "not-running" Note "a container does not run, so its devices and its driver were not tried";
    DriverMissing "driver-missing" Error "a driver is wanted and none is installed";
    DriverIncomplete "driver-incomplete" Error "a driver is there, and not all of it";
    WantedNotHost "wanted-not-host" Error "the wanted driver is not the one of the host's kernel module";
    InstalledNotWanted "installed-not-wanted" Error "the installed driver is not the wanted one";
    InstalledNotHost "installed-not-host" Error "the installed driver is not the one of the host's kernel module";
    ReportedNotInstalled "reported-not-installed" Error "`nvidia-smi` reports another driver than the installed one";
    DriverSilent "driver-silent" Error "`nvidia-smi` in the container fails";
    Denied "denied" Error "the container's device cgroup denies it the GPU";
    GpuMissing "gpu-missing" Error "fewer GPUs are reported than assigned";
    GpuUnavailable "gpu-unavailable" Error "the host lacks what a GPU of the container needs; its settings keep what is assigned";
    GpuWarning "gpu-warning" Warning "`nvidia-smi` complains of a GPU that it answers for";
    ContainerNodeMissing "container-node-missing" Error "a device node is missing in the container";
    ContainerNodeWrong "container-node-wrong" Error "a device node in the container has another number, or is no device";
    ContainerNodeLater "container-node-later" Note "a device node that CUDA does not need came to the host after the container's start";
    ContainerNodeAccess "container-node-access" Warning "a device node in the container may be opened by its root alone, or by nobody in it";
    SettingsDrift "settings-drift" Warning "the container's settings are not those of the configuration";
    CardMoved "card-moved" Warning "a GPU's name means another card than when the container was configured";
    GpuDivided "gpu-divided" Warning "the host has divided a GPU (MIG), and the container has the whole of it and no instance";
    DriMissing "dri-missing" Warning "a container is to have the nodes of its GPUs below `/dev/dri`, and the host has none";
    HostDriverBound "host-driver-bound" Warning "the container's settings bring the host's own driver in, over the one that is installed";
    SeveralVersions "several-versions" Error "libraries of more than one driver version are in the container";
    MixedWays "mixed-ways" Warning "a driver was brought in by more than one way";
    ForeignDriver "foreign-driver" Warning "packages of the distribution in the container bring another driver";
    NoGlibc "no-glibc" Error "the programs of the container are not for glibc where the driver is put (Alpine, NixOS): it cannot run in it";
    ForeignLibrary "foreign-library" Error "programs in the container get another `libcuda.so.1` or `libnvidia-ml.so.1` than the driver's";
    IdsNotGiven "ids-not-given" Error "the host does not give root the ids of a container's idmap: it does not start any more";
    NoSpace "no-space" Error "the container has no room for the driver that is to be installed";
    DockerCgroups "docker-cgroups" Error "NVIDIA's container toolkit in the container would program cgroups, which it may not";
    DockerRuntime "docker-runtime" Warning "Docker in the container does not know the runtime `nvidia`";
    DockerToolkit "docker-toolkit" Warning "the container has the features `docker` and `nvidia`, and NVIDIA's container toolkit is not in it";
    DockerDamaged "docker-damaged" Error "a configuration file of Docker or the toolkit in the container cannot be read";
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
        let documented = include_str!("../../../docs/doctor.md");
        let rows = documented.lines().filter(|line| line.starts_with("| `"));
        let expected: Vec<String> = Rule::ALL.iter().map(|rule| row(*rule)).collect();
        assert_eq!(rows.collect::<Vec<_>>(), expected, "put these lines in:\n{}", expected.join("\n"));
    }

    fn row(rule: Rule) -> String {
        let severity = format!("{:?}", rule.severity()).to_lowercase();
        format!("| `{}` | {severity} | {} |", rule.name(), rule.meaning())
    }
}
