//! The steps that bring a container to where it should be. Data: printed, serialised, applied.

use std::path::PathBuf;

use crate::config::Method;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::driver::placement::Profile;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Make the container from its template.
    Create {
        /// The rootfs tarball.
        template: PathBuf,
    },
    /// Make the container as a copy of another.
    Clone {
        /// The other one.
        source: ContainerId,
    },
    /// Write its settings: resources, network, mounts, device nodes.
    Configure {
        /// What changes, a phrase each; empty for a container that does not exist yet.
        changes: Vec<String>,
    },
    /// Grow its root file system.
    Grow {
        /// The size afterwards, in GiB.
        gib: u64,
    },
    /// Stop and start it, because it runs with other settings.
    Restart,
    /// Start it.
    Start,
    /// Stop it, because it was started for the installation alone.
    StopAgain,
    /// Run the operators' own script for a feature that is not ours.
    RunFeature {
        /// The feature.
        feature: String,
        /// Its script on the host.
        script: PathBuf,
    },
    /// Take a snapshot of it.
    Snapshot {
        /// The snapshot's name.
        name: String,
    },
    /// Take the snapshot that a failure goes back to, or go on with the one that an interrupted run left.
    SecureBySnapshot {
        /// Its name.
        name: String,
        /// When the one that was left was taken.
        left_at: Option<String>,
    },
    /// Remove that snapshot.
    RemoveSnapshot {
        /// Its name.
        name: String,
    },
    /// Finish going back to that snapshot, which an interrupted run has begun.
    FinishRollback {
        /// Its name.
        name: String,
    },
    /// Remove what an interrupted run left in the container.
    ClearAway {
        /// The directories.
        paths: Vec<String>,
    },
    /// Get the run file into the cache.
    FetchRunFile {
        /// The version.
        version: DriverVersion,
    },
    /// Extract the run file into the store.
    ExtractDriver {
        /// The version.
        version: DriverVersion,
    },
    /// Install the driver.
    InstallDriver {
        /// The version.
        version: DriverVersion,
        /// How.
        #[serde(alias = "way")]
        method: Method,
        /// Which part of it.
        profile: Profile,
        /// Why, in one phrase.
        why: String,
    },
    /// Bring its CDI specification in line with its driver and GPUs, or remove it.
    WriteSpecification {
        /// Why, in one phrase.
        why: String,
    },
    /// Verify the driver. Changes nothing.
    Verify {
        /// The version.
        version: DriverVersion,
    },
}

impl Step {
    /// What is done, as a phrase.
    pub fn phrase(&self) -> String {
        match self {
            Self::Create { template } => format!("create from `{}`", template.display()),
            Self::Clone { source } => format!("clone from {source}"),
            Self::Configure { .. } => "configure".to_owned(),
            Self::Grow { gib } => format!("grow the root to {gib} GiB"),
            Self::Restart => "restart".to_owned(),
            Self::Start => "start".to_owned(),
            Self::StopAgain => "stop again".to_owned(),
            Self::RunFeature { feature, .. } => format!("run the feature script of `{feature}`"),
            Self::Snapshot { name } => format!("take the snapshot `{name}`"),
            Self::SecureBySnapshot { name, left_at: None } => format!("take the snapshot `{name}` for a rollback"),
            Self::SecureBySnapshot { name, left_at: Some(_) } => format!("continue with the snapshot `{name}`"),
            Self::RemoveSnapshot { name } => format!("remove the snapshot `{name}`"),
            Self::FinishRollback { name } => format!("finish the rollback to the snapshot `{name}`"),
            Self::ClearAway { .. } => "remove what an interrupted run left".to_owned(),
            Self::FetchRunFile { version } => format!("fetch run file {version}"),
            Self::ExtractDriver { version } => format!("extract driver {version}"),
            Self::InstallDriver { version, method: Method::Runfile, .. } => format!("install driver {version}"),
            Self::InstallDriver { version, method, profile: Profile::Full, .. } => {
                format!("install driver {version} by method `{}`", method.word())
            }
            Self::InstallDriver { version, method, profile, .. } => {
                format!("install driver {version} by method `{}`, profile `{}`", method.word(), profile.word())
            }
            Self::WriteSpecification { .. } => "update the CDI specification".to_owned(),
            Self::Verify { version } => format!("verify driver {version}"),
        }
    }

    /// More about it, one phrase a line.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Configure { changes } => changes.clone(),
            Self::ClearAway { paths } => paths.clone(),
            Self::WriteSpecification { why } => vec![why.clone()],
            Self::SecureBySnapshot { left_at: Some(left_at), .. } => {
                vec![format!("an interrupted run left it; a failure rolls back to {left_at}")]
            }
            Self::InstallDriver { why, .. } => vec![why.clone()],
            _ => Vec::new(),
        }
    }

    /// Whether it changes anything.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Verify { .. })
    }
}
