//! From the words of a call to arguments, or to what is wrong with them; and the help of every subcommand.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};

use super::arguments::Arguments;
use super::examples;

/// Where the options are that every subcommand has: thirteen of them would hide its own.
const GLOBAL_OPTIONS: &str = "`phoenix-nvidia help options` shows the options of every subcommand.";

/// The arguments that these words mean.
///
/// # Errors
/// Something is wrong with them, or they ask for help.
pub(crate) fn parse(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words);
    let arguments = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    arguments.map_err(|error| error.format(&mut command)).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error,
        _ => without_environment(words).unwrap_or(error),
    })
}

/// The same error as it is without variables of the environment: clap's usage line takes what they set for typed.
fn without_environment(words: &[OsString]) -> Option<clap::Error> {
    let command = command().mut_args(|argument| argument.env(Resettable::Reset));
    command.try_get_matches_from(words).err()
}

/// The command line as its help shows it.
fn command() -> Command {
    with_examples(without_global_options(), "")
}

/// The command line, in which the options of every subcommand are understood and not shown.
pub(crate) fn without_global_options() -> Command {
    Arguments::command().mut_args(|argument| match argument.is_global_set() {
        true => argument.hide(true),
        false => argument,
    })
}

fn with_examples(command: Command, name: &str) -> Command {
    let command = command.after_help(format!("{GLOBAL_OPTIONS}\n\n{}", examples::as_text(name)));
    command.mut_subcommands(|subcommand| {
        let name = format!("{name} {}", subcommand.get_name());
        with_examples(subcommand, name.trim_start())
    })
}

/// The options of every subcommand and nothing else, as the program's help would show them.
pub(crate) fn global_options() -> Command {
    let command = Arguments::command();
    let global = command.get_arguments().filter(|argument| argument.is_global_set());
    Command::new("phoenix-nvidia")
        .about("Options of every subcommand")
        .override_usage("phoenix-nvidia <COMMAND> [OPTIONS]")
        .max_term_width(100)
        .disable_help_flag(true)
        .args(global.cloned().map(|argument| argument.help_heading("Options")))
        .after_help(examples::as_text("help options"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &Command, name: &str, names: &mut Vec<String>) {
        names.push(name.to_owned());
        for subcommand in command.get_subcommands() {
            self::names(subcommand, format!("{name} {}", subcommand.get_name()).trim_start(), names);
        }
    }

    #[test]
    fn every_subcommand_has_examples_and_every_example_is_understood() {
        let mut all = Vec::new();
        names(&Arguments::command(), "", &mut all);
        all.push("help options".to_owned());
        assert_eq!(examples::EXAMPLES.map(|(name, _)| name.to_owned()).to_vec(), all);
        for (call, _) in examples::EXAMPLES.iter().flat_map(|(_, examples)| examples) {
            let typed = call.split(" > ").next().unwrap();
            let words = ["phoenix-nvidia"].into_iter().chain(typed.split(' ')).map(OsString::from);
            parse(&words.collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{call}: {error}"));
        }
    }
}
