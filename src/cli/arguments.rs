//! What can be said on the command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use phoenix_nvidia::config::{Layout, Way};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::driver::placement::Profile;
use phoenix_nvidia::error::Error;
use phoenix_nvidia::hypervisor::lxc::Lxc;

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
    Create(Change),
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
            Self::Create(change) | Self::Install(change) => Some((&change.containers, &change.choice)),
            _ => None,
        }
    }

    /// Whether it only shows what it would do.
    pub(crate) fn is_rehearsal(&self) -> bool {
        match self {
            Self::Create(Change { dry_run, .. })
            | Self::Install(Change { dry_run, .. })
            | Self::Uninstall(Removal { dry_run, .. })
            | Self::Destroy(Destroy { dry_run, .. })
            | Self::Cache {
                verb:
                    CacheVerb::Fetch { dry_run, .. } | CacheVerb::Import { dry_run, .. } | CacheVerb::Prune { dry_run },
            } => *dry_run,
            Self::Plan(_) => true,
            _ => false,
        }
    }
}

/// How, and how much of the driver, where the command line decides it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Choice {
    /// How the driver gets into the containers [default: what the configuration says, or `runfile`]
    #[arg(long, value_name = "WAY", value_parser = way())]
    pub(crate) way: Option<Way>,
    /// Which part of the driver they get [default: what the configuration says, or `full`]
    #[arg(long, value_name = "PROFILE", value_parser = profile())]
    pub(crate) profile: Option<Profile>,
}

fn way() -> impl TypedValueParser<Value = Way> {
    PossibleValuesParser::new(Way::ALL.map(Way::word)).map(|word| word.parse().unwrap_or_default())
}

fn profile() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::word)).map(|word| word.parse().unwrap_or_default())
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

/// What brings containers in step, and what may be done for it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Update {
    /// Every container of the configuration that exists
    #[arg(long, conflicts_with = "gpu")]
    pub(crate) all: bool,
    /// Every container of the configuration that exists and has GPUs
    #[arg(long)]
    pub(crate) gpu: bool,
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Which driver is wanted
    #[arg(long, value_enum, default_value_t = Target::Config)]
    pub(crate) target: Target,
    /// Restart running containers whose settings come in with a restart alone
    #[arg(long)]
    pub(crate) restart: bool,
    /// How many containers are worked on at the same time [default: the number of processors]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// The one that the configuration names
    Config,
    /// The one of the host's loaded kernel module, whatever the configuration names
    Host,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Containers; one that does not exist would be created
    #[arg(value_name = "CTID")]
    pub(crate) containers: Vec<ContainerId>,
    #[command(flatten)]
    pub(crate) update: Update,
    /// Write the plan to a file that `apply` takes
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Exit with 4 when there is anything to do
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Containers, created when they do not exist; or the file of a saved plan
    #[arg(value_name = "CTID|FILE")]
    pub(crate) what: Vec<ContainerOrPlan>,
    #[command(flatten)]
    pub(crate) update: Update,
    /// After a failure, begin no further container
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Fail when the driver cannot be asked because the host's kernel module is not loaded
    #[arg(long)]
    pub(crate) require_live: bool,
}

/// A CTID, or else the path of a file.
#[derive(Debug, Clone)]
pub(crate) enum ContainerOrPlan {
    Container(ContainerId),
    Plan(PathBuf),
}

impl std::str::FromStr for ContainerOrPlan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().map(Self::Container),
            false => Ok(Self::Plan(PathBuf::from(text))),
        }
    }
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
    /// Remove the run files that no container wants
    Prune {
        /// Show what would be removed and change nothing
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

/// Called as the orchestrator's feature script, the words are `CTID [anything]` and mean `install CTID`.
pub(crate) fn as_subcommand(words: Vec<OsString>) -> Vec<OsString> {
    let called_as = words.first().map(Path::new).and_then(Path::file_name);
    if called_as != Some(FEATURE_SCRIPT.as_ref()) {
        return words;
    }
    let mut rewritten = vec![OsString::from("phoenix-nvidia"), OsString::from("install")];
    rewritten.extend(words.into_iter().skip(1).take(1));
    rewritten
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
    fn the_feature_script_takes_a_ctid_and_anything() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let script = "/usr/local/phoenix_hypervisor/bin/lxc_setup/phoenix_hypervisor_feature_install_nvidia.sh";
        let install = words(&["phoenix-nvidia", "install", "901"]);
        assert_eq!(as_subcommand(words(&[script, "901"])), install);
        assert_eq!(as_subcommand(words(&[script, "901", "{\"name\": \"gpu\"}"])), install);
        assert_eq!(as_subcommand(words(&["phoenix-nvidia", "lint"])), words(&["phoenix-nvidia", "lint"]));
    }
}
