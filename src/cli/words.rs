//! From the words of a call to arguments, or to what is wrong with them.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::arguments::Arguments;

/// The arguments that these words mean.
///
/// # Errors
/// Something is wrong with them, or they ask for help.
pub(crate) fn parse(words: &[OsString]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error,
        _ => without_environment(words).unwrap_or(error),
    })
}

/// The same error as it is without variables of the environment: clap's usage line takes what they set for typed.
fn without_environment(words: &[OsString]) -> Option<clap::Error> {
    let command = Arguments::command().mut_args(|argument| argument.env(Resettable::Reset));
    command.try_get_matches_from(words).err()
}
