//! `completions`: what a shell needs to complete our command line.

use clap::CommandFactory;
use phoenix_nvidia::error::Result;

use super::arguments::Arguments;
use super::{Ended, terminal};

pub(crate) fn run(shell: clap_complete::Shell) -> Result<Ended> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "phoenix-nvidia", &mut script);
    terminal::data(&String::from_utf8_lossy(&script))?;
    Ok(Ended::Well)
}
