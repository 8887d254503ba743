//! What can be said on the command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use phoenix_nvidia::config::Layout;
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::hypervisor::lxc::Lxc;
use phoenix_nvidia::hypervisor::proxmox::Proxmox;

use super::choices::{Apply, Choice, Plan};

/// The name under which the operators' orchestrator calls the driver's installation.
const FEATURE_SCRIPT: &str = "phoenix_hypervisor_feature_install_nvidia.sh";

/// Gets NVIDIA's user-space driver into LXC containers, safely and fast, and proves that it is the right one.
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
    /// Base directory, with `etc/`, `cache/` and `lib/`
    #[arg(long, global = true, value_name = "DIR", env = "PHOENIX_BASE", hide_env_values = true, default_value = Layout::DEFAULT_BASE)]
    pub(crate) base: PathBuf,
    /// `phoenix_lxc_configs.json`, when it is not in `etc/` of the base directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// `phoenix_hypervisor_config.json`, when it is not in `etc/` of the base directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) hypervisor_config: Option<PathBuf>,
    /// Who runs the containers
    #[arg(long, global = true, value_enum, default_value_t = Backend::Auto)]
    pub(crate) backend: Backend,
    /// Where plain LXC keeps its containers
    #[arg(long, global = true, value_name = "DIR", env = "PHOENIX_LXCPATH", hide_env_values = true, default_value = Lxc::DEFAULT_PATH)]
    pub(crate) lxcpath: PathBuf,
    /// Where the file system of a Proxmox VE cluster is mounted
    #[arg(long, global = true, hide = true, value_name = "DIR", env = "PHOENIX_PVE_ROOT", hide_env_values = true, default_value = Proxmox::DEFAULT_ROOT)]
    pub(crate) pve_root: PathBuf,
    /// Form of what is printed on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Form of what is told on standard error while work is done
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// File with SHA-256 sums of run files, in the format of `sha256sum`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) checksums: Option<PathBuf>,
    /// How long somebody else's work on the same container or run file is waited for, in seconds
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
    /// Tell more: every command that is run
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Tell nothing but warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// What the configuration says, or what is found on this host
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
    /// Columns without borders, or a line for each thing
    Table,
    /// One JSON document
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// A bar for everything that takes long
    Bars,
    /// A line for everything that begins
    Lines,
    /// One JSON object a line
    Json,
    /// Nothing; failures are told all the same
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create containers with their driver, or bring them to where they should be
    Create(Create),
    /// Install the driver in containers that exist
    Install(Change),
    /// Compare the driver that a container reports with the one that is configured
    Verify(Verify),
    /// Show what is wanted, on the host, installed, reported and cached
    ///
    /// Without `--live` nothing is run in any container: the verdict is made from files, settings, device nodes and the
    /// host's kernel module, and says that the driver was not asked.
    Status(Status),
    /// Show what `apply` would do, and change nothing
    Plan(Plan),
    /// Bring containers in step with the configuration or the host, in parallel
    Apply(Apply),
    /// Take the driver out of containers
    Uninstall(Removal),
    /// Destroy containers that the configuration names, with everything in them
    Destroy(Destroy),
    /// The run files on this host
    Cache {
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// The extracted drivers on this host
    Store {
        #[command(subcommand)]
        verb: StoreVerb,
    },
    /// The host's kernel modules, GPUs and device nodes
    Host {
        #[command(subcommand)]
        verb: HostVerb,
    },
    /// Check a container that is about to start; called by Proxmox VE or liblxc
    Hook {
        /// `VMID PHASE` from Proxmox VE, `NAME lxc HOOK` from liblxc
        #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Show what is wrong or doubtful on this host and in containers, each with what mends it
    Doctor {
        /// Containers, beside the host
        #[arg(value_name = "CTID")]
        containers: Vec<ContainerId>,
        /// Every container of the configuration
        #[arg(long, conflicts_with = "containers")]
        all: bool,
    },
    /// Let Docker inside containers use their GPUs; needs NVIDIA's container toolkit in them
    Docker {
        /// Containers
        #[arg(value_name = "CTID", required = true)]
        containers: Vec<ContainerId>,
        /// Show what would be changed and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show everything wrong or doubtful in the two configuration files
    Lint,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

impl Verb {
    /// What the command line decides about the driver of which containers.
    pub(crate) fn choice(&self) -> Option<(&[ContainerId], &Choice)> {
        match self {
            Self::Create(Create { change, .. }) | Self::Install(change) => Some((&change.containers, &change.choice)),
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
            Self::Plan(_) | Self::Doctor { .. } => true,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) change: Change,
    /// How long a container may take until its systemd and its network are up, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) boot_timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Containers
    #[arg(value_name = "CTID", required = true)]
    pub(crate) containers: Vec<ContainerId>,
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Show the steps and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fail when the driver cannot be asked because the host's kernel module is not loaded
    #[arg(long)]
    pub(crate) require_live: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Containers
    #[arg(value_name = "CTID", required = true)]
    pub(crate) containers: Vec<ContainerId>,
    /// Fail when the driver cannot be asked because the host's kernel module is not loaded
    #[arg(long)]
    pub(crate) require_live: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Containers; all that are configured when none is named
    #[arg(value_name = "CTID")]
    pub(crate) containers: Vec<ContainerId>,
    /// Show the containers of all nodes of the cluster, as far as they are known from here
    #[arg(long, conflicts_with = "containers")]
    pub(crate) all_nodes: bool,
    /// Ask the driver in every running container with `nvidia-smi`
    #[arg(long)]
    pub(crate) live: bool,
    /// Show it again every so many seconds [default: 5], until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) watch: Option<u64>,
    /// Write a page for browsers, in one file that needs nothing else; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write metrics for the textfile collector of Prometheus' node exporter; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) prometheus: Option<PathBuf>,
    /// Exit with 4 when a container is not in step
    #[arg(long, conflicts_with = "watch")]
    pub(crate) exit_code: bool,
    /// How many containers are looked at at the same time [default: the number of processors]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct Removal {
    /// Containers
    #[arg(value_name = "CTID", required = true)]
    pub(crate) containers: Vec<ContainerId>,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// Containers
    #[arg(value_name = "CTID", required = true)]
    pub(crate) containers: Vec<ContainerId>,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// List the run files and whether they are right
    List,
    /// Get run files now
    Fetch {
        /// Versions; those of all containers when none is named
        #[arg(value_name = "VERSION")]
        versions: Vec<DriverVersion>,
        /// Show what would be fetched and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every run file again and check it
    Verify,
    /// Take a local run file into the cache
    Import {
        /// The run file
        file: PathBuf,
        /// The version that it must hold
        #[arg(long)]
        version: Option<DriverVersion>,
        /// Check the file and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Put a local run file in the place of the one that was recorded first for its driver
    Replace {
        /// The run file
        file: PathBuf,
        /// The version that it must hold
        #[arg(long)]
        version: Option<DriverVersion>,
        /// Check the file, show whose place it would take, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove the run files that no container wants
    Prune {
        /// Show what would be removed and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// Show the kernel module, the GPUs, and whether every device node is right
    Show,
    /// Load the kernel modules, make every device node and mount the images of drivers, before guests start
    Prepare {
        /// Show what would be done and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// List the extracted drivers and whether they are sound
    List,
    /// Extract drivers; their run files come from the cache or the network
    Extract {
        /// Versions
        #[arg(value_name = "VERSION", required = true)]
        versions: Vec<DriverVersion>,
        /// Show what would be extracted and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every file of the extracted drivers again and check it
    Verify {
        /// Versions; all that are extracted when none is named
        #[arg(value_name = "VERSION")]
        versions: Vec<DriverVersion>,
    },
    /// Remove the extracted drivers that no container wants or has
    Prune {
        /// Show what would be removed and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// The name that stands for `hook` in a directory of Proxmox VE's snippets, with any extension.
const HOOKSCRIPT: &str = "phoenix-nvidia-hook";

/// The words as they are, unless the program is called by a name that stands for a subcommand.
///
/// As the orchestrator's feature script, the words are `CTID [anything]` and mean `install CTID`; as a hookscript they
/// are `VMID PHASE`.
pub(crate) fn as_subcommand(words: Vec<OsString>) -> Vec<OsString> {
    let called_as = words.first().map(Path::new);
    let (verb, taken) = if called_as.and_then(Path::file_name) == Some(FEATURE_SCRIPT.as_ref()) {
        ("install", 1)
    } else if called_as.and_then(Path::file_stem) == Some(HOOKSCRIPT.as_ref()) {
        ("hook", usize::MAX)
    } else {
        return words;
    };
    let rewritten = [OsString::from("phoenix-nvidia"), OsString::from(verb)];
    rewritten.into_iter().chain(words.into_iter().skip(1).take(taken)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_name_can_stand_for_a_subcommand() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let script = "/usr/local/phoenix_hypervisor/bin/lxc_setup/phoenix_hypervisor_feature_install_nvidia.sh";
        let install = words(&["phoenix-nvidia", "install", "901"]);
        assert_eq!(as_subcommand(words(&[script, "901"])), install);
        assert_eq!(as_subcommand(words(&[script, "901", "{\"name\": \"gpu\"}"])), install);
        let hook = words(&["phoenix-nvidia", "hook", "901", "pre-start"]);
        assert_eq!(as_subcommand(words(&["/var/lib/vz/snippets/phoenix-nvidia-hook.sh", "901", "pre-start"])), hook);
        assert_eq!(as_subcommand(words(&["phoenix-nvidia", "lint"])), words(&["phoenix-nvidia", "lint"]));
    }
}
