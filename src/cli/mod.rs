//! The command line: one file a subcommand; the only code that prints.

mod adopt;
mod apply;
mod arguments;
mod cache;
mod called_as;
mod cdi;
mod choices;
mod completions;
mod create;
mod destroy;
mod docker;
mod doctor;
mod examples;
mod first_words;
mod help;
mod hook;
mod host;
mod install;
mod journal;
mod lint;
mod log_file;
mod man;
mod plan;
mod progress;
mod report;
mod selection;
mod session;
mod status;
mod store;
mod terminal;
mod uninstall;
mod update_check;
mod verify;
mod words;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use phoenix_nvidia::error::{Error, Kind};

use arguments::{Arguments, Global, Verb};
use session::Session;

/// How a subcommand ended, when it did not fail.
pub(crate) enum Ended {
    /// Everything is as it should be.
    Well,
    /// With this exit code; what there is to say has been said.
    With(u8),
}

/// Runs the program with these words and says how it ended.
pub(crate) fn run(words: Vec<OsString>) -> ExitCode {
    let ended = match words::parse(&called_as::as_subcommand(words.clone())) {
        Ok(arguments) => dispatch(&arguments),
        Err(error) => match without_subcommand(&words) {
            Some(global) => first_words::run(&global),
            None => Ok(terminal::usage(error)),
        },
    };
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::With(code)) => ExitCode::from(code),
        Err(error) => {
            terminal::error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The options of a call on a terminal that has nothing but options.
fn without_subcommand(words: &[OsString]) -> Option<Global> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let with_one: Vec<OsString> = words.iter().cloned().chain([OsString::from("lint")]).collect();
    words::parse(&with_one).ok().filter(|it| matches!(it.verb, Verb::Lint)).map(|it| it.global)
}

fn dispatch(arguments: &Arguments) -> Result<Ended, Error> {
    // A container that starts waits for its hook, which reports what is missing and goes on.
    if !matches!(arguments.verb, Verb::Hook { .. }) {
        session::require_named_files(&arguments.global)?;
    }
    match &arguments.verb {
        Verb::Completions(options) => return completions::run(&arguments.global, options),
        Verb::Help { words } => return help::run(words),
        Verb::Man { directory } => return man::run(directory),
        Verb::Lint => return lint::run(&arguments.global),
        Verb::Host { verb } => return host::run(&arguments.global, verb),
        Verb::Hook { words } => return hook::run(&arguments.global, words),
        Verb::Doctor { containers, all } => return doctor::run(&arguments.global, containers, *all),
        _ => {}
    }
    let mut session = Session::new(&arguments.global, arguments.verb.is_rehearsal())?;
    if let Some(containers) = arguments.verb.looks_for() {
        session.find(containers)?;
    }
    match &arguments.verb {
        Verb::Create(options) => create::run(&mut session, options),
        Verb::Install(options) => install::run(&mut session, options),
        Verb::Verify(options) => verify::run(&session, options),
        Verb::Status(options) => status::run(&mut session, options),
        Verb::Plan(options) => plan::run(&mut session, options),
        Verb::Apply(options) => apply::run(&mut session, options),
        Verb::Adopt(options) => adopt::run(&session, options),
        Verb::Uninstall(options) => uninstall::run(&session, options),
        Verb::Destroy(options) => destroy::run(&session, options),
        Verb::Cache { verb } => cache::run(&session, verb),
        Verb::Store { verb } => store::run(&session, verb),
        Verb::Cdi(options) => cdi::run(&session, options),
        Verb::UpdateCheck => update_check::run(&session),
        Verb::Docker { containers, dry_run } => docker::run(&session, containers, *dry_run),
        Verb::Completions(_)
        | Verb::Help { .. }
        | Verb::Man { .. }
        | Verb::Lint
        | Verb::Host { .. }
        | Verb::Hook { .. }
        | Verb::Doctor { .. } => Err(Error::new(Kind::Bug, "a subcommand was dispatched twice")),
    }
}
