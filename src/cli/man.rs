//! `man`: the manual pages, one for the program and one for every subcommand.

use std::path::Path;

use clap::CommandFactory;
use phoenix_nvidia::error::Result;
use phoenix_nvidia::sys::atomic;

use super::Ended;
use super::arguments::Arguments;

pub(crate) fn run(directory: &Path) -> Result<Ended> {
    let mut command = Arguments::command();
    command.build();
    write_pages(&command, "phoenix-nvidia", directory)?;
    Ok(Ended::Well)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path) -> Result<()> {
    let mut page = Vec::new();
    let titled = command.clone().display_name(name.to_owned());
    let source = concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(titled).title(name.to_uppercase()).source(source).render(&mut page)?;
    atomic::write(&directory.join(format!("{name}.1")), &page, 0o644)?;
    for subcommand in command.get_subcommands() {
        write_pages(subcommand, &format!("{name}-{}", subcommand.get_name()), directory)?;
    }
    Ok(())
}
