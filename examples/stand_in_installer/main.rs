//! Plays `nvidia-installer` in run files built for tests and demonstrations: same command line, same effects on a
//! Linux system without kernel modules, same exit codes, same files behind; none of its code.
//!
//! What it does follows nvidia-installer 590.48.01 and the options of every release before it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program whose output is part of what it plays")]

mod backup_log;
mod copy;
mod destination;
mod install;
mod journal;
mod manifest;
mod misbehave;
mod moments;
mod options;
mod system;
mod uninstall;

use std::path::Path;
use std::process::ExitCode;

use journal::Journal;
use manifest::Manifest;
use options::{Action, Options};

/// What ends the program with exit code 1: the text after `ERROR: `.
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            Journal::append_to_default(&format!("ERROR: {text}"));
            eprintln!("\nERROR: {text}\n");
            ExitCode::from(1)
        }
    }
}

fn play() -> Result<(), Failure> {
    let mut arguments = std::env::args();
    let called_as = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let manifest = match std::fs::exists(".manifest")? {
        true => Some(Manifest::read(Path::new(".manifest"))?),
        false => None,
    };
    let version = manifest.as_ref().map(|manifest| manifest.version.clone()).or_else(backup_log::installed_version);
    let options = Options::parse(&arguments, version.as_deref().unwrap_or("0")).map_err(|unknown| {
        eprintln!("./nvidia-installer: {unknown}");
        Failure("Invalid commandline, please run `./nvidia-installer --help` for usage information.".to_owned())
    })?;
    match options.action {
        Action::Help => print!("{}", options::help(version.as_deref().unwrap_or("0"), false)),
        Action::AdvancedOptions => print!("{}", options::help(version.as_deref().unwrap_or("0"), true)),
        Action::Version => println!("nvidia-installer:  version {}", version.unwrap_or_default()),
        Action::Install | Action::Uninstall | Action::Sanity | Action::DriverInfo => {
            return act(&called_as, &arguments, &options, manifest, version);
        }
    }
    Ok(())
}

fn act(
    called_as: &str,
    arguments: &[String],
    options: &Options,
    manifest: Option<Manifest>,
    version: Option<String>,
) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure("nvidia-installer must be run as root".to_owned()));
    }
    let mut journal = Journal::start(&options.log_file, version.as_deref().unwrap_or("unknown"), arguments)?;
    let uninstaller = Path::new(called_as).file_name().is_some_and(|name| name == "nvidia-uninstall");
    match options.action {
        Action::DriverInfo => driver_info(),
        Action::Sanity => uninstall::sanity(&mut journal),
        Action::Uninstall => uninstall::uninstall(options, &mut journal),
        _ if uninstaller => uninstall::uninstall(options, &mut journal),
        _ => {
            let manifest = manifest.ok_or_else(|| Failure("Unable to open the file '.manifest'.".to_owned()))?;
            install::install(&manifest, options, &mut journal)
        }
    }
}

fn driver_info() -> Result<(), Failure> {
    match backup_log::installed_version() {
        Some(version) => println!(
            "\nThe currently installed driver is: 'NVIDIA Accelerated Graphics Driver for Linux-{}' (version: {version}).\n",
            std::env::consts::ARCH
        ),
        None => println!("\nThere is no NVIDIA driver currently installed.\n"),
    }
    Ok(())
}
