//! `help`: the help of a subcommand, as its `--help` prints it, or the options of every subcommand.

use std::ffi::OsString;

use clap::CommandFactory;
use phoenix_nvidia::error::{Error, Kind, Result};

use super::arguments::Arguments;
use super::words::{global_options, parse};
use super::{Ended, terminal};

/// What stands for the options of every subcommand, where the name of one is expected.
const OPTIONS: &str = "options";

pub(crate) fn run(words: &[OsString]) -> Result<Ended> {
    if words == [OPTIONS] {
        terminal::data(&global_options().render_long_help().ansi().to_string())?;
        return Ok(Ended::Well);
    }
    match parse(&asking(words)) {
        Err(shown) => Ok(terminal::usage(shown)),
        Ok(_) => Err(Error::new(Kind::Bug, "a subcommand was asked for its help and did something else")),
    }
}

/// The call that prints the help, or what is wrong with the words.
fn asking(words: &[OsString]) -> Vec<OsString> {
    let root = Arguments::command();
    let mut command = &root;
    let mut named = 0;
    while let Some(next) = words.get(named).and_then(|word| command.find_subcommand(word)) {
        (command, named) = (next, named + 1);
    }
    // What follows a subcommand without subcommands is its arguments; `hook` would take `--help` for one, too.
    let kept = if command.has_subcommands() { words.len() } else { named };
    let call = std::iter::once(OsString::from("phoenix-nvidia")).chain(words[..kept].iter().cloned());
    call.chain([OsString::from("--help")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> String {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        asking(&words)[1..].join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn help_is_asked_of_the_subcommand_that_is_named() {
        assert_eq!(asked(""), "--help");
        assert_eq!(asked("create"), "create --help");
        assert_eq!(asked("cache fetch"), "cache fetch --help");
        assert_eq!(asked("help"), "help --help");
    }

    #[test]
    fn arguments_are_left_out_and_unknown_subcommands_are_not() {
        assert_eq!(asked("install 901"), "install --help");
        assert_eq!(asked("hook 901 pre-start"), "hook --help");
        assert_eq!(asked("cache fetsh"), "cache fetsh --help");
        assert_eq!(asked("instal"), "instal --help");
    }
}
