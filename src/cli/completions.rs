//! `completions`: what a shell needs to complete our command line, this host's containers included.

use std::collections::BTreeSet;

use clap::CommandFactory;
use clap_complete::Shell;
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::error::Result;

use super::arguments::{Arguments, Global};
use super::choices::Completions;
use super::session::Session;
use super::{Ended, terminal};

/// The call by which a script asks for the containers.
const CONTAINERS: &str = "phoenix-nvidia completions --containers 2>/dev/null";

/// How the arguments begin that name containers, in their help.
const CTID: &str = "CTID";

pub(crate) fn run(global: &Global, options: &Completions) -> Result<Ended> {
    match options.shell {
        Some(shell) => terminal::data(&script(shell))?,
        None => terminal::data(&containers(global).iter().map(|id| format!("{id}\n")).collect::<String>())?,
    }
    Ok(Ended::Well)
}

/// Those that are configured and those that exist, as far as the caller may see them: nobody wants errors there.
fn containers(global: &Global) -> BTreeSet<ContainerId> {
    let Ok(session) = Session::new(global, true) else { return BTreeSet::new() };
    let existing = session.hypervisor().and_then(|hypervisor| hypervisor.ids()).unwrap_or_default();
    session.configuration.containers().map(|(id, _)| id).chain(existing).collect()
}

fn script(shell: Shell) -> String {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "phoenix-nvidia", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => with_containers_for_bash(&script, &command),
        Shell::Zsh => with_containers_for_zsh(&script, &command),
        Shell::Fish => script + &containers_for_fish(&command),
        _ => script,
    }
}

/// The subcommands whose arguments are containers, with the name of that argument and whether they may be files, too.
fn with_containers(command: &clap::Command) -> impl Iterator<Item = (&str, &str, bool)> {
    command.get_subcommands().filter_map(|subcommand| {
        let argument = subcommand.get_positionals().find(|argument| {
            argument.get_value_names().is_some_and(|names| names.iter().any(|name| name.starts_with(CTID)))
        })?;
        let may_be_file = argument.get_value_names().is_some_and(|names| names.iter().any(|name| name != CTID));
        Some((subcommand.get_name(), argument.get_id().as_str(), may_be_file))
    })
}

/// Each subcommand has a branch that begins with the words to choose from.
///
/// clap_complete 4.6 writes the hyphen of the program's name in two ways, so that no branch was ever reached.
fn with_containers_for_bash(script: &str, command: &clap::Command) -> String {
    let mut script = script.replace("phoenix__subcmd__nvidia", "phoenix__nvidia");
    for (subcommand, ..) in with_containers(command) {
        let branch = format!("\n        phoenix__nvidia__subcmd__{subcommand})\n            opts=\"");
        script = script.replace(&branch, &format!("{branch}$({CONTAINERS}) "));
    }
    script
}

/// The arguments of a subcommand stand in one line, after their description and with what completes them at its end.
fn with_containers_for_zsh(script: &str, command: &clap::Command) -> String {
    let all: Vec<_> = with_containers(command).collect();
    let line = |line: &str| {
        let is_of = |(_, argument, _): &&(&str, &str, bool)| line.starts_with(&format!("'*::{argument} -- "));
        let Some((_, _, may_be_file)) = all.iter().find(is_of) else { return format!("{line}\n") };
        let action = match may_be_file {
            true => format!("{{_files; compadd -- $({CONTAINERS})}}"),
            false => format!("($({CONTAINERS}))"),
        };
        line.replace(":_default' ", &format!(":{action}' ")) + "\n"
    };
    script.lines().map(line).collect()
}

fn containers_for_fish(command: &clap::Command) -> String {
    let line = |(subcommand, _, may_be_file): (&str, &str, bool)| {
        let only = if may_be_file { "" } else { " -f" };
        let condition = format!("__fish_phoenix_nvidia_using_subcommand {subcommand}");
        format!("complete -c phoenix-nvidia -n \"{condition}\"{only} -a \"({CONTAINERS})\"\n")
    };
    with_containers(command).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_that_takes_containers_offers_them() {
        let command = Arguments::command();
        let count = with_containers(&command).count();
        assert!(count >= 11, "{count}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert_eq!(script(shell).matches(CONTAINERS).count(), count, "{shell}");
        }
    }
}
