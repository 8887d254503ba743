//! What can be said on the command line about bringing drivers in: how, how much, which containers, what is allowed; and
//! about completions of that.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use phoenix_nvidia::config::{Configuration, Method};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::placement::Profile;
use phoenix_nvidia::error::Error;

/// How, and how much of the driver, where the command line decides it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Choice {
    /// Installation method [default: the configured one, or `runfile`]
    #[arg(long, alias = "way", value_name = "METHOD", value_parser = method())]
    pub(crate) method: Option<Method>,
    /// Driver profile [default: the configured one, or `full`]
    #[arg(long, value_name = "PROFILE", value_parser = profile())]
    pub(crate) profile: Option<Profile>,
    /// Purge packages in the container that have installed a driver
    #[arg(long)]
    pub(crate) replace_packages: bool,
}

impl Choice {
    /// Lets the configuration want what the command line says of these containers.
    pub(crate) fn apply_to(&self, configuration: &mut Configuration, containers: &[ContainerId]) {
        configuration.choose(containers, self.method, self.profile);
        if self.replace_packages {
            configuration.replace_packages(containers);
        }
    }
}

fn method() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::ALL.map(Method::word)).map(|word| word.parse().unwrap_or_default())
}

fn profile() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::word)).map(|word| word.parse().unwrap_or_default())
}

/// Which containers a subcommand is about.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// CTIDs, or names of containers of plain LXC
    #[arg(value_name = "CTID")]
    pub(crate) containers: Vec<ContainerId>,
    /// Select all containers
    #[arg(long)]
    pub(crate) all: bool,
    /// Select all containers that have GPUs
    #[arg(long)]
    pub(crate) gpu: bool,
}

/// What brings containers in sync, and what may be done for it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Update {
    /// Select all existing configured containers
    #[arg(long, conflicts_with = "gpu")]
    pub(crate) all: bool,
    /// Select all existing configured containers that have GPUs
    #[arg(long)]
    pub(crate) gpu: bool,
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Which driver version to install
    #[arg(long, value_enum, default_value_t = Target::Config)]
    pub(crate) target: Target,
    /// Restart running containers whose changes take effect only after a restart
    #[arg(long)]
    pub(crate) restart: bool,
    /// Take a snapshot before changing a driver, if the storage supports it; roll back on failure
    #[arg(long)]
    pub(crate) snapshot: bool,
    /// Maximum number of containers processed in parallel [default: the number of CPUs]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// The configured version
    Config,
    /// The version of the host's loaded kernel module, regardless of the configuration
    Host,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// CTIDs; containers that do not exist would be created
    #[arg(value_name = "CTID")]
    pub(crate) containers: Vec<ContainerId>,
    #[command(flatten)]
    pub(crate) update: Update,
    /// Save the plan to a file for `apply`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Exit with code 4 if there are changes to apply
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
    /// Fail if the driver cannot be verified live because the host's kernel module is not loaded
    #[arg(long)]
    pub(crate) require_live: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell to generate completions for
    #[arg(required_unless_present = "containers")]
    pub(crate) shell: Option<clap_complete::Shell>,
    /// Print the containers that completions offer
    #[arg(long, hide = true, conflicts_with = "shell")]
    pub(crate) containers: bool,
}

/// A CTID or a name, or else the path of a file.
#[derive(Debug, Clone)]
pub(crate) enum ContainerOrPlan {
    Container(ContainerId),
    Plan(PathBuf),
}

impl std::str::FromStr for ContainerOrPlan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What `plan --save` has written may have a name that a container could have, too.
        let is_file = text.contains('/') || text.ends_with(".json") || Path::new(text).is_file();
        match text.parse() {
            Ok(id) if is_number || !is_file => Ok(Self::Container(id)),
            Err(error) if is_number => Err(error),
            _ => Ok(Self::Plan(PathBuf::from(text))),
        }
    }
}
