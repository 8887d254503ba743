//! What can be said on the command line about bringing drivers in: how, how much, which containers, what is allowed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use phoenix_nvidia::config::Way;
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::placement::Profile;
use phoenix_nvidia::error::Error;

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
    /// Before a driver is changed, take a snapshot where the storage can; a failure goes back to it
    #[arg(long)]
    pub(crate) snapshot: bool,
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
