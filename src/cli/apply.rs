//! `apply`: bringing containers in sync, in parallel: those that are named, all, those with GPUs, or a saved plan.

use std::path::Path;

use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::fleet::apply::update::Manner;
use phoenix_nvidia::fleet::plan::permissions::Permissions;
use phoenix_nvidia::fleet::plan::plan_file::{Purpose, SavedPlan};

use super::choices::{Apply, Choice, ContainerOrPlan, Target, Update};
use super::session::Session;
use super::{Ended, report, selection};

pub(crate) fn run(session: &mut Session<'_>, options: &Apply) -> Result<Ended> {
    let (purpose, saved) = match options.what.as_slice() {
        [ContainerOrPlan::Plan(file)] => {
            require_nothing_else(&options.update)?;
            let saved = read(file)?;
            session.find(&saved.purpose.containers)?;
            adopt(session, &saved.purpose)?;
            (saved.purpose.clone(), Some(saved))
        }
        what => {
            let named = containers(what)?;
            session.find(&named)?;
            (purpose(session, &named, &options.update)?, None)
        }
    };
    session.jobs = options.update.jobs.unwrap_or(session.jobs);
    let manner = Manner { rules: purpose.rules, fail_fast: options.fail_fast, require_live: options.require_live };
    let reports = session.with_fleet_as_root(|fleet| {
        if let Some(saved) = &saved {
            saved.require_same(&fleet.plan_update(&purpose.containers, purpose.rules)?)?;
        }
        fleet.update(&purpose.containers, manner)
    })?;
    report::show(session, &reports)
}

/// A saved plan says itself what it is for.
fn require_nothing_else(options: &Update) -> Result<()> {
    let Update { all, gpu, choice, target, restart, snapshot, jobs: _ } = options;
    let chosen =
        choice.method.is_some() || choice.profile.is_some() || choice.replace_packages || *target != Target::Config;
    if *all || *gpu || *restart || *snapshot || chosen {
        return Err(Error::new(
            Kind::Usage,
            "a saved plan already states its containers, driver, restarts and snapshots",
        )
        .hint("give these options to `phoenix-nvidia plan … --save FILE`, and only the file to `apply`"));
    }
    Ok(())
}

/// What is asked for; the configuration then wants what the command line says.
pub(crate) fn purpose(session: &mut Session<'_>, containers: &[ContainerId], options: &Update) -> Result<Purpose> {
    let named = !containers.is_empty();
    if named == (options.all || options.gpu) {
        return Err(Error::new(Kind::Usage, "name the containers: CTIDs, `--all`, or `--gpu`")
            .hint("`phoenix-nvidia plan --all` shows what there is to do"));
    }
    let purpose = Purpose {
        containers: if named { containers.to_vec() } else { selection::known(session, options.gpu) },
        rules: Permissions { create: named, restart: options.restart, snapshot: options.snapshot },
        follow: match options.target {
            Target::Config => None,
            Target::Host => Some(session.require_loaded()?),
        },
        method: options.choice.method,
        profile: options.choice.profile,
        replace_packages: options.choice.replace_packages,
    };
    if purpose.containers.is_empty() {
        session.none_selected(options.gpu);
    }
    adopt(session, &purpose)?;
    Ok(purpose)
}

/// Lets the configuration want what a purpose says.
fn adopt(session: &mut Session<'_>, purpose: &Purpose) -> Result<()> {
    if let Some(version) = &purpose.follow {
        let loaded = session.require_loaded()?;
        if loaded != *version {
            return Err(Error::new(
                Kind::Configuration,
                format!("the plan follows the host's driver {version}, and the host's is {loaded} now"),
            )
            .hint("make a new plan with `phoenix-nvidia plan … --target host --save FILE`"));
        }
        session.configuration.follow(&purpose.containers, version);
    }
    let Purpose { method, profile, replace_packages, .. } = *purpose;
    Choice { method, profile, replace_packages }.apply_to(&mut session.configuration, &purpose.containers);
    Ok(())
}

fn containers(what: &[ContainerOrPlan]) -> Result<Vec<ContainerId>> {
    let container = |what: &ContainerOrPlan| match what {
        ContainerOrPlan::Container(id) => Ok(*id),
        ContainerOrPlan::Plan(file) => Err(Error::new(Kind::Usage, format!("`{}` is not a CTID", file.display()))
            .hint("give `apply` only the plan's file: `phoenix-nvidia apply plan.json`")),
    };
    what.iter().map(container).collect()
}

fn read(file: &Path) -> Result<SavedPlan> {
    SavedPlan::parse(&fs_err::read(file)?).map_err(|error| error.within(format!("`{}` cannot be used", file.display())))
}
