//! What can be said on the command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use phoenix_nvidia::config::Layout;
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::hypervisor::lxc::Lxc;
use phoenix_nvidia::hypervisor::proxmox::Proxmox;

use super::choices::{Apply, Choice, Completions, Plan, Selection};

/// Install NVIDIA's user-space driver in LXC containers and verify that it matches the host's kernel module.
#[derive(Debug, Parser)]
#[command(name = "phoenix-nvidia", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every subcommand.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Base directory that contains `etc/`, `cache/` and `lib/`
    #[arg(long, global = true, value_name = "DIR", env = "PHOENIX_BASE", hide_env_values = true, default_value = Layout::DEFAULT_BASE)]
    pub(crate) base: PathBuf,
    /// Path to `phoenix_lxc_configs.json`, if not in `etc/` of the base directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Path to `phoenix_hypervisor_config.json`, if not in `etc/` of the base directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) hypervisor_config: Option<PathBuf>,
    /// Container backend
    #[arg(long, global = true, value_enum, default_value_t = Backend::Auto)]
    pub(crate) backend: Backend,
    /// Directory of plain LXC's containers (`lxc.lxcpath`)
    #[arg(long, global = true, value_name = "DIR", env = "PHOENIX_LXCPATH", hide_env_values = true, default_value = Lxc::DEFAULT_PATH)]
    pub(crate) lxcpath: PathBuf,
    /// Where the file system of a Proxmox VE cluster is mounted
    #[arg(long, global = true, hide = true, value_name = "DIR", env = "PHOENIX_PVE_ROOT", hide_env_values = true, default_value = Proxmox::DEFAULT_ROOT)]
    pub(crate) pve_root: PathBuf,
    /// Output format on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Progress format on standard error
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// File with SHA-256 checksums of run files, in `sha256sum` format
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) checksums: Option<PathBuf>,
    /// How long to wait for the lock of a container or run file, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) lock_timeout: u64,
    /// Log file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PHOENIX_LOG_FILE",
        hide_env_values = true,
        default_value = "/var/log/phoenix_hypervisor.log"
    )]
    pub(crate) log_file: PathBuf,
    /// Print every command that runs
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Print only warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The configured backend, or the one detected on this host
    Auto,
    /// Plain LXC
    Lxc,
    /// Proxmox VE
    Proxmox,
    /// Incus
    Incus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns without borders, or one line per item
    Table,
    /// One JSON document
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `bars` on a terminal, `lines` otherwise
    Auto,
    /// A progress bar for each long step
    Bars,
    /// A line when each step starts
    Lines,
    /// One JSON object per line
    Json,
    /// No progress; errors are still printed
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create containers and install their driver; existing containers are brought in sync with the configuration
    Create(Create),
    /// Install the driver in existing containers
    Install(Change),
    /// Compare the driver that a container reports with the wanted one
    Verify(Verify),
    /// Show each container's driver: wanted, installed, reported, and the host's
    ///
    /// Without `--live`, no command runs in any container: the verdict is based on files, settings, device nodes and
    /// the host's kernel module, and is marked `not verified live`.
    Status(Status),
    /// Show what `apply` would do, without changing anything
    Plan(Plan),
    /// Bring containers in sync with the configuration or the host, in parallel
    Apply(Apply),
    /// Describe existing containers, as they are, in a configuration file
    Adopt(Adopt),
    /// Remove the driver from containers
    Uninstall(Removal),
    /// Destroy configured containers and all data in them
    Destroy(Destroy),
    /// Manage the run files in this host's cache
    Cache {
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// Manage the extracted drivers in this host's store
    Store {
        #[command(subcommand)]
        verb: StoreVerb,
    },
    /// Show and prepare the host's kernel modules, GPUs and device nodes
    Host {
        #[command(subcommand)]
        verb: HostVerb,
    },
    /// Show which newer drivers NVIDIA publishes for this host, without downloading any
    ///
    /// Exits with code 4 if there is a newer version of the loaded kernel module's branch. What was found is remembered
    /// for `status`.
    UpdateCheck,
    /// Check a container before it starts (hook for Proxmox VE and liblxc)
    Hook {
        /// Arguments from the caller: `VMID PHASE` (Proxmox VE) or `NAME lxc HOOK` (liblxc)
        #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Diagnose this host and its containers, and show a remedy for each problem
    Doctor {
        /// CTIDs of containers to check in addition to the host
        #[arg(value_name = "CTID")]
        containers: Vec<ContainerId>,
        /// Select all configured containers
        #[arg(long, conflicts_with = "containers")]
        all: bool,
    },
    /// Write the CDI specification by which Podman and Docker inside containers use their GPUs
    Cdi(Cdi),
    /// Configure Docker inside containers to use their GPUs; requires the NVIDIA Container Toolkit in them
    Docker {
        /// CTIDs
        #[arg(value_name = "CTID", required = true)]
        containers: Vec<ContainerId>,
        /// Show what would be changed, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
    /// Check the two configuration files and show all problems
    Lint,
    /// Generate shell completions
    #[command(override_usage = "phoenix-nvidia completions <SHELL>")]
    Completions(Completions),
    /// Write the man pages to a directory
    Man {
        /// Output directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the help of a subcommand
    Help {
        /// The subcommand, such as `create` or `cache fetch`; or `options` [default: the program itself]
        #[arg(value_name = "SUBCOMMAND")]
        words: Vec<OsString>,
    },
}

impl Verb {
    /// The containers that are named and may be on this host without an entry in the containers' file; none are named where
    /// it is about all. `None` where only entries count, or where it is about no containers.
    pub(crate) fn looks_for(&self) -> Option<&[ContainerId]> {
        match self {
            Self::Install(Change { selection, .. })
            | Self::Verify(Verify { selection, .. })
            | Self::Uninstall(Removal { selection, .. }) => Some(&selection.containers),
            Self::Status(Status { containers, .. })
            | Self::Plan(Plan { containers, .. })
            | Self::Cdi(Cdi { containers, host: false, .. })
            | Self::Docker { containers, .. } => Some(containers),
            Self::Cache { verb: CacheVerb::Fetch { .. } | CacheVerb::Replace { .. } | CacheVerb::Prune { .. } }
            | Self::Store { verb: StoreVerb::Prune { .. } } => Some(&[]),
            _ => None,
        }
    }

    /// Whether it only shows what it would do.
    pub(crate) fn is_rehearsal(&self) -> bool {
        match self {
            Self::Create(Create { change: Change { dry_run, .. }, .. })
            | Self::Install(Change { dry_run, .. })
            | Self::Uninstall(Removal { dry_run, .. })
            | Self::Destroy(Destroy { dry_run, .. })
            | Self::Cache {
                verb:
                    CacheVerb::Fetch { dry_run, .. }
                    | CacheVerb::Import { dry_run, .. }
                    | CacheVerb::Replace { dry_run, .. }
                    | CacheVerb::Prune { dry_run },
            }
            | Self::Host { verb: HostVerb::Prepare { dry_run } }
            | Self::Docker { dry_run, .. } => *dry_run,
            Self::Adopt(Adopt { write, .. }) => !write,
            Self::Cdi(Cdi { print, .. }) => *print,
            Self::Plan(_) | Self::Doctor { .. } => true,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) change: Change,
    /// How long to wait for systemd and the network in a container, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) boot_timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Show the steps, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fail if the driver cannot be verified live because the host's kernel module is not loaded
    #[arg(long)]
    pub(crate) require_live: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Fail if the driver cannot be verified live because the host's kernel module is not loaded
    #[arg(long)]
    pub(crate) require_live: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// CTIDs [default: all configured containers]
    #[arg(value_name = "CTID")]
    pub(crate) containers: Vec<ContainerId>,
    /// Include the containers of all cluster nodes, as far as this node can see them
    #[arg(long, conflicts_with = "containers")]
    pub(crate) all_nodes: bool,
    /// Run `nvidia-smi` in every running container
    #[arg(long)]
    pub(crate) live: bool,
    /// Show every column, one line per container
    #[arg(long)]
    pub(crate) wide: bool,
    /// Refresh every SECONDS seconds [default: 5], until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) watch: Option<u64>,
    /// Write a self-contained HTML page; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Let the page reload itself every SECONDS seconds
    #[arg(long, value_name = "SECONDS", requires = "html", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) refresh: Option<u32>,
    /// Write metrics for the textfile collector of the Prometheus node exporter; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) prometheus: Option<PathBuf>,
    /// Exit with code 4 if a container is not in sync
    #[arg(long, conflicts_with = "watch")]
    pub(crate) exit_code: bool,
    /// Maximum number of containers inspected in parallel [default: the number of CPUs]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// CTIDs [default: all containers that have GPUs and are not described yet]
    #[arg(value_name = "CTID")]
    pub(crate) containers: Vec<ContainerId>,
    /// The same as to name none
    #[arg(long, conflicts_with = "containers")]
    pub(crate) all: bool,
    /// Write the containers' file, where there is none, instead of printing it
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cdi {
    /// CTIDs
    #[arg(value_name = "CTID", required_unless_present = "host", conflicts_with = "host")]
    pub(crate) containers: Vec<ContainerId>,
    /// The same for Podman and Docker on this host, with its own driver
    #[arg(long)]
    pub(crate) host: bool,
    /// Print it, without changing anything
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Removal {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Show what would be done, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// CTIDs
    #[arg(value_name = "CTID", required = true)]
    pub(crate) containers: Vec<ContainerId>,
    /// Show what would be done, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// List the run files and their state
    List,
    /// Download run files to the cache
    Fetch {
        /// Driver versions [default: those that the containers want]
        #[arg(value_name = "VERSION")]
        versions: Vec<DriverVersion>,
        /// Show what would be fetched, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
    /// Verify the checksum of every run file
    Verify,
    /// Import a local run file into the cache
    Import {
        /// Path of the run file
        file: PathBuf,
        /// Expected driver version; fail if the file contains another
        #[arg(long)]
        version: Option<DriverVersion>,
        /// Check the file, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
    /// Replace the recorded run file of a driver version with a local one
    Replace {
        /// Path of the run file
        file: PathBuf,
        /// Expected driver version; fail if the file contains another
        #[arg(long)]
        version: Option<DriverVersion>,
        /// Check the file and show which one it would replace, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove the run files that no container needs
    Prune {
        /// Show what would be removed, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// Show the kernel module, the GPUs and the state of every device node
    Show,
    /// Load the kernel modules, create the device nodes and mount the driver images, before guests start
    Prepare {
        /// Show what would be done, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// List the extracted drivers and their state
    List,
    /// Extract drivers from run files, which are downloaded if not in the cache
    Extract {
        /// Driver versions
        #[arg(value_name = "VERSION", required = true)]
        versions: Vec<DriverVersion>,
        /// Show what would be extracted, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
    /// Verify the checksum of every file of the extracted drivers
    Verify {
        /// Driver versions [default: all extracted]
        #[arg(value_name = "VERSION")]
        versions: Vec<DriverVersion>,
    },
    /// Remove the extracted drivers that no container needs
    Prune {
        /// Show what would be removed, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
